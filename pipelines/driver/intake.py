"""Intake: the inputs of a run become rows of `requests`, each once; unusable ones become rejects as well."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from curation.dataset.parts import PartWriter, UnwritableRow
from curation.dataset.writer import Writer
from curation.ids import digest
from curation.records import Reject, Row, VideoRequest
from curation.rejects import Kind, Rejected, Stage
from curation.row_digests import download_digest, download_reject_digest
from curation.settings import Settings
from curation.sources.requests import read_inputs
from curation.sources.targets import FetchTarget
from pipelines.worker.batches import batches

log = logging.getLogger(__name__)

REQUESTS_AT_A_TIME = 10_000  # in a commit


def add_requests(writer: Writer, settings: Settings, inputs: Sequence[str]) -> dict[str, FetchTarget]:
    """Commit the requests that `inputs` name and the dataset lacks.

    Returns, by request_key, the targets whose URLs differ from those in the table, which holds no secrets.
    """
    targets: dict[str, FetchTarget] = {}
    known = set(writer.dataset.read("requests", ["request_key"])["request_key"].to_pylist())
    for number, answers in enumerate(batches(read_inputs(inputs, settings.download), REQUESTS_AT_A_TIME)):
        parts = PartWriter(writer.dataset.store, writer.lineage, settings.run.part_bytes)
        new: list[VideoRequest] = []
        rejects: list[Row[Reject]] = []
        for answer in answers:
            request = answer.request if isinstance(answer, FetchTarget) else _request_of(answer)
            if isinstance(answer, FetchTarget) and _has_secrets(answer):
                targets[request.request_key] = answer
            if request.request_key in known:
                continue
            known.add(request.request_key)
            new.append(request)
            if isinstance(answer, Reject):
                rejects.append(_reject_row(answer, request, settings))
        rows = [Row(request, digest("request", request.request_key)) for request in new]
        try:
            parts.add([*rows, *rejects])
        except UnwritableRow:
            _add_one_by_one(parts, rows, rejects, settings)
        if written := parts.finish():
            writer.commit(f"{writer.lineage.run_id}:requests:{number}", written)
    return targets


def _reject_row(reject: Reject, request: VideoRequest, settings: Settings) -> Row[Reject]:
    return Row(reject, download_reject_digest(download_digest(request, settings), settings))


def _add_one_by_one(
    parts: PartWriter, rows: Sequence[Row[VideoRequest]], rejects: Sequence[Row[Reject]], settings: Settings
) -> None:
    """Add the rows that can be written; a request that cannot becomes a reject under its key."""
    by_key = {row.record.key: row for row in rejects}
    for row in rows:
        key = row.record.request_key
        try:
            parts.add([row, *([by_key[key]] if key in by_key else [])])
        except UnwritableRow as error:
            log.error("request %s: %s", key, error)
            reject = Rejected(Kind.UNWRITABLE, str(error)).row(Stage.DOWNLOAD, key, "")
            request = _request_of(reject)
            parts.add([Row(request, row.digest), _reject_row(reject, request, settings)])


def _has_secrets(target: FetchTarget) -> bool:
    subtitles = target.subtitles_url.reveal() if target.subtitles_url else None
    return (target.url.reveal(), subtitles) != (target.request.uri, target.request.subtitles)


def _request_of(reject: Reject) -> VideoRequest:
    """The request for an unusable input: the books count it too."""
    return VideoRequest(request_key=reject.key, uri=reject.uri)
