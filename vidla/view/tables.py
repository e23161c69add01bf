"""The tables of a dataset as of its latest commit, read again when there is a later one."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow.dataset

from curation.dataset.commits import recent_commits
from curation.dataset.dataset import Dataset
from curation.dataset.snapshots import DatasetSnapshot, versions_now
from curation.dataset.verdicts import labels_now

FRESH_S = 1.0  # for which tables are taken for current
PATIENCE_S = 30.0  # after which a query is stopped: another reader waits for the processors

Row = Mapping[str, Any]


class _Snapshot(DatasetSnapshot):
    """The tables as of a commit, but for people's verdicts, which are read as they come."""

    def arrow(self, table: str, version: int | None = None) -> pyarrow.dataset.Dataset:
        if table == "labels" and version is None:
            return pyarrow.dataset.dataset(labels_now(DatasetSnapshot(self.uri, self.versions)))
        return super().arrow(table, version)


class LiveTables:
    """Reads a dataset for many pages at a time. Thread-safe."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self._lock = threading.Lock()
        self._snapshot: DatasetSnapshot | None = None
        self.commit = -1
        """the number of that commit"""
        self._looked_at = -FRESH_S

    def now(self) -> DatasetSnapshot:
        """The tables as of the latest commit. Raises DatasetError."""
        with self._lock:
            if self._snapshot is None or time.monotonic() - self._looked_at >= FRESH_S:
                commit = max((number for number, _ in recent_commits(self.dataset, 1)), default=0)
                if self._snapshot is None or commit != self.commit:
                    self._snapshot, self.commit = _Snapshot(self.dataset.uri, versions_now(self.dataset)), commit
                self._looked_at = time.monotonic()
            return self._snapshot

    def rows(self, query: str) -> list[Row]:
        """DuckDB's answer to one query. Raises UsageError, DatasetError."""
        return self.rows_of_each([query])[0]

    def rows_of_each(self, queries: Sequence[str]) -> list[list[Row]]:
        """The answers to several queries on the same tables."""
        return [answer.to_pylist() for answer in self.now().sql_each(queries, PATIENCE_S)]
