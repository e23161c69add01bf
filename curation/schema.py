"""The schema of every table, derived from its dataclass: the one source for Arrow, Parquet and docs/data.md."""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, cast

import pyarrow as pa

from curation.records import (
    Caption,
    Clip,
    Download,
    ForgottenKey,
    Frame,
    Page,
    Reject,
    Segment,
    Summary,
    T,
    Usage,
    Video,
    VideoRequest,
)


@dataclass(frozen=True)
class Table:
    """A table's name, its records, and its key: a new row supersedes the old one with the same key."""

    name: str
    record: type
    key: tuple[str, ...]

    @property
    def schema(self) -> pa.Schema:
        return schema_of(self.record)


TABLES: dict[str, Table] = {
    t.name: t
    for t in (
        Table("requests", VideoRequest, ("request_key",)),
        Table("pages", Page, ("request_key",)),
        Table("downloads", Download, ("request_key",)),
        Table("videos", Video, ("video_id",)),
        Table("frames", Frame, ("frame_id",)),
        Table("captions", Caption, ("frame_id",)),
        Table("segments", Segment, ("clip_id",)),
        Table("summaries", Summary, ("clip_id", "kind")),
        Table("clips", Clip, ("clip_id",)),
        Table("rejects", Reject, ("stage", "key")),
        Table("usage", Usage, ("run_id", "stage", "key")),
        Table("forgotten", ForgottenKey, ("key",)),
    )
}


def table_of(record: type) -> str:
    """The name of the table that holds records of this type.

    >>> from curation.records import Caption
    >>> table_of(Caption)
    'captions'
    """
    return next(table.name for table in TABLES.values() if table.record is record)


LINEAGE = pa.schema(
    [
        pa.field(name, kind, nullable=name == "recipe", metadata={"comment": comment})
        for name, kind, comment in (
            ("run_id", pa.string(), "the run that wrote the row; its settings are in its opening commit"),
            ("digest", pa.string(), "of the settings of the step that made the row, and of its inputs' digests"),
            ("recipe", pa.int64(), "the version of the step's code that made the row; null, in older rows, means 1"),
            ("code_version", pa.string(), "vidla's version"),
            ("created_at", pa.timestamp("us", tz="UTC"), "when it was written"),
        )
    ]
)


_ARROW = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    bool: pa.bool_(),
    bytes: pa.binary(),
}


def _field(name: str, hint: Any) -> pa.Field:
    doc = ""
    if typing.get_origin(hint) is Annotated:
        hint, doc = typing.get_args(hint)
    nullable = False
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        hint = next(a for a in typing.get_args(hint) if a is not type(None))
        nullable = True
    return pa.field(name, _arrow_type(hint), nullable, {"comment": doc} if doc else None)


def _arrow_type(hint: Any) -> pa.DataType:
    if typing.get_origin(hint) is tuple:
        return pa.list_(_arrow_type(typing.get_args(hint)[0]))
    if dataclasses.is_dataclass(hint):
        hints = typing.get_type_hints(hint, include_extras=True)
        return pa.struct([_field(f.name, hints[f.name]) for f in dataclasses.fields(hint)])
    return _ARROW[hint]


@functools.cache
def schema_of(record: type) -> pa.Schema:
    """The Arrow schema of a table's rows: the record's fields, then the lineage columns."""
    hints = typing.get_type_hints(record, include_extras=True)
    own = [_field(f.name, hints[f.name]) for f in dataclasses.fields(record)]
    return pa.schema([*own, *LINEAGE])


def from_row(record: type[T], row: Mapping[str, Any]) -> T:
    """The record in a row of its table as Arrow returns it; other columns are ignored."""
    return record(
        **{name: row[name] if inner is None else _values(inner, row[name]) for name, inner in _inner(cast(Any, record))}
    )


def to_row(record: Any) -> dict[str, Any]:
    """The row of a record in its table, without lineage; records in lists are converted too."""
    return {
        name: value if inner is None or not dataclasses.is_dataclass(inner) else tuple(map(to_row, value))
        for name, inner in _inner(cast(Any, type(record)))
        for value in (getattr(record, name),)
    }


@functools.cache
def _inner(record: type) -> tuple[tuple[str, Any], ...]:
    """The fields of a record, each with the type of its list's elements; None if it is not a list."""
    hints = typing.get_type_hints(record)
    names = (field.name for field in dataclasses.fields(record))
    return tuple((n, typing.get_args(hints[n])[0] if typing.get_origin(hints[n]) is tuple else None) for n in names)


def _values(inner: Any, values: Any) -> tuple[Any, ...]:
    return tuple(from_row(cast(Any, inner), v) for v in values) if dataclasses.is_dataclass(inner) else tuple(values)
