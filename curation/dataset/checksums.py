"""Checksums of the files that have none of their own: the logs of tables and of runs, and pins.

A writer records them when it ends, in `checksums/<epoch>.json`; a pin's are in `checksums/pins/<name>.json`, with its
contents, so that a damaged pin can be restored. Parts have theirs in commits, and stored media in `videos`.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import obstore
from obstore.store import ObjectStore

from curation.dataset.dataset import Dataset
from curation.dataset.object_store import BLOCK, put, read_errors
from curation.dataset.seals import sealed
from curation.schema import TABLES

FOLDER = "checksums/"
PINS = "pins/"
READERS = 16
LATEST = "_last_checkpoint"  # the one file of a table's log that is written more than once


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
        take_in(known, dataset.get_json(path) or {})
    return known


def take_in(known: dict[str, Checksum], listed: Mapping[str, Any]) -> None:
    """Add a list of checksums to the known ones; None stands for a file that has been deleted."""
    for name, entry in listed["files"].items():
        if entry is None:
            known.pop(name, None)
        else:
            known[name] = Checksum(*entry)


def record(dataset: Dataset, epoch: int, renewed: Collection[str] = ()) -> None:
    """Record the checksums of the files that have changed, or are new, since they were last recorded.

    Those of `renewed` files are recorded again, whatever they were.
    """
    known = recorded(dataset)
    for path in renewed:
        known.pop(path, None)
    changed = list(_changed(dataset, known))
    if changed or renewed:
        with ThreadPoolExecutor(READERS) as pool:
            sums = pool.map(lambda path: checksum_of(dataset.store, path), changed)
            files = {path: (each.size, each.digest) for path, each in zip(changed, sums, strict=True)}
        path = f"{FOLDER}{epoch:020d}-{uuid.uuid4().hex[:8]}.json"
        put(dataset.store, path, sealed({"files": dict.fromkeys(renewed) | files}))
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
        latest = f"{log_of(table)}{LATEST}"
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
