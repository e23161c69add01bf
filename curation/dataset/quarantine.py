"""Damaged files, set aside instead of deleted: `quarantine/` keeps them under their paths until the next vacuum."""

from __future__ import annotations

import obstore

from curation.dataset.dataset import Dataset
from curation.dataset.object_store import read_errors, write_errors

FOLDER = "quarantine/"


def set_aside(dataset: Dataset, path: str) -> None:
    """Move a file into quarantine, if it is there."""
    with write_errors(path), read_errors(path):
        try:
            obstore.rename(dataset.store, path, f"{FOLDER}{path}")
        except FileNotFoundError:
            return


def copy_aside(dataset: Dataset, path: str) -> None:
    """Copy a file that is then overwritten into quarantine, if it is there."""
    with write_errors(path), read_errors(path):
        try:
            obstore.copy(dataset.store, path, f"{FOLDER}{path}")
        except FileNotFoundError:
            return


def set_aside_files(dataset: Dataset) -> list[tuple[str, int]]:
    """Path and size of every file in quarantine."""
    return [(path, size) for path, size, _ in dataset.list(FOLDER)]
