"""The columns by which clips are chosen: all of `clips`, of tables with a row a clip or video, and what they imply."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from curation.schema import LINEAGE, TABLES

Kind = Literal["number", "text", "other"]


@dataclass(frozen=True)
class Column:
    """A column of clips as the view has them: its name, and the SQL that makes it in a query on `table`."""

    name: str
    kind: Kind
    table: str = "clips"
    sql: str = ""
    """of what the tables do not have themselves"""


IMPLIED = (
    Column("duration", "number", sql='"end" - start'),
    Column("subtitle_words", "number", sql="len(string_split(subtitle_text, ' '))"),
    Column("caption_words", "number", sql="len(string_split(caption_text, ' '))"),
    Column("verdict", "text", "labels"),
)
JOINED = {
    "labels": """(
        select clip_id, arg_max(verdict, (judged_at, label_id)) as verdict
        from labels where text is null group by clip_id
    ) as labels"""
}
"""What stands for a table with several rows for a clip."""


@functools.cache
def columns() -> dict[str, Column]:
    """All of them by name. What a table repeats is that of `clips`."""
    found = {column.name: column for column in IMPLIED}
    for field in TABLES["clips"].schema:
        found.setdefault(field.name, Column(field.name, _kind(field.type)))
    for table in _one_row_each():
        for field in TABLES[table].schema:
            if field.name not in LINEAGE.names:
                found.setdefault(field.name, Column(field.name, _kind(field.type), table))
    return found


def _one_row_each() -> list[str]:
    """The other tables that have one row for each clip, or for each video."""
    keys = ("clip_id",), ("video_id",)
    return [name for name, table in TABLES.items() if table.key in keys and name not in ("clips", "segments")]


def clips_with(names: frozenset[str]) -> str:
    """What a query on clips with these columns selects from.

    >>> clips_with(frozenset({"scale"})), clips_with(frozenset({"duration"}))
    ('clips', '(select clips.*, "end" - start as duration from clips) as clips')
    """
    needed = [columns()[name] for name in sorted(names & columns().keys())]
    implied = [f"{column.sql} as {column.name}" for column in needed if column.sql]
    further = [column for column in needed if column.table != "clips"]
    if not implied and not further:
        return "clips"
    joined = " ".join(f"left join {_joined(table)}" for table in sorted({column.table for column in further}))
    selected = ["clips.*", *implied, *(f"{column.table}.{column.name}" for column in further)]
    return f"(select {', '.join(selected)} from clips{' ' * bool(joined)}{joined}) as clips"


def _joined(table: str) -> str:
    key = "clip_id" if table in JOINED else TABLES[table].key[0]
    return f"{JOINED.get(table, table)} on {table}.{key} = clips.{key}"


def _kind(kind: pa.DataType) -> Kind:
    if pa.types.is_floating(kind) or pa.types.is_integer(kind):
        return "number"
    return "text" if pa.types.is_string(kind) else "other"
