"""Keeping what was asked of pages without their media: rows of `pages`, in place of older ones."""

from __future__ import annotations

from collections.abc import Iterable

from curation.dataset.edits import replacing
from curation.dataset.parts import PartWriter
from curation.dataset.writer import Writer
from curation.ids import digest
from curation.records import Page, Row


def keep_pages(writer: Writer, pages: Iterable[Page], part_bytes: int) -> None:
    """Commit the pages, in place of older ones of the same requests."""
    dataset = writer.dataset
    parts = PartWriter(dataset.store, writer.lineage, part_bytes)
    latest = {page.request_key: page for page in pages}
    parts.add(Row(page, digest("page", page.request_key)) for page in latest.values())
    older = replacing(dataset, "pages", "request_key", latest)
    writer.commit(f"{writer.lineage.run_id}:pages", parts.finish(), [older])
