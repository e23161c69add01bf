"""Reads the frames of a clip from stored media, by torchcodec, or PyAV where that is absent: the same pixels."""

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
except (ImportError, OSError, RuntimeError):  # not installed, or FFmpeg's libraries are not
    VideoDecoder = None  # type: ignore[assignment, misc]

_PLACE = re.compile(r"^.*\.cpp:\d+, ")  # in torchcodec's own code
INSIDE_S = 1e-6  # times this close to a boundary are moved away from it: a rounded time must not fall on its other side


class BrokenMedia(Exception):
    """Stored media that is missing or cannot be decoded; the message is one line."""


@dataclass(frozen=True)
class Frames:
    """Frames of a video: `pixels` uint8 [T, 3, H, W] (in memory [T, H, W, 3]), shown from `times` on (seconds) [T]."""

    pixels: torch.Tensor
    times: list[float]


def clip_times(start: float, end: float, count: int, random: Random | None = None) -> list[float]:
    """A time in each of `count` equal parts of a clip, in order: its middle, or a random one (stratified sampling)."""
    part = (end - start) / count
    times = (start + part * (i + (random.random() if random else 0.5)) for i in range(count))
    return [min(max(time, start + INSIDE_S), end - INSIDE_S) for time in times]


def read_frames(media: Path | BinaryIO, times: Sequence[float]) -> Frames:
    """The frames that are shown at `times` (seconds, in order; beyond the end: the last one). Raises BrokenMedia.

    Only the groups of pictures that hold them are decoded.
    """
    try:
        found = by_torchcodec(media, times) if VideoDecoder is not None else None
        return found or by_pyav(media, times)
    except (OSError, RuntimeError, ValueError, IndexError) as error:
        text = " ".join(str(error).split())
        raise BrokenMedia(_PLACE.sub("", text)[:300] or type(error).__name__) from error


def by_torchcodec(media: Path | BinaryIO, times: Sequence[float]) -> Frames | None:
    """None where it took the wrong frames: without a scan of the whole file it counts on evenly spaced frames."""
    source: Any = str(media) if isinstance(media, Path) else media
    decoder = VideoDecoder(source, seek_mode="approximate", dimension_order="NHWC", num_ffmpeg_threads=1)
    end = decoder.metadata.end_stream_seconds
    if end is None:
        return None
    wanted = torch.tensor([min(time, end - INSIDE_S) for time in times], dtype=torch.float64)
    try:
        found = decoder.get_frames_played_at(wanted)
    except IndexError:
        return None
    shown, until = found.pts_seconds, found.pts_seconds + found.duration_seconds
    if not bool(((shown <= wanted) & (wanted < until)).all()):
        return None
    return Frames(found.data.permute(0, 3, 1, 2), shown.tolist())


def by_pyav(media: Path | BinaryIO, times: Sequence[float]) -> Frames:
    source: Any = f"file:{media.absolute()}" if isinstance(media, Path) else media
    if not isinstance(media, Path):
        media.seek(0)
    pixels, shown = [], []
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
            shown.append(float(frame.pts * video.time_base))
    return Frames(torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2), shown)
