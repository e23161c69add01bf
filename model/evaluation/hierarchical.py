"""The hierarchical set: triplets of a short, a medium and a long clip around one moment, from held-out videos.

Modelled on VidLA's hierarchical test set of 1,000 triplets (arXiv 2403.14870), which shows whether a model does as well
on long clips as on short ones. There the three clips are centred on one timestamp. Here the moment is the middle of the
short clip, and the other two are those of the tilings that contain it: clips of a dataset are nested, not centred.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from curation.dataset.dataset import Dataset
from curation.dataset.object_store import write_errors
from curation.errors import DatasetError, InputError, UsageError
from curation.ids import microseconds
from curation.records import SCALES
from curation.splits import held_out_sql

SCHEMA = pa.schema(
    [
        pa.field("triplet_id", pa.string(), nullable=False),
        pa.field("scale", pa.string(), nullable=False),
        pa.field("clip_id", pa.string(), nullable=False),
        pa.field("video_id", pa.string(), nullable=False),
        pa.field("start", pa.float64(), nullable=False),
        pa.field("end", pa.float64(), nullable=False),
        pa.field("media_uri", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("text_kind", pa.string(), nullable=False),
    ]
)
"""Three rows per triplet, ordered by scale; `media_uri` is relative to the dataset."""


@dataclass(frozen=True)
class HierarchicalSet:
    """The rows (SCHEMA), the number of triplets requested, and of videos used and held out. Prints as a summary."""

    rows: pa.Table
    requested: int
    videos: int
    held_out: int

    @property
    def triplets(self) -> int:
        return len(self.rows) // len(SCALES)

    def __str__(self) -> str:
        summary = f"{self.triplets} triplets from {self.videos} of {self.held_out} held-out videos"
        if self.triplets == self.requested:
            return summary
        return f"{summary}; {self.requested} were requested, but no more long clips have texts at all three scales"


def choose_triplets(dataset: Dataset, n: int, seed: int = 0, share: float = 0.01) -> HierarchicalSet:
    """Up to `n` triplets from the videos held out by `share` (split.py).

    They are ordered by hashes, so the same dataset and seed give the same set, and a smaller `n` gives a part of it:
    first one triplet per video, then a second one, and so on. No clip is in two triplets. The texts of a triplet are
    all subtitles if each clip has one, else all captions. Raises DatasetError if there is no triplet.
    """
    version = dataset.delta("clips").version()
    batches = dataset.stream(_query(n, seed, share), {"clips": version})
    triplets = [row for batch in batches for row in batch.to_pylist()]
    count_videos = f"select count(distinct video_id) as videos from clips where {held_out_sql(share)}"
    held_out = next(dataset.stream(count_videos, {"clips": version})).to_pylist()[0]["videos"]
    if not triplets:
        raise DatasetError(
            f"no triplet: none of the {held_out} held-out videos (a share of {share}) has a short, a medium and a "
            "long clip with texts; curate more or longer videos, or hold out a larger share"
        )
    rows = []
    for row in triplets:
        moment = (row["short"]["start"] + row["short"]["end"]) / 2
        for scale in SCALES:
            clip = {name: row[scale][name] for name in ("clip_id", "video_id", "start", "end", "media_uri")}
            text = {"text": row[scale][f"{row['text_kind']}_text"], "text_kind": row["text_kind"]}
            rows.append({"triplet_id": f"{clip['video_id']}.{microseconds(moment)}", "scale": scale, **clip, **text})
    about = {"dataset": dataset.uri, "clips_version": version, "held_out": share, "seed": seed}
    table = pa.Table.from_pylist(rows, SCHEMA.with_metadata({"vidla": json.dumps(about)}))
    return HierarchicalSet(table, n, len({row["short"]["video_id"] for row in triplets}), held_out)


def _query(n: int, seed: int, share: float) -> str:
    """DuckDB SQL for the triplets, in order: three clips, each a struct, and the kind of their texts."""
    return f"""
        with held as materialized (
            select clip_id, video_id, scale, parent_id, start, "end", media_uri, subtitle_text, caption_text,
                sha256('{seed}:' || clip_id) as place
            from clips where {held_out_sql(share)}
        ), chains as (
            select short, medium, long, short.place as place, case
                when (short.subtitle_text || medium.subtitle_text || long.subtitle_text) is not null then 'subtitle'
                when (short.caption_text || medium.caption_text || long.caption_text) is not null then 'caption'
            end as text_kind
            from held as short
            join held as medium on short.parent_id = medium.clip_id
            join held as long on medium.parent_id = long.clip_id
            where short.scale = 'short' and text_kind is not null
        ), apart as (
            select * from chains qualify row_number() over (partition by long.clip_id order by place) = 1
        )
        select * from apart
        order by row_number() over (partition by split_part(short.video_id, '~', 1) order by place), place
        limit {n}"""


def write_set(chosen: HierarchicalSet, out: Path) -> None:
    """Write the rows as a Parquet file, atomically. Raises UsageError if `out` exists."""
    if out.exists():
        raise UsageError(f"{out} already exists; name a new file")
    with write_errors(str(out)), tempfile.TemporaryDirectory(dir=out.parent, prefix=".vidla-") as folder:
        part = Path(folder) / out.name
        pq.write_table(chosen.rows, part, compression="zstd")
        part.replace(out)


def read_set(path: Path) -> pa.Table:
    """The rows written by `write_set`. Raises InputError."""
    try:
        rows = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"cannot read {path}: {str(error).partition(chr(10))[0]}") from None
    if not rows.schema.equals(SCHEMA) or not len(rows) or rows["scale"].to_pylist() != [*SCALES] * (len(rows) // 3):
        raise InputError(f"{path} is not a hierarchical set; make one with `vidla hierarchical-set`")
    return rows
