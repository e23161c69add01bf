"""The driver's view of a dataset while a run writes to it: keys and digests, and which parts hold whose rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from curation.config import Settings
from curation.lineage import media_digest
from curation.tables import Dataset, rows_of
from pipelines.items import BY_VIDEO, CAPTION, DOWNLOAD, SEGMENT, SUMMARIZE, DownloadItem, VideoItem
from pipelines.reuse import Elsewhere


@dataclass(frozen=True)
class Downloaded:
    """What the driver knows of a row of `downloads`."""

    request_key: str
    video_id: str
    uri: str
    digest: str
    source_uri: str
    source_bytes: int


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
    """The tables' keys and digests, kept up to date as a run commits. For one thread at a time."""

    dataset: Dataset
    settings: Settings
    texts: str  # digest of all that makes the texts
    downloads: dict[str, Downloaded] = field(default_factory=dict)  # by request_key
    by_video: dict[str, dict[str, Downloaded]] = field(default_factory=dict)  # by video_id, then request_key
    videos: dict[str, str] = field(default_factory=dict)  # video_id: digest, likewise the next two
    segments: dict[str, str] = field(default_factory=dict)
    clips: dict[str, str] = field(default_factory=dict)
    rejects: dict[tuple[str, str], Rejection] = field(default_factory=dict)  # by stage and key
    textless: dict[str, dict[tuple[str, str], Rejection]] = field(default_factory=dict)  # likewise, by video_id first
    sources: set[str] = field(default_factory=set)
    where: dict[str, dict[str, set[str]]] = field(default_factory=dict)  # video_id: table: parts
    elsewhere: Sequence[Elsewhere] = ()

    @classmethod
    def load(cls, dataset: Dataset, settings: Settings, texts: str) -> State:
        state = cls(dataset, settings, texts)
        for table in ("downloads", "videos", "segments", "clips", "rejects"):
            state._take(table, dataset.live_parts(table))
        state.sources = {path for path, _, _ in dataset.list("sources/")}
        return state

    def update(self, tables: Mapping[str, Mapping[str, Iterable[Mapping[str, Any]]]]) -> None:
        """Take in a commit, as its record has it: by table, the parts that it adds and those that it removes.

        Commits are taken in in their order, since one may rewrite what another has added. A video that is new is
        located from here on.
        """
        for table in sorted(tables, key=lambda name: name == "rejects"):  # these count more than an older download
            added = [part["path"] for part in tables[table]["add"]]
            if table in BY_VIDEO:
                videos = {path: self._videos_in(table, path) for path in added}
                if table == "downloads":
                    new = set[str]().union(*videos.values()) - self.by_video.keys()
                    self.where |= {video_id: {} for video_id in new}
                for part in tables[table]["remove"]:
                    for video_id in self._videos_in(table, part["path"]) & self.where.keys():
                        self.where[video_id].get(table, set()).discard(part["path"])
                self._found(table, videos)
            self._take(table, added)

    def locate(self, video_ids: Iterable[str]) -> None:
        """Find the parts that hold rows of these videos, and keep up with them; `item` needs them."""
        wanted = set(video_ids) - self.where.keys()
        self.where |= {video_id: {} for video_id in wanted}
        for table in BY_VIDEO if wanted else ():
            parts = self.dataset.live_parts(table)
            self._found(table, {path: self._videos_in(table, path) & wanted for path in parts})

    def _found(self, table: str, videos: Mapping[str, set[str]]) -> None:
        """Note which `videos`, by part, have rows there."""
        for path, video_ids in videos.items():
            for video_id in video_ids & self.where.keys():
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
        elsewhere = {other.uri: other.parts[video_id] for other in self.elsewhere if video_id in other.parts}
        attempts = rejection.attempts if rejection else 0
        return VideoItem(video_id, uri, where, attempts, retry is not no_retry, elsewhere)

    def fetched(self, items: Iterable[DownloadItem]) -> list[str]:
        """The videos that these items led to; those that were rejected led to none."""
        made = (item.key for item in items if (DOWNLOAD, item.key) not in self.rejects)
        return list(dict.fromkeys(self.downloads[key].video_id for key in made if key in self.downloads))

    def old_parts(self, items: Iterable[DownloadItem | VideoItem]) -> dict[str, frozenset[str]]:
        """By table, the parts that may hold rows which the work on these items replaces."""
        old: dict[str, set[str]] = {}
        for item in items:
            if isinstance(item, VideoItem):
                where: Mapping[str, Iterable[str]] = item.where
            elif item.redo:
                where = self.where.get(item.old_video or "", {})
                for table in ("downloads", "rejects"):
                    old.setdefault(table, set()).update(self.dataset.live_parts(table))
            else:
                where = {}
            for table, parts in where.items():
                old.setdefault(table, set()).update(parts)
        return {table: frozenset(parts) for table, parts in old.items()}

    def source_bytes(self, video_id: str) -> int:
        """How large the source media of a downloaded video is."""
        return max((d.source_bytes for d in self._of(video_id)), default=0)

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
                download = Downloaded(**row)
                self.downloads[download.request_key] = download
                self.rejects.pop((DOWNLOAD, download.request_key), None)
                self.by_video.setdefault(download.video_id, {})[download.request_key] = download
                self.sources.add(download.source_uri)
        elif table == "rejects":
            for row in self._rows(table, paths, list(Rejection.__dataclass_fields__)):
                rejection = Rejection(**row)
                self.rejects[rejection.stage, rejection.key] = rejection
                if rejection.stage in (CAPTION, SUMMARIZE) and rejection.video_id is not None:
                    textless = self.textless.setdefault(rejection.video_id, {})
                    textless[rejection.stage, rejection.key] = rejection

    def _videos_in(self, table: str, path: str) -> set[str]:
        ids = self.dataset.read_part(table, path, ["video_id"])["video_id"].unique().to_pylist()
        return {video_id for video_id in ids if video_id is not None}

    def _rows(self, table: str, paths: Iterable[str], columns: list[str]) -> Iterator[Mapping[str, Any]]:
        for path in paths:
            yield from rows_of(self.dataset.read_part(table, path, columns))
