"""Segment: sources in; stored media, frames and the three tilings out. From media already stored, only the tilings."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from curation.dataset.dataset import Dataset
from curation.dataset.media_paths import media_uri_of
from curation.dataset.object_store import put
from curation.recipes import RECIPES, Step, identity
from curation.records import Download, Row, Segment, Timeline, Video
from curation.rejects import Kind, Rejected, Stage
from curation.row_digests import media_digest, segment_reject_digest, spoken_digest, tiling_digest, timeline_digest
from curation.segments.segmentation import segment_video, segments_of, timeline_of, with_words
from curation.settings import Settings
from curation.uris import path_of
from pipelines.stages.item_rows import columns_of_video, rows_of_video, up_to_date
from pipelines.worker.stage_work import AnyLane, StageOutput
from pipelines.worker.thread_pools import ThreadPool
from pipelines.worker.work_items import VideoItem
from pipelines.worker.worker_process import this_process

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SegmentVideos(AnyLane):
    """The work of the segment stage."""

    settings: Settings
    name: Stage = Stage.SEGMENT
    label: str = "Segment each video"

    @property
    def pool(self) -> ThreadPool:
        return this_process.pool(self.name, self.settings.run.workers or os.cpu_count() or 1)

    def work(self, dataset: Dataset, item: VideoItem) -> StageOutput:
        downloads = _downloads(dataset, item)
        current = {self._media_digest(download): download for download in reversed(downloads)}
        for video in up_to_date(rows_of_video(dataset, Video, item), item, Step.MEDIA):
            if video.digest in current:
                return self._from_stored(dataset, item, video, current[video.digest].record)
        return self._decode(dataset, item, downloads)

    def reject(self, dataset: Dataset, item: VideoItem, why: Rejected) -> StageOutput:
        made = StageOutput()
        media = self._media_digest(_downloads(dataset, item)[0])
        made.replace_old(item, "rejects", key=item.video_id)
        made.add([item.rejected(self.name, why)], segment_reject_digest(why.kind, media, self.settings))
        return made

    def _media_digest(self, download: Row[Download]) -> str:
        return media_digest(download.digest, self.settings, download.record.material, download.recipe)

    def _from_stored(self, dataset: Dataset, item: VideoItem, video: Row[Video], download: Download) -> StageOutput:
        """The rows that are made of media already stored: segments, and the timeline if that is to be refreshed."""
        if Step.TIMELINES not in item.refresh:
            return self._tile(dataset, item, video, download)
        wanted = tiling_digest(identity(video.digest, video.recipe), download.words, self.settings)
        segments = up_to_date(rows_of_video(dataset, Segment, item), item, Step.TILINGS)
        is_tiled = any(segment.digest == wanted for segment in segments)
        made = StageOutput() if is_tiled else self._tile(dataset, item, video, download)
        self._measure(dataset, item, video, made)
        return made

    def _measure(self, dataset: Dataset, item: VideoItem, video: Row[Video], made: StageOutput) -> None:
        """Add the timeline of a video, unless it has one. Stored media that cannot be read has none: `verify` tells."""
        wanted = timeline_digest(identity(video.digest, video.recipe))
        known = up_to_date(rows_of_video(dataset, Timeline, item), item, Step.TIMELINES)
        if any(timeline.digest == wanted for timeline in known):
            return
        try:
            with dataset.scratch() as scratch:
                stored = local_source(dataset, video.record.media_uri, scratch)
                if stored is None:
                    raise Rejected(Kind.SOURCE_GONE, "it is gone")
                timeline = timeline_of(video.record, stored, self.settings)
        except Rejected as why:
            log.error(
                "its stored media %s cannot be measured: %s; `vidla verify` checks it", video.record.media_uri, why
            )
            return
        made.add([timeline], wanted)
        made.replace_old(item, "timelines", video_id=item.video_id)

    def _tile(self, dataset: Dataset, item: VideoItem, video: Row[Video], download: Download) -> StageOutput:
        columns = ["time", "sharpness"]
        rows = columns_of_video(dataset, "frames", item, columns)
        frames = [(row["frame_id"], row["time"], row["sharpness"]) for row in rows]
        made, record = StageOutput(), self._spoken(video.record, download)
        segments = segments_of(record, frames, self.settings)
        made.add(segments, tiling_digest(identity(video.digest, video.recipe), download.words, self.settings))
        _count(made, segments)
        if record != video.record:
            made.add([record], video.digest, video.recipe)
            made.replace_old(item, "videos", video_id=item.video_id)
        made.replace_old(item, "segments", video_id=item.video_id)
        made.replace_old(item, "rejects", key=item.video_id)
        return made

    def _spoken(self, video: Video, download: Download) -> Video:
        """`video` with the words of the download, unless it has them."""
        words = self._words_of(download)
        return (
            video if words in (None, video.words) else replace(with_words(video, download, self.settings), words=words)
        )

    def _words_of(self, download: Download) -> str | None:
        """What identifies the sentences made of a download's subtitles now; they are part of the tilings' recipe."""
        if download.words is None:
            return None
        return identity(spoken_digest(download.words, self.settings), RECIPES[Step.TILINGS])

    def _decode(self, dataset: Dataset, item: VideoItem, downloads: Sequence[Row[Download]]) -> StageOutput:
        with dataset.scratch() as scratch:
            download, source = _source(dataset, downloads, scratch)
            media = self._media_digest(download)
            media_uri = media_uri_of(item.video_id, media)
            segmented = segment_video(download.record, source, media_uri, self.settings, scratch)
            put(dataset.store, media_uri, segmented.stored)
        made = StageOutput()
        made.spent.bytes = download.record.source_bytes
        made.add([replace(segmented.video, words=self._words_of(download.record))], media)
        made.add(segmented.frames, media)
        made.add([segmented.timeline], timeline_digest(identity(media, RECIPES[Step.MEDIA])))
        tiling = tiling_digest(identity(media, RECIPES[Step.MEDIA]), download.record.words, self.settings)
        made.add(segmented.segments, tiling)
        for table in ("videos", "timelines", "frames", "segments"):
            made.replace_old(item, table, video_id=item.video_id)
        made.replace_old(item, "rejects", key=item.video_id)
        _count(made, segmented.segments)
        return made


def _count(made: StageOutput, segments: Sequence[Segment]) -> None:
    """Count the clips, and the frames of them that are to be captioned."""
    made.counts["clips"] = len(segments)
    made.counts["frames"] = len({frame_id for segment in segments for frame_id in segment.frame_ids})


def _downloads(dataset: Dataset, item: VideoItem) -> list[Row[Download]]:
    return sorted(rows_of_video(dataset, Download, item), key=lambda row: row.record.request_key)


def _source(dataset: Dataset, downloads: Sequence[Row[Download]], scratch: Path) -> tuple[Row[Download], Path]:
    """The first download whose source still exists, and its path on this machine's disk. Raises Rejected."""
    for download in downloads:
        path = local_source(dataset, download.record.source_uri, scratch)
        if path is not None:
            return download, path
    gone = downloads[0].record.source_uri
    way_out = "put it back, and `vidla retry`" if gone.startswith("file:") else "`vidla retry` fetches it again"
    raise Rejected(Kind.SOURCE_GONE, f"the source media {gone} is gone; {way_out}")


def local_source(dataset: Dataset, source_uri: str, scratch: Path) -> Path | None:
    """The path of a source on this machine's disk, fetched into `scratch` from a remote dataset; None if it is gone."""
    if source_uri.startswith("file:"):
        path = path_of(source_uri)
    elif dataset.folder is not None:
        path = dataset.folder / source_uri
    else:
        path = scratch / "source"
        try:
            dataset.fetch(source_uri, path)
        except FileNotFoundError:
            return None
    return path if path.is_file() else None
