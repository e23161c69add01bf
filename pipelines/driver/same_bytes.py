"""The same bytes under two ids: one is made, the other is rejected as a duplicate that names it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from curation.dataset.commits import Committer, Replacement
from curation.dataset.dataset import rows_of
from curation.dataset.edits import replacing
from curation.dataset.parts import PartWriter
from curation.dataset.writer import Writer
from curation.records import Row
from curation.rejects import Kind, Rejected, Stage
from curation.row_digests import download_reject_digest
from curation.settings import Settings
from pipelines.driver.known_rows import Downloaded, SourceRange
from pipelines.driver.sources import delete_sources


def accept_duplicates(writer: Committer) -> None:
    """Remove the rejects of downloads with the same bytes as another, so that they are made too."""
    query = f"""
    select key from rejects where kind = '{Kind.DUPLICATE}'
    and key in (select request_key from requests where refused is null)
    """
    if keys := writer.dataset.sql(query)["key"].to_pylist():
        writer.commit(f"{writer.lineage.run_id}:duplicates", [], [replacing(writer.dataset, "rejects", "key", keys)])


class SameBytes:
    """The sources of the downloads before this run, and of those that it has looked at. Not thread-safe."""

    def __init__(self, writer: Writer, settings: Settings) -> None:
        self._writer = writer
        self._settings = settings
        columns = ["request_key", "video_id", "uri", "source_digest", "start", "end"]
        self._before = writer.dataset.read("downloads", columns)
        self._since: dict[SourceRange, Downloaded] = {}

    def reject(self, fetched: Iterable[Downloaded], token: str) -> bool:
        """Commit a reject for each download that is a duplicate, and delete its source; returns whether there is one.

        What was downloaded before this run stays. Of two that are new, the first is made.
        """
        new = list(fetched)
        older = {row["request_key"] for row in self._rows_before("request_key", [d.request_key for d in new])}
        same = self._rows_before("source_digest", [d.source_digest for d in new])
        known = {(row["source_digest"], row["start"], row["end"]): row for row in same}
        parts = PartWriter(self._writer.dataset.store, self._writer.lineage, self._settings.run.part_bytes)
        duplicates: list[Downloaded] = []
        for download in new:
            first = self._since.setdefault(download.source, download)
            other = known.get(download.source) or {"video_id": first.video_id, "uri": first.uri}
            if other["video_id"] == download.video_id or download.request_key in older:
                continue
            video_id, uri = other["video_id"], other["uri"]
            message = f"the same bytes as {uri}, the video {video_id}; `vidla curate --keep-duplicates` makes both"
            why = Rejected(Kind.DUPLICATE, message).row(Stage.DOWNLOAD, download.request_key, download.uri)
            parts.add([Row(why, download_reject_digest(why.kind, download.digest, self._settings))])
            duplicates.append(download)
        if duplicates:
            keys = frozenset((download.request_key,) for download in duplicates)
            written_now = Replacement("downloads", ("request_key",), keys, frozenset())
            self._writer.commit(token, parts.finish(), [written_now])
            delete_sources(self._writer.dataset, [download.source_uri for download in duplicates])
        return bool(duplicates)

    def _rows_before(self, column: str, values: Sequence[str]) -> list[Mapping[str, Any]]:
        """The downloads before this run with one of these values."""
        found = pc.is_in(self._before[column], pa.array(values, pa.string()))
        return list(rows_of(self._before.filter(found)))
