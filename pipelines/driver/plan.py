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
from pipelines.driver.known_rows import Retry, is_retried
from pipelines.driver.state import State
from pipelines.worker.work_items import DownloadItem

WORK = {
    "expected": pa.string(),
    "attempts": pa.int64(),
    "redo": pa.bool_(),
    "old_video": pa.string(),
    "paged": pa.bool_(),
}
"""The columns that are added to a request to fetch: the last fields of a DownloadItem (`expected` is its digest)."""

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
        """The sizes in bytes: of local files as they are, `unknown` for everything that has to be fetched."""
        local, uris = (self.rows[name].to_pylist() for name in ("local", "uri"))
        return [_file_size(uri) if here else unknown for here, uri in zip(local, uris, strict=True)]


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
    fetched_again: int = 0  # downloads that were done before but whose source is gone: for other media
    reconsidered: int = 0  # the same, for videos that were rejected by a setting that has changed

    def __len__(self) -> int:
        return len(self.downloads) + len(self.segment) + len(self.text)

    def of(self, stages: Collection[str]) -> Plan:
        """The part of it that begins with one of these stages."""
        return Plan(
            self.downloads if Stage.DOWNLOAD in stages else NOTHING,
            self.segment if Stage.SEGMENT in stages else [],
            self.text if {Stage.CAPTION, Stage.SUMMARIZE} & set(stages) else [],
            self.fetched_again,
        )

    def __str__(self) -> str:
        begun = f"{len(self.segment)} to segment, {len(self.text)} awaiting texts"
        return f"{len(self.downloads)} videos to download, {begun}"


def make_plan(state: State, targets: Mapping[str, FetchTarget], retry: Retry | None = None) -> Plan:
    """All work that the requests of the dataset still need; with a `retry`, only that on the rejects it includes."""
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
    rejected = {v for v in sourceless if v not in state.videos and (Stage.SEGMENT, v) in state.rejects}
    plan.fetched_again, plan.reconsidered = len(sourceless - rejected), len(rejected)
    return plan


def _to_download(state: State, sourceless: Collection[str], retry: Retry | None) -> pa.Table:
    """The requests without an up-to-date download, and `sourceless` ones, by key; with WORK's columns."""
    expected = {"request_key": list(sourceless), "expected": [state.downloads[key].digest for key in sourceless]}
    missing = pa.concat_tables([state.unfetched, pa.table(expected, schema=state.unfetched.schema)])
    if not missing:
        return NOTHING.rows
    rows = state.dataset.read("requests")
    rows = rows.append_column("expected", lookup(rows["request_key"], missing, "expected"))
    rows = rows.filter(pc.is_valid(rows["expected"]))
    keep, attempts, redo, old_videos = [], [], [], []
    for key, digest in zip(*(rows[name].to_pylist() for name in ("request_key", "expected")), strict=True):
        done, rejection = state.downloads.get(key), state.rejects.get((Stage.DOWNLOAD, key))
        refused = rejection and rejection.digest in download_reject_digests(rejection.kind, digest, state.settings)
        opened = is_retried(rejection, retry)
        if key in state.closed and key not in sourceless:
            keep.append(False)
        elif rejection and rejection.kind == Kind.GATED:
            keep.append(retry is None or opened)  # the gate has opened
        else:
            keep.append(opened or (not refused and (retry is None or key in sourceless)))
        attempts.append(rejection.attempts if rejection else 0)
        redo.append(done is not None or rejection is not None)
        old_videos.append(done.video_id if done and len(state.downloads_of(done.video_id)) == 1 else None)
    for name, values in zip(("attempts", "redo", "old_video"), (attempts, redo, old_videos), strict=True):
        rows = rows.append_column(name, pa.array(values, WORK[name]))
    paged = pc.is_in(rows["request_key"], state.dataset.read("pages", ["request_key"])["request_key"])
    rows = rows.append_column("paged", paged)
    return rows.filter(pa.array(keep, pa.bool_()))
