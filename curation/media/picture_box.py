"""Find black bars: where the picture of a frame lies, with a logo or subtitles in the bars, and how that goes on.

A row or column belongs to the picture if most of it is lit; letters and logos light less of a bar. An edge of the
picture is only believed where the change is sharp and the opposite bar is alike: a dark sky has neither.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from curation.records import PictureBox

WHOLE = PictureBox()
_BLACK = 16  # in luma of studio range
_LIT = 32  # luma above which a pixel is lit; noise in bars stays below
_MOST = 0.5  # share of a row that is lit, if it belongs to the picture; that of a row of letters is less
_RUN = 0.02  # of the side: this many rows in a row, else a rule or the box around a subtitle would be a picture
_DARK = 0.3  # share of the row in front of a sharp edge that is lit at most,
_DROP = 0.5  # or that as a share of the row behind it, where letters lie across the edge
_BARELY_LIT = 0.2  # share of the frame below which it shows too little to judge by
_NARROW = 0.04  # of the side: bars up to here need no counterpart, as at the edges of old recordings
_ALIKE = 0.25  # the narrower of two opposite bars is at least this share of the wider one
_LEAST = 0.25  # of the side: a narrower picture is none
_SLACK = 0.05  # pixels: fractions are rounded
_SETTLED = 3  # looks in a row that agree, before the known box shrinks


@dataclass(frozen=True)
class _Bars:
    """Widths in pixels of two opposite bars, and whether they certainly are bars."""

    first: int
    second: int
    certain: bool


class BoxFinder:
    """Follows the box of a video's picture, look by look.

    What lies outside the known box widens it at once, so that no picture is cropped by an older box. It shrinks when
    several looks in a row agree, or at the first one that can judge.
    """

    def __init__(self) -> None:
        self.box = WHOLE
        self._rows, self._columns = _Side(), _Side()

    def look(self, luma: np.ndarray) -> PictureBox:
        """The box after this frame: its luma, uint8 [height, width], of studio range; all of one size."""
        bars = _bars(luma)
        if bars is not None:
            height, width = luma.shape
            top, bottom = self._rows.take(bars[0])
            left, right = self._columns.take(bars[1])
            self.box = PictureBox(*_rounded(left / width, top / height, 1 - right / width, 1 - bottom / height))
        return self.box


class _Side:
    """The known bars of two opposite sides."""

    def __init__(self) -> None:
        self._known: tuple[int, int] | None = None
        self._next: tuple[int, int] = (0, 0)
        self._agreeing = 0

    def take(self, seen: _Bars) -> tuple[int, int]:
        """The bars known after one more look."""
        now = (seen.first, seen.second)
        if self._known is None:
            if seen.certain:
                self._known = now
            return self._known or (0, 0)
        known = self._known
        if now[0] < known[0] - 1 or now[1] < known[1] - 1:
            self._known, self._agreeing = (min(known[0], now[0]), min(known[1], now[1])), 0
        elif not seen.certain or (now[0] <= known[0] + 1 and now[1] <= known[1] + 1):
            self._agreeing = 0
        else:
            agrees = self._agreeing and max(abs(now[0] - self._next[0]), abs(now[1] - self._next[1])) <= 1
            self._agreeing = self._agreeing + 1 if agrees else 1
            self._next = now
            if self._agreeing >= _SETTLED:
                self._known, self._agreeing = now, 0
        return self._known


def shows_outside(luma: np.ndarray, box: PictureBox) -> bool:
    """Whether a frame (its luma, as above) shows more of a picture than lies in `box`."""
    bars = _bars(luma)
    if bars is None or box == WHOLE:
        return False
    height, width = luma.shape
    rows, columns = bars
    inside = (box.top * height, (1 - box.bottom) * height, box.left * width, (1 - box.right) * width)
    seen = (rows.first, rows.second, columns.first, columns.second)
    return any(bar < known - 2 for bar, known in zip(seen, inside, strict=True))


def pixels_in(box: PictureBox, height: int, width: int) -> tuple[int, int, int, int]:
    """The whole pixels of a frame that lie in `box`: left, top, and their height and width, at least 1.

    >>> pixels_in(PictureBox(top=0.125, bottom=0.875), height=360, width=480)
    (0, 45, 270, 480)
    """
    left, top = math.ceil(box.left * width - _SLACK), math.ceil(box.top * height - _SLACK)
    right, bottom = math.floor(box.right * width + _SLACK), math.floor(box.bottom * height + _SLACK)
    return left, top, max(1, bottom - top), max(1, right - left)


def crop(picture: np.ndarray, box: PictureBox) -> np.ndarray:
    """The part of a picture, [height, width, ...], that lies in `box`."""
    left, top, height, width = pixels_in(box, *picture.shape[:2])
    return picture[top : top + height, left : left + width]


def _bars(luma: np.ndarray) -> tuple[_Bars, _Bars] | None:
    """The bars of one frame, above and below, left and right; None if it is too dark to judge."""
    lit = cv2.threshold(luma, _LIT, 1, cv2.THRESH_BINARY)[1]
    if cv2.countNonZero(lit) < _BARELY_LIT * _LEAST * lit.size:
        return None
    # of each other: the rows of a narrow picture are lit between its left and right alone
    columns = _share(lit, 0)
    left, right = _extent(columns, _MOST * float(columns.max()))
    rows = _share(lit[:, left:right], 1)
    top, bottom = _extent(rows, _MOST)
    columns = _share(lit[top:bottom], 0)
    left, right = _extent(columns, _MOST)
    if bottom - top < _LEAST * len(rows) or right - left < _LEAST * len(columns):
        return None
    picture = luma[top:bottom, left:right]
    return _judged(rows, top, bottom, _share(picture, 1)), _judged(columns, left, right, _share(picture, 0))


def _share(values: np.ndarray, axis: int) -> np.ndarray:
    """The mean of each column (axis 0) or row (axis 1), float32."""
    return cv2.reduce(values, axis, cv2.REDUCE_AVG, dtype=cv2.CV_32F).ravel()


def _extent(profile: np.ndarray, least: float) -> tuple[int, int]:
    """Where the outermost runs of rows with `least` begin and end; (0, 0) if there are none."""
    run = max(3, round(_RUN * len(profile)))
    enough = np.convolve(profile >= least, np.ones(run, np.int32), "valid") == run
    found = np.flatnonzero(enough)
    return (int(found[0]), int(found[-1]) + run) if len(found) else (0, 0)


def _judged(profile: np.ndarray, first: int, last: int, brightness: np.ndarray) -> _Bars:
    """The bars outside `first` to `last`, by the lit share of all rows and the brightness of those inside."""
    size = len(profile)
    before, after = first, size - last
    edges = ((first - 2, first + 1), (last + 1, last - 2))
    sharp = all(profile[bar] <= max(_DARK, _DROP * profile[edge]) for bar, edge in edges if 0 <= bar < size)
    narrow = max(before, after) <= _NARROW * size
    alike = min(before, after) >= _ALIKE * max(before, after)
    before += before > 0 and _is_mixed(brightness[0], brightness[1])
    after += after > 0 and _is_mixed(brightness[-1], brightness[-2])
    return _Bars(before, after, sharp and (narrow or alike))


def _is_mixed(outer: float, inner: float) -> bool:
    """Whether a scaler has mixed the picture's outermost row, of this brightness, of picture and bar."""
    return float(outer) - _BLACK < 0.8 * (float(inner) - _BLACK)


def _rounded(*values: float) -> tuple[float, ...]:
    return tuple(round(value, 5) for value in values)
