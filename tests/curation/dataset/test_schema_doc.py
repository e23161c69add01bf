"""docs/data.md agrees with the schema."""

from __future__ import annotations

from curation.dataset.schema_doc import page
from curation.schema import TABLES
from tests.support.project import ROOT

DOCUMENT = ROOT / "docs" / "data.md"


def test_the_document_is_up_to_date() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == page(), "run `make docs`"


def test_every_column_has_a_meaning() -> None:
    silent = [f"{t.name}.{f.name}" for t in TABLES.values() for f in t.schema if not (f.metadata or {}).get(b"comment")]
    assert silent == []
    assert not [line for line in page().splitlines() if line.endswith("|  |")]
