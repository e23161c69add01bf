"""Frames in the three sizes of the single pass, each made once: to store, to caption, and for the shot detectors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import av
import cv2
import numpy as np
from av.video.reformatter import VideoReformatter

from curation.ids import microseconds
from curation.media.colours import Colours, check_dolby_vision, colours_of, sdr
from curation.media.geometry import Geometry, Placement
from curation.media.picture_box import WHOLE, crop, shows_outside
from curation.media.planes import plane_of
from curation.media.shots import WIDTH
from curation.media.tone_mapping import CODED_AS, ToneMapper, operator_for, tone_mapper
from curation.records import PictureBox
from curation.settings import FrameSettings

_SWSCALE = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9}  # swscale's number of each matrix


class Scaler:
    """Converts frames to one size and pixel format (yuv420p or bgr24): upright, in SDR, with bars around other shapes.

    `tone_mapping` names how HDR became SDR, from the first such frame on. Frames in yuv420p have the colours of the
    first, in studio range.
    """

    def __init__(self, geometry: Geometry, size: tuple[int, int], pixels: str) -> None:
        self._geometry = geometry
        self._size = size
        self._pixels = pixels
        self._reformatter = VideoReformatter()
        self._second = VideoReformatter()
        self._seen: Colours | None = None
        self._stored: Colours | None = None
        self._mapper: ToneMapper | None = None
        self.tone_mapping: str | None = None

    def scale(self, frame: av.VideoFrame) -> av.VideoFrame:
        """Raises Rejected for colours that cannot be converted."""
        colours = colours_of(frame)
        if colours != self._seen:
            check_dolby_vision(frame)
            self._seen, self._mapper = colours, tone_mapper(colours, frame)
            self._stored = self._stored or sdr(colours, self._mapper is not None)
            self.tone_mapping = self.tone_mapping or operator_for(colours)
        place = self._geometry.place(frame, self._size)
        if self._mapper is None:
            scaled = self._reformatted(self._reformatter, frame, place.size, self._pixels, colours)
        else:
            coded = self._reformatted(self._reformatter, frame, place.size, CODED_AS, colours)
            scaled = av.VideoFrame.from_ndarray(cast(Any, self._mapper.bgr(coded)), format="bgr24")
            if self._pixels != "bgr24":
                scaled = self._reformatted(self._second, scaled, place.size, self._pixels, colours_of(scaled))
        if not place.is_plain:
            scaled = self._arranged(scaled, place)
        return self._tagged(scaled)

    def _reformatted(
        self, reformatter: VideoReformatter, frame: av.VideoFrame, size: tuple[int, int], pixels: str, source: Colours
    ) -> av.VideoFrame:
        stored = cast(Colours, self._stored)
        return reformatter.reformat(
            frame,
            *size,
            pixels,
            interpolation="BILINEAR",
            src_colorspace=_SWSCALE.get(source.matrix),
            dst_colorspace=_SWSCALE.get(stored.matrix) if pixels == "yuv420p" else None,
            src_color_range=source.range,
            dst_color_range=stored.range if pixels == "yuv420p" else None,
            threads=1,
        )

    def _arranged(self, frame: av.VideoFrame, place: Placement) -> av.VideoFrame:
        """`frame` upright, in its place of a black picture."""
        if self._pixels != "yuv420p":
            whole = _in_bars(place, frame.to_ndarray(), self._size, 0)
            return av.VideoFrame.from_ndarray(cast(Any, whole), format=self._pixels)
        luma = _in_bars(place, plane_of(frame, 0), self._size, 16)
        chroma = [_in_bars(place, plane_of(frame, i), self._size, 128, halved=2) for i in (1, 2)]
        flat = np.concatenate([plane.ravel() for plane in (luma, *chroma)]).reshape(-1, luma.shape[1])
        return av.VideoFrame.from_ndarray(flat, format=self._pixels)

    def _tagged(self, frame: av.VideoFrame) -> av.VideoFrame:
        """`frame` with the colours of what is stored; frames in RGB need none."""
        if self._pixels == "yuv420p":
            colours = cast(Colours, self._stored)
            frame.colorspace, frame.color_range = colours.matrix, colours.range
            frame.color_primaries, frame.color_trc = colours.primaries, colours.transfer
        return frame


def _in_bars(place: Placement, picture: np.ndarray, size: tuple[int, int], black: int, halved: int = 1) -> np.ndarray:
    """`picture` upright, in its place of a black picture of `size`, which has `halved` as few lines and columns."""
    upright = place.orientation.apply(picture)
    if place.corner is None:
        return upright
    left, top = place.corner[0] // halved, place.corner[1] // halved
    whole = np.full((size[1] // halved, size[0] // halved, *picture.shape[2:]), black, np.uint8)
    whole[top : top + upright.shape[0], left : left + upright.shape[1]] = upright
    return whole


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
    """Writes the sharpest frame of every bucket of time to disk, without black bars, at the size for captioning.

    Holds one decoded frame at a time, however long the video.
    """

    def __init__(self, folder: Path, geometry: Geometry, settings: FrameSettings) -> None:
        self._folder = folder
        self._settings = settings
        self._geometry = geometry
        self._box: PictureBox | None = None
        self._bucket = -1
        self._best: tuple[float, float, av.VideoFrame] | None = None
        self.kept: list[tuple[float, float, str]] = []

    def offer(self, frame: av.VideoFrame, time: float, sharpness: float, box: PictureBox) -> None:
        """Consider `frame`. `sharpness` is that of a small version; it only ranks the frames of one bucket.

        A frame that is written is cropped by `box`, the picture without bars as far as it is known by then.
        """
        bucket = int(time / self._settings.keep_s)
        if bucket != self._bucket:
            self.flush(box)
            self._bucket = bucket
        if self._best is None or sharpness > self._best[0]:
            self._best = sharpness, time, frame

    def flush(self, box: PictureBox) -> None:
        if self._best is None:
            return
        _, time, frame = self._best
        self._best = None
        image = self._cropped(frame, box)
        sharpness = float(cv2.Laplacian(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.CV_32F).var())
        _, jpeg = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, self._settings.quality])
        path = self._folder / f"{microseconds(time):015d}.jpg"
        path.write_bytes(jpeg.tobytes())
        self.kept.append((time, sharpness, str(path)))

    def _cropped(self, frame: av.VideoFrame, box: PictureBox) -> np.ndarray:
        """What `box` holds of a frame, uint8 [height, width, 3], BGR; all of it, if it shows more than that."""
        image = self._scaled(frame, box)
        if box == WHOLE:
            return image
        luma = cv2.convertScaleAbs(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), alpha=219 / 255, beta=16)
        return self._scaled(frame, WHOLE) if shows_outside(luma, box) else crop(image, box)

    def _scaled(self, frame: av.VideoFrame, box: PictureBox) -> np.ndarray:
        """The whole frame, so large that what `box` holds of it has the size for captioning."""
        if box != self._box:
            size = self._geometry.size_for_side(self._settings.max_side, box)
            self._box, self._scaler = box, Scaler(self._geometry, size, "bgr24")
        return self._scaler.scale(frame).to_ndarray()


class Thumbnailer:
    """Makes the small frames for the shot detectors from frames of the stored size."""

    def __init__(self, size: tuple[int, int]) -> None:
        width = min(WIDTH, size[0])
        self._size = width, max(1, round(size[1] * width / size[0]))
        self._reformatter = VideoReformatter()

    def bgr(self, frame: av.VideoFrame) -> np.ndarray:
        """uint8 [height, width, 3]."""
        width, height = self._size
        small = self._reformatter.reformat(frame, width, height, "bgr24", interpolation="FAST_BILINEAR", threads=1)
        plane = cast(Any, small.planes[0])
        lines: np.ndarray = np.frombuffer(memoryview(plane), np.uint8).reshape(height, -1)
        return lines[:, : 3 * width].reshape(height, width, 3)


def sharpness(bgr: np.ndarray) -> float:
    """Variance of the Laplacian of the green channel of a small frame."""
    edges = cv2.Laplacian(cv2.extractChannel(bgr, 1), cv2.CV_16S)
    mean, of_squares = cv2.sumElems(edges)[0] / edges.size, cv2.norm(edges, cv2.NORM_L2SQR) / edges.size
    return float(of_squares - mean**2)  # half the time of cv2.meanStdDev
