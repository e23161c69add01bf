"""Open untrusted media: only containers that hold their media themselves, so that no parser opens anything else.

Playlists, manifests, concat lists, SDP, image patterns, subtitle indexes and the like are formats too, and what they
name is opened by the library that reads them: a file of this machine, or a host. Everything that opens media, anywhere
in this project, opens it here.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import av
from av.stream import Disposition

from curation.media.identify import check_unreadable, identify
from curation.rejects import Kind, Rejected

FORMATS = (
    *("mov", "matroska", "avi", "mpegts", "mpeg", "flv", "asf", "ogg", "mxf", "ivf", "nut", "gif", "rm", "dv"),
    *("mp3", "wav", "flac", "aac"),  # sound, so that it is called sound
)
"""FFmpeg's names of the demuxers that may be used; for those with several names, the first."""
WHITELISTS = {"format_whitelist": ",".join(FORMATS), "protocol_whitelist": "file"}
"""Options for every FFmpeg library and program that opens media."""
PICTURES = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image


@dataclass(frozen=True)
class Contents:
    """A container: FFmpeg's name of its format, its duration in seconds if stated, and what it holds.

    `video` is a moving picture, `pictures` are still ones, such as cover art; `audio` is the codec of the first sound.
    """

    format: str
    duration: float | None
    video: bool
    pictures: bool
    audio: str | None


def open_media(source: Path | BinaryIO) -> av.container.InputContainer:
    """The container at a path or in an open file, which may open nothing else.

    Raises Rejected (UNREADABLE, UNSUPPORTED).
    """
    if isinstance(source, Path) and not source.is_file():  # a pipe would block
        raise Rejected(Kind.UNREADABLE, "it is not a regular file" if source.exists() else "no such file")
    if isinstance(source, Path) and source.stat().st_size == 0:
        raise Rejected(Kind.UNREADABLE, "the file is empty")
    file = f"file:{source.absolute()}" if isinstance(source, Path) else source
    try:
        return av.open(file, mode="r", options=dict(WHITELISTS), metadata_errors="replace")
    except av.FFmpegError as error:
        raise_resource_error(error)
        what = _what_is(source)
        if error.errno in (errno.EINVAL, errno.EPERM):
            why = what or f"not a supported container ({','.join(FORMATS)})"
            raise Rejected(Kind.UNSUPPORTED, why) from None
        raise Rejected(Kind.UNREADABLE, what or f"not media: {error.strerror}") from None


def _what_is(source: Path | BinaryIO) -> str | None:
    """What cannot be opened, such as "it is a web page". Raises Rejected for a part of a video."""
    if isinstance(source, Path):
        with source.open("rb") as file:
            return _what_is(file)
    check_unreadable(source)
    what = identify(source)
    return what and f"it is {what}"


def format_of(container: av.container.InputContainer) -> str:
    """FFmpeg's name of the container's format, the first if there are several: one of FORMATS."""
    return container.format.name.partition(",")[0]


def contents_of(path: Path) -> Contents:
    """What the container at `path` holds, by its header. Raises Rejected as `open_media` does."""
    with open_media(path) as container:
        moving = [s for s in container.streams.video if not s.disposition & PICTURES]
        sound = [s.codec_context for s in container.streams.audio[:1]]
        return Contents(
            format=format_of(container),
            duration=container.duration / av.time_base if container.duration else None,
            video=bool(moving),
            pictures=len(moving) < len(container.streams.video),
            audio=sound[0].name if sound and sound[0] is not None else None,
        )


def begin_of(container: av.container.InputContainer) -> float:
    """Where the file's clock begins, as players show it, in seconds of its timestamps: with its picture or its sound.

    Sound before 0 is what its decoder needs to begin, and is not played.
    """
    streams = [*(s for s in container.streams.video if not s.disposition & PICTURES), *container.streams.audio]
    starts = [float(s.start_time * s.time_base) for s in streams if s.start_time is not None and s.time_base]
    return max(0.0, min(starts, default=0.0))


def clock_of(part: av.stream.Stream | av.frame.Frame) -> Fraction:
    """The seconds of a tick of a stream's or a frame's timestamps. Raises Rejected if it has none."""
    if part.time_base is None:
        raise Rejected(Kind.CORRUPT, "its timestamps have no unit")
    return part.time_base


def raise_resource_error(error: av.FFmpegError) -> None:
    """Raise errors that are not the media's fault: no memory, no disk space."""
    if error.errno == errno.ENOMEM:
        raise MemoryError(str(error)) from None
    if error.errno == errno.ENOSPC:
        raise error
