"""Where the frames of a source go: upright, with square pixels, in one size, with bars where the shape changes."""

from __future__ import annotations

import functools
import struct
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

import av
import cv2
import numpy as np

from curation.media.picture_box import WHOLE
from curation.media.side_data import side_data_of
from curation.records import PictureBox

_MATRIX = struct.Struct("=9i")
_NEARLY = 0.01  # a shape that differs by less fills the picture: bars that thin come from rounding
_NEARLY_PIXELS = 2


class Orientation(NamedTuple):
    """How a frame becomes upright: rows and columns are swapped first, then it is mirrored in one or both directions.

    >>> picture = np.array([[1, 2], [3, 4]])
    >>> Orientation(swapped=True, mirrored=True).apply(picture).tolist()  # a quarter turn clockwise
    [[3, 1], [4, 2]]
    """

    swapped: bool = False
    mirrored: bool = False  # left and right
    flipped: bool = False  # top and bottom

    def apply(self, picture: np.ndarray) -> np.ndarray:
        """`picture` [height, width, …] upright."""
        if self.swapped:
            picture = cv2.transpose(picture)
        if self.mirrored or self.flipped:
            picture = cv2.flip(picture, -1 if self.mirrored and self.flipped else int(self.mirrored))
        return picture


UPRIGHT = Orientation()


_ANTICLOCKWISE = (None, Orientation(True, False, True), Orientation(False, True, True), Orientation(True, True))


def orientation_of(frame: av.VideoFrame) -> Orientation | None:
    """The orientation nearest to a frame's display matrix; None if it has none.

    Its first two rows map a point (p, q) of the frame to (a p + c q, b p + d q): FFmpeg, libavutil/display.h.
    """
    matrix = side_data_of(frame, "DISPLAYMATRIX")
    if matrix is None or len(matrix) != _MATRIX.size:
        return _ANTICLOCKWISE[round(frame.rotation / 90) % 4]  # known even where PyAV cannot list the side data
    a, b, _, c, d, *_ = _MATRIX.unpack(matrix)
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Orientation(False, a < 0, d < 0)
    return Orientation(True, c < 0, b < 0)


@dataclass(frozen=True)
class Placement:
    """A frame's place in a picture: the `size` it is scaled to, how it is turned then, and its left upper corner.

    `corner` is None for a frame that fills the picture.
    """

    size: tuple[int, int]
    orientation: Orientation
    corner: tuple[int, int] | None

    @property
    def is_plain(self) -> bool:
        return self.corner is None and self.orientation == UPRIGHT


class Geometry:
    """The display geometry of a source: that of its first frame, into which frames of other shapes are fitted.

    `aspect` is the width of a pixel divided by its height. It may change between frames, as may the orientation, which
    holds until another is stated.
    """

    def __init__(self, first: av.VideoFrame, aspect: Fraction | None) -> None:
        self.aspect = aspect
        self._orientation = UPRIGHT
        self._orientations: dict[int, Orientation | None] = {}  # by the rotation that PyAV derives from the matrix
        self.width, self.height = self._displayed(first)

    def _displayed(self, frame: av.VideoFrame) -> tuple[int, int]:
        if frame.rotation not in self._orientations:
            self._orientations[frame.rotation] = orientation_of(frame)
        self._orientation = self._orientations[frame.rotation] or self._orientation
        width, height = max(1, round(frame.width * float(self.aspect or 1))), frame.height
        return (height, width) if self._orientation.swapped else (width, height)

    def size_for_height(self, lines: int) -> tuple[int, int]:
        """(width, height), both even, with at most `lines` lines; never enlarged."""
        height = min(lines, self.height)
        return _even(self.width * height / self.height), _even(height)

    def size_for_side(self, side: int, box: PictureBox = WHOLE) -> tuple[int, int]:
        """(width, height) at which the longer side of what `box` holds has at most `side` pixels; never enlarged."""
        longer = max(self.width * (box.right - box.left), self.height * (box.bottom - box.top))
        scale = min(1.0, side / longer)
        return max(1, round(self.width * scale)), max(1, round(self.height * scale))

    def place(self, frame: av.VideoFrame, size: tuple[int, int]) -> Placement:
        """Where `frame` goes in a picture of `size` (width, height): as large as it can be in its own shape."""
        return _place(self._displayed(frame), self._orientation, size)


@functools.lru_cache(maxsize=16)
def _place(shown: tuple[int, int], orientation: Orientation, size: tuple[int, int]) -> Placement:
    scale = min(size[0] / shown[0], size[1] / shown[1])
    missing = [whole - scale * side for whole, side in zip(size, shown, strict=True)]
    fills = all(m <= max(_NEARLY_PIXELS, _NEARLY * whole) for m, whole in zip(missing, size, strict=True))
    inner = size if fills else (min(size[0], _even(scale * shown[0])), min(size[1], _even(scale * shown[1])))
    corner = None if fills else ((size[0] - inner[0]) // 4 * 2, (size[1] - inner[1]) // 4 * 2)
    return Placement(inner[::-1] if orientation.swapped else inner, orientation, corner)


def _even(number: float) -> int:
    """The nearest even number, at least 2: chroma has half the lines and columns."""
    return max(2, 2 * round(number / 2))
