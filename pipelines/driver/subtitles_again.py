"""Subtitles that were asked for and are missing, asked for again without the media.

A video whose words are others then gets them, and loses its segments and clips, whose digests do not depend on words:
it is cut again from its stored media, and its captions stay.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import pyarrow.compute as pc

from curation.dataset.dataset import Dataset, rows_of
from curation.dataset.edits import replacing, requests_with, rows_with
from curation.dataset.parts import PartWriter
from curation.dataset.writer import Writer
from curation.records import Download, Row, SubtitleTrack, Video, VideoRequest
from curation.rejects import Rejected
from curation.schema import from_row
from curation.segments.segmentation import with_words
from curation.settings import Settings
from curation.sources.fetch import Subtitles, fetch_subtitles
from curation.sources.site_limits import SiteRests
from curation.sources.targets import target_of
from pipelines.worker.batches import batches
from pipelines.worker.worker_process import this_process

log = logging.getLogger(__name__)

AT_A_TIME = 200  # downloads in a commit


@dataclass(frozen=True)
class AskedAgain:
    """How many downloads were asked for, how many lack subtitles still, and the videos whose words are others now."""

    asked: int = 0
    missing: int = 0
    videos: frozenset[str] = frozenset()


def ask_again(writer: Writer, settings: Settings, keys: frozenset[str] | None = None) -> AskedAgain:
    """Ask for the subtitles of all downloads that lack some; with `keys`, only of those requests."""
    dataset = writer.dataset
    result = AskedAgain()
    for number, rows in enumerate(batches(_noted(dataset, keys), AT_A_TIME)):
        requests = requests_with(dataset, [row.record.request_key for row in rows])
        found = _fetch(dataset, settings, [requests.get(row.record.request_key) for row in rows])
        changed = [
            Row(_with(row.record, subtitles), row.digest, row.recipe)
            for row, subtitles in zip(rows, found, strict=True)
            if subtitles is not None
        ]
        videos = _respoken(dataset, settings, [row.record for row in changed])
        _commit(writer, settings, f"{writer.lineage.run_id}:subtitles:{number}", changed, videos)
        still = sum(subtitles is None or subtitles.note is not None for subtitles in found)
        again = frozenset(row.record.video_id for row in videos)
        result = AskedAgain(result.asked + len(rows), result.missing + still, result.videos | again)
    return result


def _noted(dataset: Dataset, keys: frozenset[str] | None) -> Iterator[Row[Download]]:
    """The downloads that lack subtitles; only those of the requests in `keys`, if it is given."""
    for part in dataset.live_parts("downloads"):
        noted = pc.is_valid(dataset.read_part("downloads", part, ["subtitle_note"])["subtitle_note"])
        for row in rows_of(dataset.read_part("downloads", part).filter(noted)) if pc.any(noted).as_py() else ():
            if keys is None or row["request_key"] in keys:
                yield Row(from_row(Download, row), row["digest"], row["recipe"])


def _fetch(dataset: Dataset, settings: Settings, requests: Sequence[VideoRequest | None]) -> list[Subtitles | None]:
    """The subtitles of each request; None where nothing new can be said. Raises guard.Stopped, and OSError."""

    def one(request: VideoRequest | None) -> Subtitles | None:
        if request is None:
            return None
        try:
            with dataset.scratch() as scratch:
                return fetch_subtitles(target_of(request), settings.download, scratch)
        except (Rejected, SiteRests) as error:
            log.warning("%s: its subtitles cannot be asked for again: %s", request.request_key, error)
            return None

    with ThreadPoolExecutor(settings.download.workers) as pool:
        try:
            return list(pool.map(one, requests))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            this_process.halt()
            raise


def _with(download: Download, subtitles: Subtitles) -> Download:
    """`download` with these subtitles; tracks that it had are kept where there is no newer one."""

    def name(track: SubtitleTrack) -> tuple[str, str]:
        return track.kind, track.language

    new = {name(track) for track in subtitles.tracks}
    older = [track for track in download.subtitles if name(track) not in new]
    tracks = sorted([*subtitles.tracks, *older], key=lambda track: track.kind != "manual")
    return replace(download, subtitles=tuple(tracks), subtitle_note=subtitles.note)


def _respoken(dataset: Dataset, settings: Settings, downloads: Iterable[Download]) -> list[Row[Video]]:
    """The rows of `videos` whose words are others with the subtitles of these downloads."""
    by_video = {download.video_id: download for download in downloads}
    respoken: list[Row[Video]] = []
    for rows in rows_with(dataset, "videos", "video_id", by_video):
        for row in rows_of(rows):
            video = from_row(Video, row)
            try:
                now = with_words(video, by_video[video.video_id], settings)
            except Rejected as error:
                log.warning("%s: its new subtitles cannot be read: %s", video.video_id, error)
                continue
            if now.sentences != video.sentences:
                respoken.append(Row(now, row["digest"], row["recipe"]))
    return respoken


def _commit(
    writer: Writer, settings: Settings, token: str, downloads: Sequence[Row[Download]], videos: Sequence[Row[Video]]
) -> None:
    if not downloads:
        return
    parts = PartWriter(writer.dataset.store, writer.lineage, settings.run.part_bytes)
    parts.add([*downloads, *videos])
    dataset, ids = writer.dataset, [row.record.video_id for row in videos]
    replacements = [replacing(dataset, "downloads", "request_key", (row.record.request_key for row in downloads))]
    replacements += [replacing(dataset, table, "video_id", ids) for table in ("videos", "segments", "clips") if ids]
    writer.commit(token, parts.finish(), replacements)
