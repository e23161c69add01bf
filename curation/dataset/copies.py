"""A dataset that is only read, from a bucket with few requests: each small file is asked for once, and kept on disk.

A table's log is listed once, and read from its last checkpoint on. Larger parts are read where they are, by columns.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import tempfile
import threading
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import obstore
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable
from obstore.store import ObjectStore
from pyarrow.dataset import FileSystemDataset, ParquetFileFormat, ParquetFragmentScanOptions
from pyarrow.fs import LocalFileSystem, SubTreeFileSystem

from curation.dataset.dataset import Dataset
from curation.dataset.lease import LEASE
from curation.dataset.object_store import read_errors
from curation.dataset.own_paths import check_path
from curation.dataset.parts import Part
from curation.schema import TABLES

SMALL_BYTES = 256 * 2**10  # of a part: Arrow reads 64 KiB of a larger one to find its columns
MOST_BYTES = 2**30  # of all copies, after which parts are read where they are
LISTED = 1000  # files of a log that one request lists
_READERS = 16
_LOG_FILE = re.compile(r"\d{20}(\.json|\.checkpoint\.parquet)")


class LocalCopies:
    """Copies of a store's files in a temporary folder of this process; files of these names never change. Thread-safe.

    Other datasets at the same location can share it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._size = 0
        self._folder = tempfile.TemporaryDirectory(prefix="vidla-copies-", ignore_cleanup_errors=True)

    @property
    def folder(self) -> Path:
        return Path(self._folder.name)

    def bring(self, store: ObjectStore, paths: Iterable[str]) -> None:
        """Copy those of these files that are not there yet. Missing ones are passed over. Raises obstore's errors."""
        wanted = [path for path in paths if not self.has(path)]
        if wanted:
            with ThreadPoolExecutor(_READERS) as pool:
                list(pool.map(lambda path: self._copy(store, path), wanted))

    def has(self, path: str) -> bool:
        return (self.folder / path).exists()

    def room(self) -> int:
        """The bytes that may still be copied."""
        return max(0, MOST_BYTES - self._size)

    def _copy(self, store: ObjectStore, path: str) -> None:
        try:
            data = obstore.get(store, path).bytes()
        except FileNotFoundError:
            return
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f"{target.name}.{threading.get_ident()}")
        part.write_bytes(data)
        part.replace(target)
        with self._lock:
            self._size += len(data)


class CopiedDataset(Dataset):
    """A dataset that is only read; of a remote one, what it has read is kept. On a disk it is like any other.

    A table is as it was when it was first read. With `first_rows`, only as many parts of each are read as have that
    many rows.
    """

    def __init__(self, location: str, copies: LocalCopies | None = None, first_rows: int | None = None) -> None:
        super().__init__(location, patient=False)
        self._first_rows = first_rows
        self._oldest: dict[str, int | None] = {}
        """By table, the oldest version that can be read from the copied log; None for a table that does not exist."""
        self._lease: bytes | None = None
        if self.folder is None:
            self.copies = copies or LocalCopies()
            self._logs = tempfile.TemporaryDirectory(prefix="vidla-logs-", ignore_cleanup_errors=True)
            """The logs as they were when they were first read."""

    def exists(self) -> bool:
        return super().exists() if self.folder is not None else self._open(next(iter(TABLES))) is not None

    def look(self, tables: Collection[str]) -> None:
        """Bring the lease, and then the logs of several tables at a time. Raises DatasetError."""
        if self.folder is None:
            with contextlib.suppress(FileNotFoundError):
                self.get(LEASE)
            with ThreadPoolExecutor(_READERS) as pool:
                list(pool.map(self._bring_log, tables))

    def get(self, path: str) -> bytes:
        if self.folder is not None or not path.startswith(("commits/", LEASE)):
            return super().get(path)
        if path == LEASE:
            self._lease = super().get(path) if self._lease is None else self._lease
            return self._lease
        check_path(path, self.uri)
        with read_errors(f"{self.uri}/{path}"):
            self.copies.bring(self.store, [path])
        return (self.copies.folder / path).read_bytes()

    def read_part(self, table: str, path: str, columns: Sequence[str] | None = None) -> pa.Table:
        if self.folder is not None or not self.copies.has(f"{table}/{path}"):
            return super().read_part(table, path, columns)
        with read_errors(f"{self.uri}/{table}/{path}"):
            copy = self.copies.folder / table / path
            return pq.read_table(copy, columns=columns, schema=TABLES[table].schema, partitioning=None)

    # --- tables -----------------------------------------------------------------------------------------------------

    def _delta(self, table: str, version: int | None) -> DeltaTable:
        if self.folder is not None:
            return super()._delta(table, version)
        oldest = self._bring_log(table)
        if oldest is not None and version is not None and version < oldest:
            return super()._delta(table, version)
        return DeltaTable(Path(self._logs.name) / table, version=version)

    def _bring_log(self, table: str) -> int | None:
        """Copy what is needed of a table's log, once; returns the oldest version that it gives."""
        if table in self._oldest:
            return self._oldest[table]
        with read_errors(f"{self.uri}/{table}"):
            names = self._latest(f"{table}/_delta_log/")
            self.copies.bring(self.store, names)
        (log := Path(self._logs.name) / table / "_delta_log").mkdir(parents=True, exist_ok=True)
        for name in filter(self.copies.has, names):
            with contextlib.suppress(FileExistsError):  # another thread was first
                os.link(self.copies.folder / name, log / name.rpartition("/")[2])
        return self._oldest.setdefault(table, min(map(_version, names), default=None))

    def _latest(self, log: str) -> list[str]:
        """The last checkpoint of a log, and the entries after it."""
        names = list(itertools.islice(self._names(log), LISTED + 1))
        if len(names) > LISTED:
            hint = self.get_json(f"{log}_last_checkpoint") or {"version": 0}
            names = list(self._names(log, after=f"{log}{int(hint['version']):020d}"))
        checkpoint = max((name for name in names if name.endswith(".parquet")), default=None)
        since = -1 if checkpoint is None else _version(checkpoint)
        entries = [name for name in names if name.endswith(".json") and _version(name) > since]
        return entries if checkpoint is None else [checkpoint, *entries]

    def _names(self, log: str, after: str | None = None) -> Iterator[str]:
        return (path for path, _, _ in self.list(log, after) if _LOG_FILE.fullmatch(path.removeprefix(log)))

    def _scan(self, table: str, delta: DeltaTable, schema: pa.Schema) -> FileSystemDataset:
        if self.folder is not None:
            return super()._scan(table, delta, schema)
        return self.arrow_of(table, self._first(list(self.parts_of(table, delta).values())), schema)

    def arrow_of(self, table: str, parts: Sequence[Part], schema: pa.Schema) -> FileSystemDataset:
        """Some parts of a table, of whatever version, for Arrow's readers. Raises DatasetError."""
        there, here = self.arrow_files(table), None
        if self.folder is None:
            small = [f"{table}/{part.path}" for part in parts if part.size <= SMALL_BYTES]
            with read_errors(f"{self.uri}/{table}"):
                self.copies.bring(self.store, small[: self.copies.room() // SMALL_BYTES])
            here = SubTreeFileSystem(str(self.copies.folder / table), LocalFileSystem())
        format_ = ParquetFileFormat(default_fragment_scan_options=ParquetFragmentScanOptions(pre_buffer=True))
        fragments = []
        for part in parts:
            files = here if here and self.copies.has(f"{table}/{part.path}") else there
            fragments.append(format_.make_fragment(part.path, files, file_size=part.size))
        return FileSystemDataset(fragments, schema, format_, there)

    def _first(self, parts: Sequence[Part]) -> Sequence[Part]:
        if self._first_rows is None:
            return parts
        before = itertools.accumulate((part.rows for part in parts), initial=0)
        return [part for part, rows in zip(parts, before, strict=False) if rows < self._first_rows]


def _version(name: str) -> int:
    return int(name.rpartition("/")[2][:20])
