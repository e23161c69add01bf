"""Reads a clip's frames from stored media with torchcodec, or with PyAV where it is absent: the same pixels."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, BinaryIO

import av
import numpy as np
import torch

try:
    from torchcodec.decoders import VideoDecoder
except (ImportError, OSError, RuntimeError):  # torchcodec or FFmpeg's libraries are not installed
    VideoDecoder = None  # type: ignore[assignment, misc]

_SOURCE_LOCATION = re.compile(r"^.*\.cpp:\d+, ")  # in torchcodec's source, at the start of its messages
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
    """The frames shown at `times` (seconds, in order; past the end, the last frame). Raises BrokenMedia.

    Decodes only the groups of pictures that hold them.
    """
    try:
        frames = read_with_torchcodec(media, times) if VideoDecoder is not None else None
        return frames or read_with_pyav(media, times)
    except (OSError, RuntimeError, ValueError, IndexError) as error:
        text = " ".join(str(error).split())
        raise BrokenMedia(_SOURCE_LOCATION.sub("", text)[:300] or type(error).__name__) from error


def read_with_torchcodec(media: Path | BinaryIO, times: Sequence[float]) -> Frames | None:
    """None if it picked wrong frames: without scanning the whole file it assumes a constant frame rate."""
    source: Any = str(media) if isinstance(media, Path) else media
    decoder = VideoDecoder(source, seek_mode="approximate", dimension_order="NHWC", num_ffmpeg_threads=1)
    end = decoder.metadata.end_stream_seconds
    if end is None:
        return None
    asked = torch.tensor([min(time, end - INSIDE_S) for time in times], dtype=torch.float64)
    try:
        frames = decoder.get_frames_played_at(asked)
    except IndexError:
        return None
    starts, ends = frames.pts_seconds, frames.pts_seconds + frames.duration_seconds
    if not bool(((starts <= asked) & (asked < ends)).all()):
        return None
    return Frames(frames.data.permute(0, 3, 1, 2), starts.tolist())


def read_with_pyav(media: Path | BinaryIO, times: Sequence[float]) -> Frames:
    source: Any = f"file:{media.absolute()}" if isinstance(media, Path) else media
    if not isinstance(media, Path):
        media.seek(0)
    pixels, starts = [], []
    with av.open(source) as container:
        video = container.streams.video[0]
        video.codec_context.thread_count = 1
        keys = [entry.timestamp for entry in video.index_entries if entry.is_keyframe]
        last = (video.start_time or 0) + video.duration - 1
        decoded, frame = container.decode(video), None
        for time in times:
            tick = min(int(time / video.time_base), last)
            if frame is None or bisect_right(keys, tick) > bisect_right(keys, frame.pts):
                container.seek(tick, stream=video)
                decoded, frame = container.decode(video), None
            while frame is None or frame.pts + frame.duration <= tick:
                frame = next(decoded, None)
                if frame is None:
                    raise ValueError(f"the media ends before {time:g} s")
            pixels.append(frame.to_ndarray(format="rgb24"))
            starts.append(float(frame.pts * video.time_base))
    return Frames(torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2), starts)
