"""The tables as plain folders of Parquet."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from curation.dataset.dataset import Dataset
from curation.dataset.parts import Lineage, PartWriter
from curation.dataset.snapshots import DatasetSnapshot
from curation.export.cutting import TEMPORARY
from curation.export.outcome import ExportReport, Progress
from curation.export.selection import EVERYTHING, Selection, count_clips
from curation.release.released_dataset import ReleasedDataset
from curation.schema import TABLES

PART_BYTES = 64 * 2**20


def write_tables(
    dataset: DatasetSnapshot | ReleasedDataset, out: Path, selection: Selection, progress: Progress
) -> ExportReport:
    """Write <table>/*.parquet: the rows of each table that belong to the selected clips, or all without a selection.

    Of a release, these are the rows that belong to its clips.
    """
    exported = ExportReport()
    is_release = isinstance(dataset, ReleasedDataset)
    versions = dict(dataset.versions) if isinstance(dataset, DatasetSnapshot) else {"clips": count_clips(dataset)}
    stamp = out / "versions.json"
    if stamp.exists() and json.loads(stamp.read_text()) != versions:
        for table in TABLES:
            shutil.rmtree(out / table, ignore_errors=True)
    stamp.write_text(json.dumps(versions) + "\n")
    everything = selection == EVERYTHING and not is_release
    for table in TABLES:
        if (out / table).exists():
            rows = sum(pq.read_metadata(path).num_rows for path in (out / table).glob("*.parquet"))
            exported.kept += rows
            progress(rows)
        else:
            rows_of = f"{selection.clips} as clips" if table == "clips" else table
            query = f"select * from {rows_of}" + ("" if everything else f" where {_belonging(table, selection)}")
            rows = _write_table(table, dataset.stream(query), out, progress)
        exported.present += rows
    return exported


def _belonging(table: str, selection: Selection) -> str:
    """The SQL condition for the rows of a table that belong to the selected clips."""
    names = TABLES[table].schema.names
    videos = f"(select video_id from {selection.sql})"
    if "clip_id" in names:
        return f"clip_id in (select clip_id from {selection.sql})"
    if "video_id" in names:
        return f"video_id in {videos}"
    if "request_key" in names:
        return f"request_key in (select request_key from downloads where video_id in {videos})"
    return "false"


def _write_table(table: str, batches: Iterable[pa.RecordBatch], out: Path, progress: Progress) -> int:
    """Write a table in a temporary folder and move it into place; returns its number of rows."""
    schema, rows = TABLES[table].schema, 0
    with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=out) as scratch:
        writer = PartWriter(Dataset(scratch).store, Lineage("export", 0), PART_BYTES)
        for batch in batches:
            writer.add_rows(table, pa.Table.from_batches([batch]).cast(schema))
            rows += len(batch)
            progress(len(batch))
        if not rows:
            writer.add_rows(table, schema.empty_table())
        writer.finish()
        (Path(scratch) / table).replace(out / table)
    return rows
