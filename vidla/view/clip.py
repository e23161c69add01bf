"""The page of one clip: its media, its texts, what they were made from, and where it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from curation.dataset.database import literal
from curation.labels import VERDICTS
from curation.schema import TABLES
from vidla.view.tables import LiveTables, Row

_SHOWN_ELSEWHERE = {"subtitle_text", "caption_text", "subtitle_original", "caption_original", "frame_ids"}


def clip_page(tables: LiveTables, clip_id: str) -> Mapping[str, Any] | None:
    """What the page shows; None if there is no such clip."""
    found = tables.rows(f"select * from clips where clip_id = {literal(clip_id)}")
    if not found:
        return None
    clip = found[0]
    video, frames = literal(clip["video_id"]), ", ".join(map(literal, clip["frame_ids"])) or "''"
    videos, captions, summaries, relatives, labels = tables.rows_of_each(
        [
            f"select * from videos where video_id = {video}",
            f"select frames.frame_id, frames.time, captions.* exclude (frame_id, time) "
            f"from frames left join captions using (frame_id) where frames.frame_id in ({frames}) order by frames.time",
            f"select * from summaries where clip_id = {literal(clip_id)} order by kind",
            f'select clip_id, scale, start, "end", parent_id from clips where video_id = {video} order by start',
            f"select * from labels where clip_id = {literal(clip_id)} order by judged_at desc, label_id desc",
        ]
    )
    source = videos[0] if videos else {}
    return {
        "clip": clip,
        "video": source,
        "captions": captions,
        "summaries": summaries,
        "sentences": [s for s in source.get("sentences") or () if _overlaps(s, clip)],
        "relatives": relatives,
        "children": [row for row in relatives if row["parent_id"] == clip_id],
        "parent": next((row for row in relatives if row["clip_id"] == clip["parent_id"]), None),
        "siblings": _neighbours(relatives, clip),
        "columns": {name: value for name, value in clip.items() if name not in _SHOWN_ELSEWHERE},
        "comments": {
            field.name: (field.metadata or {}).get(b"comment", b"").decode() for field in TABLES["clips"].schema
        },
        "labels": labels,
        "verdicts": VERDICTS,
    }


def _overlaps(part: Row, clip: Row) -> bool:
    return bool(part["start"] < clip["end"] and part["end"] > clip["start"])


def _neighbours(relatives: list[Row], clip: Row) -> tuple[str | None, str | None]:
    """The clips of the same scale before and after."""
    same = [row["clip_id"] for row in relatives if row["scale"] == clip["scale"]]
    at = same.index(clip["clip_id"])
    return (same[at - 1] if at else None), (same[at + 1] if at + 1 < len(same) else None)
