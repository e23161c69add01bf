"""The dataset on disk or in a bucket: Delta Lake tables of plain Parquet parts, and stored media.

Reading goes through each table's log. A new part is invisible until it is committed (curation/dataset/commits.py).
"""

from __future__ import annotations

import atexit
import contextlib
import json
import re
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import unquote, urlsplit

import duckdb
import obstore
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset
import pyarrow.parquet as pq
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError
from deltalake.fs import DeltaStorageHandler
from obstore.store import ObjectStore, from_url
from pyarrow.fs import FileSystem, LocalFileSystem, PyFileSystem, SubTreeFileSystem

from curation.dataset import database, local_files, object_store, seals
from curation.dataset.creation import CHECKPOINT_VERSIONS, add_columns, create_table
from curation.dataset.locations import uri_of
from curation.dataset.object_store import BLOCK, read_errors, write_errors
from curation.dataset.own_paths import check_parts, check_path
from curation.dataset.parts import Part
from curation.errors import DamagedError, DatasetError, UsageError
from curation.schema import TABLES


class Dataset:
    """The tables, media and commits under one URI."""

    def __init__(self, location: str, *, patient: bool = True) -> None:
        """`patient`: whether to wait for a remote store that becomes unreachable."""
        self.uri = uri_of(location)
        self.patient = patient

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Dataset) and (self.uri, self.patient) == (other.uri, other.patient)

    def __hash__(self) -> int:
        return hash((self.uri, self.patient))

    def __getstate__(self) -> dict[str, Any]:
        return {"uri": self.uri, "patient": self.patient}  # workers connect to it again

    @cached_property
    def store(self) -> ObjectStore:
        """The files of the dataset. Raises DatasetError if a remote store cannot be reached."""
        if self.uri.startswith("file://"):
            return from_url(self.uri, mkdir=True)
        with read_errors(self.uri):
            return object_store.connect(self.uri, self.patient).store

    @cached_property
    def options(self) -> dict[str, str] | None:
        """deltalake's options for the same files. Raises DatasetError as `store` does."""
        if self.uri.startswith("file://"):
            return None
        with read_errors(self.uri):
            return object_store.connect(self.uri, self.patient).options

    @cached_property
    def filesystem(self) -> FileSystem:
        """The same files, for Arrow's readers."""
        if self.folder is not None:
            return SubTreeFileSystem(str(self.folder), LocalFileSystem())
        return PyFileSystem(DeltaStorageHandler(self.uri, self.options))

    @cached_property
    def folder(self) -> Path | None:
        """The dataset's folder if it is on this machine's disk, else None."""
        if not self.uri.startswith("file://"):
            return None
        return Path(unquote(urlsplit(self.uri).path))

    def exists(self) -> bool:
        if self.folder is not None and not self.folder.is_dir():
            return False
        with read_errors(self.uri):
            return DeltaTable.is_deltatable(f"{self.uri}/{next(iter(TABLES))}", self.options)

    def create(self) -> None:
        """Create missing tables, and add the columns, nested ones too, that older tables lack."""
        written: list[str] = []
        for table in TABLES.values():
            with write_errors(f"{self.uri}/{table.name}"):
                delta = self._open(table.name)
                since = 0 if delta is None else delta.version() + 1
                delta = delta or create_table(f"{self.uri}/{table.name}", table, self.options)
                add_columns(delta, table)
            written += self.log_files(table.name, since)
        if self.folder is not None and written:
            files = [self.folder / path for path in written]
            with write_errors(self.uri):  # the dataset's own folder may be new, too
                local_files.flush(files, {folder for file in files for folder in file.parents[:4]})

    def flush(self, paths: Collection[str]) -> None:
        """Make sure that files and their names outlive a power cut; each file and each folder is flushed once.

        Does nothing for a remote dataset, whose store has done so. Raises DatasetError.
        """
        if self.folder is None or not paths:
            return
        files = {self.folder / path for path in paths}
        folders = {file.parent for file in files}
        if any(path.startswith(("media/", "sources/")) for path in paths):  # folders that are made when needed
            folders |= {self.folder, *(folder.parent for folder in folders if folder.parent.name == "media")}
        with write_errors(self.uri):
            local_files.flush(files, folders)

    def log_files(self, table: str, since: int) -> list[str]:
        """The files of a table's log from version `since` on; for a dataset on disk."""
        found: list[str] = []
        if self.folder is None:
            return found
        log, version = f"{table}/_delta_log", since
        while (self.folder / (entry := f"{log}/{version:020d}.json")).exists():
            extra = (f"{log}/{version:020d}.checkpoint.parquet", f"{log}/_last_checkpoint")
            checkpoint = extra if (self.folder / extra[0]).exists() else ()
            found += [entry, *checkpoint]
            version += 1
        return found

    # --- reading ----------------------------------------------------------------------------------------------------

    def delta(self, table: str, version: int | None = None) -> DeltaTable:
        """The table now, or at `version`. Raises DatasetError if there is none."""
        delta = self._open(table, version)
        if delta is None:
            raise self.missing()
        return delta

    def _open(self, table: str, version: int | None = None) -> DeltaTable | None:
        try:
            with read_errors(self.uri):
                delta = self._delta(table, version)
        except TableNotFoundError:
            return None
        except DeltaError as error:
            raise self._damaged(f"{table}/_delta_log", object_store.explained(error)) from None
        if self.folder is not None:
            log, newest = self.folder / table / "_delta_log", delta.version()
            for number in range((newest + 1) // CHECKPOINT_VERSIONS * CHECKPOINT_VERSIONS, newest + 1):
                with contextlib.suppress(FileNotFoundError):
                    if not (log / f"{number:020d}.json").stat().st_size:  # read without an error, and without its rows
                        raise self._damaged(f"{table}/_delta_log/{number:020d}.json", "it is empty")
        return delta

    def _delta(self, table: str, version: int | None) -> DeltaTable:
        return DeltaTable(f"{self.uri}/{table}", version=version, storage_options=self.options)

    def _damaged(self, path: str, why: str) -> DamagedError:
        return DamagedError(f"{self.uri}/{path} is damaged: {why}; `vidla verify {self.uri} --repair` mends it")

    def missing(self) -> DatasetError:
        """The error that there is no dataset here."""
        return DatasetError(f"no vidla dataset at {self.uri}; `vidla curate INPUT... --dataset DIR` makes one")

    def live_parts(self, table: str) -> dict[str, Part]:
        """The parts that make up the table now, by path."""
        delta = self.delta_or_none(table)
        return {} if delta is None else self.parts_of(table, delta)

    def parts_of(self, table: str, delta: DeltaTable) -> dict[str, Part]:
        """The parts that make up a version of a table, by path. Raises DamagedError if one lies elsewhere."""
        actions = pa.table(delta.get_add_actions(flatten=True))
        columns = (actions[name].to_pylist() for name in ("path", "size_bytes", "num_records"))
        parts = {path: Part(table, path, size, rows) for path, size, rows in zip(*columns, strict=True)}
        check_parts(parts, f"{self.uri}/{table}")
        return parts

    def arrow(self, table: str, version: int | None = None) -> pa.dataset.Dataset:
        """The table for Arrow's readers, with the current columns: those that are newer than the table are null.

        Uses Arrow's own file systems. One that calls Python reads ahead in threads that need the interpreter: a process
        that ends during a scan would wait for them forever, or crash. Raises DamagedError if a part lies elsewhere.
        """
        delta = self.delta_or_none(table, version)
        if delta is None:
            return pa.dataset.dataset(TABLES[table].schema.empty_table())
        further = [field for field in pa.schema(delta.schema()) if field.name not in TABLES[table].schema.names]
        found = self._scan(table, delta, pa.schema([*TABLES[table].schema, *further]))
        check_parts(found.files, f"{self.uri}/{table}")
        return found

    def _scan(self, table: str, delta: DeltaTable, schema: pa.Schema) -> pa.dataset.FileSystemDataset:
        return delta.to_pyarrow_dataset(filesystem=self.arrow_files(table), schema=schema)

    def arrow_files(self, table: str) -> FileSystem:
        """A table's folder through Arrow's own file systems."""
        if self.folder is None:
            return object_store.arrow_files(f"{self.uri}/{table}")
        return SubTreeFileSystem(str(self.folder / table), LocalFileSystem())

    def delta_or_none(self, table: str, version: int | None = None) -> DeltaTable | None:
        """`delta`, or None if the dataset was made by an older version, which had no such table."""
        delta = self._open(table, version)
        if delta is None and not self.exists():
            raise self.missing()
        return delta

    def read(self, table: str, columns: Sequence[str] | None = None) -> pa.Table:
        """The whole table (or some columns of it) in memory."""
        with read_errors(f"{self.uri}/{table}"):
            return self.arrow(table).to_table(columns=columns)

    def read_part(self, table: str, path: str, columns: Sequence[str] | None = None) -> pa.Table:
        """One part's rows."""
        with read_errors(f"{self.uri}/{table}/{path}"):
            return pq.read_table(
                f"{table}/{path}",
                columns=columns,
                filesystem=self.filesystem,
                schema=TABLES[table].schema,
                partitioning=None,
            )

    def distinct(self, table: str, path: str, columns: Sequence[str]) -> pa.Table:
        """The distinct values of these columns in one part."""
        return self.read_part(table, path, columns).group_by(columns).aggregate([])

    def keys(self, table: str, columns: Sequence[str]) -> pa.Table:
        """`columns` of every row, with the `part` that holds it."""
        schema = pa.schema([*(TABLES[table].schema.field(c) for c in columns), pa.field("part", pa.string())])
        pieces = []
        for path in self.live_parts(table):
            rows = self.read_part(table, path, columns)
            pieces.append(rows.append_column("part", pa.array([path] * len(rows), pa.string())).cast(schema))
        return pa.concat_tables(pieces) if pieces else schema.empty_table()

    def sql(self, query: str) -> pa.Table:
        """DuckDB's answer to a query on the tables, by their names. Raises UsageError for invalid SQL."""
        (answer,) = self.sql_each([query])
        return answer

    def sql_each(self, queries: Sequence[str], within_s: float | None = None) -> list[pa.Table]:
        """The answers to several queries, one after the other, on the current tables.

        Raises UsageError too if they take longer than `within_s` together.
        """
        with self.connection(queries) as connection, database.stopped_after(connection, within_s):
            return [connection.sql(query).to_arrow_table() for query in queries]

    def stream(self, query: str, versions: Mapping[str, int] = MappingProxyType({})) -> Iterator[pa.RecordBatch]:
        """`sql`, one batch at a time, sorting on disk what does not fit into memory; `versions` are by table."""
        with contextlib.ExitStack() as opened:
            # closing waits for DuckDB's threads, so it must happen while they can still get the interpreter
            atexit.register(opened.close)
            opened.callback(atexit.unregister, opened.close)
            connection = opened.enter_context(self.connection([query], versions))
            yield from opened.enter_context(connection.sql(query).to_arrow_reader(1024))

    @contextlib.contextmanager
    def connection(self, queries: Sequence[str], versions: Mapping[str, int] = MappingProxyType({})) -> Iterator[Any]:
        """A DuckDB connection with the tables that the queries name; it can read nothing else."""
        with database.transaction() as connection:
            try:
                for name in TABLES:
                    if any(re.search(rf"\b{name}\b", query, re.IGNORECASE) for query in queries):
                        self.register(connection, name, versions.get(name))
                yield connection
            except (duckdb.Error, OSError) as error:  # without the excerpt of the query that may follow
                text = " ".join(str(error).partition("\n\nLINE")[0].split())
                if isinstance(error, OSError) or "IOError" in text or "Parquet" in text:
                    raise DatasetError(f"cannot read {self.uri}: {text}; `vidla verify {self.uri}` checks it") from None
                raise UsageError(text) from None

    def register(self, connection: duckdb.DuckDBPyConnection, table: str, version: int | None = None) -> None:
        """Make a table known to a DuckDB connection by its name."""
        connection.register(table, self.arrow(table, version))

    def holder(self, media_uri: str) -> Dataset:  # several may be read as one
        """The dataset that holds a file of stored media."""
        return self

    def get(self, path: str) -> bytes:
        check_path(path, self.uri)
        with read_errors(f"{self.uri}/{path}"):
            return bytes(obstore.get(self.store, path).bytes())

    def fetch(self, path: str, target: Path) -> None:
        """Copy a file, however large, to this machine's disk. Raises FileNotFoundError, DatasetError."""
        check_path(path, self.uri)
        with read_errors(f"{self.uri}/{path}"):
            object_store.fetch(self.store, path, target)

    def blocks(self, path: str, start: int = 0, end: int | None = None, most: int = BLOCK) -> Iterator[bytes]:
        """A file, or its bytes from `start` up to `end`, in blocks. Raises FileNotFoundError, DatasetError."""
        check_path(path, self.uri)
        with read_errors(f"{self.uri}/{path}"):
            yield from map(bytes, object_store.blocks(self.store, path, start, end, most))

    def copy(self, path: str, target: str) -> None:
        """Copy a file of the dataset. Raises FileNotFoundError, DatasetError."""
        check_path(path, self.uri)
        object_store.copy(self.store, path, target)

    def has(self, path: str) -> bool:
        check_path(path, self.uri)
        with read_errors(f"{self.uri}/{path}"):
            try:
                obstore.head(self.store, path)
            except FileNotFoundError:
                return False
        return True

    def get_json(self, path: str) -> dict[str, Any] | None:
        """A small JSON file, or None if there is none. Raises DatasetError if it is damaged."""
        try:
            data = self.get(path)
        except FileNotFoundError:
            return None
        if fault := seals.fault_of(data):
            raise self._damaged(path, fault)
        value: dict[str, Any] = json.loads(data)
        if seals.is_sealed(data):
            del value[seals.KEY]
        return value

    def list(self, prefix: str, after: str | None = None) -> Iterator[tuple[str, int, datetime]]:
        """Path, bytes and time of each file under `prefix`; with `after`, of those whose path sorts after it."""
        if self.folder is not None and not self.folder.is_dir():
            return  # which connecting to it would make
        with read_errors(f"{self.uri}/{prefix}"):
            for batch in obstore.list(self.store, prefix, offset=after):
                for meta in batch:
                    yield meta["path"], meta["size"], meta["last_modified"]

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path]:
        """A temporary folder for one item's work. After a kill, the next writer of a dataset on disk deletes it."""
        parent = None if self.folder is None else self.folder / "scratch"
        if parent is not None:
            parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="vidla-", dir=parent, ignore_cleanup_errors=True) as folder:
            yield Path(folder)

    def delete(self, paths: Iterable[str], *, flush: bool = False) -> int:
        """Delete files, ignoring missing ones. Returns how many were named.

        With `flush`, no power cut can bring them back.
        """
        named = list(paths)
        for path in named:
            check_path(path, self.uri)
            with contextlib.suppress(FileNotFoundError), read_errors(f"{self.uri}/{path}"):
                obstore.delete(self.store, path)
        if flush and self.folder is not None:
            folders = {(self.folder / path).parent for path in named}
            with write_errors(self.uri):
                local_files.flush((), {folder for folder in folders if folder.is_dir()})
        return len(named)


def rows_of(table: pa.Table) -> Iterator[Mapping[str, Any]]:
    """The rows of an Arrow table, converting one batch at a time."""
    for batch in table.to_batches(max_chunksize=1024):
        yield from batch.to_pylist()


def lookup(keys: pa.ChunkedArray, table: pa.Table, column: str) -> pa.ChunkedArray:
    """For each of `keys`: the value of `column` in the row of `table` with that key in its first column, or null."""
    return table[column].combine_chunks().take(pc.index_in(keys, table.column(0).combine_chunks()))
