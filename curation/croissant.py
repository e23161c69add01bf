"""Croissant metadata (https://docs.mlcommons.org/croissant/docs/croissant-spec-1.0.html), from the card's facts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from curation.card import PAPER, description_of, facts_of, languages_of, licence_of, name_of
from curation.dataset.dataset import Dataset
from curation.export.selection import EVERYTHING, Selection
from curation.release.released_dataset import ReleasedDataset
from curation.schema import TABLES

CROISSANT = "croissant.json"
_TERMS = (
    "citeAs column equivalentProperty extract field fileProperty fileObject fileSet format includes isLiveDataset "
    "jsonPath key md5 parentField path recordSet references regex repeated replace samplingRate separator source "
    "subField transform"
)
CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    **{term: f"cr:{term}" for term in _TERMS.split()},
}
_TYPES = {
    pa.string(): "sc:Text",
    pa.int64(): "sc:Integer",
    pa.float64(): "sc:Float",
    pa.bool_(): "sc:Boolean",
}


def write_croissant(
    dataset: Dataset, out: Path, selection: Selection = EVERYTHING, rows: tuple[str, pa.Schema] | None = None
) -> None:
    """Write the metadata of the selected clips as `out`.

    `rows`: a pattern for the Parquet files that hold them, relative to `out`, and their schema. Raises DatasetError,
    UsageError.
    """
    text = json.dumps(croissant(dataset, selection, rows), indent=1, ensure_ascii=False)
    out.write_text(f"{text}\n", encoding="utf-8")


def croissant(dataset: Dataset, selection: Selection, rows: tuple[str, pa.Schema] | None = None) -> dict[str, Any]:
    """The metadata of the selected clips."""
    found, name = facts_of(dataset, selection), name_of(dataset)
    (dates,) = found["dates"]
    spdx, stated = licence_of(found), [row["licence"] for row in found["licences"]]
    release = f" It is the release {dataset.release.digest}." if isinstance(dataset, ReleasedDataset) else ""
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": name,
        "description": description_of(found) + release,
        "license": f"https://spdx.org/licenses/{spdx}" if spdx else stated or "not stated",
        "inLanguage": languages_of(found),
        "keywords": ["video", "video-text", "vidla"],
        "citeAs": PAPER,
        **({"datePublished": f"{dates['made']:%Y-%m-%d}"} if dates["made"] else {}),
        **(_files(*rows) if rows else {}),
    }


def _files(pattern: str, schema: pa.Schema) -> dict[str, Any]:
    files = {"@type": "cr:FileSet", "@id": "rows", "encodingFormat": "application/x-parquet", "includes": pattern}
    clips = {"@type": "cr:RecordSet", "@id": "clips", "name": "clips", "field": list(_fields(schema))}
    return {"distribution": [files], "recordSet": [clips]}


def _fields(schema: pa.Schema) -> Iterator[dict[str, Any]]:
    """The columns with one value a row, as fields of a record set."""
    described = {field.name: field for table in ("videos", "clips") for field in TABLES[table].schema}
    for column in schema:
        if column.type not in _TYPES:
            continue
        comment = (described[column.name].metadata or {}).get(b"comment", b"") if column.name in described else b""
        yield {
            "@type": "cr:Field",
            "@id": f"clips/{column.name}",
            "name": column.name,
            **({"description": comment.decode()} if comment else {}),
            "dataType": _TYPES[column.type],
            "source": {"fileSet": {"@id": "rows"}, "extract": {"column": column.name}},
        }
