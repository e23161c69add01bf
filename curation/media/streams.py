"""Choose the picture and the sound of a container."""

from __future__ import annotations

import re
from pathlib import Path
from typing import cast

import av
from av.audio.stream import AudioStream
from av.stream import Disposition

from curation.media.containers import PICTURES, clock_of, format_of
from curation.media.encryption import is_encrypted
from curation.media.identify import ENCRYPTED, check_init_segment
from curation.rejects import Kind, Rejected
from curation.settings import MediaSettings

_PREVIEW = 0.5  # a track shorter than this share of the longest one is a preview


def video_stream(
    container: av.container.InputContainer, path: Path, settings: MediaSettings
) -> av.video.stream.VideoStream:
    """The video stream of the container at `path`, its size checked; cover art does not count. Raises Rejected.

    Of several it is the default one, else the largest, unless it is a preview: one much shorter than the longest.
    """
    moving = [s for s in container.streams.video if not s.disposition & PICTURES]
    if not moving:
        content = "a still picture" if container.streams.video else "sound" if container.streams.audio else "nothing"
        raise Rejected(Kind.NO_VIDEO, f"it contains {content}, but no video")
    longest = max(_duration(container, stream) for stream in moving)
    moving = [s for s in moving if _duration(container, s) >= _PREVIEW * longest]
    known = [s for s in moving if s.codec_context is not None] or moving
    stream = max(known, key=lambda s: (bool(s.disposition & Disposition.default), _pixels(s)))
    if is_encrypted(path, container, stream):
        raise Rejected(Kind.UNSUPPORTED, ENCRYPTED)
    if stream.codec_context is None:
        raise Rejected(Kind.UNSUPPORTED, "its video codec is unknown")
    if not stream.frames and format_of(container) == "mov":
        with path.open("rb") as file:
            check_init_segment(file)
    check_size(stream.width, stream.height, settings)
    return stream


def _pixels(stream: av.video.stream.VideoStream) -> int:
    return stream.width * stream.height if stream.codec_context is not None else 0


def _duration(container: av.container.InputContainer, stream: av.video.stream.VideoStream) -> float:
    """Seconds of `stream` if stated, in Matroska by a tag; else those of the container."""
    stated = re.fullmatch(r"(\d+):(\d\d):(\d\d(?:\.\d{1,9})?)", stream.metadata.get("DURATION", ""))
    if stated and (stream.duration or 0) <= 0:
        return int(stated[1]) * 3600 + int(stated[2]) * 60 + float(stated[3])
    return declared_duration(container, stream) or 0.0


def check_size(width: int, height: int, settings: MediaSettings) -> None:
    """Raises Rejected for frames of more than `media.max_pixels`."""
    if width * height > settings.max_pixels:
        raise Rejected(
            Kind.TOO_LARGE, f"frames of {width}x{height} pixels, media.max_pixels allows {settings.max_pixels}"
        )


def declared_duration(container: av.container.InputContainer, stream: av.video.stream.VideoStream) -> float | None:
    """Seconds of video, according to the container's header; None if it states no duration."""
    if stream.duration and stream.duration > 0:
        return float(stream.duration * clock_of(stream))
    return container.duration / av.time_base if container.duration and container.duration > 0 else None


def sound_stream(
    container: av.container.InputContainer, path: Path, video: av.video.stream.VideoStream
) -> AudioStream | None:
    """The sound that goes with `video`: of the same programme, if there are several; None if it has none.

    Raises Rejected (UNSUPPORTED) if the sound is encrypted.
    """
    sound = cast(AudioStream | None, container.streams.best("audio", related=video))
    if sound is not None and is_encrypted(path, container, sound):
        raise Rejected(Kind.UNSUPPORTED, f"its sound is {ENCRYPTED}")
    return sound if sound is not None and sound.codec_context is not None else None
