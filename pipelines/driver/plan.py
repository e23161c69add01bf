"""The plan of a run: everything requested, minus everything done, as work items.

A row is done if its digest is the one that today's settings and inputs give. So is a reject, unless it is retried.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import overload

import pyarrow as pa
import pyarrow.compute as pc

from curation.dataset.dataset import lookup, rows_of
from curation.file_types import VIDEO_SUFFIXES
from curation.records import VideoRequest
from curation.rejects import Kind, Stage
from curation.row_digests import download_reject_digests
from curation.schema import TABLES, from_row
from curation.sources.targets import FetchTarget
from curation.uris import YOUTUBE_VIDEO, path_of
from pipelines.driver.known_rows import Downloaded, Retry, is_retried
from pipelines.driver.state import State
from pipelines.worker.work_items import DownloadItem

WORK = {
    "expected": pa.string(),
    "attempts": pa.int64(),
    "redo": pa.bool_(),
    "old_video": pa.string(),
    "paged": pa.bool_(),
    "kept": pa.string(),
}
"""The columns that are added to a request to fetch: further fields of a DownloadItem (`expected` is its digest)."""

_MEDIA_FILE = rf"(?i)^[^?]*\.({'|'.join(VIDEO_SUFFIXES)})(\?.*)?$"


class Downloads(Sequence[DownloadItem]):
    """Requests to fetch: rows of an Arrow table with the columns of `requests` and WORK, made into items on access.

    Each takes a few hundred bytes, so that millions fit in memory.
    """

    def __init__(self, rows: pa.Table, targets: Mapping[str, FetchTarget]) -> None:
        self.rows = rows
        self.targets = targets

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, at: int) -> DownloadItem: ...
    @overload
    def __getitem__(self, at: slice) -> Downloads: ...
    def __getitem__(self, at: int | slice) -> DownloadItem | Downloads:
        if isinstance(at, slice):
            first, last, _ = at.indices(len(self))
            return Downloads(self.rows.slice(first, last - first), self.targets)
        return next(iter(self[at : at + 1]))

    def __iter__(self) -> Iterator[DownloadItem]:
        for row in rows_of(self.rows):
            target = self.targets.get(row["request_key"])
            work = (row[name] for name in WORK)
            yield DownloadItem(from_row(VideoRequest, row), target, *work)

    def redone(self) -> list[str]:
        """The request_keys of those whose rows are replaced."""
        keys: list[str] = self.rows.filter(self.rows["redo"])["request_key"].to_pylist()
        return keys

    def kept(self) -> list[str]:
        """The ids of the videos whose subtitles alone are fetched."""
        videos: list[str] = self.rows["kept"].drop_null().to_pylist()
        return videos

    def include_youtube(self) -> bool:
        """Whether any is a video of YouTube."""
        return bool(pc.any(pc.starts_with(self.rows["uri"], YOUTUBE_VIDEO)).as_py())

    def include_pages(self) -> bool:
        """Whether any is a page to look for media on, by its URL."""
        return bool(pc.any(pc.invert(pc.match_substring_regex(self._remote(), _MEDIA_FILE))).as_py())

    def remote(self) -> int:
        """How many have to be fetched."""
        return len(self._remote())

    def _remote(self) -> pa.ChunkedArray:
        return self.rows["uri"].filter(pc.invert(pc.fill_null(self.rows["local"], False)))

    def sizes(self, unknown: int) -> list[int]:
        """The sizes in bytes: of local files as they are, `unknown` for media that has to be fetched."""
        columns = (self.rows[name].to_pylist() for name in ("local", "uri", "kept"))
        sizes = zip(*columns, strict=True)
        return [0 if kept is not None else _file_size(uri) if here else unknown for here, uri, kept in sizes]


def _file_size(uri: str) -> int:
    try:
        return path_of(uri).stat().st_size
    except OSError:
        return 0  # it will be rejected


NOTHING = Downloads(pa.schema([*TABLES["requests"].schema, *WORK.items()]).empty_table(), {})


@dataclass
class Plan:
    """The work of a run by the stage that it begins with: requests to download, and ids of videos."""

    downloads: Downloads = NOTHING
    segment: list[str] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    redone: frozenset[str] = frozenset()  # videos of downloads that are done again
    fetched_again: int = 0  # downloads that were done before but whose source is gone: for other media
    reconsidered: int = 0  # the same, for videos that were rejected by a setting that has changed

    def __len__(self) -> int:
        return len(self.downloads) + len(self.segment) + len(self.text)

    def of(self, stages: Collection[str]) -> Plan:
        """The part of it that begins with one of these stages; a video whose download is redone waits for that."""
        plan = Plan(fetched_again=self.fetched_again, reconsidered=self.reconsidered)
        if Stage.DOWNLOAD in stages:
            plan.downloads, plan.redone = self.downloads, self.redone
        if Stage.SEGMENT in stages:
            plan.segment = [v for v in self.segment if v not in plan.redone]
        if {Stage.CAPTION, Stage.SUMMARIZE} & set(stages):
            plan.text = [v for v in self.text if v not in plan.redone]
        return plan

    def __str__(self) -> str:
        begun = f"{len(self.segment)} to segment, {len(self.text)} awaiting texts"
        return f"{len(self.downloads)} videos to download, {begun}"


def make_plan(state: State, targets: Mapping[str, FetchTarget], retry: Retry | None = None) -> Plan:
    """All work that the requests of the dataset still need; with a `retry`, only that on what it includes."""
    plan = Plan()
    sourceless: set[str] = set()  # videos to segment whose source is gone
    for video_id in state.by_video:
        stage = state.needs(video_id, retry)
        if stage is None or (retry is not None and not state.is_retried(video_id, retry)):
            continue
        if stage == Stage.SEGMENT and not state.has_media(video_id) and not state.has_source(video_id):
            sourceless.add(video_id)
        elif stage == Stage.SEGMENT:
            plan.segment.append(video_id)
        else:
            plan.text.append(video_id)
    # one request per video is enough
    keys = {min(d.request_key for d in state.downloads_of(video_id)) for video_id in sourceless}
    plan.downloads = Downloads(_to_download(state, keys, retry), targets)
    plan.redone = frozenset(d.video_id for key in plan.downloads.redone() if (d := state.downloads.get(key)))
    rejected = {v for v in sourceless if v not in state.videos and (Stage.SEGMENT, v) in state.rejects}
    plan.fetched_again, plan.reconsidered = len(sourceless - rejected), len(rejected)
    return plan


def _to_download(state: State, sourceless: Collection[str], retry: Retry | None) -> pa.Table:
    """The requests without an up-to-date download, `sourceless` ones by key, and reopened ones; with WORK's columns."""
    reopened, lost = (_as_fetched(state, keys) for keys in (state.reopened, sourceless))
    missing = pa.concat_tables([reopened, state.unfetched, lost])  # of a key, the first counts
    rows = state.dataset.read("requests")
    rows = rows.filter(pc.is_in(rows["request_key"], missing["request_key"]))
    if not len(rows):
        return NOTHING.rows
    paged = set(state.dataset.read("pages", ["request_key"])["request_key"].to_pylist())
    keep, work = [], []
    expected, materials = (lookup(rows["request_key"], missing, name) for name in ("expected", "material"))
    for key, digest, material in zip(*(c.to_pylist() for c in (rows["request_key"], expected, materials)), strict=True):
        done, rejection = state.downloads.get(key), state.rejects.get((Stage.DOWNLOAD, key))
        keep.append(_is_wanted(state, key, digest, sourceless, retry))
        attempts = rejection.attempts if rejection else 0
        redo = done is not None or rejection is not None
        is_alone = done is not None and len(state.downloads_of(done.video_id)) == 1
        kept = done is not None and key not in sourceless and _has_its_media(state, done, digest, material)
        video = done.video_id if done else None
        work.append((digest, attempts, redo, video if is_alone else None, key in paged, video if kept else None))
    for (name, type_), values in zip(WORK.items(), zip(*work, strict=True), strict=True):
        rows = rows.append_column(name, pa.array(values, type_))
    return rows.filter(pa.array(keep, pa.bool_()))


def _is_wanted(state: State, key: str, digest: str, sourceless: Collection[str], retry: Retry | None) -> bool:
    """Whether a request, whose download would have that digest, is fetched by this run."""
    if retry is not None and retry.subtitles:
        return key in state.reopened
    rejection = state.rejects.get((Stage.DOWNLOAD, key))
    if key in state.closed and key not in sourceless:
        return False
    opened = is_retried(rejection, retry)
    if rejection and rejection.kind == Kind.GATED:
        return retry is None or opened  # the gate has opened
    refused = rejection and rejection.digest in download_reject_digests(rejection.kind, digest, state.settings)
    return opened or (not refused and (retry is None or key in sourceless))


def _has_its_media(state: State, done: Downloaded, digest: str, material: str | None) -> bool:
    """Whether a download has all but the subtitles that are wanted now, and its media is where it is needed."""
    if done.request_key in state.reopened:
        return True
    if done.digest == digest or done.material is None or done.material != material:
        return False
    return state.has_media(done.video_id) or state.has_source(done.video_id) or state.needs(done.video_id) is None


def _as_fetched(state: State, keys: Collection[str]) -> pa.Table:
    """The requests with these keys as `unfetched` has them, with the digests that their downloads have."""
    done = [state.downloads[key] for key in keys if key in state.downloads]
    columns = [[d.request_key for d in done], [d.digest for d in done], [d.material for d in done]]
    return pa.table(columns, schema=state.unfetched.schema)
