"""Checksums of the files that have none of their own: the logs of tables and of runs, and pins.

A writer records them when it ends, in `checksums/<epoch>.json`; a pin's are in `checksums/pins/<name>.json`, with its
contents, so that a damaged pin can be restored. Parts have theirs in commits, and stored media in `videos`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import obstore
from obstore.store import ObjectStore

from curation.dataset.dataset import Dataset
from curation.dataset.object_store import BLOCK, put, read_errors
from curation.dataset.seals import sealed
from curation.schema import TABLES

FOLDER = "checksums/"
PINS = "pins/"
READERS = 16
_LATEST = "_last_checkpoint"  # the one file of a table's log that is written more than once


@dataclass(frozen=True)
class Checksum:
    """The size of a file in bytes, and the digest of its content."""

    size: int
    digest: str


def checksum_of(store: ObjectStore, path: str) -> Checksum:
    """The checksum of a file, however large, with one block in memory. Raises FileNotFoundError, DatasetError."""
    with read_errors(path):
        size, hashed = obstore.head(store, path)["size"], hashlib.blake2b(digest_size=16)
        for start in range(0, size, BLOCK):
            hashed.update(obstore.get_range(store, path, start=start, end=min(start + BLOCK, size)))
        return Checksum(size, hashed.hexdigest())


def recorded(dataset: Dataset) -> dict[str, Checksum]:
    """The checksums that writers have recorded, by path; later ones outrank earlier ones. Raises DatasetError."""
    known: dict[str, Checksum] = {}
    for path in sorted(path for path, _, _ in dataset.list(FOLDER) if not path.startswith(FOLDER + PINS)):
        files = (dataset.get_json(path) or {}).get("files", {})
        known.update((name, Checksum(*entry)) for name, entry in files.items())
    return known


def record(dataset: Dataset, epoch: int) -> None:
    """Record the checksums of the files that have changed, or are new, since they were last recorded."""
    known = recorded(dataset)
    changed = list(_changed(dataset, known))
    if changed:
        with ThreadPoolExecutor(READERS) as pool:
            sums = pool.map(lambda path: checksum_of(dataset.store, path), changed)
            files = {path: (each.size, each.digest) for path, each in zip(changed, sums, strict=True)}
        put(dataset.store, f"{FOLDER}{epoch:020d}.json", sealed({"files": files}))
    copies = {path for path, _, _ in dataset.list(FOLDER + PINS)}
    for path, _, _ in dataset.list(PINS):
        if copy_of_pin(path) not in copies:
            record_pin(dataset, path)


def _changed(dataset: Dataset, known: dict[str, Checksum]) -> Iterator[str]:
    """The logs without a checksum, and those that had to change: logs of runs grow, or something in them is forgotten.

    A log of a table never changes, so that one of another size is damaged: it keeps its checksum.
    """
    for table in TABLES:
        new = [path for path, _, _ in dataset.list(log_of(table)) if path not in known]
        latest = f"{log_of(table)}{_LATEST}"
        yield from (path for path in new if path != latest)
        if latest in new or (latest in known and any(path.endswith(".checkpoint.parquet") for path in new)):
            yield latest
    for path, size, _ in dataset.list("logs/"):
        if path not in known or known[path].size != size:
            yield path


def log_of(table: str) -> str:
    """The folder of a table's log."""
    return f"{table}/_delta_log/"


def record_pin(dataset: Dataset, path: str) -> None:
    """Keep a copy of a pin, with a checksum."""
    versions = dataset.get_json(path)
    if versions is not None:
        put(dataset.store, copy_of_pin(path), sealed({"versions": versions}))


def copy_of_pin(path: str) -> str:
    return f"{FOLDER}{path}"


def pin_in_copy(dataset: Dataset, path: str) -> bytes | None:
    """The contents of a pin according to its copy; None if there is none."""
    copy = dataset.get_json(copy_of_pin(path))
    return None if copy is None else json.dumps(copy["versions"]).encode()
