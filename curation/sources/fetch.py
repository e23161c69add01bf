"""Fetch one video: politely, within limits, and with a clear message if it fails.

yt-dlp runs in a guarded child process; media and subtitles are separate calls, so that a failure of one does not cost
the other. Attempts, waits and per-host limits are managed here, in the calling process.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO

from curation import storable
from curation.download_settings import DownloadSettings
from curation.ids import digest_of, own_video_id, video_id_of
from curation.languages import UNKNOWN
from curation.media.embedded_subtitles import embedded_subtitles
from curation.records import Download, Page, SubtitleTrack, VideoRequest
from curation.rejects import Kind, Rejected
from curation.sources import ytdlp
from curation.sources.site_limits import Site, at_site
from curation.sources.sites import site_of
from curation.sources.targets import FetchTarget
from curation.sources.user_files import open_local
from curation.subtitles import tracks
from curation.uris import path_of, redact

log = logging.getLogger(__name__)

SUBTITLES_S = 300.0  # for all subtitles of one video
NOTE_CHARS = 1000  # on the missing ones
_NO_IDENTITY = frozenset({"generic", "html5", "html5mediaembed"})  # extractors that invent ids


@dataclass(frozen=True)
class Fetched:
    """The media file of a request, a local one where it lies, and its rows; `source_uri` is still empty.

    A local file has no page.
    """

    media: Path
    download: Download
    page: Page | None = None
    attempts: int = 1


@dataclass(frozen=True)
class Subtitles:
    """The subtitles of a video, and why some that were asked for are missing."""

    tracks: tuple[SubtitleTrack, ...] = ()
    note: str | None = None


class Gated(Rejected):
    """A video whose `page` does not meet `download.only_where`."""

    def __init__(self, message: str, page: Page, tries: int) -> None:
        super().__init__(Kind.GATED, message, tries)
        self.page = page


def fetch(target: FetchTarget, settings: DownloadSettings, folder: Path) -> Fetched:
    """Fetch the video at `target`, with subtitles in the configured languages, into an otherwise unused `folder`.

    Waits for a free slot at its site (`settings.per_host`), then takes up to `settings.timeout_s`, not counting waits
    for places at the hosts that requests lead to. Always fetches the whole video: a requested range is only recorded.
    Raises Rejected, SiteRests, OSError if the disk is full, and guard.Stopped.
    """
    name = site_of(target.request.uri)
    if name is None:
        return _fetch_local(target, settings)
    with at_site(name, settings) as site:
        deadline = time.monotonic() + settings.timeout_s
        found, attempts, deadline = _fetch_media(target, settings, folder, deadline, site)
        subtitles = _fetch_subtitles(target, settings, folder, deadline, found.offered)
    subtitles = _with_embedded(subtitles, found.path, settings, target.request.request_key)
    video_id = _video_id(target.request, found.extractor, found.id, found.digest)
    download = _download(target.request, video_id, found.path.stat().st_size, found.digest, subtitles)
    download = replace(download, extractor=found.extractor, opt_out=found.opt_out, **asdict(found.metadata))
    page = ytdlp.page_of(target.request.request_key, target.request.uri, found.page)
    return Fetched(found.path, download, page, attempts)


def fetch_subtitles(target: FetchTarget, settings: DownloadSettings, folder: Path) -> Subtitles:
    """The subtitles of the video at `target` alone, without its media; `folder` is unused otherwise.

    A page that is gone does not matter if the list names a file. Raises as `fetch` does.
    """
    name = site_of(target.request.uri)
    if name is None:
        try:
            with open_local(path_of(target.url.reveal())) as file:
                return _local_subtitles(target.request, file, settings)
        except Rejected:  # the media is gone, but is not asked for
            return _local_subtitles(target.request, None, settings)
    with at_site(name, settings) as site:
        begun = time.monotonic()
        try:
            offered = ytdlp.fetch_offered(target.url.reveal(), settings)
        except ytdlp.FetchRejected as error:
            site.record(error.kind, begun, error.retry_after)
            if target.subtitles_url is None:
                raise Rejected(error.kind, error.message) from None
            offered = ytdlp.OfferedSubtitles({}, {}, {})
        else:
            site.record(None, begun)
        return _fetch_subtitles(target, settings, folder, time.monotonic() + settings.timeout_s, offered)


def _download(request: VideoRequest, video_id: str, size: int, digest: str, subtitles: Subtitles) -> Download:
    return Download(
        request_key=request.request_key,
        video_id=video_id,
        uri=request.uri,
        start=request.start,
        end=request.end,
        source_uri="",
        source_bytes=size,
        source_digest=digest,
        subtitles=subtitles.tracks,
        subtitle_note=subtitles.note,
        metadata=request.metadata,
    )


def _fetch_media(
    target: FetchTarget, settings: DownloadSettings, folder: Path, deadline: float, site: Site
) -> tuple[ytdlp.FetchedMedia, int, float]:
    """Fetch the media, repeating transient failures with growing pauses.

    Returns it, the number of attempts, and the deadline, later by the waits for places.
    """
    ranged = target.request.start is not None or target.request.end is not None
    attempt = 0
    while True:
        attempt += 1
        site.check()
        begun = time.monotonic()
        try:
            found = ytdlp.fetch_media(target.url.reveal(), folder, settings, deadline - begun, ranged=ranged)
        except ytdlp.FetchRejected as error:
            deadline += error.waited
            site.record(error.kind, begun, error.retry_after)
            pause = ytdlp.pause_s(settings, attempt, error.retry_after)
            in_time = time.monotonic() + pause < deadline
            if not error.transient or attempt >= settings.attempts or not in_time:
                if error.kind is Kind.GATED and error.page is not None:
                    request = target.request
                    page = ytdlp.page_of(request.request_key, request.uri, error.page)
                    raise Gated(error.message, page, attempt) from None
                tried = f" (tried {attempt} times)" if attempt > 1 else ""
                raise Rejected(error.kind, error.message + tried, attempt) from None
            log.info("%s: %s; next attempt in %.1f s", target.request.request_key, error.message, pause)
            ytdlp.wait(pause)
        else:
            site.record(None, begun)
            return found, attempt, deadline + found.waited


def _fetch_subtitles(
    target: FetchTarget, settings: DownloadSettings, folder: Path, deadline: float, offered: ytdlp.OfferedSubtitles
) -> Subtitles:
    """The subtitle file named in the list, and the site's in the configured languages."""
    deadline = min(deadline, time.monotonic() + SUBTITLES_S)
    wanted = settings.subtitle_languages
    groups = tracks.plan(offered.manual, offered.automatic, wanted)
    missed = tracks.passed_over(offered.unread, offered.manual, wanted)
    if target.subtitles_url:
        language = target.request.subtitle_language or UNKNOWN
        groups.insert(
            0, [tracks.SubtitleChoice(language, "manual", {"url": target.subtitles_url.reveal(), "ext": "vtt"})]
        )
        missed = []
    fetched = ytdlp.FetchedSubtitles()
    try:
        if groups:
            fetched = ytdlp.fetch_subtitles(groups, folder, settings, deadline - time.monotonic())
    except ytdlp.FetchRejected as error:
        missed.append(f"subtitles: {error.message}")
    return _read(fetched, missed, deadline, target.request.request_key)


def _read(fetched: ytdlp.FetchedSubtitles, missed: Sequence[str], deadline: float, key: str) -> Subtitles:
    """The tracks in the files, as many as fit into a row, manual ones first; and a note on what is missing."""
    found: list[SubtitleTrack] = []
    notes = [*missed, *fetched.missed]
    room = tracks.ROW_CHARACTERS
    for file in fetched.files:
        try:
            track, fault = tracks.read(file.path.read_bytes(), file.language, file.kind, deadline - time.monotonic())
            if len(track.text) > room:
                raise Rejected(Kind.TOO_LARGE, "those before fill a row")
        except Rejected as error:
            notes.append(f"{file.kind} subtitles in {file.language}: {error.message}")
            continue
        notes += [f"{file.kind} subtitles in {file.language}: {fault}"] if fault else []
        room -= len(track.text)
        found.append(track)
    return _noted(sorted(found, key=lambda track: track.kind != "manual"), notes, key)


def _with_embedded(found: Subtitles, media: Path, settings: DownloadSettings, key: str) -> Subtitles:
    """`found`, and behind each kind the tracks inside of the media in the wanted languages, as many as fit in a row."""
    new: list[SubtitleTrack] = []
    note = None
    room = tracks.ROW_CHARACTERS - sum(len(track.text) for track in found.tracks)
    try:
        for embedded in embedded_subtitles(media, settings.subtitle_languages, SUBTITLES_S):
            track, fault = tracks.read(embedded.text.encode(), embedded.language, "manual")
            room -= len(track.text)
            new += [track] if fault is None and room >= 0 else []
    except Rejected as error:
        if error.kind not in (Kind.UNREADABLE, Kind.UNSUPPORTED):  # the segment stage judges the media
            note = _noted((), [f"subtitles inside of the media: {error.message}"], key).note
    ordered = sorted((*found.tracks, *new), key=lambda track: track.kind != "manual")
    return Subtitles(tuple(ordered), "; ".join(filter(None, (found.note, note)))[:NOTE_CHARS] or None)


def _noted(found: Sequence[SubtitleTrack], notes: Sequence[str], key: str) -> Subtitles:
    for note in notes:
        log.warning("%s: no %s", key, note)
    return Subtitles(tuple(found), redact(storable.text("; ".join(notes), NOTE_CHARS)) or None)


def _video_id(request: VideoRequest, extractor: str, identity: str, digest: str) -> str:
    """The id from the site, else from the list, else the content's digest: never one that yt-dlp derives from a URL."""
    if extractor.lower() not in _NO_IDENTITY:
        return video_id_of(extractor, identity, request.start, request.end)
    return own_video_id(request.id, digest, request.start, request.end)


# --- local files ----------------------------------------------------------------------------------------------------


def _fetch_local(target: FetchTarget, settings: DownloadSettings) -> Fetched:
    if not target.request.local:
        raise Rejected(Kind.REFUSED, "a file: URL that neither the command line nor its --files-under allows")
    source = path_of(target.url.reveal())
    with open_local(source) as file:
        size = os.fstat(file.fileno()).st_size
        if size > settings.max_bytes:
            raise Rejected(Kind.TOO_LARGE, f"{size} bytes; download.max_bytes allows {settings.max_bytes}")
        if not size:
            raise Rejected(Kind.NO_VIDEO, f"{source} is empty")
        digest = digest_of(file)
        subtitles = _local_subtitles(target.request, file, settings)
    video_id = _video_id(target.request, "generic", "", digest)
    download = _download(target.request, video_id, size, digest, subtitles)
    return Fetched(source, replace(download, title=storable.text(source.stem)))


def _local_subtitles(request: VideoRequest, media: IO[bytes] | None, settings: DownloadSettings) -> Subtitles:
    """The subtitle file of a local video, and the tracks inside of its media, which is open."""
    found = Subtitles() if request.subtitles is None else _read_local(path_of(request.subtitles), request)
    if media is None:
        return found
    return _with_embedded(found, Path(f"/proc/{os.getpid()}/fd/{media.fileno()}"), settings, request.request_key)


def _read_local(path: Path, request: VideoRequest) -> Subtitles:
    try:
        with open_local(path) as file:
            track, fault = tracks.read(file.read(tracks.FILE_BYTES), request.subtitle_language, "manual")
    except Rejected as error:
        return _noted((), [f"subtitles in {path.name}: {error.message}"], request.request_key)
    return _noted((track,), [f"subtitles in {path.name}: {fault}"] if fault else (), request.request_key)
