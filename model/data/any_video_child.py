"""Read the frames of a video that are shown at given times: the functions that a guarded child runs.

Decoding begins at the key frame before each time where that surely gives the same frames as decoding from the
beginning, which is what the single pass does: the container has an index and its clock does not jump, and nothing on
the way is interlaced or damaged. Otherwise everything up to the last time is decoded.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO, cast

import av
import cv2
import numpy as np
from pydantic import TypeAdapter

from curation.media.clocks import FileClock
from curation.media.containers import begin_of, clock_of, format_of, raise_resource_error
from curation.media.decode import BROADCAST, STILL_S, Source
from curation.media.file_sizes import missing_bytes
from curation.media.geometry import Geometry
from curation.media.pictures import Deinterlacer, Scaler
from curation.media.streams import declared_duration
from curation.rejects import Kind, Rejected
from curation.settings import MediaSettings

_INDEXED = ("mov", "matroska")  # formats with an index of key frames


# --- the tasks, which cross to the child as JSON ---------------------------------------------------------------------


@dataclass(frozen=True)
class MeasureTask:
    """Find out how long the video at `path` is."""

    path: Path
    settings: MediaSettings


@dataclass(frozen=True)
class Length:
    """Until when the picture of a video is shown, in seconds on the file's clock."""

    end: float


@dataclass(frozen=True)
class ReadTask:
    """Write the frames of the video at `path` that are shown at `times` (seconds, in order) to `out`, in RGB.

    They have at most `settings.lines` lines, unless their shorter side would then have fewer than `side` pixels.
    """

    path: Path
    times: tuple[float, ...]
    side: int
    settings: MediaSettings
    out: Path


@dataclass(frozen=True)
class Pictures:
    """The frames in the file, uint8 [T, height, width, 3], and when each begins to be shown, in seconds."""

    height: int
    width: int
    times: tuple[float, ...]


# --- how long a video is ---------------------------------------------------------------------------------------------


def measure(argument: dict[str, Any]) -> Length:
    task = TypeAdapter(MeasureTask).validate_python(argument)
    source = Source(task.path, task.settings)
    with source.container:
        video, begin = source.video, begin_of(source.container)
        stated = declared_duration(source.container, video)
        if stated is None or format_of(source.container) in BROADCAST:  # which state none
            return Length(_last_end(source, task.settings) - begin)
        late = float((video.start_time or 0) * source.time_base) - begin if video.duration else 0.0
        return Length(max(0.0, late) + stated)


def _last_end(source: Source, settings: MediaSettings) -> float:
    """When the last picture ends, on the mended clock, by reading all packets. Raises Rejected if there is none."""
    clock, end = FileClock(settings.max_gap_s, format_of(source.container) in BROADCAST), None
    usual = float(1 / source.frame_rate)
    try:
        for packet in source.container.demux([s for s in (source.video, source.audio) if s is not None]):
            if packet.pts is None or not packet.size:
                continue
            is_picture, tick = packet.stream is source.video, float(packet.time_base)
            duration = (packet.duration or 0) * tick or usual
            decoded = (packet.pts if packet.dts is None else packet.dts) * tick
            offset = clock.offset(clock.picture if is_picture else clock.sound, decoded, duration)
            if is_picture:
                end = max(end or 0.0, packet.pts * tick - offset + duration)
    except av.FFmpegError as error:  # the file ends here, as far as it can be read
        raise_resource_error(error)
    if end is None:
        raise Rejected(Kind.CORRUPT, "it contains no picture")
    return end


# --- its frames ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Frame:
    """A decoded frame, when it begins to be shown (seconds on the file's clock), and the aspect of its pixels."""

    frame: av.VideoFrame
    time: float
    aspect: Fraction | None


class Unsure(Exception):
    """Frames that are sought may not be those that decoding from the beginning gives."""


def read(argument: dict[str, Any]) -> Pictures:
    task = TypeAdapter(ReadTask).validate_python(argument)
    try:
        return read_by(seek, task)
    except (Unsure, av.FFmpegError) as error:
        if isinstance(error, av.FFmpegError):
            raise_resource_error(error)
    try:
        return read_by(decode_all, task)
    except av.FFmpegError as error:
        raise_resource_error(error)
        raise Rejected(Kind.UNSUPPORTED, f"it can be read, but not converted: {error}") from None


def read_by(frames_at: Callable[[Source, ReadTask], Iterator[_Frame]], task: ReadTask) -> Pictures:
    """Write the frames that `frames_at`, which is `seek` or `decode_all`, gives for `task`. Raises as it does."""
    source = Source(task.path, task.settings)
    with source.container, task.out.open("r+b") as out:
        return _write(frames_at(source, task), task, out)


def _write(frames: Iterable[_Frame], task: ReadTask, out: BinaryIO) -> Pictures:
    """Write all but the first of `frames`, which is that of the video and decides on size and colours."""
    painter, times = None, []
    for frame in frames:
        if painter is None:
            painter = _Painter(frame, task)
            continue
        out.write(painter.rgb(frame).tobytes())
        times.append(frame.time)
    if painter is None:
        raise Rejected(Kind.CORRUPT, "not one frame can be decoded")
    out.truncate()
    return Pictures(painter.height, painter.width, tuple(times))


class _Painter:
    """Turns frames into pictures as the single pass does: upright, with square pixels, in SDR, all of one size."""

    def __init__(self, first: _Frame, task: ReadTask) -> None:
        self._geometry = geometry = Geometry(first.frame, first.aspect)
        tall = max(1.0, geometry.height / geometry.width)
        self.width, self.height = geometry.size_for_height(max(task.settings.lines, round(task.side * tall)))
        self._scaler = Scaler(geometry, (self.width, self.height), "bgr24")
        self._scaler.scale(first.frame)

    def rgb(self, frame: _Frame) -> np.ndarray:
        """uint8 [height, width, 3]."""
        self._geometry.aspect = frame.aspect
        return cv2.cvtColor(self._scaler.scale(frame.frame).to_ndarray(), cv2.COLOR_BGR2RGB)


# --- decoding all of it ----------------------------------------------------------------------------------------------


def decode_all(source: Source, task: ReadTask) -> Iterator[_Frame]:
    """The first frame of the video, and then that shown at each of the times. Raises Rejected for too much damage.

    Past the end that is the last frame, unless much of what the header states is missing. Holds two frames.
    """
    due, shown = 0, None
    for frame in _deinterlaced(source):
        if shown is None:
            yield frame
        while due < len(task.times) and task.times[due] < frame.time:
            yield shown or frame
            due += 1
        shown = frame
        if due == len(task.times):
            break
    source.damage.judge(task.settings, source.clock.jumps)
    if shown is not None:
        yield from (shown for _ in task.times[due:])


def _deinterlaced(source: Source) -> Iterator[_Frame]:
    """All frames of a source, in order."""
    deinterlacer, aspect = Deinterlacer(source.video), None
    is_first = True
    for picture in itertools.chain(source.pictures(0.0, float("inf")), (None,)):
        source.drop_sound()
        if picture is not None:
            picture.frame.pts, picture.frame.time_base = picture.ticks, source.time_base
        for frame in deinterlacer.feed(None if picture is None else picture.frame):
            if is_first or frame.key_frame:
                aspect, is_first = source.aspect, False
            yield _Frame(frame, source.start + float(cast(int, frame.pts) * clock_of(frame)), aspect)


# --- seeking ---------------------------------------------------------------------------------------------------------


def seek(source: Source, task: ReadTask) -> Iterator[_Frame]:
    """What `decode_all` gives, decoding only the groups of pictures that are needed.

    Raises Unsure, and errors of av, where only that can tell.
    """
    name = format_of(source.container)
    if name not in _INDEXED or missing_bytes(task.path, name):
        raise Unsure
    sought = _Sought(source, task.settings.max_gap_s)
    yield sought.first
    yield from map(sought.at, task.times)


class _Sought:
    """The frames of a video by the time at which they are shown. Holds two."""

    def __init__(self, source: Source, max_gap_s: float) -> None:
        self._source, self._container, self._video = source, source.container, source.video
        first = next(self._decoded(from_key=False), None)
        if first is None or first.pts is None:
            raise Unsure
        self._zero = first.pts
        self._late = max(0.0, float(first.pts * source.time_base) - begin_of(self._container))
        self.first = self._checked(first, None)
        self._container.seek(first.pts, stream=self._video)  # which reads the index of Matroska
        self._index = self._video.index_entries
        self._check_index(max_gap_s)
        self._shown: _Frame | None = None
        self._following: _Frame | None = None

    def _check_index(self, max_gap_s: float) -> None:
        """Raises Unsure if the clock may jump, or if the index is not that of the whole file."""
        longest, last = max_gap_s / self._source.time_base, None
        for entry in self._index:
            if last is not None and not (0 < entry.timestamp - last.timestamp <= longest and last.pos <= entry.pos):
                raise Unsure
            last = entry
        stated = declared_duration(self._container, self._video)
        if last is None or stated is None:
            raise Unsure
        if self._zero + stated / self._source.time_base - last.timestamp > longest:
            raise Unsure

    def at(self, time: float) -> _Frame:
        """The frame shown at `time`, which must not be before that of the last call. Raises Unsure."""
        tick = self._zero + max(0, int((time - self._late) / self._source.time_base))
        shown = self._shown
        if shown is None or self._key_before(tick) > self._key_before(cast(int, shown.frame.pts)):
            shown = self._seek(tick)
        while self._following is not None and self._following.time <= time:
            shown, self._following = self._following, self._take(self._following)
        if self._following is None and time > shown.time + STILL_S:
            raise Unsure
        self._shown = shown
        return shown

    def _key_before(self, tick: int) -> int:
        """The place in the index of the last key frame that is decoded by `tick`; -1 if there is none."""
        return self._index.search_timestamp(tick)

    def _seek(self, tick: int) -> _Frame:
        """Go to the last key frame that is shown by `tick`. The index has times of decoding, which are earlier."""
        goal = tick
        while (place := self._key_before(goal)) >= 0:
            self._container.seek(goal, stream=self._video)
            self._frames = self._decoded(from_key=True)
            found = self._take(None)
            if found is not None and cast(int, found.frame.pts) <= tick:
                self._following = self._take(found)
                return found
            goal = self._index[place].timestamp - 1
        raise Unsure

    def _decoded(self, from_key: bool) -> Iterator[av.VideoFrame]:
        """The frames that are read next. With `from_key`, without those before the key frame that reading begins with.

        These may refer to what was not read.
        """
        key: int | None = None
        for packet in self._container.demux(self._video):
            if from_key and key is None:
                key = packet.pts
                if key is None or not packet.is_keyframe:
                    raise Unsure
            if packet.size or (packet.pts is None and packet.dts is None):  # as Source does
                frames = self._video.codec_context.decode(packet)
                yield from (frame for frame in frames if key is None or frame.pts is None or frame.pts >= key)

    def _take(self, last: _Frame | None) -> _Frame | None:
        """The next frame, which comes after `last`; None at the end. Raises Unsure."""
        frame = next(self._frames, None)
        return None if frame is None else self._checked(frame, last)

    def _checked(self, frame: av.VideoFrame, last: _Frame | None) -> _Frame:
        if frame.pts is None or frame.is_corrupt or frame.interlaced_frame:
            raise Unsure
        if last is not None and frame.pts <= cast(int, last.frame.pts):
            raise Unsure
        aspect = self._source.aspect if last is None or frame.key_frame else last.aspect
        return _Frame(frame, self._late + float((frame.pts - self._zero) * self._source.time_base), aspect)
