"""Fetch one video: politely, within bounds, and with a clear word on what failed.

yt-dlp runs in a guarded child, media in one call and subtitles in another, so that neither costs the other. Tries,
waits and the bounds per host are counted here, in the process that asks.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from curation import guard
from curation.config import DownloadSettings
from curation.hosts import Host, at_host
from curation.records import Download, SubtitleTrack, VideoRequest, video_id_of
from curation.rejects import Kind, Rejected
from curation.requests import Asked
from curation.uris import redact

MEMORY_BYTES = 2 * 2**30  # address space of the child that runs yt-dlp
SUBTITLE_BYTES = 16 * 2**20
_TRANSIENT = frozenset({Kind.RATE_LIMITED, Kind.SERVER_ERROR, Kind.CONNECTION, Kind.TIMEOUT})
_NO_IDENTITY = frozenset({"generic", "html5", "html5mediaembed"})  # extractors that make ids up


@dataclass(frozen=True)
class Fetched:
    """What `fetch` got: the media's path, and the row for it, whose `source_uri` is still empty."""

    media: Path
    download: Download
    attempts: int = 1


def fetch(asked: Asked, settings: DownloadSettings, folder: Path) -> Fetched:
    """Get the video that is `asked` for, with its wanted subtitles, into `folder`, which is this video's alone.

    Takes `settings.timeout_s` at most, once its host has a place free (`settings.per_host`). The whole video comes, a
    wished range is only noted. Raises Rejected, OSError where the disk is full, and guard.Stopped.
    """
    deadline = time.monotonic() + settings.timeout_s
    if urlsplit(asked.url).scheme == "file":
        return _fetch_local(asked, settings, folder)
    with at_host(urlsplit(asked.url).hostname or "", settings.per_host) as host:
        deadline = time.monotonic() + settings.timeout_s
        found, attempts = _try(asked, settings, folder, deadline, host)
        tracks: tuple[SubtitleTrack, ...] = ()
    info = found["info"]
    extractor = info["extractor"]
    media = Path(found["media"])
    download = Download(
        request_key=asked.request.request_key,
        video_id=_video_id(asked.request, extractor, info["id"], found["digest"]),
        uri=asked.request.uri,
        start=asked.request.start,
        end=asked.request.end,
        source_uri="",
        source_bytes=media.stat().st_size,
        source_digest=found["digest"],
        extractor=extractor,
        subtitles=tracks,
        metadata=asked.request.metadata,
        opt_out=found["opt_out"],
        **info["row"],
    )
    return Fetched(media, download, attempts)


def _try(
    asked: Asked, settings: DownloadSettings, folder: Path, deadline: float, host: Host
) -> tuple[dict[str, Any], int]:
    """Up to `settings.attempts` tries of what may pass, with growing pauses; what was found, and in how many tries."""
    ranged = asked.request.start is not None or asked.request.end is not None
    argument = {"url": asked.url, "settings": settings.model_dump(mode="json"), "folder": str(folder), "ranged": ranged}
    for attempt in range(1, settings.attempts + 1):
        found = _in_child("media", argument, deadline, settings)
        failed = found.get("failed")
        kind = Kind(failed["kind"]) if failed else None
        host.ended(kind)
        if not failed or kind is None:
            return found, attempt
        pause = max(settings.retry_wait_s * 2 ** (attempt - 1), failed["retry_after"] or 0.0)
        if kind not in _TRANSIENT or attempt == settings.attempts or time.monotonic() + pause >= deadline:
            tries = f" (tried {attempt} times)" if attempt > 1 else ""
            raise Rejected(kind, failed["message"] + tries)
        time.sleep(pause)
    raise AssertionError("unreachable")


def _in_child(function: str, argument: dict[str, Any], deadline: float, settings: DownloadSettings) -> dict[str, Any]:
    """`curation.extract`'s `function` on `argument` in a guarded child, its death told as a failure like others."""
    left = deadline - time.monotonic()
    try:
        found = guard.call(
            f"curation.extract:{function}",
            argument | {"seconds": left},
            guard.Limits(max(left, 0.0) + 1.0, MEMORY_BYTES, output_bytes=16 * 2**20),
        )
    except guard.TimedOut:
        found = _failed(Kind.TIMEOUT, f"not finished after {settings.timeout_s:g} s (download.timeout_s)")
    except guard.OutOfMemory:
        found = _failed(Kind.OUT_OF_MEMORY, f"yt-dlp wanted more than {MEMORY_BYTES} bytes of memory")
    except (guard.Crashed, guard.Overflowed) as error:
        found = _failed(Kind.CRASHED, redact(str(error)))
    if found.get("failed") == "disk full":
        raise OSError(errno.ENOSPC, "no space left for a download", str(argument.get("folder")))
    return found


def _failed(kind: Kind, message: str) -> dict[str, Any]:
    return {"failed": {"kind": kind.value, "message": message, "retry_after": None}}


def _video_id(request: VideoRequest, extractor: str, identity: str, digest: str) -> str:
    """The site's own id, else the list's, else the content's digest: never what yt-dlp makes up from an URL."""
    if extractor.lower() not in _NO_IDENTITY:
        return video_id_of(extractor, identity, request.start, request.end)
    if request.id is not None:
        return video_id_of("list", request.id, request.start, request.end)
    return video_id_of("content", digest, request.start, request.end)


# --- local files ----------------------------------------------------------------------------------------------------


def _fetch_local(asked: Asked, settings: DownloadSettings, folder: Path) -> Fetched:
    if not asked.request.local:
        raise Rejected(Kind.REFUSED, "a file: URL that was not named on the command line")
    source = Path(unquote(urlsplit(asked.url).path))
    media = folder / f"media{source.suffix.lower()}"
    size = _link(source, media, settings.max_bytes)
    with media.open("rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    download = Download(
        request_key=asked.request.request_key,
        video_id=_video_id(asked.request, "generic", "", found),
        uri=asked.request.uri,
        start=asked.request.start,
        end=asked.request.end,
        source_uri="",
        source_bytes=size,
        source_digest=found,
        title=source.stem,
        metadata=asked.request.metadata,
    )
    return Fetched(media, download)


def _link(source: Path, target: Path, max_bytes: int) -> int:
    """Make `target` the same file as `source`, or a copy where they lie on different disks; its size in bytes."""
    try:
        fd = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        raise Rejected(Kind.NOT_FOUND, f"no file {source}") from None
    except OSError as error:
        raise Rejected(Kind.REFUSED, f"cannot read {source}: {error.strerror}") from None
    with os.fdopen(fd, "rb") as file:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise Rejected(Kind.REFUSED, f"{source} is not a regular file")
        if status.st_size > max_bytes:
            raise Rejected(Kind.TOO_LARGE, f"{status.st_size} bytes; download.max_bytes allows {max_bytes}")
        if not status.st_size:
            raise Rejected(Kind.NO_VIDEO, f"{source} is empty")
        target.unlink(missing_ok=True)
        try:
            os.link(f"/proc/self/fd/{fd}", target, follow_symlinks=True)  # that file, whatever its name is by now
        except OSError:
            with target.open("xb") as copy:
                shutil.copyfileobj(file, copy, 1 << 20)
    return status.st_size
