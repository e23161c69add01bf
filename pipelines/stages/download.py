"""Download: requests in; source media in `sources/` and its metadata out."""

from __future__ import annotations

import dataclasses
import uuid
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

from curation.dataset.dataset import Dataset
from curation.dataset.forget import ForgottenKeys
from curation.dataset.object_store import put
from curation.errors import DatasetError
from curation.ids import digest
from curation.records import Download, Page, SubtitleTrack
from curation.rejects import Kind, Rejected, Stage
from curation.row_digests import download_reject_digest, material_digest, words_digest
from curation.settings import Settings
from curation.sources.fetch import Gated, Subtitles, fetch, fetch_subtitles
from curation.sources.sites import site_of
from curation.sources.targets import target_of
from pipelines.stages.item_rows import rows_of_video
from pipelines.worker.stage_work import StageOutput
from pipelines.worker.thread_pools import ThreadPool
from pipelines.worker.work_items import BY_VIDEO, DownloadItem, VideoItem
from pipelines.worker.worker_process import this_process


@dataclass(frozen=True)
class DownloadVideos:
    """The work of the download stage."""

    settings: Settings
    name: Stage = Stage.DOWNLOAD
    label: str = "Download each video"

    @property
    def pool(self) -> ThreadPool:
        return this_process.pool(self.name, self.settings.download.workers)

    def lanes(self, items: Sequence[DownloadItem]) -> list[list[DownloadItem]]:
        """Per site, as many lists as downloads from it are allowed at once, over the whole cluster."""
        lanes: defaultdict[str, list[DownloadItem]] = defaultdict(list)
        turns: defaultdict[str, Iterator[int]] = defaultdict(lambda: cycle(range(self.settings.download.per_host)))
        for item in items:
            site = site_of(item.request.uri)
            lanes[item.key if site is None else f"{next(turns[site])} {site}"].append(item)
        return list(lanes.values())

    def work(self, dataset: Dataset, item: DownloadItem) -> StageOutput:
        request = item.request
        target = item.target or target_of(request)
        forgotten = ForgottenKeys.load(dataset)
        if forgotten.has_request(request.request_key, request.uri, target.url.reveal()):
            raise Rejected(Kind.FORGOTTEN, "it was forgotten on request, and is not fetched again")
        if item.kept is not None:
            return self._with_other_subtitles(dataset, item, VideoItem(item.kept, request.uri, item.parts))
        with dataset.scratch() as scratch:
            fetched = fetch(target, self.settings.download, scratch)
            found = fetched.download
            if forgotten.has_video(found.video_id, found.channel, found.channel_id):
                raise Rejected(Kind.FORGOTTEN, "its video or channel was forgotten on request, and is not kept")
            source_uri = request.uri if request.local else store_source(dataset, fetched.media)
        made = StageOutput(video_id=found.video_id)
        made.spent.bytes = found.source_bytes
        material, words = material_digest(request, self.settings), words_digest(found.subtitles)
        made.add([dataclasses.replace(found, source_uri=source_uri, material=material, words=words)], item.digest)
        _keep_page(made, item, fetched.page)
        if item.redo:
            made.replace("downloads", request_key=request.request_key)
            made.replace("rejects", key=request.request_key)
        if item.old_video not in (None, found.video_id):
            for table in BY_VIDEO:
                made.replace(table, video_id=item.old_video)
        return made

    def _with_other_subtitles(self, dataset: Dataset, item: DownloadItem, video: VideoItem) -> StageOutput:
        """The download as it is, but for its subtitles."""
        downloads = {row.record.request_key: row for row in rows_of_video(dataset, Download, video)}
        if (old := downloads.get(item.key)) is None:
            raise DatasetError(f"the download of {item} is gone")
        with dataset.scratch() as scratch:
            found = fetch_subtitles(item.target or target_of(item.request), self.settings.download, scratch)
        tracks = found.tracks if old.digest != item.digest else _with_older(found, old.record)
        new = dataclasses.replace(old.record, subtitles=tracks, subtitle_note=found.note, words=words_digest(tracks))
        made = StageOutput(video_id=item.kept)
        made.add([new], item.digest, old.recipe)
        made.replace("downloads", request_key=item.key)
        made.replace("rejects", key=item.key)
        return made

    def reject(self, dataset: Dataset, item: DownloadItem, why: Rejected) -> StageOutput:
        request = item.request
        row = why.row(self.name, request.request_key, request.uri, attempts=item.attempts)
        made = StageOutput()
        made.add([row], download_reject_digest(why.kind, item.digest, self.settings))
        _keep_page(made, item, why.page if isinstance(why, Gated) else None)
        if item.redo:
            made.replace("rejects", key=request.request_key)
        return made


def _with_older(found: Subtitles, download: Download) -> tuple[SubtitleTrack, ...]:
    """The tracks that were found when the same ones were asked for again; those that are missing now are kept."""

    def name(track: SubtitleTrack) -> tuple[str, str]:
        return track.kind, track.language

    new = {name(track) for track in found.tracks}
    older = [track for track in download.subtitles if name(track) not in new]
    return tuple(sorted([*found.tracks, *older], key=lambda track: track.kind != "manual"))


def _keep_page(made: StageOutput, item: DownloadItem, page: Page | None) -> None:
    if page is None:
        return
    made.add([page], digest("page", page.request_key))
    if item.paged:
        made.replace("pages", request_key=page.request_key)


def store_source(dataset: Dataset, media: Path) -> str:
    """Move a downloaded file into the dataset; returns its path there, for the segment stage."""
    source_uri = f"sources/{uuid.uuid4().hex}{media.suffix}"
    if dataset.folder is not None:
        target = dataset.folder / source_uri
        target.parent.mkdir(exist_ok=True)
        media.replace(target)
    else:
        put(dataset.store, source_uri, media)
    return source_uri
