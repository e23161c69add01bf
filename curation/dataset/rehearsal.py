"""A dataset as the next writer will find it, and what commits to it would make of it, without writing a file.

A run that died inside a commit leaves tables that lack their share of it, which the next writer applies. What is told
of a run before it has the lease must count on that, and on what the run's inputs are about to change.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
from obstore.store import MemoryStore, ObjectStore

from curation.dataset.alignment import last_number
from curation.dataset.commits import APPLICATION, Committer, Replacement, read_commits, settled
from curation.dataset.dataset import Dataset
from curation.dataset.history import History
from curation.dataset.own_paths import check_parts
from curation.dataset.parts import Lineage, Part, prefix_of
from curation.errors import DamagedError
from curation.ids import new_run_id
from curation.schema import TABLES

Shares = Mapping[str, Mapping[str, Any]]
"""The parts that a commit adds and removes, by table, as in its record."""


class RehearsedDataset(Dataset):
    """The dataset at a location with all of its commits applied, those too that some tables lack; empty if it is none.

    What is written to it is kept in memory, and nothing in it is deleted: the one at the location never changes. Its
    tables are those of the moment when it is made. Raises DatasetError.
    """

    def __init__(self, location: str, *, patient: bool = True, real: Dataset | None = None) -> None:
        """`real` is the dataset at the location, if some of it has been read already."""
        super().__init__(location, patient=patient)
        self._real = real or Dataset(location, patient=patient)
        self._parts: dict[str, dict[str, Part]] = {table: {} for table in TABLES}
        self._versions: dict[str, int] = {}  # by table
        self._changed: set[str] = set()  # tables that have other parts than at that version
        self._written: dict[tuple[str, str], pa.Table] = {}  # rows of the parts in memory
        if self._real.exists():
            self._look()

    def _look(self) -> None:
        after = settled(self._real)
        applied = {table: self._applied(table) for table in TABLES}  # before the commits are read
        for number, record in read_commits(self._real, after):
            tables = record.get("tables", {})
            self.apply({table: share for table, share in tables.items() if applied.get(table, 0) < number})

    def _applied(self, table: str) -> int:
        """Take the parts that the log of a table lists; returns the number of the last commit that is in it."""
        try:
            delta = self._real.delta_or_none(table)
        except DamagedError:  # as by a power cut, after which a writer makes it again from the commits
            if not self._history.is_whole:
                raise
            self._parts[table] = self._history.live(table, self._history.last)
            self._changed.add(table)
            return self._history.last
        if delta is None:
            return 0
        self._parts[table], self._versions[table] = self._real.parts_of(table, delta), delta.version()
        return delta.transaction_version(APPLICATION) or 0

    @functools.cached_property
    def _history(self) -> History:
        return History.read(self._real)

    def apply(self, shares: Shares) -> None:
        """Add and remove the parts of a commit."""
        for table, share in shares.items():
            parts = self._parts[table]
            check_parts((part["path"] for part in share["add"]), f"{self.uri}/{table}")
            parts |= {p["path"]: Part(table, p["path"], int(p["size"]), int(p["rows"])) for p in share["add"]}
            for part in share["remove"]:
                parts.pop(part["path"], None)
            self._changed.add(table)

    # --- its tables -------------------------------------------------------------------------------------------------

    def live_parts(self, table: str) -> dict[str, Part]:
        return dict(self._parts[table])

    def arrow(self, table: str, version: int | None = None) -> pyarrow.dataset.Dataset:
        at = self._versions.get(table) if version is None else version
        if at is not None and (version is not None or table not in self._changed):
            return self._real.arrow(table, at)
        schema, format_ = TABLES[table].schema, pyarrow.dataset.ParquetFileFormat()
        written = [rows for path in self._parts[table] if (rows := self._rows(table, path)) is not None]
        stored = [path for path in self._parts[table] if (table, path) not in self._written]
        inner = [pyarrow.dataset.dataset(pa.concat_tables([schema.empty_table(), *written]))]
        if stored:
            files = self._real.arrow_files(table)
            inner.append(pyarrow.dataset.FileSystemDataset.from_paths(stored, schema, format_, files))
        return pyarrow.dataset.dataset(inner) if stored else inner[0]

    def read_part(self, table: str, path: str, columns: Sequence[str] | None = None) -> pa.Table:
        rows = self._rows(table, path)
        if rows is None:
            return self._real.read_part(table, path, columns)
        return rows if columns is None else rows.select(columns)

    def _rows(self, table: str, path: str) -> pa.Table | None:
        """The rows of a part in memory; None if it is none."""
        if (table, path) not in self._written and path.startswith(prefix_of(self.epoch)):
            rows = pq.read_table(pa.BufferReader(self._in_memory.get(f"{table}/{path}").bytes()))
            self._written[table, path] = rows.cast(TABLES[table].schema)
        return self._written.get((table, path))

    # --- its files --------------------------------------------------------------------------------------------------

    @functools.cached_property
    def epoch(self) -> int:
        """The epoch of what is written to it."""
        return last_number(self._real) + 1 if self._real.exists() else 1

    @functools.cached_property
    def _in_memory(self) -> MemoryStore:
        return MemoryStore()

    @functools.cached_property
    def store(self) -> ObjectStore:
        return self._in_memory

    def exists(self) -> bool:
        return True

    def create(self) -> None:
        pass

    def get(self, path: str) -> bytes:
        return self._real.get(path)

    def fetch(self, path: str, target: Path) -> None:
        self._real.fetch(path, target)

    def has(self, path: str) -> bool:
        return self._real.has(path)

    def copy(self, path: str, target: str) -> None:
        if not self._real.has(path):
            raise FileNotFoundError(path)

    def list(self, prefix: str, after: str | None = None) -> Iterator[tuple[str, int, datetime]]:
        return self._real.list(prefix, after)

    def flush(self, paths: Collection[str]) -> None:
        pass

    def delete(self, paths: Iterable[str], *, flush: bool = False) -> int:
        return len(list(paths))


class Rehearsal(Committer):
    """A committer whose commits change a `RehearsedDataset` alone. Takes no lease. Raises DatasetError."""

    dataset: RehearsedDataset

    def __init__(self, dataset: Dataset) -> None:
        rehearsed = RehearsedDataset(dataset.uri, patient=dataset.patient)
        super().__init__(rehearsed, Lineage(new_run_id(), rehearsed.epoch))

    def commit(
        self,
        token: str,
        parts: Sequence[Part],
        replacements: Sequence[Replacement] = (),
        merged: Sequence[Part] = (),
        outcome: Mapping[str, Any] | None = None,
    ) -> int:
        self.dataset.apply(self._shares(parts, replacements, merged))
        return self._seen
