"""Frames in the three sizes of the single pass, each made once: to store, to caption, and for the shot detectors."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import cv2
import numpy as np
from av.video.reformatter import VideoReformatter

from curation.ids import microseconds
from curation.media.shots import WIDTH
from curation.settings import FrameSettings

_FULL_RANGE = 2  # AVCOL_RANGE_JPEG
_STUDIO_RANGE = 1
_ROTATIONS = {90: cv2.ROTATE_90_COUNTERCLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_CLOCKWISE}


def _even(number: float) -> int:
    """The nearest even number, at least 2: chroma has half the lines and columns."""
    return max(2, 2 * round(number / 2))


class Geometry:
    """The display geometry of a source's frames: square pixels, upright."""

    def __init__(self, frame: av.VideoFrame, aspect: Fraction | None) -> None:
        self.rotation = frame.rotation % 360 // 90 * 90
        width, height = frame.width * float(aspect or 1), float(frame.height)
        if self.rotation in (90, 270):
            width, height = height, width
        self.width, self.height = max(1, round(width)), max(1, round(height))

    def size_for_height(self, lines: int) -> tuple[int, int]:
        """(width, height), both even, with at most `lines` lines; never enlarged."""
        height = min(lines, self.height)
        return _even(self.width * height / self.height), _even(height)

    def size_for_side(self, side: int) -> tuple[int, int]:
        """(width, height) whose longer side has at most `side` pixels; never enlarged."""
        scale = min(1.0, side / max(self.width, self.height))
        return max(1, round(self.width * scale)), max(1, round(self.height * scale))

    def before_rotation(self, size: tuple[int, int]) -> tuple[int, int]:
        return size[::-1] if self.rotation in (90, 270) else size


class Scaler:
    """Converts frames to one size and pixel format, upright."""

    def __init__(self, geometry: Geometry, size: tuple[int, int], pixels: str) -> None:
        self._width, self._height = geometry.before_rotation(size)
        self._rotation = _ROTATIONS.get(geometry.rotation)
        self._pixels = pixels
        self._reformatter = VideoReformatter()

    def scale(self, frame: av.VideoFrame) -> av.VideoFrame:
        studio = _STUDIO_RANGE if frame.color_range == _FULL_RANGE and self._pixels == "yuv420p" else None
        scaled = self._reformatter.reformat(
            frame,
            self._width,
            self._height,
            self._pixels,
            interpolation="BILINEAR",
            dst_color_range=studio,
            threads=1,
        )
        return scaled if self._rotation is None else self._rotated(scaled, self._rotation)

    def _rotated(self, frame: av.VideoFrame, rotation: int) -> av.VideoFrame:
        if self._pixels != "yuv420p":
            return av.VideoFrame.from_ndarray(cast(Any, cv2.rotate(frame.to_ndarray(), rotation)), format=self._pixels)
        planes = [cv2.rotate(_plane_of(frame, i), rotation) for i in range(3)]
        width = planes[0].shape[1]
        flat = np.concatenate([plane.ravel() for plane in planes]).reshape(-1, width)
        rotated = av.VideoFrame.from_ndarray(flat, format=self._pixels)
        for name in ("colorspace", "color_range", "color_primaries", "color_trc"):
            setattr(rotated, name, getattr(frame, name))
        return rotated


def _plane_of(frame: av.VideoFrame, index: int) -> np.ndarray:
    """A view of one 8-bit plane, uint8 [height, width]."""
    plane = frame.planes[index]
    data: np.ndarray = np.frombuffer(memoryview(cast(Any, plane)), np.uint8)
    return data.reshape(plane.height, plane.line_size)[:, : plane.width]


class Deinterlacer:
    """Passes frames through one by one, in order; deinterlaces from the first interlaced one on."""

    def __init__(self, stream: av.video.stream.VideoStream) -> None:
        self._stream = stream
        self._graph: av.filter.Graph | None = None
        self._shape: tuple[object, ...] = ()

    def feed(self, frame: av.VideoFrame | None) -> Iterator[av.VideoFrame]:
        """Frames that are ready after `frame`; None ends the stream."""
        if frame is not None:
            shape = (frame.width, frame.height, frame.format.name)
            if self._graph is not None and shape != self._shape:
                yield from self._pull(None)
                self._graph = None
            if self._graph is None and frame.interlaced_frame:
                self._graph, self._shape = self._build(frame), shape
        if self._graph is not None:
            yield from self._pull(frame)
        elif frame is not None:
            yield frame

    def _pull(self, frame: av.VideoFrame | None) -> Iterator[av.VideoFrame]:
        graph = self._graph
        if graph is None:
            return
        graph.push(frame)
        while True:
            try:
                yield cast(av.VideoFrame, graph.pull())
            except (BlockingIOError, EOFError):
                return

    def _build(self, frame: av.VideoFrame) -> av.filter.Graph:
        graph = av.filter.Graph()
        source = graph.add_buffer(
            width=frame.width, height=frame.height, format=frame.format, time_base=self._stream.time_base
        )
        deinterlace = graph.add("bwdif", "mode=send_frame:deint=interlaced")
        sink = graph.add("buffersink")
        source.link_to(deinterlace)
        deinterlace.link_to(sink)
        graph.configure()
        return graph


class Spool:
    """Writes the sharpest frame of every bucket of time to disk, at the size for captioning.

    Holds one decoded frame at a time, however long the video.
    """

    def __init__(self, folder: Path, geometry: Geometry, settings: FrameSettings) -> None:
        self._folder = folder
        self._settings = settings
        self._scaler = Scaler(geometry, geometry.size_for_side(settings.max_side), "bgr24")
        self._bucket = -1
        self._best: tuple[float, float, av.VideoFrame] | None = None
        self.kept: list[tuple[float, float, str]] = []

    def offer(self, frame: av.VideoFrame, time: float, sharpness: float) -> None:
        """Consider `frame`. `sharpness` is that of a small version; it only ranks the frames of one bucket."""
        bucket = int(time / self._settings.keep_s)
        if bucket != self._bucket:
            self.flush()
            self._bucket = bucket
        if self._best is None or sharpness > self._best[0]:
            self._best = sharpness, time, frame

    def flush(self) -> None:
        if self._best is None:
            return
        _, time, frame = self._best
        self._best = None
        image = self._scaler.scale(frame).to_ndarray()
        sharpness = float(cv2.Laplacian(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.CV_32F).var())
        _, jpeg = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, self._settings.quality])
        path = self._folder / f"{microseconds(time):015d}.jpg"
        path.write_bytes(jpeg.tobytes())
        self.kept.append((time, sharpness, str(path)))


class Thumbnailer:
    """Makes the small frames for the shot detectors from frames of the stored size."""

    def __init__(self, size: tuple[int, int]) -> None:
        width = min(WIDTH, size[0])
        self._size = width, max(1, round(size[1] * width / size[0]))
        self._reformatter = VideoReformatter()

    def bgr(self, frame: av.VideoFrame) -> np.ndarray:
        """uint8 [height, width, 3]."""
        small = self._reformatter.reformat(frame, *self._size, "bgr24", interpolation="FAST_BILINEAR", threads=1)
        return small.to_ndarray()


def sharpness(bgr: np.ndarray) -> float:
    """Variance of the Laplacian of the green channel of a small frame."""
    _, deviation = cv2.meanStdDev(cv2.Laplacian(np.ascontiguousarray(bgr[:, :, 1]), cv2.CV_16S))
    return float(deviation[0, 0] ** 2)
