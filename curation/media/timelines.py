"""Measure how the pictures of a video look and move, a few times a second: its timeline, with its fingerprints."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import av
import cv2
import numpy as np

from curation.media.fingerprints import Fingerprints
from curation.media.motion import Motion, motion_between, small_picture
from curation.media.picture_box import WHOLE, BoxFinder, crop
from curation.media.planes import plane_of
from curation.records import PictureBox, Timeline

LOOKS_PER_S = 2
PAIRS_PER_S = 8
_AFTER_CUT_S = 0.5
_WIDTH = 320  # of the picture that is measured
_BLACK, _WHITE = 16, 235  # of studio range
_BLACK_BELOW, _BLOWN_ABOVE = 20, 231  # 5 and 250 of 255


LIGHT = ("luminance", "contrast", "black", "blown", "sharpness")
MOTION = ("motion", "displacement", "shake", "still")
_NOTHING_MOVES = (0.0, 0.0, 0.0, 1.0)


class TimelineBuilder:
    """Collects the series of a video from its stored frames, one after the other; all of one size.

    Holds one small picture, and some 150 bytes for each second.
    """

    def __init__(self) -> None:
        self._finder = BoxFinder()
        self._fingerprints = Fingerprints()
        self._second = _Second()
        self._rows: list[tuple[float, ...]] = []  # a second's values of LIGHT and MOTION
        self._boxes: list[PictureBox] = []
        self._look = self._pair = -1  # the last slots that were looked at
        self._after_cut: float | None = None  # when the shot that has just begun is fingerprinted
        self._before: np.ndarray | None = None  # the last picture of SIZE, of the same shot
        self._shift: tuple[float, float] | None = None

    @property
    def box(self) -> PictureBox:
        """The picture without bars, as known by now."""
        return self._finder.box

    def feed(self, frame: av.VideoFrame, time: float, is_cut: bool) -> None:
        """The frame that is shown at `time`, in yuv420p of studio range, and whether a shot may begin with it."""
        if is_cut:
            self._after_cut, self._before, self._shift = time + _AFTER_CUT_S, None, None
        look, pair = int(time * LOOKS_PER_S), int(time * PAIRS_PER_S)
        is_due = self._after_cut is not None and time >= self._after_cut
        if look == self._look and pair == self._pair and not is_due:
            return
        self._begin(int(time))
        luma = plane_of(frame, 0)
        if look != self._look:
            self._second.box = self._finder.look(luma)
        picture = crop(luma, self._finder.box)
        if look != self._look or is_due:
            small = _of_width(picture, _WIDTH)
            if look != self._look:
                self._second.light.append(_light(small))
            self._fingerprints.add(time, small, begins_shot=is_due)
            self._after_cut = None if is_due else self._after_cut
        if pair != self._pair:
            self._compare(picture)
        self._look, self._pair = look, pair

    def finish(self, duration: float) -> Timeline:
        """The timeline of a video of `duration` seconds, all of whose frames were fed; its `video_id` is empty."""
        self._begin(max(1, math.ceil(duration - 1e-6)))
        columns = (tuple(column) for column in zip(*self._rows, strict=True))
        return Timeline(
            video_id="",
            **dict(zip(LIGHT + MOTION, columns, strict=True)),
            picture_box=Counter(self._boxes).most_common(1)[0][0],
            picture_boxes=tuple(self._boxes),
            fingerprints=tuple(self._fingerprints.runs),
        )

    def _begin(self, second: int) -> None:
        """End the seconds before this one. What is shown on is still."""
        while len(self._rows) < second:
            self._rows.append(tuple(round(value, 4) for value in self._second.means()))
            self._boxes.append(self._second.box)
            self._second = _Second(self._second.box, shown_on=self._second.last_light())

    def _compare(self, picture: np.ndarray) -> None:
        now = small_picture(picture)
        if self._before is not None:
            found = motion_between(self._before, now)
            shift = found.right, found.down * picture.shape[0] / picture.shape[1]
            self._second.add(found, shift, self._shift)
            self._shift = shift
        self._before = now


@dataclass
class _Second:
    """What was measured in a second: values of LIGHT at each look, and of MOTION at each pair of pictures."""

    box: PictureBox = WHOLE
    shown_on: tuple[float, ...] = (0.0,) * len(LIGHT)  # the last look before, where none is in this second
    light: list[tuple[float, ...]] = field(default_factory=list)
    motion: list[tuple[float, ...]] = field(default_factory=list)

    def add(self, found: Motion, shift: tuple[float, float], before: tuple[float, float] | None) -> None:
        """Add a pair of pictures, with the displacement in it and in the pair before, in widths of the picture."""
        change = 0.0 if before is None else math.hypot(shift[0] - before[0], shift[1] - before[1])
        rest = found.difference / (_WHITE - _BLACK)
        self.motion.append((rest, math.hypot(*shift), change, float(found.still)))

    def last_light(self) -> tuple[float, ...]:
        return self.light[-1] if self.light else self.shown_on

    def means(self) -> Iterator[float]:
        for values, otherwise in ((self.light, self.shown_on), (self.motion, _NOTHING_MOVES)):
            yield from (sum(column) / len(values) for column in zip(*values, strict=True)) if values else otherwise


def _light(small: np.ndarray) -> tuple[float, ...]:
    """The values of LIGHT of a picture, uint8 [rows, columns]."""
    counts = np.bincount(small.ravel(), minlength=256)
    shares = counts / small.size
    levels = np.clip((np.arange(256) - _BLACK) / (_WHITE - _BLACK), 0.0, 1.0)
    mean = float(shares @ levels)
    spread = math.sqrt(max(0.0, float(shares @ levels**2) - mean**2))
    _, deviation = cv2.meanStdDev(cv2.Laplacian(small, cv2.CV_16S))
    black, blown = float(shares[: _BLACK_BELOW + 1].sum()), float(shares[_BLOWN_ABOVE:].sum())
    return mean, spread, black, blown, float(deviation[0, 0] ** 2)


def _of_width(picture: np.ndarray, width: int) -> np.ndarray:
    """A picture with at most `width` columns, and rows in proportion."""
    if picture.shape[1] <= width:
        return np.ascontiguousarray(picture)
    return cv2.resize(
        picture, (width, max(1, round(picture.shape[0] * width / picture.shape[1]))), interpolation=cv2.INTER_AREA
    )
