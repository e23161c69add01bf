"""A dataset as of one commit, whatever is written to it meanwhile."""

from __future__ import annotations

import builtins
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Self

import pyarrow.dataset
from deltalake import DeltaTable

from curation.dataset.commits import APPLICATION, read_commits, settled
from curation.dataset.copies import CopiedDataset, LocalCopies
from curation.dataset.dataset import Dataset
from curation.schema import TABLES


class DatasetSnapshot(CopiedDataset):
    """A dataset whose tables are read at fixed versions; those without one are newer, and empty."""

    def __init__(self, location: str, versions: Mapping[str, int], copies: LocalCopies | None = None) -> None:
        super().__init__(location, copies)
        self.versions = versions
        self._opened: dict[tuple[str, int], pyarrow.dataset.Dataset] = {}
        self._commits: dict[str | None, builtins.list[tuple[str, int, datetime]]] = {}

    @classmethod
    def now(cls, location: str, copies: LocalCopies | None = None) -> Self:
        """The dataset as of the last commit that is applied to all of its tables, however busy its writer is."""
        snapshot = cls(location, {}, copies)
        snapshot.look(TABLES)
        if snapshot.exists():
            snapshot.versions = versions_now(snapshot)
        return snapshot

    def arrow(self, table: str, version: int | None = None) -> pyarrow.dataset.Dataset:
        at = self.versions.get(table) if version is None else version
        if at is None:  # the table is newer than this version of the dataset
            return pyarrow.dataset.dataset(TABLES[table].schema.empty_table())
        if (table, at) not in self._opened:
            self._opened[table, at] = super().arrow(table, at)
        return self._opened[table, at]

    def list(self, prefix: str, after: str | None = None) -> Iterator[tuple[str, int, datetime]]:
        if prefix != "commits/":
            return super().list(prefix, after)
        if after not in self._commits:
            self._commits[after] = list(super().list(prefix, after))
        return iter(self._commits[after])

    def _open(self, table: str, version: int | None = None) -> DeltaTable | None:
        return super()._open(table, self.versions.get(table) if version is None else version)


def versions_now(dataset: Dataset) -> dict[str, int]:
    """The version of each table after the last commit that is applied to all of them. Waits for no writer."""
    last = settled(dataset)
    tables = _Tables(dataset, last)
    for number, written in tables.commits:
        if any(tables.applied.get(table, 0) < number for table in written):
            break
        last = number
    return tables.versions_after(last)


def versions_after(dataset: Dataset, number: int) -> dict[str, int]:
    """The version of each table after a commit that is applied to all of them."""
    return _Tables(dataset, number).versions_after(number)


class _Tables:
    """The tables now, and the commits after number `after`, each with its tables. Commits are read after the tables."""

    def __init__(self, dataset: Dataset, after: int) -> None:
        self._dataset = dataset
        self._deltas = {table: delta for table in TABLES if (delta := dataset.delta_or_none(table)) is not None}
        self.applied = {table: self._applied(delta) for table, delta in self._deltas.items()}
        self.commits = [(number, set(record.get("tables", ()))) for number, record in read_commits(dataset, after)]

    def versions_after(self, last: int) -> dict[str, int]:
        versions = {}
        for table, delta in self._deltas.items():
            later = sum(last < number <= self.applied[table] for number, written in self.commits if table in written)
            versions[table] = delta.version() - later
            while later and self._applied(self._dataset.delta(table, versions[table])) > last:
                versions[table] -= 1  # columns were added since
        return versions

    @staticmethod
    def _applied(delta: DeltaTable) -> int:
        return delta.transaction_version(APPLICATION) or 0
