"""Read untrusted media: give the frames of its picture and its sound in order, on one clean clock.

Everything here runs inside a guarded child (curation/guard). Damage is counted while a source is read and judged at the
end: a reject, or a note on the damage if most of the source is sound.
"""

from __future__ import annotations

import bisect
import heapq
import itertools
import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.audio.stream import AudioStream
from av.stream import Discard

from curation.media.clocks import FileClock, seconds
from curation.media.containers import begin_of, clock_of, format_of, open_media, raise_resource_error
from curation.media.damage import Damage, Extent, reads_all_streams
from curation.media.streams import check_size, sound_stream, video_stream
from curation.rejects import Kind, Rejected
from curation.settings import MediaSettings
from curation.source_clock import ClockJump

_MAX_QUEUED_SOUND_BYTES = 64 << 20  # sound this far ahead of the picture outlasts it, and is dropped
_PACKET_BYTES = 512  # taken by a packet besides its data
_CHECKED_ERRORS = 10  # the first decoding errors are checked for a lack of memory
_FRAMES_IN_FLIGHT = 6
_SOUND_LAG_S = 1.0  # sound is decoded this far behind the picture, whose jumps it follows
_STRAY_S = 1.0  # a packet of sound that is followed by one this much earlier has a stray timestamp
_MOST_REORDERED = 32  # packets that a decoder holds back before it shows their frames
STILL_S = 1.0  # a picture that is shown for longer stands still
BROADCAST = ("mpegts", "mpeg")  # formats whose clocks may be reset at any packet


@dataclass(frozen=True)
class Picture:
    """A decoded frame, `ticks` of the source's time base after the first frame shown."""

    frame: av.VideoFrame
    ticks: int
    time: float


class Source:
    """Reads a video once, from the first to the last frame of a range, along with its sound."""

    def __init__(self, path: Path, settings: MediaSettings) -> None:
        self._settings = settings
        self._path = path
        self.container = open_media(path)
        self.video = video_stream(self.container, path, settings)
        self.audio = sound_stream(self.container, path, self.video)
        everything = reads_all_streams(self.container)
        self._streams = [s for s in self.container.streams if everything or s in (self.video, self.audio)]
        for stream in self.container.streams:
            stream.discard = Discard.default if stream in self._streams else Discard.all
        self.video.codec_context.thread_count = settings.codec_threads
        # Far above the limit, so that frames that are too large are not reported as corrupt; memory is capped anyway.
        self.video.codec_context.options = {"max_pixels": str(4 * settings.max_pixels)}
        self.time_base = clock_of(self.video)
        self._sound_tick = clock_of(self.audio) if self.audio else self.time_base
        self.frame_rate = self.video.average_rate or self.video.guessed_rate or Fraction(25)
        self._aspect = self.video.sample_aspect_ratio
        self._aspect_is_coded = self._aspect == self.video.codec_context.sample_aspect_ratio
        self.damage = Damage()
        self.last_ticks = 1  # for which the last picture of the range is shown; known after it
        self.clock = FileClock(settings.max_gap_s, format_of(self.container) in BROADCAST)
        self._tick_s = float(self.time_base)
        self._step = max(1, round(1 / (self.frame_rate * self.time_base)))  # ticks of a moving picture
        self._ends = 0  # ticks at which the last picture ends
        self._extent = Extent()
        # AVI has no times but the order of decoding: each frame is shown at the earliest that is not taken.
        self._free_times: list[int] | None = [] if format_of(self.container) == "avi" else None  # a heap
        self._sound_packets: deque[tuple[av.Packet[AudioStream], int]] = deque()  # with the clocks they are on
        self._sound_bytes = 0
        self._sound_read = -math.inf  # until when there is sound, on the mended clock
        self._sound_until = 0.0  # until when it was decoded, on the range's clock
        self._zero: int | None = None  # the first frame's timestamp, on the mended clock
        self._zero_s = 0.0
        self.late = 0.0
        """Seconds from the beginning of the file's clock to its first frame, once that is read."""
        self._range_start = 0.0  # seconds from there to the first frame of the range
        self._offset = 0.0  # of the file's timestamps from the mended clock
        self._steps: list[tuple[int, float]] = []  # of that offset: at which ticks, by how many seconds

    @property
    def aspect(self) -> Fraction | None:
        """A pixel's width divided by its height: the container's, else the codec's, which changes at key frames."""
        return self.video.codec_context.sample_aspect_ratio if self._aspect_is_coded else self._aspect

    @property
    def start(self) -> float:
        """When the first frame of the range is shown, in seconds on the file's clock. Known once it is read."""
        return self.late + self._range_start

    @property
    def jumps(self) -> tuple[ClockJump, ...]:
        """The jumps of the file's timestamps, on the range's clock; those before it are at 0. Known once it is read."""
        times = (seconds(ticks, self.time_base) - self._range_start for ticks, _ in self._steps)
        return tuple(ClockJump(max(0.0, time), round(by, 6)) for time, (_, by) in zip(times, self._steps, strict=True))

    def pictures(self, start: float, end: float, marks: Sequence[float] = ()) -> Iterator[Picture]:
        """The frames shown from `start` until `end`, seconds on the file's clock; their ticks begin at 0.

        A picture that stands still is given again, at least every `stride_s` and at each of `marks` (seconds on the
        file's clock).
        """
        first, last = None, 0
        frames = self._in_order()
        if (head := next(frames, None)) is None:  # after which it is known when the picture begins
            return
        start, end = max(0.0, start - self.late), end - self.late
        marks = sorted({start, *(mark - self.late for mark in marks)})
        for frame, ticks, half in self._with_repeats(itertools.chain([head], frames), start, marks):
            if seconds(ticks + half, self.time_base) <= start:
                continue
            if seconds(ticks, self.time_base) >= end:
                self.last_ticks = min(ticks - last, max(self._step, math.ceil(end / self.time_base) - last))
                return
            if first is None:
                first, self._range_start = ticks, seconds(ticks, self.time_base)
            time, last = seconds(ticks - first, self.time_base), ticks
            self._check_rate(time)
            yield Picture(frame, ticks - first, time)
        self.last_ticks = max(1, self._ends - last)

    def _with_repeats(
        self, frames: Iterator[tuple[av.VideoFrame, int]], start: float, marks: Sequence[float]
    ) -> Iterator[tuple[av.VideoFrame, int, float]]:
        """Each frame with its ticks, and half the ticks since the one before; repeats are exact to half a tick."""
        shown: av.VideoFrame | None = None
        last, stood_still = -self._step, False
        for frame, ticks in frames:
            gap = ticks - last
            if shown is not None and gap * self._tick_s > self._settings.stride_s:
                yield from ((shown, between, 0.5) for between in self._repeats(last, ticks, start, marks))
            if gap * self._tick_s <= STILL_S:
                self._step = gap
            else:
                stood_still = True
            yield frame, ticks, gap / 2
            shown, last = frame, ticks
        if shown is not None:
            self._ends = last + self._lasts(shown, last, stood_still)
            if (self._ends - last) * self._tick_s > self._settings.stride_s:
                yield from ((shown, between, 0.5) for between in self._repeats(last, self._ends, start, marks))

    def _repeats(self, last: int, until: int, start: float, marks: Sequence[float]) -> list[int]:
        """The ticks at which the frame at `last` is given again while it is shown, which is `until`."""
        begin, end, stride = last * self._tick_s, until * self._tick_s, self._settings.stride_s
        strides = range(math.floor((begin - start) / stride) + 1, math.ceil((end - start) / stride))
        times = [
            *marks[bisect.bisect(marks, begin) : bisect.bisect(marks, end)],
            *(start + k * stride for k in strides),
        ]
        between = {round(time / self.time_base) for time in times}
        return sorted(ticks for ticks in between if last + self._step / 2 < ticks < until - self._step / 2)

    def _lasts(self, frame: av.VideoFrame, at: int, stood_still: bool) -> int:
        """The ticks for which the last frame is shown, the one `at`.

        In a file whose picture stood still before, it stands still until the sound ends.
        """
        sound = math.ceil((self._sound_read - self._zero_s) / self._tick_s) - at if self.audio else 0
        lasts = max(self._step, sound if stood_still else 0)
        name, stated = format_of(self.container), 0
        if name == "mov":
            stated = frame.duration or 0
        elif name == "avi" and self.video.duration:  # the last chunks may be empty
            stated = self.video.duration - (self._zero or 0) - at
        return max(lasts, min(stated, sound) if self.audio else stated)

    def _in_order(self) -> Iterator[tuple[av.VideoFrame, int]]:
        """The frames with their ticks, which begin at 0 and grow."""
        last, due = -1, 0
        for frame in self._frames():
            check_size(frame.width, frame.height, self._settings)
            self.damage.frames += 1
            self.damage.corrupt += bool(frame.is_corrupt)
            duration = frame.duration or self._step
            due = pts = frame.pts if frame.pts is not None else due
            due += duration
            offset = self.clock.offset(self.clock.picture, pts * self._tick_s, duration * self._tick_s)
            pts -= round(offset / self._tick_s)
            if self._zero is None:
                self._zero, self._zero_s = pts, seconds(pts, self.time_base)
                self.late = max(0.0, self._zero_s - begin_of(self.container))
            if pts - self._zero <= last:
                self.damage.stray += 1
                continue
            last = pts - self._zero
            if offset != self._offset:
                self._steps.append((last, offset - self._offset))
                self._offset = offset
            yield frame, last

    def _check_rate(self, time: float) -> None:
        if time > self._settings.max_duration_s:
            raise Rejected(Kind.TOO_LONG, f"longer than {self._settings.max_duration_s:g} s (media.max_duration_s)")
        if self.damage.frames > self._settings.max_frame_rate * max(1.0, time + self._range_start):
            raise Rejected(
                Kind.UNSUPPORTED, f"more than {self._settings.max_frame_rate:g} frames a second (media.max_frame_rate)"
            )

    def _frames(self) -> Iterator[av.VideoFrame]:
        packets = self.container.demux(self._streams)
        while True:
            try:
                packet = next(packets, None)
            except av.FFmpegError as error:
                raise_resource_error(error)
                self.damage.cut_short = True
                packet = None
            if packet is None:
                break
            is_timed = packet.pts is not None or packet.dts is not None
            if is_timed:
                self._extent.add(packet, packet.stream is self.video)
            if packet.stream is self.audio and packet.size:
                self._keep_sound(packet)
            elif packet.stream is self.video and (packet.size or not is_timed):  # without data: the frame before again
                yield from self._decoded(packet)
        if self.damage.cut_short:
            yield from self._decoded(None)
        self._extent.judge(self.container, self.video, self._path, self.damage)

    def _decoded(self, packet: av.Packet[Any] | None) -> list[av.VideoFrame]:
        free = self._free_times
        if free is not None and packet is not None and packet.dts is not None:
            heapq.heappush(free, packet.dts)
        try:
            frames = list(self.video.codec_context.decode(packet))
        except av.FFmpegError as error:
            raise_resource_error(error)
            self._check_memory()
            self.damage.lost += 1
            if free is not None and packet is not None and packet.dts is not None:
                free.remove(packet.dts)
                heapq.heapify(free)
            return []
        if free is not None:
            for frame in frames:
                frame.pts = heapq.heappop(free) if free else None
            del free[: max(0, len(free) - _MOST_REORDERED)]
            heapq.heapify(free)
        return frames

    def _check_memory(self) -> None:
        """Raise MemoryError if a few frames cannot be allocated: decoders report that as invalid data."""
        if self.damage.lost < _CHECKED_ERRORS:
            np.empty(_FRAMES_IN_FLIGHT * 3 * self.video.width * self.video.height // 2, np.uint8)

    # --- sound ------------------------------------------------------------------------------------------------------

    def _keep_sound(self, packet: av.Packet[Any]) -> None:
        if packet.pts is not None:
            time, duration = seconds(packet.pts, self._sound_tick), seconds(packet.duration or 0, self._sound_tick)
            self._sound_read = time + duration - self.clock.offset(self.clock.sound, time, duration)
        if self._sound_bytes < _MAX_QUEUED_SOUND_BYTES:
            self._sound_packets.append((packet, self.clock.sound.clock))
            self._sound_bytes += packet.size + _PACKET_BYTES

    def sound(self, until: float) -> Iterator[tuple[av.AudioFrame, float]]:
        """The next frames of sound, roughly up to `until`, each with its time (both on the pictures' clock)."""
        while self._sound_packets:
            packet, clock = self._sound_packets[0]
            offset = self.clock.offset_of(clock)
            begins = self._sound_until
            if packet.pts is not None:
                begins = seconds(packet.pts, self._sound_tick) - offset - self._zero_s - self._range_start
            if begins >= until - _SOUND_LAG_S and not self._is_stray(packet, offset):
                break
            self._sound_packets.popleft()
            self._sound_bytes -= packet.size + _PACKET_BYTES
            _move(packet, -round(offset / self._sound_tick))
            try:
                frames = packet.decode()
            except av.FFmpegError as error:
                raise_resource_error(error)
                self.damage.sound += 1
                continue
            for frame in frames:
                yield frame, self._sound_time(frame)

    def drop_sound(self) -> None:
        """Forget the sound that was read so far, if the pictures alone are of interest."""
        self._sound_packets.clear()
        self._sound_bytes = 0

    def _is_stray(self, packet: av.Packet[Any], offset: float) -> bool:
        ends = seconds(packet.pts or 0, self._sound_tick) - offset
        return self._sound_read < ends - _STRAY_S

    def _sound_time(self, frame: av.AudioFrame) -> float:
        time = self._sound_until
        if frame.pts is not None:
            time = seconds(frame.pts, clock_of(frame)) - self._zero_s - self._range_start
        self._sound_until = time + frame.samples / frame.sample_rate
        return time


def _move(packet: av.Packet[Any], ticks: int) -> None:
    """Move the timestamps of a packet."""
    if ticks:
        packet.pts = None if packet.pts is None else packet.pts + ticks
        packet.dts = None if packet.dts is None else packet.dts + ticks
