"""What is wanted, less what is done: the driver's view of a dataset, and the work items that follow from it.

A row is done when its digest is the one that today's settings and inputs give. So is a reject, unless it is retried.
Items name a request or a video and the parts that hold its rows; workers read the rows themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from curation.config import Settings
from curation.lineage import (
    clips_digest,
    download_digest,
    download_reject_digest,
    media_digest,
    reject_digest,
    segment_reject_digest,
    tiling_digest,
)
from curation.records import Reject, VideoRequest
from curation.rejects import Rejected
from curation.requests import Asked
from curation.tables import Dataset, Part, rows_of

DOWNLOAD, SEGMENT, CAPTION, SUMMARIZE = "download", "segment", "caption", "summarize"
STAGES = (DOWNLOAD, SEGMENT, CAPTION, SUMMARIZE)
WHOLE = ("videos", "frames", "segments", "clips")  # of one video, these rows are always written together
BY_VIDEO = ("downloads", "videos", "frames", "segments", "captions", "summaries", "clips", "rejects")


@dataclass(frozen=True)
class DownloadItem:
    """A request to fetch. `attempts`: tries so far that ended as a reject; `redo`: older rows are to be replaced.

    `asked` holds the URLs to fetch where they were given to this run, secrets included. `old_video` is the video that
    this request alone led to so far: it goes where the request leads to another one by now.
    """

    request: VideoRequest
    asked: Asked | None
    digest: str
    attempts: int = 0
    redo: bool = False
    old_video: str | None = None

    def __str__(self) -> str:
        return f"request {self.request.request_key} ({self.request.uri})"


@dataclass(frozen=True)
class VideoItem:
    """A video to work on, and the parts of each table that may hold its rows."""

    video_id: str
    uri: str
    where: Mapping[str, tuple[str, ...]]
    attempts: int = 0
    retry: bool = False

    def __str__(self) -> str:
        return f"video {self.video_id}"

    def rejected(self, stage: str, why: Rejected, key: str | None = None, attempts: int | None = None) -> Reject:
        """The reject row of the video, or of a part of it by its `key`; `attempts` were made before this one."""
        attempts = self.attempts if attempts is None else attempts
        return why.row(stage, key or self.video_id, self.uri, self.video_id, attempts)


@dataclass(frozen=True)
class Downloaded:
    """What the driver knows of a row of `downloads`."""

    request_key: str
    video_id: str
    uri: str
    digest: str
    source_uri: str


@dataclass(frozen=True)
class Rejection:
    """What the driver knows of a row of `rejects`."""

    stage: str
    key: str
    video_id: str | None
    kind: str
    digest: str
    attempts: int
    retryable: bool


Retry = Callable[[Rejection], bool]


def no_retry(_: Rejection) -> bool:
    return False


@dataclass
class State:
    """The tables' keys and digests, kept up to date as a run commits."""

    dataset: Dataset
    settings: Settings
    texts: str  # digest of all that makes the texts
    downloads: dict[str, Downloaded] = field(default_factory=dict)  # by request_key
    by_video: dict[str, dict[str, Downloaded]] = field(default_factory=dict)  # by video_id, then request_key
    videos: dict[str, str] = field(default_factory=dict)  # video_id: digest, likewise the next two
    segments: dict[str, str] = field(default_factory=dict)
    clips: dict[str, str] = field(default_factory=dict)
    rejects: dict[tuple[str, str], Rejection] = field(default_factory=dict)  # by stage and key
    textless: dict[str, list[Rejection]] = field(default_factory=dict)  # frames and clips without text, by video_id
    sources: set[str] = field(default_factory=set)
    where: dict[str, dict[str, set[str]]] = field(default_factory=dict)  # video_id: table: parts

    @classmethod
    def load(cls, dataset: Dataset, settings: Settings, texts: str) -> State:
        state = cls(dataset, settings, texts)
        for table in ("downloads", "videos", "segments", "clips", "rejects"):
            state._take(table, dataset.live_parts(table))
        state.sources = {path for path, _, _ in dataset.list("sources/")}
        return state

    def update(self, added: Mapping[str, Iterable[Part]]) -> None:
        """Take in what a commit of this run added."""
        for table, parts in added.items():
            paths = [part.path for part in parts]
            self._take(table, paths)
            for path in paths if table in BY_VIDEO else ():
                for video_id in self._videos_in(table, path):
                    located = self.where.setdefault(video_id, {})
                    located[table] = {path} if table in WHOLE else located.get(table, set()) | {path}

    def locate(self, video_ids: Iterable[str]) -> None:
        """Find the parts that hold rows of these videos; `item` needs them."""
        for video_id in video_ids:
            self.where.setdefault(video_id, {})
        for table in BY_VIDEO if self.where else ():
            for path in self.dataset.live_parts(table):
                for video_id in self._videos_in(table, path) & self.where.keys():
                    self.where[video_id].setdefault(table, set()).add(path)

    def forget(self, video_ids: Iterable[str]) -> None:
        """Let go of where videos are that are finished with."""
        for video_id in video_ids:
            self.where.pop(video_id, None)

    def item(self, video_id: str, stage: str, retry: Retry) -> VideoItem:
        downloads = self.by_video.get(video_id, {})
        uri = min(d.uri for d in downloads.values()) if downloads else ""
        rejection = self.rejects.get((stage, video_id))
        where = {table: tuple(sorted(parts)) for table, parts in self.where.get(video_id, {}).items()}
        return VideoItem(video_id, uri, where, rejection.attempts if rejection else 0, retry is not no_retry)

    def videos_in(self, parts: Iterable[Part]) -> list[str]:
        """The videos that these parts hold rows of."""
        return sorted({video_id for part in parts for video_id in self._videos_in(part.table, part.path)})

    def has_source(self, video_id: str) -> bool:
        """Whether the source media of a video still lies where it was put, or where the user has it."""
        return any(not d.source_uri.startswith("sources/") or d.source_uri in self.sources for d in self._of(video_id))

    def media_digests(self, video_id: str) -> set[str]:
        """The digests that an up-to-date row of `videos` may have: one for each request that asked for it."""
        return {media_digest(d.digest, self.settings) for d in self._of(video_id)}

    def _of(self, video_id: str) -> Iterable[Downloaded]:
        return self.by_video.get(video_id, {}).values()

    def _take(self, table: str, paths: Iterable[str]) -> None:
        digests = {"videos": self.videos, "segments": self.segments, "clips": self.clips}.get(table)
        if digests is not None:
            for row in self._rows(table, paths, ["video_id", "digest"]):
                digests[str(row["video_id"])] = str(row["digest"])
                if table == "segments":  # what was rejected before is made now
                    self.rejects.pop((SEGMENT, str(row["video_id"])), None)
        elif table == "downloads":
            for row in self._rows(table, paths, list(Downloaded.__dataclass_fields__)):
                download = Downloaded(**row)  # type: ignore[arg-type]
                self.downloads[download.request_key] = download
                self.rejects.pop((DOWNLOAD, download.request_key), None)
                self.by_video.setdefault(download.video_id, {})[download.request_key] = download
                self.sources.add(download.source_uri)
        elif table == "rejects":
            for row in self._rows(table, paths, list(Rejection.__dataclass_fields__)):
                rejection = Rejection(**row)  # type: ignore[arg-type]
                self.rejects[rejection.stage, rejection.key] = rejection
                if rejection.stage in (CAPTION, SUMMARIZE) and rejection.video_id is not None:
                    self.textless.setdefault(rejection.video_id, []).append(rejection)

    def _videos_in(self, table: str, path: str) -> set[str]:
        ids = self.dataset.read_part(table, path, ["video_id"])["video_id"].unique().to_pylist()
        return {video_id for video_id in ids if video_id is not None}

    def _rows(self, table: str, paths: Iterable[str], columns: list[str]) -> Iterator[Mapping[str, object]]:
        for path in paths:
            yield from rows_of(self.dataset.read_part(table, path, columns))


@dataclass
class Plan:
    """What is to be done, stage by stage: requests to download, and ids of videos."""

    downloads: list[DownloadItem] = field(default_factory=list)
    segment: list[str] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    fetched_again: int = 0  # downloads that were done before, but whose source is gone

    def __len__(self) -> int:
        return len(self.downloads) + len(self.segment) + len(self.text)


def make_plan(
    state: State, requests: Iterable[VideoRequest], asked: Mapping[str, Asked], retry: Retry = no_retry
) -> Plan:
    """Everything that `requests`, all those of the dataset, still need; with a `retry`, only what that opens again."""
    plan = Plan()
    again: set[str] = set()  # videos to download anew for the single pass
    for video_id in state.by_video:
        stage = needs(state, video_id, retry)
        if retry is not no_retry and needs(state, video_id) is not None:
            continue
        if stage == SEGMENT and not has_media(state, video_id) and not state.has_source(video_id):
            again.add(video_id)
        elif stage == SEGMENT:
            plan.segment.append(video_id)
        elif stage is not None:
            plan.text.append(video_id)
    keys = {min(state.by_video[video_id]) for video_id in again}  # one request a video is enough
    for request in requests:
        key = request.request_key
        item = download_item(state, request, asked.get(key), retry, source_gone=key in keys)
        settled = key in keys or download_item(state, request, None, no_retry) is None
        if item is not None and (retry is no_retry or settled):
            plan.downloads.append(item)
    plan.fetched_again = len(keys)
    return plan


def download_item(
    state: State, request: VideoRequest, asked: Asked | None, retry: Retry, source_gone: bool = False
) -> DownloadItem | None:
    """What is to be downloaded for a request, if anything."""
    expected = download_digest(request, state.settings)
    done = state.downloads.get(request.request_key)
    if done is not None and done.digest == expected and not source_gone:
        return None
    rejection = state.rejects.get((DOWNLOAD, request.request_key))
    if rejection and rejection.digest == download_reject_digest(expected, state.settings) and not retry(rejection):
        return None
    old = done is not None or rejection is not None
    old_video = done.video_id if done and len(state.by_video[done.video_id]) == 1 else None
    return DownloadItem(request, asked, expected, rejection.attempts if rejection else 0, old, old_video)


def needs(state: State, video_id: str, retry: Retry = no_retry) -> str | None:
    """The first stage that a downloaded video still needs; None when it is done, or rejected for good."""
    rejection = state.rejects.get((SEGMENT, video_id))
    if rejection and rejection.digest in segment_reject_digests(state, video_id) and not retry(rejection):
        return None
    if not has_media(state, video_id):
        return SEGMENT
    tiling = tiling_digest(state.videos[video_id], state.settings)
    if state.segments.get(video_id) != tiling:
        return SEGMENT
    textless = state.textless.get(video_id, [])
    if any(retry(r) for r in textless):
        return CAPTION
    expected = clips_digest(tiling, state.texts, sum(r.stage == CAPTION for r in textless))
    settled = state.clips.get(video_id) == expected or any(r.digest == reject_digest(expected) for r in textless)
    return None if settled else CAPTION


def has_media(state: State, video_id: str) -> bool:
    """Whether the stored media is up to date."""
    return state.videos.get(video_id) in state.media_digests(video_id)


def segment_reject_digests(state: State, video_id: str) -> set[str]:
    return {segment_reject_digest(media, state.settings) for media in state.media_digests(video_id)}
