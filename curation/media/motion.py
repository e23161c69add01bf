"""How much moves between two small pictures: the whole frame, as a hand-held camera's does, or things in it."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import cv2
import numpy as np

SIZE = (128, 72)  # columns and rows of the pictures that are compared
_BLOCKS = (16, 9)
_MOVING = 2.0  # mean difference in luma, of 255, of a block in which something moves; noise and coding stay below
_LEAST = 0.15  # pixels: a smaller displacement is none
_FURTHEST = 0.25  # of a side: a larger one cannot be told from a change of picture
_MOST = 0.6  # share of the moving blocks that a displacement of the whole frame must explain
_EXPLAINED = 0.75  # of its difference is left at most in a block whose motion is explained


@dataclass(frozen=True)
class Motion:
    """The displacement of the whole frame, in fractions of its width and height, and the rest of the motion.

    `difference` is the mean difference in luma, 0 to 255, less what the displacement explains.
    """

    right: float
    down: float
    difference: float
    still: bool


def motion_between(before: np.ndarray, after: np.ndarray) -> Motion:
    """The motion between two pictures of SIZE, float32 [rows, columns]."""
    change = _in_blocks(cv2.absdiff(before, after))
    difference = float(change.mean())
    moving = change > _MOVING
    if not moving.any():
        return Motion(0.0, 0.0, difference, still=True)
    window = _window()  # given to OpenCV, it would be laid over the pictures themselves
    (right, down), _ = cv2.phaseCorrelate(before * window, after * window)
    shifts = (abs(right), SIZE[0]), (abs(down), SIZE[1])
    if all(shift < _LEAST for shift, _ in shifts) or any(shift > _FURTHEST * side for shift, side in shifts):
        return Motion(0.0, 0.0, difference, still=False)
    shift = np.array([[1, 0, right], [0, 1, down]], np.float32)
    moved = cv2.warpAffine(before, shift, SIZE, borderMode=cv2.BORDER_REPLICATE)
    rest = _in_blocks(cv2.absdiff(moved, after))
    if np.count_nonzero(rest[moving] < _EXPLAINED * change[moving]) < _MOST * np.count_nonzero(moving):
        return Motion(0.0, 0.0, difference, still=False)
    return Motion(right / SIZE[0], down / SIZE[1], float(rest.mean()), still=False)


def _in_blocks(difference: np.ndarray) -> np.ndarray:
    return cv2.resize(difference, _BLOCKS, interpolation=cv2.INTER_AREA)


@functools.cache
def _window() -> np.ndarray:
    return cv2.createHanningWindow(SIZE, cv2.CV_32F)
