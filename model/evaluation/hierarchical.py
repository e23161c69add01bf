"""The hierarchical set: a short, a medium and a long clip around each of some moments, from held-out videos.

As VidLA's hierarchical test set of 1,000 triplets (arXiv 2403.14870), which shows whether a model does as well on long
clips as on short ones. There the three are centred on one timestamp. Here they are the clip of each tiling that holds
it, and it is the middle of the short one: the clips of a dataset are nested, not centred.
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
from model.data.split import held_out_sql

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
"""Three rows a triplet, in the order of the scales; `media_uri` is relative to the dataset."""


@dataclass(frozen=True)
class HierarchicalSet:
    """The rows (SCHEMA), and what they were chosen from. Prints as the line that says so."""

    rows: pa.Table
    wanted: int
    videos: int
    held_out: int

    @property
    def triplets(self) -> int:
        return len(self.rows) // len(SCALES)

    def __str__(self) -> str:
        made = f"{self.triplets} triplets from {self.videos} of {self.held_out} held-out videos"
        if self.triplets == self.wanted:
            return made
        return f"{made}; {self.wanted} were asked for, but no more long clips have texts at all three scales"


def hierarchical_set(dataset: Dataset, n: int, seed: int = 0, share: float = 0.01) -> HierarchicalSet:
    """`n` triplets, or as many as there are, from the videos that a share of `share` holds out (split.py).

    The order is that of hashes, so the same dataset and seed give the same set, and a smaller `n` a part of it: one
    triplet a video first, then a second one, and so on. No clip is in two triplets. All three texts are of one kind:
    subtitle where each clip has one, else caption. Raises DatasetError where there is no triplet at all.
    """
    version = dataset.delta("clips").version()
    found = [row for batch in dataset.stream(_query(n, seed, share), {"clips": version}) for row in batch.to_pylist()]
    held_out = f"select count(distinct video_id) as videos from clips where {held_out_sql(share)}"
    held = next(dataset.stream(held_out, {"clips": version})).to_pylist()[0]["videos"]
    if not found:
        raise DatasetError(
            f"no triplet: none of the {held} videos that are held out (a share of {share}) has a short, a medium and a "
            "long clip with texts; curate more or longer videos, or hold out a larger share"
        )
    rows = []
    for row in found:
        moment = (row["short"]["start"] + row["short"]["end"]) / 2
        for scale in SCALES:
            clip = {name: row[scale][name] for name in ("clip_id", "video_id", "start", "end", "media_uri")}
            chosen = {"text": row[scale][f"{row['text_kind']}_text"], "text_kind": row["text_kind"]}
            rows.append({"triplet_id": f"{clip['video_id']}.{microseconds(moment)}", "scale": scale, **clip, **chosen})
    about = {"dataset": dataset.uri, "clips_version": version, "held_out": share, "seed": seed}
    table = pa.Table.from_pylist(rows, SCHEMA.with_metadata({"vidla": json.dumps(about)}))
    return HierarchicalSet(table, n, len({row["short"]["video_id"] for row in found}), held)


def _query(n: int, seed: int, share: float) -> str:
    """Rows of three clips, each a struct, and the kind of their texts, in their order. DuckDB's SQL."""
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


def write(made: HierarchicalSet, out: Path) -> None:
    """Write the rows as a Parquet file, whole or not at all. Raises UsageError where `out` is there already."""
    if out.exists():
        raise UsageError(f"{out} is there already; name a new file")
    with write_errors(str(out)), tempfile.TemporaryDirectory(dir=out.parent, prefix=".vidla-") as folder:
        part = Path(folder) / out.name
        pq.write_table(made.rows, part, compression="zstd")
        part.replace(out)


def read(path: Path) -> pa.Table:
    """The rows that `write` wrote. Raises InputError."""
    try:
        rows = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"cannot read {path}: {str(error).partition(chr(10))[0]}") from None
    if not rows.schema.equals(SCHEMA) or not len(rows) or rows["scale"].to_pylist() != [*SCALES] * (len(rows) // 3):
        raise InputError(f"{path} is no hierarchical set: `vidla hierarchical-set` makes one")
    return rows
