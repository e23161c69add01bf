"""The key to the secrets in a job's description, which its workers read from the dataset while the job runs.

Whoever can read a job's description (a cluster's storage, the console of a cloud) finds secrets encrypted there;
whoever can read only the dataset finds a key without them.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from curation.dataset.dataset import Dataset
from curation.dataset.object_store import put
from curation.errors import DatasetError
from curation.secret import keys


def _path(run_id: str) -> str:
    return f"progress/{run_id}.key"  # the next run deletes what is left in progress/


@contextlib.contextmanager
def published(dataset: Dataset, run_id: str, *, keep: bool) -> Iterator[None]:
    """Give workers this process's key. It is deleted at the end, unless a job begins only then (`keep`)."""
    path = _path(run_id)
    if dataset.folder is None:
        put(dataset.store, path, keys.own)
    else:
        file = dataset.folder / path
        try:
            file.parent.mkdir(exist_ok=True)
            with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:  # noqa: PTH123
                out.write(keys.own)
        except OSError as error:
            raise DatasetError(f"cannot write {file}: {error.strerror}") from error
    try:
        yield
    finally:
        if not keep:
            with contextlib.suppress(Exception):  # the next run deletes it otherwise
                dataset.delete([path])
                if dataset.folder is not None:
                    (dataset.folder / path).parent.rmdir()


def read_key(dataset: Dataset, run_id: str) -> None:
    """In a worker: learn the key to the secrets of the run's jobs, if it is still there; they are missed when used."""
    with contextlib.suppress(FileNotFoundError, ValueError):
        keys.add(dataset.get(_path(run_id)))
