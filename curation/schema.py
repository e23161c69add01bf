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

from curation.labels import Label
from curation.quality.quality_records import PolicyVerdict, Quantile, Signals
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
    Timeline,
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
        Table("timelines", Timeline, ("video_id",)),
        Table("captions", Caption, ("frame_id",)),
        Table("segments", Segment, ("clip_id",)),
        Table("summaries", Summary, ("clip_id", "kind")),
        Table("clips", Clip, ("clip_id",)),
        Table("signals", Signals, ("clip_id",)),
        Table("policies", PolicyVerdict, ("policy", "clip_id")),
        Table("quantiles", Quantile, ("policy", "signal", "percent", "scale", "language")),
        Table("rejects", Reject, ("stage", "key")),
        Table("usage", Usage, ("run_id", "stage", "key")),
        Table("forgotten", ForgottenKey, ("key",)),
        Table("labels", Label, ("label_id",)),
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
    return record(**{name: _value(kind, row[name]) for name, kind in _kinds(cast(Any, record))})


def to_row(record: Any) -> dict[str, Any]:
    """The row of a record in its table, without lineage; records inside it are converted too."""
    return {name: _plain(kind, getattr(record, name)) for name, kind in _kinds(cast(Any, type(record)))}


@dataclass(frozen=True)
class _Kind:
    """The kind of a field: whether it is a list, and the record that it is, or that its elements are, if any."""

    is_list: bool
    record: type | None


@functools.cache
def _kinds(record: type) -> tuple[tuple[str, _Kind], ...]:
    hints = typing.get_type_hints(record)
    return tuple((field.name, _kind(hints[field.name])) for field in dataclasses.fields(record))


def _kind(hint: Any) -> _Kind:
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        hint = next(a for a in typing.get_args(hint) if a is not type(None))
    is_list = typing.get_origin(hint) is tuple
    inner = typing.get_args(hint)[0] if is_list else hint
    return _Kind(is_list, cast(type, inner) if dataclasses.is_dataclass(inner) else None)


def _value(kind: _Kind, value: Any) -> Any:
    """A field's value from that in a row."""
    if value is None:
        return None
    if kind.record is None:
        return tuple(value) if kind.is_list else value
    return tuple(from_row(kind.record, v) for v in value) if kind.is_list else from_row(kind.record, value)


def _plain(kind: _Kind, value: Any) -> Any:
    """A field's value as it is in a row."""
    if value is None or kind.record is None:
        return value
    return tuple(map(to_row, value)) if kind.is_list else to_row(value)
