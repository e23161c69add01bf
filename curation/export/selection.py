"""Which clips are exported, and their rows."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from curation.dataset.conditions import one_condition
from curation.dataset.dataset import Dataset
from curation.errors import DatasetError
from curation.quality.chosen_policy import kept_clips_sql

RUN_COLUMNS = ("run_id", "code_version", "created_at")
"""The origin of a row, not its content."""
OF_VIDEO = ("uri", "title", "channel", "upload_date", "licence", "width", "height", "frame_rate", "has_audio")
_QUERY = """
    with
        chosen as (select * from {chosen} as clips),
        seen as (
            select
                clip_id,
                list({{'time': captions.time - framed.start, 'text': text}} order by captions.time) as captions
            from (select clip_id, start, unnest(frame_ids) as frame_id from chosen) as framed
                join captions using (frame_id)
            where text is not null
            group by clip_id
        )
    select
        chosen.* replace (coalesce(chosen.metadata, videos.metadata) as metadata),
        {of_video},
        coalesce(captions, []) as captions,
        [{{'start': said.start - chosen.start, 'end': said."end" - chosen.start, 'text': said.text}}
            for said in coalesce(sentences, []) if said.start < chosen."end" and said."end" > chosen.start
        ] as sentences
    from chosen left join seen using (clip_id) left join videos using (video_id)
    order by {order}"""
BY_VIDEO = 'media_uri, start, "end", clip_id'
_SAFE_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.~-]*")

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Selection:
    """The clips to export: all, those of one scale, those that satisfy an SQL condition, or that a policy keeps.

    Of these, only the texts that it keeps.
    """

    where: str | None = None
    scale: str | None = None
    policy: str | None = None

    @property
    def clips(self) -> str:
        """The table `clips` as SQL, before the scale and the condition."""
        return kept_clips_sql(self.policy)

    @property
    def sql(self) -> str:
        conditions = [one_condition(self.where)] if self.where else []
        conditions += [f"scale = '{self.scale}'"] if self.scale else []
        return f"(select * from {self.clips} as clips where {' and '.join(conditions) or 'true'})"


EVERYTHING = Selection()


def count_clips(dataset: Dataset, selection: Selection = EVERYTHING) -> int:
    """The number of selected clips. Raises UsageError for an invalid condition."""
    count: int = dataset.sql(f"select count(*) as count from {selection.sql}")["count"][0].as_py()
    return count


def clips_of(
    dataset: Dataset, selection: Selection, of_video: Sequence[str] = OF_VIDEO, order: str = BY_VIDEO
) -> Iterator[Row]:
    """The selected clips with columns of their videos, their captions and their sentences, both on the clip's clock.

    BY_VIDEO, those of one video follow one another.
    """
    for batch in dataset.stream(_QUERY.format(chosen=selection.sql, of_video=", ".join(of_video), order=order)):
        for row in batch.to_pylist():
            if not _SAFE_ID.fullmatch(row["clip_id"]):
                raise DatasetError(f"clip {row['clip_id']!r} is not named as vidla names clips")
            clip = {name: value for name, value in row.items() if name not in RUN_COLUMNS}
            yield {**clip, "metadata": _parsed(row["metadata"])}


def _parsed(metadata: str | None) -> Any:
    """The JSON object in `metadata`; the text itself if it is none, as a stranger may have written."""
    try:
        return json.loads(metadata) if metadata else None
    except (ValueError, RecursionError):
        return metadata


def as_json(clip: Row) -> bytes:
    return (json.dumps(clip, ensure_ascii=False, indent=1, default=str) + "\n").encode()
