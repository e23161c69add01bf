"""Requests that wait outside the gate, `download.only_where`, by what is known of their pages already."""

from __future__ import annotations

from curation.dataset.dataset import Dataset, rows_of
from curation.dataset.gate import gate_of
from curation.dataset.parts import PartWriter
from curation.dataset.writer import Writer
from curation.records import Row, VideoRequest
from curation.rejects import Kind, Rejected, Stage
from curation.row_digests import download_digest, download_reject_digest
from curation.schema import from_row
from curation.settings import Settings


def closed_requests(dataset: Dataset, settings: Settings) -> frozenset[str]:
    """The request_keys whose known pages do not meet the gate. Raises ConfigError."""
    condition = settings.download.only_where
    return frozenset() if condition is None else frozenset(gate_of(condition).closed_to(dataset).to_pylist())


def reject_gated(writer: Writer, settings: Settings) -> None:
    """Commit a reject for each request that waits outside the gate and has no row yet. Raises ConfigError."""
    dataset, condition = writer.dataset, settings.download.only_where
    closed = closed_requests(dataset, settings)
    if not closed:
        return
    query = """
    select * from requests where request_key not in (select request_key from downloads)
    and request_key not in (select key from rejects where stage = 'download')
    """
    why = Rejected(Kind.GATED, f"it waits until download.only_where lets it through: {condition}")
    parts = PartWriter(dataset.store, writer.lineage, settings.run.part_bytes)
    for row in rows_of(dataset.sql(query)):
        if row["request_key"] in closed:
            request = from_row(VideoRequest, row)
            digest = download_reject_digest(download_digest(request, settings), settings)
            parts.add([Row(why.row(Stage.DOWNLOAD, request.request_key, request.uri), digest)])
    if written := parts.finish():
        writer.commit(f"{writer.lineage.run_id}:gated", written)
