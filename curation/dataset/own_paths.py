"""Paths of a dataset of unknown origin: they may only name files in it."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import unquote

from curation.errors import DamagedError


def check_path(path: str, dataset_uri: str) -> None:
    """Raises DamagedError for a path that is not relative to the dataset, or leads out of it.

    >>> check_path("sources/../../secret.mp4", "file:///data")
    Traceback (most recent call last):
    curation.errors.DamagedError: file:///data names 'sources/../../secret.mp4', which is not a file of a dataset
    """
    if any(step in ("", ".", "..") or not step.isprintable() for step in path.split("/")):
        raise DamagedError(f"{dataset_uri} names {path[:200]!r}, which is not a file of a dataset")


def check_parts(paths: Iterable[str], table_uri: str) -> None:
    """Raises DamagedError unless each of these parts, as a table's log names them, lies in the table's folder.

    >>> check_parts(["part-1.parquet", "..%2Fother%2Fp-2.parquet"], "file:///data/clips")
    Traceback (most recent call last):
    curation.errors.DamagedError: the log of file:///data/clips names '..%2Fother%2Fp-2.parquet', which lies elsewhere
    """
    for path in paths:
        if "/" in path or ("%" in path and "/" in unquote(path)):
            raise DamagedError(f"the log of {table_uri} names {path[:200]!r}, which lies elsewhere")
