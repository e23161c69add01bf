"""The videos of which rows were lost, and the rows to remove so that a run notices and makes them again.

A run looks for a video's row in `videos`, and for its rows in `segments` and `clips`. Texts that are still good stay.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from curation.dataset.dataset import Dataset

# By table of which rows were lost: the table whose rows show that to a run, and a query for the videos concerned.
_REJECTED = "(select key from rejects where stage = '{}')"
_LOST = {
    "frames": (
        "videos",
        """select distinct video_id from (select video_id, unnest(frame_ids) as frame_id from segments)
        where frame_id not in (select frame_id from frames)
        union select video_id from captions where frame_id not in (select frame_id from frames)""",
    ),
    "segments": (
        "segments",
        """select video_id from clips where clip_id not in (select clip_id from segments)
        union select video_id from summaries where clip_id not in (select clip_id from segments)
        union select video_id from segments where parent_id not in (select clip_id from segments)
        union select video_id from segments where scale = 'short' group by video_id
            having max("end") - min(start) - sum("end" - start) > 0.01""",
    ),
    "captions": (
        "clips",
        f"""select distinct video_id from (select video_id, unnest(frame_ids) as frame_id from segments)
        where frame_id not in (select frame_id from captions) and frame_id not in {_REJECTED.format("caption")}
            and video_id not in {_REJECTED.format("caption")} and video_id in (select video_id from clips)""",
    ),
    "summaries": (
        "clips",
        " union ".join(
            f"""select video_id from clips where {status} <> 'verbatim'
            and clip_id not in (select clip_id from summaries where kind = '{kind}')"""
            for kind, status in (("subtitles", "subtitle_status"), ("captions", "caption_status"))
        ),
    ),
    "clips": (
        "clips",
        f"""select distinct video_id from segments
        where clip_id not in (select clip_id from clips) and clip_id not in {_REJECTED.format("summarize")}
            and video_id not in {_REJECTED.format("summarize")} and video_id in (select video_id from clips)""",
    ),
}


def incomplete_videos(
    dataset: Dataset, tables: Collection[str], known: Mapping[str, Collection[str]], without_media: Collection[str]
) -> dict[str, set[str]]:
    """By table, the videos whose rows have to be removed.

    `tables` are those of which rows were lost, `known` the videos of some of these rows, `without_media` those whose
    stored media is lost.
    """
    gone: dict[str, set[str]] = {"videos": set(without_media), "segments": set(), "clips": set(without_media)}
    for table, (shown_by, query) in _LOST.items():
        if table in tables:
            gone[shown_by].update(dataset.sql(query)["video_id"].to_pylist(), known.get(table, ()))
    return gone
