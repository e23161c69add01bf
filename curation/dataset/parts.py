"""Parts: the Parquet files of a table, and writing them."""

from __future__ import annotations

import dataclasses
import io
import re
import uuid
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from obstore.store import ObjectStore

from curation import __version__
from curation.dataset.object_store import put
from curation.ids import content_digest
from curation.recipes import recipe_of
from curation.records import Row
from curation.schema import TABLES, table_of, to_row

ROW_GROUP_BYTES = 4 * 2**20
FORMAT: dict[str, Any] = {"compression": "zstd", "write_page_checksum": True}  # how parts are written
ROW_BYTES = 512 * 2**20  # of one row; Arrow reads no more than 2 GiB of text at once
_NAME = re.compile(r"part-(\d{20})-[0-9a-f]{32}\.parquet")


class UnwritableRow(Exception):
    """A row that its table cannot hold; the message names the table and says why."""


@dataclasses.dataclass(frozen=True)
class Part:
    """A Parquet file of one table: its name in the table's folder, its size in bytes, and its number of rows.

    `digest` identifies its content (`content_digest`); it is None where only the table's log was read.
    """

    table: str
    path: str
    size: int
    rows: int
    digest: str | None = None

    def entry(self) -> dict[str, Any]:
        """The part in the record of a commit."""
        entry = {"path": self.path, "size": self.size, "rows": self.rows}
        return entry if self.digest is None else {**entry, "digest": self.digest}


@dataclasses.dataclass(frozen=True)
class Lineage:
    """The run that writes, and its epoch."""

    run_id: str
    epoch: int


@dataclasses.dataclass
class _RowGroup:
    """Tables of rows, concatenated only when they are written, and their size in bytes."""

    pieces: list[pa.Table] = dataclasses.field(default_factory=list)
    size: int = 0


class PartWriter:
    """Collects rows by table and writes them as parts of about `part_bytes`; `finish` writes the rest.

    A part's name contains the epoch of its writer, so that the parts of dead writers can be recognised and deleted.
    """

    def __init__(self, store: ObjectStore, lineage: Lineage, part_bytes: int) -> None:
        self.store = store
        self.lineage = lineage
        self.part_bytes = part_bytes
        self._groups: dict[str, list[_RowGroup]] = {}
        self._parts: list[Part] = []

    def add(self, rows: Iterable[Row[Any]]) -> None:
        """Add rows of any tables: all of them, or none. Raises UnwritableRow."""
        by_type: dict[type, list[Row[Any]]] = {}
        for row in rows:
            by_type.setdefault(type(row.record), []).append(row)
        tables = [(table_of(record), self._in_arrow(table_of(record), its)) for record, its in by_type.items()]
        for table, values in tables:
            self.add_rows(table, values)

    def _in_arrow(self, table: str, rows: Sequence[Row[Any]]) -> pa.Table:
        lineage = {"run_id": self.lineage.run_id, "code_version": __version__, "created_at": datetime.now(UTC)}
        recipe = recipe_of(table)
        try:
            values = [
                {**to_row(row.record), **lineage, "digest": row.digest, "recipe": row.recipe or recipe} for row in rows
            ]
            made = pa.Table.from_pylist(values, schema=TABLES[table].schema)
        except (pa.ArrowException, ValueError, TypeError, OverflowError, AttributeError, RecursionError) as error:
            raise UnwritableRow(f"a row of {table} cannot be written: {error}") from None
        for field in made.schema:
            if _lacks(made[field.name], field):
                raise UnwritableRow(f"a row of {table} cannot be written: there is no value for {field.name}")
        if made.nbytes > ROW_BYTES and any(made.slice(n, 1).nbytes > ROW_BYTES for n in range(len(made))):
            raise UnwritableRow(f"a row of {table} cannot be written: it has more than {ROW_BYTES} bytes")
        return made

    def add_rows(self, table: str, rows: pa.Table) -> None:
        """Add rows that already have their lineage columns."""
        size = rows.nbytes
        if size <= ROW_GROUP_BYTES:
            self._take(table, rows, size)  # an empty table becomes a part too
            return
        each = max(1, len(rows) * ROW_GROUP_BYTES // size)  # a long video's rows have many megabytes
        for start in range(0, len(rows), each):
            piece = rows.slice(start, each)
            self._take(table, piece, piece.nbytes)

    def _take(self, table: str, rows: pa.Table, size: int) -> None:
        groups = self._groups.setdefault(table, [])
        if not groups or groups[-1].size + size > ROW_GROUP_BYTES:
            groups.append(_RowGroup())
        groups[-1].pieces.append(rows)
        groups[-1].size += size
        if sum(group.size for group in groups) >= self.part_bytes:
            self._flush(table)

    def finish(self) -> list[Part]:
        """Write the remaining rows; returns all parts written since the last call."""
        for table in list(self._groups):
            self._flush(table)
        parts, self._parts = self._parts, []
        return parts

    def _flush(self, table: str) -> None:
        groups = self._groups.pop(table, [])
        if not groups:
            return
        buffer = io.BytesIO()
        with pq.ParquetWriter(buffer, TABLES[table].schema, **FORMAT) as writer:
            for group in groups:
                writer.write_table(pa.concat_tables(group.pieces).combine_chunks())
        name = part_name(self.lineage.epoch)
        data = buffer.getvalue()
        put(self.store, f"{table}/{name}", data)
        rows = sum(len(piece) for group in groups for piece in group.pieces)
        self._parts.append(Part(table, name, len(data), rows, content_digest(data)))


def _lacks(values: pa.Array | pa.ChunkedArray, field: pa.Field) -> bool:
    """Whether a value that must be there is null: in the column of this field, or inside its lists and records."""
    if not field.nullable and values.null_count:
        return True
    if pa.types.is_list(field.type):
        return _lacks(pc.list_flatten(values), field.type.value_field.with_nullable(False))
    if pa.types.is_struct(field.type):
        return any(_lacks(pc.struct_field(values, [i]), field.type.field(i)) for i in range(field.type.num_fields))
    return False


def conform(rows: pa.Table, schema: pa.Schema, columns: Sequence[str]) -> pa.Table:
    """`rows` with the current schema: columns newer than the rows are null."""
    for name in columns:
        if name not in rows.schema.names:
            rows = rows.append_column(schema.field(name), pa.nulls(len(rows), schema.field(name).type))
    rows, wanted = rows.select(columns), pa.schema([schema.field(name) for name in columns])
    return rows if rows.schema.equals(wanted) else rows.cast(wanted)


def with_origin(table: str, rows: pa.Table, lineage: Lineage) -> pa.Table:
    """`rows`, which have their digests, with the other lineage columns, and null in columns that they lack."""
    schema = TABLES[table].schema
    made = {"run_id": lineage.run_id, "code_version": __version__, "created_at": datetime.now(UTC)}
    recipe = recipe_of(table)
    for name, value in (made | {"recipe": recipe}).items():
        rows = rows.append_column(schema.field(name), pa.repeat(pa.scalar(value, schema.field(name).type), len(rows)))
    return conform(rows, schema, schema.names)


def part_name(epoch: int) -> str:
    """A name for a new part, with the epoch of its writer."""
    return f"{prefix_of(epoch)}{uuid.uuid4().hex}.parquet"


def prefix_of(epoch: int) -> str:
    """What the names of all parts of an epoch begin with; in the order of names, epochs follow one another."""
    return f"part-{epoch:020d}-"


def epoch_of(name: str) -> int | None:
    """The epoch of the writer of a part; None for a file that no writer names so."""
    found = _NAME.fullmatch(name)
    return int(found[1]) if found else None
