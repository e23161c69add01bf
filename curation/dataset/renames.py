"""Rename videos: write their rows in every table again, under their new ids."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from curation.dataset.commits import Replacement
from curation.dataset.dataset import Dataset
from curation.dataset.edits import replacing, rows_with
from curation.dataset.parts import PartWriter
from curation.ids import digest
from curation.schema import TABLES

_IDS = ("video_id", "frame_id", "clip_id", "parent_id", "key")
_DIGESTS = ("digest", "material")


@dataclass(frozen=True)
class Renaming:
    """A video's new id, and what its rows have in place of their digests and of the name of its stored media.

    If that `is_lost`, only the download and the usage of resources are kept.
    """

    video_id: str
    digests: Mapping[str, str] = field(default_factory=dict)
    media: Mapping[str, str] = field(default_factory=dict)
    is_lost: bool = False


def rename(dataset: Dataset, parts: PartWriter, renamings: Mapping[str, Renaming]) -> list[Replacement]:
    """Write the rows of these videos, given by video_id, under their new ids; returns what goes.

    Their stored media must have its new names already; the former ones are still those of earlier versions.
    """
    tables = [name for name, table in TABLES.items() if "video_id" in table.schema.names]
    for table in tables:
        is_kept = table in ("downloads", "usage")
        kept = {video: new for video, new in renamings.items() if is_kept or not new.is_lost}
        for rows in rows_with(dataset, table, "video_id", kept):
            parts.add_rows(table, _renamed(table, rows, kept))
    replaced = [replacing(dataset, table, "video_id", renamings) for table in tables]
    return [*replaced, _give_up_names(dataset, parts, renamings)]


def _give_up_names(dataset: Dataset, parts: PartWriter, renamings: Mapping[str, Renaming]) -> Replacement:
    """Take the ids that other videos get now out of the usage of the removed videos that had them.

    Usage is a history, so its rows stay. Their keys become digests, each of an id and this run, which nothing else has.
    """
    names = {new.video_id for new in renamings.values()} - renamings.keys()
    for rows in rows_with(dataset, "usage", "video_id", names):
        keys = [
            digest("removed", video, parts.lineage.run_id) if key == video else key
            for key, video in zip(rows["key"].to_pylist(), rows["video_id"].to_pylist(), strict=True)
        ]
        for name, values in (("key", keys), ("video_id", [None] * len(rows))):
            at = rows.schema.get_field_index(name)
            rows = rows.set_column(at, rows.schema.field(at), pa.array(values, pa.string()))
        parts.add_rows("usage", rows)
    return replacing(dataset, "usage", "video_id", names)


def _renamed(table: str, rows: pa.Table, renamings: Mapping[str, Renaming]) -> pa.Table:
    videos = rows["video_id"].to_pylist()
    for at, column in enumerate(TABLES[table].schema):
        if column.name not in (*_IDS, *_DIGESTS, "frame_ids", "media_uri"):
            continue
        edit = _edit_of(column.name)
        values = [
            edit(v, video, renamings[video]) for v, video in zip(rows[column.name].to_pylist(), videos, strict=True)
        ]
        rows = rows.set_column(at, column, pa.array(values, column.type))
    return rows


def _edit_of(column: str) -> Callable[[Any, str, Renaming], Any]:
    """What becomes of a value of that column, given the former id of the row's video."""
    if column in _DIGESTS:
        return lambda value, _, new: new.digests.get(value, value)
    if column == "media_uri":
        return lambda value, _, new: new.media.get(value, value)
    if column == "frame_ids":
        return lambda values, video, new: [_id(value, video, new) for value in values or ()]
    return _id


def _id(value: str | None, video: str, new: Renaming) -> str | None:
    """An id that begins with the video's, as those of its frames and clips do; any other stays as it is."""
    if value == video or (value or "").startswith(f"{video}."):
        return new.video_id + (value or "")[len(video) :]
    return value
