"""The clips as a folder that Hugging Face `datasets` loads, with splits by video: `load_dataset(FOLDER)`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from curation.export.cutting import Cutter
from curation.export.outcome import ExportReport, Progress, recorded
from curation.export.selection import OF_VIDEO, RUN_COLUMNS, Row
from curation.schema import TABLES
from curation.splits import is_held_out

SPLITS = ("train", "test")
CONFIGS = ({"config_name": "default", "data_files": [{"split": split, "path": f"{split}/**"} for split in SPLITS]},)
"""What the card says of the files."""
METADATA = "metadata.parquet"
"""The rows of a shard, by the name under which `datasets` looks for them."""
_TIMED = (pa.field("time", pa.float64()), pa.field("text", pa.string()))
_SPOKEN = (pa.field("start", pa.float64()), pa.field("end", pa.float64()), pa.field("text", pa.string()))
SCHEMA = pa.schema(
    [
        pa.field("file_name", pa.string()),
        *(field.remove_metadata() for field in TABLES["clips"].schema if field.name not in RUN_COLUMNS),
        *(TABLES["videos"].schema.field(name).remove_metadata().with_nullable(True) for name in OF_VIDEO),
        pa.field("captions", pa.list_(pa.struct(_TIMED))),
        pa.field("sentences", pa.list_(pa.struct(_SPOKEN))),
    ]
)


def write_folder(
    cutter: Cutter, out: Path, clips: Iterable[Row], shard_clips: int, held_out: float, progress: Progress
) -> ExportReport:
    """Write <split>/<number>/, each with `shard_clips` clips as mp4 and their rows; `held_out` is the share of `test`.

    A shard appears complete or not at all. One with the same rows is kept.
    """
    exported = ExportReport()
    counts = dict.fromkeys(SPLITS, 0)
    for split, rows in _in_shards(clips, shard_clips, held_out):
        shard = out / split / f"{counts[split]:06d}"
        counts[split] += 1
        if _holds(shard, rows):
            exported.present += len(rows)
            exported.kept += len(rows)
            progress(len(rows))
        else:
            _write_shard(cutter, shard, rows, exported, progress)
    for split, count in counts.items():
        for stale in (out / split).glob("[0-9]" * 6):
            if int(stale.name) >= count:
                shutil.rmtree(stale)
    return exported


def _in_shards(clips: Iterable[Row], size: int, held_out: float) -> Iterator[tuple[str, list[Row]]]:
    waiting: dict[str, list[Row]] = {split: [] for split in SPLITS}
    for clip in clips:
        split = SPLITS[is_held_out(clip["video_id"], held_out)]
        waiting[split].append(clip)
        if len(waiting[split]) == size:
            yield split, waiting[split]
            waiting[split] = []
    yield from ((split, rows) for split, rows in waiting.items() if rows)


def table_of(rows: Iterable[Row]) -> pa.Table:
    """The rows as `datasets` reads them: `file_name` leads to the media; metadata is JSON, since its keys differ."""
    plain = ({**row, "file_name": f"{row['clip_id']}.mp4", "metadata": _as_text(row["metadata"])} for row in rows)
    return pa.Table.from_pylist(list(plain), SCHEMA)


def _as_text(metadata: Any) -> str | None:
    return None if metadata is None else json.dumps(metadata, ensure_ascii=False)


def _holds(shard: Path, rows: list[Row]) -> bool:
    path = shard / METADATA
    return path.exists() and pq.read_table(path).equals(table_of(rows))


def _write_shard(cutter: Cutter, shard: Path, rows: list[Row], exported: ExportReport, progress: Progress) -> None:
    folder = cutter.scratch / "shard"
    folder.mkdir()
    written = []
    for row in rows:
        with recorded(exported, row):
            cutter.cut(row).replace(folder / f"{row['clip_id']}.mp4")
            written.append(row)
        progress(1)
    pq.write_table(table_of(written), folder / METADATA)
    if shard.exists():
        shutil.rmtree(shard)
    shard.parent.mkdir(exist_ok=True)
    folder.replace(shard)
