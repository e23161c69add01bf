"""Requests that are not fetched: refused rows, and those outside the gate, `download.only_where`, by their pages."""

from __future__ import annotations

import pyarrow as pa

from curation.dataset.commits import Committer
from curation.dataset.dataset import Dataset, rows_of
from curation.dataset.gate import gate_of
from curation.dataset.parts import PartWriter
from curation.records import Row, VideoRequest
from curation.rejects import Kind, Rejected, Stage
from curation.row_digests import download_digest, download_reject_digest
from curation.schema import from_row
from curation.settings import Settings

_REFUSED = f"""
select request_key from requests where refused is not null
union all
select key from rejects where stage = '{Stage.DOWNLOAD}' and kind in ('invalid_request', 'refused', 'too_large')
    and regexp_matches(message, '^[^:]+, row [0-9]+: ')
"""  # older versions said so in their rejects alone


def refused_requests(dataset: Dataset) -> pa.ChunkedArray:
    """The request_keys of the rows of lists that were refused when they were read."""
    return dataset.sql(_REFUSED)["request_key"]


def closed_requests(dataset: Dataset, settings: Settings) -> frozenset[str]:
    """The request_keys whose known pages do not meet the gate. Raises ConfigError."""
    condition = settings.download.only_where
    return frozenset() if condition is None else frozenset(gate_of(condition).closed_to(dataset).to_pylist())


def reject_gated(writer: Committer, settings: Settings) -> frozenset[str]:
    """Commit a reject for each request that waits outside the gate and has no row yet; returns `closed_requests`.

    Raises ConfigError.
    """
    dataset, condition = writer.dataset, settings.download.only_where
    closed = closed_requests(dataset, settings)
    if not closed:
        return closed
    query = """
    select * from requests where request_key not in (select request_key from downloads)
    and request_key not in (select key from rejects where stage = 'download')
    """
    why = Rejected(Kind.GATED, f"it waits until download.only_where lets it through: {condition}")
    parts = PartWriter(dataset.store, writer.lineage, settings.run.part_bytes)
    for row in rows_of(dataset.sql(query)):
        if row["request_key"] in closed:
            request = from_row(VideoRequest, row)
            digest = download_reject_digest(why.kind, download_digest(request, settings), settings)
            parts.add([Row(why.row(Stage.DOWNLOAD, request.request_key, request.uri), digest)])
    if written := parts.finish():
        writer.commit(f"{writer.lineage.run_id}:gated", written)
    return closed
