"""Reads a clip's frames from stored media, and notices where it is damaged.

With PyAV, since torchcodec does not tell which frames were decoded with errors; both take as long.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import BinaryIO, cast

import av
import numpy as np
import torch
from av.video.stream import VideoStream

from curation.errors import one_line
from curation.media.containers import clock_of, open_media
from curation.rejects import Rejected

INSIDE_S = 1e-6  # times stay this far from a boundary, so that rounding cannot move them across it


class BrokenMedia(Exception):
    """Stored media is missing or cannot be decoded; the message is one line."""


@dataclass(frozen=True)
class Frames:
    """Frames of a video: `pixels` uint8 [T, 3, H, W] (in memory [T, H, W, 3]), and `times` [T]: their starts, in s."""

    pixels: torch.Tensor
    times: list[float]


def sample_times(start: float, end: float, count: int, random: Random | None = None) -> list[float]:
    """A time in each of `count` equal parts of a clip: the middle, or a random one (stratified sampling).

    >>> sample_times(start=10.0, end=18.0, count=4)
    [11.0, 13.0, 15.0, 17.0]
    """
    part = (end - start) / count
    times = (start + part * (i + (random.random() if random else 0.5)) for i in range(count))
    return [min(max(time, start + INSIDE_S), end - INSIDE_S) for time in times]


def read_frames(media: Path | BinaryIO, times: Sequence[float]) -> Frames:
    """The frames shown at `times` (seconds, in order; past the end, the last frame).

    Decodes only the groups of pictures that hold them. Raises BrokenMedia, also for a frame that was decoded with
    errors, which a decoder conceals, or that was made from such a frame.
    """
    try:
        return _read(media, times)
    except Rejected as error:
        raise BrokenMedia(error.message) from error
    except (av.FFmpegError, OSError, ValueError) as error:
        raise BrokenMedia(one_line(error, 300)) from error


def _read(media: Path | BinaryIO, times: Sequence[float]) -> Frames:
    pixels, starts = [], []
    with open_media(media) as container:
        shown = _Shown(container)
        for time in times:
            frame = shown.at(time)
            pixels.append(frame.to_ndarray(format="rgb24"))
            starts.append(float(_tick(frame) * shown.clock))
    return Frames(torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2), starts)


class _Shown:
    """The frames of a video by the time at which they are shown. Seeks to the next key frame before it, if known."""

    def __init__(self, container: av.container.InputContainer) -> None:
        video = cast(VideoStream | None, container.streams.best("video"))
        if video is None or video.codec_context is None:
            raise ValueError("it contains no video that can be decoded")
        self.video, self.clock = video, clock_of(video)
        self._container = container
        video.codec_context.thread_count = 1
        self._keys = [entry.timestamp for entry in video.index_entries if entry.is_keyframe]
        self._begin = video.start_time or 0
        self._end = None if video.duration is None else self._begin + video.duration
        self._step = 1 / ((video.average_rate or 25) * self.clock)
        self._decoded = self._decode()
        self._frame: av.VideoFrame | None = None
        self._damaged = False  # since the last key frame

    def at(self, time: float) -> av.VideoFrame:
        """The frame shown at `time`, which must not be before that of the last call.

        Raises ValueError, also for one that is damaged.
        """
        tick = int(time / self.clock)
        tick = tick if self._end is None else min(tick, self._end - 1)
        frame = self._frame
        if frame is None or bisect_right(self._keys, tick) > bisect_right(self._keys, _tick(frame)):
            frame = self._sought(tick)
            if frame is not None and _tick(frame) > tick > self._begin:
                frame = self._sought(self._begin)  # some containers cannot find a place in the middle
        while frame is None or self._ends(frame) <= tick:
            following = self._next()
            if following is not None:
                frame = following
                continue
            if frame is None or self._end is not None:
                raise ValueError(f"the media ends before {time:g} s")
            break
        self._frame = frame
        if self._damaged:
            raise ValueError(f"the frame at {time:g} s is damaged")
        return frame

    def _sought(self, tick: int) -> av.VideoFrame | None:
        self._container.seek(tick, stream=self.video)
        self._decoded = self._decode()
        return self._next()

    def _decode(self) -> Iterator[av.VideoFrame]:
        for packet in self._container.demux(self.video):
            if packet.size or packet.pts is None:  # an empty one repeats the last frame, unless it is the end
                yield from self.video.decode(packet)

    def _next(self) -> av.VideoFrame | None:
        frame = next((frame for frame in self._decoded if frame.pts is not None), None)
        if frame is not None:
            self._damaged = bool(frame.is_corrupt) or (self._damaged and not frame.key_frame)
        return frame

    def _ends(self, frame: av.VideoFrame) -> float:
        return float(_tick(frame) + (frame.duration or self._step))


def _tick(frame: av.VideoFrame) -> int:
    return cast(int, frame.pts)  # those without are left out
