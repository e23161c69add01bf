"""Damaged files, set aside instead of deleted: `quarantine/` keeps them under their paths until the next vacuum."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import obstore
from obstore.store import ObjectStore

from curation.dataset.dataset import Dataset
from curation.dataset.object_store import read_errors, write_errors

FOLDER = "quarantine/"


def set_aside(dataset: Dataset, path: str) -> None:
    """Move a file into quarantine, if it is there."""
    _put_aside(obstore.rename, dataset, path)


def copy_aside(dataset: Dataset, path: str) -> None:
    """Copy a file that is then overwritten into quarantine, if it is there."""
    _put_aside(obstore.copy, dataset, path)


def _put_aside(put: Callable[[ObjectStore, str, str], None], dataset: Dataset, path: str) -> None:
    with write_errors(path), read_errors(path), contextlib.suppress(FileNotFoundError):
        put(dataset.store, path, f"{FOLDER}{path}")


def set_aside_files(dataset: Dataset) -> list[tuple[str, int]]:
    """Path and size of every file in quarantine."""
    return [(path, size) for path, size, _ in dataset.list(FOLDER)]
