"""Intake: the inputs of a run become rows of `requests`, each once; unusable ones become rejects as well."""

from __future__ import annotations

from collections.abc import Sequence

from curation.dataset.parts import PartWriter
from curation.dataset.writer import Writer
from curation.ids import digest
from curation.records import Reject, Row, VideoRequest
from curation.row_digests import download_digest, download_reject_digest
from curation.settings import Settings
from curation.sources.requests import FetchTarget, read_inputs
from pipelines.worker.batches import batches

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
        for answer in answers:
            request = answer.request if isinstance(answer, FetchTarget) else _request_of(answer)
            if isinstance(answer, FetchTarget) and _has_secrets(answer):
                targets[request.request_key] = answer
            if request.request_key in known:
                continue
            known.add(request.request_key)
            new.append(request)
            if isinstance(answer, Reject):
                refused = download_reject_digest(download_digest(request, settings), settings)
                parts.add([Row(answer, refused)])
        parts.add(Row(request, digest("request", request.request_key)) for request in new)
        if written := parts.finish():
            writer.commit(f"{writer.lineage.run_id}:requests:{number}", written)
    return targets


def _has_secrets(target: FetchTarget) -> bool:
    subtitles = target.subtitles_url.reveal() if target.subtitles_url else None
    return (target.url.reveal(), subtitles) != (target.request.uri, target.request.subtitles)


def _request_of(reject: Reject) -> VideoRequest:
    """The request for an unusable input: the books count it too."""
    return VideoRequest(request_key=reject.key, uri=reject.uri)
