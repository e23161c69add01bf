"""The books of a dataset: at each stage, wanted items = made + rejected + gated + pending.

An item that was made counts as made, even if a later attempt at it was rejected. Requests are gated while their pages
do not meet `download.only_where`. Between the commits of a redo, some rows are outdated.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from curation.dataset.dataset import Dataset, lookup
from curation.rejects import Kind, Stage
from curation.schema import TABLES


@dataclass(frozen=True)
class Account:
    """The counts of one stage: of the `wanted` items, those that are not made, rejected or gated are pending."""

    stage: str
    subject: str  # the kind of item, in the plural
    outcome: str  # the state of an item that was made
    wanted: int
    made: int
    rejected: int
    gated: int = 0

    @property
    def pending(self) -> int:
        return self.wanted - self.made - self.rejected - self.gated

    def __str__(self) -> str:
        gated = f" + {self.gated} gated" if self.gated else ""
        parts = f"{self.made} {self.outcome} + {self.rejected} rejected{gated} + {self.pending} pending"
        return f"{self.wanted} {self.subject} = {parts}"


@dataclass(frozen=True)
class Books:
    """The accounts of all stages, and the `strays` (items that should not exist): one line per kind.

    `notes` are what was made without something that was asked for; `outdated` are rows that stay until their successors
    are made; one line each.
    """

    accounts: tuple[Account, ...]
    strays: tuple[str, ...]
    notes: tuple[str, ...] = ()
    outdated: tuple[str, ...] = ()

    def imbalances(self, stages: Collection[str] = ()) -> list[str]:
        """The faults, one line each, after a run that should have left nothing of `stages` pending."""
        pending = [a for a in self.accounts if a.stage in stages and a.pending]
        lines = [f"{a.pending} of {a.wanted} {a.subject} are neither {a.outcome} nor rejected" for a in pending]
        return [*lines, *(self.outdated if Stage.SUMMARIZE in stages else ()), *self.strays]

    def lines(self) -> list[str]:
        """The accounts, notes and outdated rows, one line each."""
        return [*map(str, self.accounts), *self.notes, *self.outdated]


@dataclass(frozen=True)
class RejectedKind:
    """The items that the books count as rejected at a stage for one kind of reason, with one of them as an example.

    `retryable`: whether a retry can help with any of them.
    """

    stage: str
    kind: str
    count: int
    retryable: bool
    uri: str
    message: str


def balance(dataset: Dataset) -> Books:
    """The current books of `dataset`."""
    # One by one: a single query would hold all its lookups in memory at once.
    answers = dataset.sql_each([*_count_queries(), *_STRAY_QUERIES, _UNSUBTITLED, _REDO_FAILED])
    *rows, unsubtitled, redo_failed = [answer.to_pylist()[0] for answer in answers]
    accounts, found = _accounts(rows[: len(_STAGES)]), rows[len(_STAGES) :]
    outdated = tuple(_outdated_line(row) for row in found if row["outdated"])
    strays = [f"{row['count']} {row['what']}" for row in found if row["count"]]
    return Books(
        accounts, (*strays, *_media_strays(dataset)), (*_notes(unsubtitled), *_redo_notes(redo_failed)), outdated
    )


def accounts_of(dataset: Dataset) -> dict[str, Account]:
    """The accounts of the current books alone, by stage."""
    rows = (answer.to_pylist()[0] for answer in dataset.sql_each(_count_queries()))
    return {account.stage: account for account in _accounts(rows)}


def items_by_video(dataset: Dataset, stage: Stage) -> Iterator[tuple[str, int, int]]:
    """Each video, with the number of a stage's items (frames or clips) of it, and of those that are made."""
    counts = "count(*) as wanted, count(*) filter (made) as made"
    query = f"select video, {counts} from ({_STAGES[stage][2]}) group by video"
    for batch in dataset.stream(query):
        yield from zip(*(batch[name].to_pylist() for name in ("video", "wanted", "made")), strict=True)


def rejected_kinds(dataset: Dataset, stages: Collection[str] = tuple(Stage)) -> list[RejectedKind]:
    """What the books count as rejected at these stages, by kind."""
    queries = [_rejects_query(stage, items) for stage, (_, _, items) in _STAGES.items() if stage in stages]
    return [RejectedKind(**row) for answer in dataset.sql_each(queries) for row in answer.to_pylist()]


def _count_queries() -> list[str]:
    return [_count_query(stage, items) for stage, (_, _, items) in _STAGES.items()]


def _accounts(rows: Iterable[Mapping[str, Any]]) -> tuple[Account, ...]:
    return tuple(
        Account(stage, subject, outcome, **row)
        for (stage, (subject, outcome, _)), row in zip(_STAGES.items(), rows, strict=True)
    )


_UNSUBTITLED = """
    select count(*) as count, min(subtitle_note) as example from downloads where subtitle_note is not null"""


def _notes(unsubtitled: Mapping[str, Any]) -> Iterator[str]:
    if count := unsubtitled["count"]:
        example = unsubtitled["example"][:200]
        way_out = "`vidla retry --subtitles` asks for them again"
        yield f"{count} downloads lack subtitles that were asked for, for example: no {example}; {way_out}"


_REDO_FAILED = f"""
    select
        count(*) filter (stage = '{Stage.CAPTION}') as captions,
        count(*) filter (stage = '{Stage.SUMMARIZE}') as clips,
        coalesce(string_agg(distinct kind, ', ' order by kind), '') as kinds,
        coalesce(bool_and(retryable), true) as retryable
    from rejects
    where (stage = '{Stage.CAPTION}' and key in (select frame_id from captions))
        or (stage = '{Stage.SUMMARIZE}' and key in (select clip_id from clips))"""


def _redo_notes(failed: Mapping[str, Any]) -> Iterator[str]:
    """
    >>> list(_redo_notes({"captions": 12, "clips": 1, "kinds": "engine", "retryable": True}))
    ['the redo of 12 captions and 1 clips failed (engine): the former ones stay, and `vidla retry` makes them again']
    """
    if counts := [f"{failed[what]} {what}" for what in ("captions", "clips") if failed[what]]:
        way_out = "`vidla retry`" if failed["retryable"] else "`vidla retry --force`"
        which = f"the redo of {' and '.join(counts)} failed ({failed['kinds']})"
        yield f"{which}: the former ones stay, and {way_out} makes them again"


def _outdated_line(row: Mapping[str, Any]) -> str:
    """
    >>> _outdated_line({"what": "clips without a segment", "outdated": 27, "videos": 2})
    '27 clips of 2 videos are outdated: these have been cut again since, and `vidla curate` makes their texts'
    """
    rows, videos = row["what"].partition(" ")[0], row["videos"]
    cut = f"{videos} videos are outdated: these have" if videos > 1 else "a video are outdated: it has"
    whose = "their" if videos > 1 else "its"
    return f"{row['outdated']} {rows} of {cut} been cut again since, and `vidla curate` makes {whose} texts"


def _media_strays(dataset: Dataset) -> list[str]:
    """Stored media that is missing, or whose size differs from its row. Lists files without opening any."""
    paths, sizes = [], []
    for path, size, _ in dataset.list("media/"):
        paths.append(path)
        sizes.append(size)
    listed = pa.table([pa.array(paths, pa.string()), pa.array(sizes, pa.int64())], ["media_uri", "size"])
    videos = dataset.read("videos", ["media_uri", "media_bytes"])
    stored_sizes = lookup(videos["media_uri"], listed, "size")
    missing = stored_sizes.null_count
    torn = pc.sum(pc.not_equal(stored_sizes, videos["media_bytes"])).as_py() or 0
    found = ((missing, "videos whose stored media is missing"), (torn, "videos whose stored media has another size"))
    return [f"{count} {what}" for count, what in found if count]


# By stage: the kind of item, its state once made, and a query for each item's key, its video, and whether it was made.
_STAGES = {
    Stage.DOWNLOAD: (
        "requests",
        "downloaded",
        "select request_key as key, null as video, key in (select request_key from downloads) as made from requests",
    ),
    Stage.SEGMENT: (
        "videos",
        "segmented",
        """select distinct video_id as key, null as video,
            key in (select video_id from videos) and key in (select video_id from segments) as made
        from downloads""",
    ),
    Stage.CAPTION: (
        "frames",
        "captioned",
        """select key, video, key in (select frame_id from captions) as made
        from (select distinct unnest(frame_ids) as key, video_id as video from segments)""",
    ),
    Stage.SUMMARIZE: (
        "clips",
        "with texts",
        "select clip_id as key, video_id as video, key in (select clip_id from clips) as made from segments",
    ),
}


def _count_query(stage: str, items: str) -> str:
    """Counts the `items` that are wanted, made and rejected.

    A reject may have an item's key or its video's. A video that may not be cut any more keeps its cuts, without texts.
    """
    of_stage = f"select key from rejects where stage = '{stage}'"
    rejected, gated = f"({of_stage} and kind <> '{Kind.GATED}')", f"({of_stage} and kind = '{Kind.GATED}')"
    refused = f"(select key from rejects where stage = '{Stage.SEGMENT}' and kind <> '{Kind.GATED}')"
    return f"""
    select
        count(*) as wanted,
        count(*) filter (made) as made,
        count(*) filter (not made and (key in {rejected} or video in {rejected} or video in {refused})) as rejected,
        count(*) filter (not made and key in {gated}) as gated
    from ({items})
    """


def _rejects_query(stage: str, items: str) -> str:
    """What `_count_query` counts as rejected, by kind: an item's own reject counts before its video's."""

    def rejects(of: str, key: str, name: str) -> str:
        why = f"{{'kind': kind, 'retryable': retryable, 'uri': uri, 'message': message}} as {name}"
        return f"(select key as {key}, {why} from rejects where stage = '{of}' and kind <> '{Kind.GATED}')"

    return f"""
    select
        '{stage}' as stage, kind, count(*) as count, bool_or(retryable) as retryable, min(uri) as uri,
        arg_min(message, uri) as message
    from (
        select unnest(coalesce(own, whole, refused)) from (select key, video from ({items}) where not made)
        left join {rejects(stage, "key", "own")} using (key)
        left join {rejects(stage, "video", "whole")} using (video)
        left join {rejects(Stage.SEGMENT, "video", "refused")} using (video)
        where coalesce(own, whole, refused) is not null
    ) group by kind order by count desc, kind"""


# Rows of a video that waits for a stage, as after a repair, keep texts that need not be made again: no strays.
_TO_DOWNLOAD = """uri in (
    select uri from requests where request_key not in (select request_key from downloads)
        and request_key not in (select key from rejects where stage = 'download'))"""
_TO_SEGMENT = """video_id in (
    select video_id from downloads
    where (video_id not in (select video_id from videos) or video_id not in (select video_id from segments))
        and video_id not in (select key from rejects where stage = 'segment'))"""


# Texts of a video that has been cut again are outdated until the new clips have theirs: readers keep them until then.
_CUT_AGAIN = """coalesce(
    created_at < (select max(created_at) from segments as cut where cut.video_id = child.video_id), false)"""


def _orphans(child: str, key: str, parent: str, what: str, waiting: str = "false", outdated: str = "false") -> str:
    return f"""
    select
        '{what}' as what,
        count(*) filter (not outdated) as count,
        count(*) filter (outdated) as outdated,
        count(distinct video_id) filter (outdated) as videos
    from (
        select video_id, {outdated} as outdated from {child} as child
        where {key} not in (select {key} from {parent}) and not ({waiting})
    )"""


def _duplicates(table: str, key: tuple[str, ...]) -> str:
    names = ", ".join(key)
    what = f"duplicate rows of {table}"
    return f"select '{what}' as what, count(*) - count(distinct ({names})) as count, 0 as outdated from {table}"


# For each kind of stray, a query for its description and count.
_STRAY_QUERIES = [
    _orphans("downloads", "request_key", "requests", "downloads without a request"),
    _orphans("videos", "video_id", "downloads", "videos without a download", _TO_DOWNLOAD),
    _orphans("frames", "video_id", "videos", "frames without a video", _TO_SEGMENT),
    _orphans("timelines", "video_id", "videos", "timelines without a video", _TO_SEGMENT),
    _orphans("captions", "frame_id", "frames", "captions of missing frames", _TO_SEGMENT, _CUT_AGAIN),
    _orphans("segments", "video_id", "videos", "segments without a video", _TO_SEGMENT),
    _orphans(
        "(select video_id, unnest(frame_ids) as frame_id from segments)",
        "frame_id",
        "frames",
        "frames to caption not kept",
        _TO_SEGMENT,
    ),
    _orphans("summaries", "clip_id", "segments", "summaries without a segment", _TO_SEGMENT, _CUT_AGAIN),
    _orphans("clips", "clip_id", "segments", "clips without a segment", _TO_SEGMENT, _CUT_AGAIN),
    *(_duplicates(table.name, table.key) for table in TABLES.values()),
]
