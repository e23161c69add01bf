"""Fetch one video: politely, within bounds, and with a clear word on what failed.

yt-dlp runs in a guarded child, media in one call and subtitles in another, so that neither costs the other. Tries,
waits and the bounds per host are counted here, in the process that asks.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import stat
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from curation.ids import file_digest, video_id_of
from curation.languages import UNKNOWN
from curation.records import Download, SubtitleTrack, VideoRequest
from curation.rejects import Kind, Rejected
from curation.settings import DownloadSettings
from curation.sources import ytdlp
from curation.sources.host_limits import HostState, at_host, host_of
from curation.sources.requests import FetchTarget
from curation.subtitles import tracks

log = logging.getLogger(__name__)

SUBTITLES_S = 300.0  # for all subtitles of one video
_NO_IDENTITY = frozenset({"generic", "html5", "html5mediaembed"})  # extractors that make ids up


@dataclass(frozen=True)
class Fetched:
    """What `fetch` got: the media's path, and the row for it, whose `source_uri` is still empty."""

    media: Path
    download: Download
    attempts: int = 1


def fetch(asked: FetchTarget, settings: DownloadSettings, folder: Path) -> Fetched:
    """Get the video that is `asked` for, with its wanted subtitles, into `folder`, which is this video's alone.

    Takes `settings.timeout_s` at most, from when its host has a place free (`settings.per_host`). The whole video is
    fetched, a wished range only noted. Raises Rejected, OSError where the disk is full, and guard.Stopped.
    """
    name = host_of(asked.url)
    if name is None:
        return _fetch_local(asked, settings, folder)
    with at_host(name, settings.per_host) as host:
        deadline = time.monotonic() + settings.timeout_s
        found, attempts = _fetch_media(asked, settings, folder, deadline, host)
        tracks = _fetch_subtitles(asked, settings, folder, deadline, found)
    video_id = _video_id(asked.request, found.extractor, found.id, found.digest)
    download = _download(asked.request, video_id, found.path, found.digest, tracks)
    download = replace(download, extractor=found.extractor, opt_out=found.opt_out, **asdict(found.metadata))
    return Fetched(found.path, download, attempts)


def _download(
    request: VideoRequest, video_id: str, media: Path, digest: str, tracks: tuple[SubtitleTrack, ...]
) -> Download:
    return Download(
        request_key=request.request_key,
        video_id=video_id,
        uri=request.uri,
        start=request.start,
        end=request.end,
        source_uri="",
        source_bytes=media.stat().st_size,
        source_digest=digest,
        subtitles=tracks,
        metadata=request.metadata,
    )


def _fetch_media(
    asked: FetchTarget, settings: DownloadSettings, folder: Path, deadline: float, host: HostState
) -> tuple[ytdlp.FetchedMedia, int]:
    """Up to `settings.attempts` tries of what may pass, with growing pauses; what was found, and in how many tries."""
    ranged = asked.request.start is not None or asked.request.end is not None
    tries = 0
    while True:
        tries += 1
        host.check()
        left = deadline - time.monotonic()
        try:
            found = ytdlp.fetch_media(asked.url, folder, settings, left, ranged=ranged)
        except ytdlp.FetchRejected as error:
            host.record(error.kind, error.retry_after)
            pause = ytdlp.pause_s(settings, tries, error.retry_after)
            in_time = time.monotonic() + pause < deadline
            if error.kind not in ytdlp.TRANSIENT or tries >= settings.attempts or not in_time:
                raise Rejected(error.kind, error.message + (f" (tried {tries} times)" if tries > 1 else "")) from None
            log.info("%s: %s; next try in %.1f s", asked.request.request_key, error.message, pause)
            ytdlp.wait(pause)
        else:
            host.record(None)
            return found, tries


def _fetch_subtitles(
    asked: FetchTarget, settings: DownloadSettings, folder: Path, deadline: float, found: ytdlp.FetchedMedia
) -> tuple[SubtitleTrack, ...]:
    """The list's own subtitle file and the site's that are wanted. What cannot be had is logged, and done without."""
    groups = tracks.plan(found.manual, found.automatic, settings.subtitle_languages)
    if asked.subtitles_url:
        language = asked.request.subtitle_language or UNKNOWN
        groups.insert(0, [tracks.SubtitleChoice(language, "manual", {"url": asked.subtitles_url, "ext": "vtt"})])
    if not groups:
        return ()
    seconds = min(deadline - time.monotonic(), SUBTITLES_S)
    try:
        fetched = ytdlp.fetch_subtitles(groups, folder, settings, seconds)
    except ytdlp.FetchRejected as error:
        fetched = ytdlp.FetchedSubtitles(missed=(error.message,))
    for message in fetched.missed:
        log.warning("%s: no %s", asked.request.request_key, message)
    read = [tracks.read(file.path.read_bytes(), file.language, file.kind) for file in fetched.files]
    return tuple(sorted((t for t in read if t), key=lambda t: t.kind != "manual"))


def _video_id(request: VideoRequest, extractor: str, identity: str, digest: str) -> str:
    """The site's own id, else the list's, else the content's digest: never what yt-dlp makes up from an URL."""
    if extractor.lower() not in _NO_IDENTITY:
        return video_id_of(extractor, identity, request.start, request.end)
    if request.id is not None:
        return video_id_of("list", request.id, request.start, request.end)
    return video_id_of("content", digest, request.start, request.end)


# --- local files ----------------------------------------------------------------------------------------------------


def _fetch_local(asked: FetchTarget, settings: DownloadSettings, folder: Path) -> Fetched:
    if not asked.request.local:
        raise Rejected(Kind.REFUSED, "a file: URL that was not named on the command line")
    source = Path(unquote(urlsplit(asked.url).path))
    media = folder / f"media{source.suffix.lower()}"
    _link(source, media, settings.max_bytes)
    digest = file_digest(media)
    video_id = _video_id(asked.request, "generic", "", digest)
    download = _download(asked.request, video_id, media, digest, _local_subtitles(asked.request))
    return Fetched(media, replace(download, title=source.stem))


def _local_subtitles(request: VideoRequest) -> tuple[SubtitleTrack, ...]:
    if request.subtitles is None:
        return ()
    path = Path(unquote(urlsplit(request.subtitles).path))
    try:
        with _opened(path) as file:
            track = tracks.read(file.read(tracks.FILE_BYTES), request.subtitle_language, "manual")
    except Rejected as error:
        log.warning("%s: no subtitles: %s", request.request_key, error.message)
        return ()
    return (track,) if track else ()


def _opened(path: Path) -> BinaryIO:
    """`path`, open for reading, if it is a regular file, and no link, pipe or device. Raises Rejected."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        raise Rejected(Kind.NOT_FOUND, f"no file {path}") from None
    except OSError as error:
        raise Rejected(Kind.REFUSED, f"cannot read {path}: {error.strerror}") from None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise Rejected(Kind.REFUSED, f"{path} is not a regular file")
    return os.fdopen(fd, "rb")


def _link(source: Path, target: Path, max_bytes: int) -> None:
    """Make `target` the same file as `source`, or a copy where they lie on different disks."""
    with _opened(source) as file:
        size = os.fstat(file.fileno()).st_size
        if size > max_bytes:
            raise Rejected(Kind.TOO_LARGE, f"{size} bytes; download.max_bytes allows {max_bytes}")
        if not size:
            raise Rejected(Kind.NO_VIDEO, f"{source} is empty")
        target.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # links end at a disk's edge, and not every file may be linked
            os.link(source, target, follow_symlinks=False)
            if os.path.samestat(os.fstat(file.fileno()), target.lstat()):
                return
            target.unlink()
        with target.open("xb") as copy:
            shutil.copyfileobj(file, copy, 1 << 20)
