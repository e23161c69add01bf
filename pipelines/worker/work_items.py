"""The work items and the context that are sent to the workers of a stage: names of things, never rows or media."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from curation.dataset.dataset import Dataset
from curation.dataset.parts import Lineage
from curation.recipes import Step
from curation.records import Reject, VideoRequest
from curation.rejects import Rejected, Stage
from curation.sources.targets import FetchTarget

BY_VIDEO = ("downloads", "videos", "frames", "timelines", "segments", "captions", "summaries", "clips", "rejects")

PartsByTable = Mapping[str, tuple[str, ...]]
"""By table, the names of the parts that may hold a video's rows."""


@dataclass(frozen=True)
class DownloadItem:
    """A request to fetch. `attempts`: tries so far that ended in a reject; `redo`: whether older rows are replaced.

    `target` holds the URLs to fetch if they were given to this run, secrets included. `old_video` is the video that
    only this request has led to so far: it is removed if the request now leads to another one. `paged`: whether the
    request has a row in `pages`. `kept` is the video whose media is there already: only its subtitles are fetched, into
    its row in `parts`.
    """

    request: VideoRequest
    target: FetchTarget | None
    digest: str
    attempts: int = 0
    redo: bool = False
    old_video: str | None = None
    paged: bool = False
    kept: str | None = None
    parts: PartsByTable = field(default_factory=dict)

    @property
    def key(self) -> str:
        return self.request.request_key

    @property
    def video_id(self) -> str | None:
        """Mostly unknown until fetched."""
        return self.kept

    @property
    def shown(self) -> str:
        """What people call it."""
        return self.request.uri

    @property
    def source_bytes(self) -> int:
        """Mostly unknown until fetched."""
        return 0

    def __str__(self) -> str:
        return f"request {self.key} ({self.request.uri})"


@dataclass(frozen=True)
class VideoItem:
    """A video to work on, with the parts that may hold its rows: in this dataset, and (by URI) elsewhere.

    Elsewhere, in other datasets and in earlier versions of this one, they may also have the ids in `same_source`.
    Rows of older recipes of the steps in `refresh` are made again. `source_bytes` is the size of the media that has to
    be decoded; 0 if what is stored is enough.
    """

    video_id: str
    uri: str
    parts: PartsByTable
    attempts: int = 0
    retry: bool = False
    parts_elsewhere: Mapping[str, PartsByTable] = field(default_factory=dict)
    same_source: tuple[str, ...] = ()
    refresh: frozenset[Step] = frozenset()
    source_bytes: int = 0

    @property
    def key(self) -> str:
        return self.video_id

    @property
    def shown(self) -> str:
        return self.video_id

    def __str__(self) -> str:
        return f"video {self.video_id}"

    def rejected(self, stage: Stage, why: Rejected, key: str | None = None, attempts: int | None = None) -> Reject:
        """The reject row of the video, or of its frame or clip `key`, after `attempts` earlier ones."""
        attempts = self.attempts if attempts is None else attempts
        return why.row(stage, key or self.video_id, self.uri, self.video_id, attempts)


Item = DownloadItem | VideoItem


@dataclass(frozen=True)
class Context:
    """Where a stage writes, as which run, after which commit (`seen`) and under which token.

    `old_parts`: by table, the parts in which it may replace rows; None for all that are live when it commits.
    `patient`: whether it waits for sites that are left alone, or puts their items off. `begun` is when it began, in
    seconds since 1970; None if the stage shares its job with others.
    """

    dataset: Dataset
    lineage: Lineage
    part_bytes: int
    seen: int
    token: str
    old_parts: Mapping[str, frozenset[str]] | None
    patient: bool = True
    begun: float | None = None

    def parts_to_replace_in(self, table: str) -> frozenset[str]:
        if self.old_parts is None:
            return frozenset(self.dataset.live_parts(table))
        return self.old_parts.get(table, frozenset())

    @property
    def job_name(self) -> str:
        """The name of the stage's job on a cluster."""
        return f"vidla-{self.token.replace(':', '-').lower()}"
