"""The books of a dataset: what was wanted at each stage equals what was made, what was rejected and what is pending.

What is made counts as made, whatever became of a later try at it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from curation.records import TABLES
from curation.tables import Dataset, looked_up


@dataclass(frozen=True)
class Account:
    """One stage: of `wanted` things, so many were made, so many rejected; the rest is pending."""

    stage: str
    subject: str  # what is counted, in the plural
    outcome: str  # what becomes of one that succeeds
    wanted: int
    made: int
    rejected: int

    @property
    def pending(self) -> int:
        return self.wanted - self.made - self.rejected

    def __str__(self) -> str:
        parts = f"{self.made} {self.outcome} + {self.rejected} rejected + {self.pending} pending"
        return f"{self.wanted} {self.subject} = {parts}"


@dataclass(frozen=True)
class Books:
    """The accounts of all stages, and what should not be: `strays`, a line for each kind."""

    accounts: tuple[Account, ...]
    strays: tuple[str, ...]

    def imbalances(self, stages: Collection[str] = ()) -> list[str]:
        """What is wrong, a line each, after a run in which nothing of `stages` should have been left pending."""
        pending = [a for a in self.accounts if a.stage in stages and a.pending]
        return [f"{a.pending} of {a.wanted} {a.subject} are neither {a.outcome} nor rejected" for a in pending] + [
            *self.strays
        ]

    def lines(self) -> list[str]:
        """The accounts, a line each."""
        return [str(account) for account in self.accounts]


def balance(dataset: Dataset) -> Books:
    """The books of `dataset` as it stands."""
    rows = dataset.sql(_ACCOUNTS).to_pylist()
    counts = {row["stage"]: (row["wanted"], row["made"], row["rejected"]) for row in rows}
    accounts = tuple(Account(stage, *words, *counts.get(stage, (0, 0, 0))) for stage, words in _WORDS.items())
    strays = [f"{row['count']} {row['what']}" for row in dataset.sql(_STRAYS).to_pylist() if row["count"]]
    return Books(accounts, (*strays, *_media_strays(dataset)))


def _media_strays(dataset: Dataset) -> list[str]:
    """Stored media that is gone, or not as long as its row says. One listing, no file is opened."""
    paths, sizes = [], []
    for path, size, _ in dataset.list("media/"):
        paths.append(path)
        sizes.append(size)
    listed = pa.table([pa.array(paths, pa.string()), pa.array(sizes, pa.int64())], ["media_uri", "size"])
    videos = dataset.read("videos", ["media_uri", "media_bytes"])
    found_sizes = looked_up(videos["media_uri"], listed, "size")
    missing = found_sizes.null_count
    torn = pc.sum(pc.not_equal(found_sizes, videos["media_bytes"])).as_py() or 0
    found = ((missing, "videos whose stored media is missing"), (torn, "videos whose stored media has another size"))
    return [f"{count} {what}" for count, what in found if count]


_WORDS = {
    "download": ("requests", "downloaded"),
    "segment": ("videos", "segmented"),
    "caption": ("frames", "captioned"),
    "summarize": ("clips", "given texts"),
}

# What is wanted, by stage, and whether it was made. A reject may stand under the key of the thing or of its video.
_ACCOUNTS = """
with outcomes as (
    select 'download' as stage, request_key as key, null as video, key in (select request_key from downloads) as made
    from requests
    union all
    select 'segment', key, null, key in (select video_id from videos)
    from (select distinct video_id as key from downloads)
    union all
    select 'caption', key, video, key in (select frame_id from captions)
    from (select distinct unnest(frame_ids) as key, video_id as video from segments)
    union all
    select 'summarize', clip_id, video_id, clip_id in (select clip_id from clips)
    from segments
),
refused as (select distinct stage, key from rejects)
select
    outcomes.stage,
    count(*) as wanted,
    count(*) filter (made) as made,
    count(*) filter (not made and (own.key is not null or whole.key is not null)) as rejected
from outcomes
left join refused as own on (own.stage, own.key) = (outcomes.stage, outcomes.key)
left join refused as whole on (whole.stage, whole.key) = (outcomes.stage, outcomes.video)
group by outcomes.stage
"""


def _unasked(child: str, key: str, parent: str, what: str) -> str:
    return f"select '{what}' as what, count(*) as count from {child} where {key} not in (select {key} from {parent})"


def _doubled(table: str, key: tuple[str, ...]) -> str:
    names = ", ".join(key)
    return f"select 'rows of {table} that are there twice', count(*) - count(distinct ({names})) from {table}"


_WANTED = "(select distinct unnest(frame_ids) as frame_id from segments)"

_STRAYS = "\nunion all ".join(
    [
        _unasked("downloads", "request_key", "requests", "downloads that no request asked for"),
        _unasked("videos", "video_id", "downloads", "videos without a download"),
        _unasked("frames", "video_id", "videos", "frames without a video"),
        _unasked("captions", "frame_id", "frames", "captions of frames that are not there"),
        _unasked("segments", "video_id", "videos", "segments without a video"),
        _unasked(
            "(select unnest(frame_ids) as frame_id from segments)", "frame_id", "frames", "frames wanted but not kept"
        ),
        _unasked("summaries", "clip_id", "segments", "summaries without a segment"),
        _unasked("clips", "clip_id", "segments", "clips without a segment"),
        *(_doubled(table.name, table.key) for table in TABLES.values()),
    ]
)
