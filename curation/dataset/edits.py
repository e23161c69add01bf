"""Rows found by a column, and edits of them: other metadata of requests, the removal of requests and their videos."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from curation.dataset.commits import Replacement
from curation.dataset.dataset import Dataset, rows_of
from curation.dataset.parts import PartWriter
from curation.records import VideoRequest
from curation.schema import TABLES, from_row


def rows_with(dataset: Dataset, table: str, column: str, values: Iterable[str]) -> Iterator[pa.Table]:
    """The rows of a table whose `column` has one of `values`, one part at a time."""
    wanted = pa.array(list(values), pa.string())
    for part in dataset.live_parts(table) if len(wanted) else ():
        found = pc.is_in(dataset.read_part(table, part, [column])[column], wanted)
        if pc.any(found).as_py():
            yield dataset.read_part(table, part).filter(found)


def requests_with(dataset: Dataset, keys: Iterable[str]) -> dict[str, VideoRequest]:
    """The requests with these keys, by request_key."""
    found = rows_with(dataset, "requests", "request_key", keys)
    requests = (from_row(VideoRequest, row) for rows in found for row in rows_of(rows))
    return {request.request_key: request for request in requests}


def replacing(dataset: Dataset, table: str, column: str, values: Iterable[str]) -> Replacement:
    """The replacement of all rows of a table whose `column` has one of `values`."""
    return Replacement(table, (column,), frozenset((v,) for v in values), frozenset(dataset.live_parts(table)))


def set_metadata(dataset: Dataset, parts: PartWriter, metadata: Mapping[str, str | None]) -> list[Replacement]:
    """Write the rows of downloads, videos and clips with other metadata, given by request_key; returns what goes.

    A video has the metadata of the first, by key, of the requests that led to it.
    """
    replaced = [_set(dataset, parts, "downloads", "request_key", metadata)]
    downloads = dataset.read("downloads", ["request_key", "video_id"])
    changed = downloads.filter(pc.is_in(downloads["request_key"], pa.array(list(metadata), pa.string())))
    videos = downloads.filter(pc.is_in(downloads["video_id"], changed["video_id"]))
    firsts = videos.group_by("video_id").aggregate([("request_key", "min")]).to_pylist()
    by_video = {row["video_id"]: row["request_key_min"] for row in firsts if row["request_key_min"] in metadata}
    of_videos = {video_id: metadata[key] for video_id, key in by_video.items()}
    return [*replaced, *(_set(dataset, parts, table, "video_id", of_videos) for table in ("videos", "clips"))]


def _set(dataset: Dataset, parts: PartWriter, table: str, column: str, metadata: Mapping[str, Any]) -> Replacement:
    at = TABLES[table].schema.get_field_index("metadata")
    field = TABLES[table].schema.field(at)
    for rows in rows_with(dataset, table, column, metadata):
        values = pa.array([metadata[key] for key in rows[column].to_pylist()], pa.string())
        parts.add_rows(table, rows.set_column(at, field, values))
    return replacing(dataset, table, column, metadata)


def removal(dataset: Dataset, request_keys: Iterable[str]) -> list[Replacement]:
    """The removal of requests, and of the videos that no other request has led to; the usage of resources stays."""
    keys = set(request_keys)
    downloads = dataset.read("downloads", ["request_key", "video_id"])
    gone = pc.is_in(downloads["request_key"], pa.array(list(keys), pa.string()))
    left = downloads.filter(pc.invert(gone))["video_id"]
    videos = set(downloads.filter(gone)["video_id"].to_pylist()) - set(
        left.filter(pc.is_in(left, downloads.filter(gone)["video_id"])).to_pylist()
    )
    removed = [replacing(dataset, table, "request_key", keys) for table in ("requests", "pages", "downloads")]
    removed.append(replacing(dataset, "rejects", "key", keys))
    tables = [t for t, table in TABLES.items() if "video_id" in table.schema.names and t not in ("downloads", "usage")]
    return [*removed, *(replacing(dataset, table, "video_id", videos) for table in tables if videos)]
