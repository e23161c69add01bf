"""Choose the picture and the sound of a container."""

from __future__ import annotations

from typing import cast

import av
from av.audio.stream import AudioStream
from av.stream import Disposition

from curation.media.containers import PICTURES, clock_of
from curation.rejects import Kind, Rejected
from curation.settings import MediaSettings


def video_stream(container: av.container.InputContainer, settings: MediaSettings) -> av.video.stream.VideoStream:
    """The video stream of `container`, its size checked; cover art does not count. Raises Rejected."""
    moving = [s for s in container.streams.video if not s.disposition & PICTURES]
    if not moving:
        content = "a still picture" if container.streams.video else "sound" if container.streams.audio else "nothing"
        raise Rejected(Kind.NO_VIDEO, f"it contains {content}, but no video")
    known = [s for s in moving if s.codec_context is not None]
    if not known:
        raise Rejected(Kind.UNSUPPORTED, "its video codec is unknown")
    stream = max(known, key=lambda s: (bool(s.disposition & Disposition.default), s.width * s.height))
    check_size(stream.width, stream.height, settings)
    return stream


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


def sound_stream(container: av.container.InputContainer, video: av.video.stream.VideoStream) -> AudioStream | None:
    """The sound that goes with `video`: of the same programme, if there are several; None if there is none."""
    sound = cast(AudioStream | None, container.streams.best("audio", related=video))
    return sound if sound is not None and sound.codec_context is not None else None
