"""Read untrusted media: choose its streams, and give its frames in order on one clean clock.

Everything here runs inside a guarded child (curation/guard). Damage is counted while a source is read and judged at the
end: a reject, or a note on the damage if most of the source is sound.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
from av.audio.stream import AudioStream
from av.stream import Discard, Disposition

from curation.media.containers import PICTURES, clock_of, open_media, raise_resource_error
from curation.rejects import Kind, Rejected
from curation.settings import MediaSettings

_MAX_QUEUED_SOUND_BYTES = 16 << 20  # sound this far ahead of the picture outlasts it, and is dropped
_DURATION_IN_HEADER = ("matroska,webm", "flv", "asf")  # others state a number of frames, or ffmpeg estimates it
_ROUNDING = 0.02  # relative error of such a duration that may be due to rounding
_CHECKED_ERRORS = 10  # the first decoding errors are checked for a lack of memory
_FRAMES_IN_FLIGHT = 6
_BACKWARDS_S = 1.0  # a smaller step back is a stray timestamp, a larger one a new clock
_SOUND_LAG_S = 1.0  # sound is decoded this far behind the picture, which detects jumps between timestamps


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


# --- clocks ---------------------------------------------------------------------------------------------------------


@dataclass
class Clock:
    """Removes jumps between a stream's timestamps. `jumps` are their sizes, in seconds.

    >>> clock = Clock(max_gap=5.0)
    >>> [time - clock.offset(time, duration=1.0) for time in (0.0, 1.0, 36_002.0, 36_003.0)]
    [0.0, 1.0, 2.0, 3.0]
    >>> clock.jumps
    [36000.0]
    """

    max_gap: float
    leader: Clock | None = None  # the picture's clock, whose jumps the sound copies exactly
    jumps: list[float] = field(default_factory=list)
    _offset: float = 0.0
    _due: float | None = None  # when the next timestamp is due, on the source's clock

    def offset(self, time: float, duration: float) -> float:
        """Seconds to subtract from `time`, a timestamp of the source, whose frame lasts `duration`."""
        jump = 0.0 if self._due is None else time - self._due
        if jump > self.max_gap or jump < -_BACKWARDS_S:
            leading = self.leader.jumps[len(self.jumps) :][:1] if self.leader else []
            if leading and abs(leading[0] - jump) < self.max_gap / 2:
                jump = leading[0]
            self.jumps.append(jump)
            self._offset += jump
        self._due = time + duration
        return self._offset


# --- reading --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Picture:
    """A decoded frame, `ticks` of the source's time base after the first frame shown."""

    frame: av.VideoFrame
    ticks: int
    time: float


@dataclass
class Damage:
    """The damage counted while a source was read."""

    frames: int = 0  # decoded
    lost: int = 0  # packets that cannot be decoded
    corrupt: int = 0  # frames that were decoded with errors
    stray: int = 0  # frames dropped for their timestamps
    sound: int = 0  # packets of sound that cannot be decoded
    missing: float = 0.0  # share of the frames or duration stated in the header
    cut_short: bool = False  # reading ended with an error

    def judge(self, settings: MediaSettings, jumps: list[float]) -> str | None:
        """The note on the damage, or None. Raises Rejected if too much of the source is damaged."""
        if self.missing > settings.max_damage:
            raise Rejected(Kind.TRUNCATED, f"{self.missing:.0%} of the video that its header states is missing")
        if self.frames == 0:
            raise Rejected(Kind.CORRUPT, "not one frame can be decoded")
        share = (self.lost + self.corrupt + self.stray) / (self.frames + self.lost)
        if share > settings.max_damage:
            raise Rejected(Kind.CORRUPT, f"{share:.0%} of its frames are damaged or have no usable timestamp")
        notes = [
            f"{self.missing:.1%} missing at the end"
            if self.missing > 0
            else "reading ended early"
            if self.cut_short
            else "",
            f"{self.lost + self.corrupt} damaged frames" if self.lost + self.corrupt else "",
            f"{self.stray} frames dropped for their timestamps" if self.stray else "",
            f"{self.sound} damaged packets of sound" if self.sound else "",
            f"timestamps jump by {', '.join(f'{jump:g}' for jump in jumps[:5])} s" if jumps else "",
        ]
        return "; ".join(note for note in notes if note) or None


class Source:
    """Reads a video once, from the first to the last frame of a range, along with its sound."""

    def __init__(self, path: Path, settings: MediaSettings) -> None:
        self._settings = settings
        self.container = open_media(path)
        self.video = video_stream(self.container, settings)
        self.audio = cast(AudioStream | None, self.container.streams.best("audio"))
        if self.audio is not None and self.audio.codec_context is None:
            self.audio = None
        for stream in self.container.streams:
            stream.discard = Discard.default if stream in (self.video, self.audio) else Discard.all
        self.video.codec_context.thread_count = settings.codec_threads
        # Far above the limit, so that frames that are too large are not reported as corrupt; memory is capped anyway.
        self.video.codec_context.options = {"max_pixels": str(4 * settings.max_pixels)}
        self.time_base = clock_of(self.video)
        self.frame_rate = self.video.average_rate or self.video.guessed_rate or Fraction(25)
        self._aspect = self.video.sample_aspect_ratio
        self._aspect_is_coded = self._aspect == self.video.codec_context.sample_aspect_ratio
        self.damage = Damage()
        self.clock = Clock(settings.max_gap_s)
        self._sound_clock = Clock(settings.max_gap_s, leader=self.clock)
        self._sound_packets: deque[av.Packet[AudioStream]] = deque()
        self._sound_bytes = 0
        self._sound_until = 0.0
        self._zero: int | None = None  # the first frame's timestamp
        self._range_start = 0.0  # seconds from there to the first frame of the range
        self._packets = 0
        self._reached = 0.0

    @property
    def aspect(self) -> Fraction | None:
        """A pixel's width divided by its height: the container's, else the codec's, which changes at key frames."""
        return self.video.codec_context.sample_aspect_ratio if self._aspect_is_coded else self._aspect

    def pictures(self, start: float, end: float) -> Iterator[Picture]:
        """The frames shown from `start` until `end`, seconds after the first frame; their ticks begin at 0."""
        last, due = -1, 0
        first: int | None = None
        step = max(1, round(1 / (self.frame_rate * self.time_base)))
        for frame in self._frames():
            check_size(frame.width, frame.height, self._settings)
            self.damage.frames += 1
            self.damage.corrupt += bool(frame.is_corrupt)
            duration = frame.duration or step
            due = pts = frame.pts if frame.pts is not None else due
            due += duration
            if self._zero is None:
                self._zero = pts
            pts -= self._zero
            offset = self.clock.offset(float(pts * self.time_base), float(duration * self.time_base))
            ticks = pts - round(offset / self.time_base)
            if ticks <= last:
                self.damage.stray += 1
                continue
            half = (ticks - last if last >= 0 else step) / 2
            last = ticks
            if (ticks + half) * self.time_base <= start:
                continue
            if ticks * self.time_base >= end:
                return
            if first is None:
                first, self._range_start = ticks, float(ticks * self.time_base)
            self._check_rate(last - first)
            yield Picture(frame, ticks - first, float((ticks - first) * self.time_base))

    def _check_rate(self, ticks: int) -> None:
        seconds = float(ticks * self.time_base)
        if seconds > self._settings.max_duration_s:
            raise Rejected(Kind.TOO_LONG, f"longer than {self._settings.max_duration_s:g} s (media.max_duration_s)")
        if self.damage.frames > self._settings.max_frame_rate * max(1.0, seconds + self._range_start):
            raise Rejected(
                Kind.UNSUPPORTED, f"more than {self._settings.max_frame_rate:g} frames a second (media.max_frame_rate)"
            )

    def _frames(self) -> Iterator[av.VideoFrame]:
        streams = [self.video] if self.audio is None else [self.video, self.audio]
        packets = self.container.demux(streams)
        while True:
            try:
                packet = next(packets, None)
            except av.FFmpegError as error:
                raise_resource_error(error)
                self.damage.cut_short = True
                packet = None
            if packet is None:
                break
            if packet.pts is not None:
                self._reached = max(self._reached, float((packet.pts + (packet.duration or 0)) * packet.time_base))
            if packet.stream is self.audio:
                self._keep_sound(packet)
                continue
            self._packets += packet.size > 0
            yield from self._decoded(packet)
        if self.damage.cut_short:
            yield from self._decoded(None)
        self._count_missing()

    def _decoded(self, packet: av.Packet[Any] | None) -> list[av.VideoFrame]:
        try:
            return list(self.video.codec_context.decode(packet))
        except av.FFmpegError as error:
            raise_resource_error(error)
            self._check_memory()
            self.damage.lost += 1
            return []

    def _check_memory(self) -> None:
        """Raise MemoryError if a few frames cannot be allocated: decoders report that as invalid data."""
        if self.damage.lost < _CHECKED_ERRORS:
            np.empty(_FRAMES_IN_FLIGHT * 3 * self.video.width * self.video.height // 2, np.uint8)

    def _count_missing(self) -> None:
        """Compare the packets read with the header, since a truncated file ends without an error."""
        container = self.container
        if self.video.frames > 0:
            self.damage.missing = max(0.0, 1 - self._packets / self.video.frames)
        elif container.format.name in _DURATION_IN_HEADER and container.duration:
            missing = 1 - self._reached * av.time_base / container.duration
            self.damage.missing = missing if missing > _ROUNDING else 0.0

    # --- sound ------------------------------------------------------------------------------------------------------

    def _keep_sound(self, packet: av.Packet[Any]) -> None:
        if packet.size and self._sound_bytes < _MAX_QUEUED_SOUND_BYTES:
            self._sound_packets.append(packet)
            self._sound_bytes += packet.size

    def sound(self, until: float) -> Iterator[tuple[av.AudioFrame, float]]:
        """The next frames of sound, roughly up to `until`, each with its time (both on the pictures' clock)."""
        while self._sound_packets and self._sound_until < until - _SOUND_LAG_S:
            packet = self._sound_packets.popleft()
            self._sound_bytes -= packet.size
            try:
                frames = packet.decode()
            except av.FFmpegError as error:
                raise_resource_error(error)
                self.damage.sound += 1
                continue
            for frame in frames:
                yield frame, self._sound_time(frame)

    def _sound_time(self, frame: av.AudioFrame) -> float:
        duration = frame.samples / frame.sample_rate
        if frame.pts is None:
            time = self._sound_until
        else:
            zero = float((self._zero or 0) * self.time_base)
            source_time = float(frame.pts * clock_of(frame)) - zero
            time = source_time - self._sound_clock.offset(source_time, duration) - self._range_start
        self._sound_until = time + duration
        return time
