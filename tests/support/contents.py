"""The contents of a dataset without times and run ids, for comparing two datasets."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from curation.dataset import vacuum
from curation.dataset.dataset import Dataset
from curation.schema import TABLES

RUN_COLUMNS = {"run_id", "created_at", "code_version"}


def contents(location: Path | str) -> dict[str, list[str]]:
    """Every table's rows and every stored file, sorted; lineage of the run left out."""
    dataset = Dataset(str(location))
    told: dict[str, list[str]] = {}
    for table in TABLES.keys() - {"usage"}:  # the cost of each run
        rows = dataset.read(table).to_pylist()
        told[table] = sorted(repr(sorted((k, _short(v)) for k, v in r.items() if _counts(table, k))) for r in rows)
    for place in ("media", "sources"):
        files = (path for path, _, _ in dataset.list(f"{place}/"))
        told[place] = sorted(f"{path} {hashlib.sha256(dataset.get(path)).hexdigest()}" for path in files)
    return told


def _counts(table: str, column: str) -> bool:
    # the path of a source is a name made for that run
    return column not in RUN_COLUMNS and (table, column) != ("downloads", "source_uri")


def _short(value: Any) -> Any:
    return hashlib.sha256(value).hexdigest() if isinstance(value, bytes) else value


def parts_on_disk(location: Path | str) -> set[str]:
    """Every Parquet part in the tables' folders."""
    dataset = Dataset(str(location))
    return {f"{t}/{p}" for t in TABLES for p, _ in vacuum.parts_on_disk(dataset, t)}


def live_parts(location: Path | str) -> set[str]:
    """Every Parquet part of the tables' current versions."""
    dataset = Dataset(str(location))
    return {f"{t}/{p}" for t in TABLES for p in dataset.live_parts(t)}
