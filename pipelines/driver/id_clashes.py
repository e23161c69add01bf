"""Ids that two requests with different media have: one keeps it, the others are refused and name it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from curation.dataset.commits import Committer
from curation.dataset.dataset import rows_of
from curation.dataset.edits import replacing, rows_with
from curation.dataset.parts import PartWriter
from curation.ids import digest
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


def settle_ids(writer: Committer, settings: Settings) -> None:
    """Refuse the requests whose id is taken by another URL, and accept again those whose id is free by now."""
    dataset = writer.dataset
    suspects = dataset.sql(_SUSPECTS)["id"].to_pylist()
    if not suspects:
        return
    groups: defaultdict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for rows in rows_with(dataset, "requests", "id", suspects):
        for row in rows_of(rows):
            groups[row["id"]].append(row)
    keys = {row["request_key"] for group in groups.values() for row in group}
    made = {
        key for rows in rows_with(dataset, "downloads", "request_key", keys) for key in rows["request_key"].to_pylist()
    }
    changed: list[VideoRequest] = []
    for group in groups.values():
        # those made by an earlier run stay as they are
        settled = {row["request_key"] for row in group if row["request_key"] in made and _is_older(row, writer)}
        changed += _changed(
            sorted(group, key=lambda row: (row["request_key"] not in settled, row["created_at"])), settled
        )
    _commit(writer, settings, changed)


def _is_older(row: Mapping[str, Any], writer: Committer) -> bool:
    """Whether a request was written by an earlier run, and not refused."""
    return row["refused"] is None and row["run_id"] != writer.lineage.run_id


def _changed(group: list[Mapping[str, Any]], settled: set[str]) -> Iterable[VideoRequest]:
    """The requests, of those with one id, whose refusal changes; the first keeps the id."""
    holder = group[0]
    for row in group:
        same_range = (row["start"], row["end"]) == (holder["start"], holder["end"])
        taken = row is not holder and (row["uri"] != holder["uri"] or same_range) and row["request_key"] not in settled
        refused = f"its id {row['id']} is that of {holder['uri']}" if taken else None
        if refused != row["refused"]:
            yield replace(from_row(VideoRequest, row), refused=refused)


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
