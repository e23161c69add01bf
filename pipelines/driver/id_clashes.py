"""Ids that two requests with different media have: one keeps it, the others are refused and name it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any

from curation.dataset.commits import Committer
from curation.dataset.dataset import Dataset, rows_of
from curation.dataset.edits import replacing, rows_with
from curation.dataset.parts import PartWriter
from curation.ids import SAFE, digest, is_own, listed_id, video_id_of
from curation.records import Row, VideoRequest
from curation.rejects import Kind, Rejected, Stage
from curation.row_digests import download_digest, download_reject_digest
from curation.schema import from_row
from curation.settings import Settings

# Several ranges of one URL may share an id; requests that were refused for one are looked at again.
_SUSPECTS = """
select id from requests where id is not null group by id
having count(distinct uri) > 1 or count(*) > count(distinct (coalesce(start, -1), coalesce("end", -1)))
    or count(refused) > 0
"""

_OTHERWISE_NAMED = f"""
select downloads.video_id, requests.* from downloads join requests using (request_key)
where starts_with(downloads.video_id, 'list-')
    and split_part(downloads.video_id, '~', 1) is distinct from 'list-' || requests.id
    and (requests.id is null or regexp_full_match(requests.id, '{SAFE}') or requests.refused is not null)
"""


def settle_ids(writer: Committer, settings: Settings, listed: Collection[str]) -> None:
    """Refuse the requests whose id is taken by another URL, and accept again those whose id is free by now.

    An id belongs to the video that has it, else to the first request: those of `listed`, the keys of the run's inputs,
    come before others.
    """
    dataset = writer.dataset
    held = _held(dataset)
    suspects = {*dataset.sql(_SUSPECTS)["id"].to_pylist(), *(_ids_of(dataset, held) if held else ())}
    if not suspects:
        return
    groups: defaultdict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for rows in rows_with(dataset, "requests", "id", suspects):
        for row in rows_of(rows):
            groups[row["id"]].append(row)
    keys = {row["request_key"] for group in groups.values() for row in group}
    videos = {
        row["request_key"]: row["video_id"]
        for rows in rows_with(dataset, "downloads", "request_key", keys)
        for row in rows_of(rows)
    }

    def is_settled(row: Mapping[str, Any]) -> bool:
        video_id = videos.get(row["request_key"])
        return video_id is not None and (not is_own(video_id) or video_id == _name_of(row))

    def rank(row: Mapping[str, Any]) -> tuple[Any, ...]:
        key, is_refused = row["request_key"], row["refused"] is not None
        return not is_settled(row), key not in listed, is_refused, row["created_at"]

    changed: list[VideoRequest] = []
    for group in groups.values():
        first, *others = sorted(group, key=rank)
        for row in (first, *others):
            holder = held.get(_name_of(row), first)
            same_range = (row["start"], row["end"]) == (holder["start"], holder["end"])
            is_other = row["request_key"] != holder["request_key"] and (row["uri"] != holder["uri"] or same_range)
            is_taken = is_other and not is_settled(row)
            refused = f"its id {row['id']} is that of {holder['uri']}" if is_taken else None
            if refused != row["refused"]:
                changed.append(replace(from_row(VideoRequest, row), refused=refused))
    _commit(writer, settings, changed)


def _held(dataset: Dataset) -> dict[str, Mapping[str, Any]]:
    """By video_id, the requests whose videos have kept former ids of theirs, since the new ones could not be had."""
    return {row["video_id"]: row for row in rows_of(dataset.sql(_OTHERWISE_NAMED)) if row["video_id"] != _name_of(row)}


def _ids_of(dataset: Dataset, names: Collection[str]) -> Iterator[str]:
    """The ids of requests whose videos would have one of these names."""
    safe = {id_ for name in names if (id_ := listed_id(name)) is not None}
    rows = dataset.sql(f"select id, start, \"end\" from requests where not regexp_full_match(id, '{SAFE}')")
    yield from safe
    yield from (row["id"] for row in rows_of(rows) if _name_of(row) in names)


def _name_of(row: Mapping[str, Any]) -> str:
    """The id that the video of a request has, or would have, by that in the list; empty if it states none."""
    return "" if row["id"] is None else video_id_of("list", row["id"], row["start"], row["end"])


def _commit(writer: Committer, settings: Settings, changed: list[VideoRequest]) -> None:
    if not changed:
        return
    keys = {request.request_key for request in changed}
    parts = PartWriter(writer.dataset.store, writer.lineage, settings.run.part_bytes)
    for request in changed:
        rows: list[Row[Any]] = [Row(request, digest("request", request.request_key))]
        if request.refused is not None:
            why = Rejected(Kind.ID_TAKEN, request.refused, tries=0).row(
                Stage.DOWNLOAD, request.request_key, request.uri
            )
            rows.append(Row(why, download_reject_digest(Kind.ID_TAKEN, download_digest(request, settings), settings)))
        parts.add(rows)
    columns = {"requests": "request_key", "rejects": "key"}
    replaced = [replacing(writer.dataset, table, column, keys) for table, column in columns.items()]
    writer.commit(f"{writer.lineage.run_id}:ids", parts.finish(), replaced)
