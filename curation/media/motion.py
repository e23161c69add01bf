"""How much moves between two small pictures: the whole frame, as a hand-held camera's does, or things in it."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import cv2
import numpy as np

SIZE = (128, 72)  # columns and rows of the pictures that are compared
_BLOCKS = (16, 9)
_MOVING = 4.0  # mean difference in luma, of 255, of a block in which something moves; noise and coding stay below
_LIGHTER = 1.0  # the same of its mean luma, in which noise cancels out
_CHANGED = 0.3  # the same of a block that may belong to a frame that moves; noise has as much, but nothing explains it
_WIDESPREAD = 0.25  # share of the blocks that change where the whole frame moves
_FURTHEST = 0.25  # of a side: a larger displacement cannot be told from a change of picture
_MOST = 0.6  # share of the changed blocks that a displacement of the whole frame must explain
_EXPLAINED = 0.75  # of the difference is left at most where motion is explained
_WORSE = 0.3  # blocks that a displacement makes worse, per block that it explains
_STEPS = 1  # after which a displacement is right to a twentieth of a pixel
_OUTLIER = 8.0  # difference in luma from which on a pixel counts for less: something else moves there


@dataclass(frozen=True)
class Motion:
    """The displacement of the whole frame, in fractions of its width and height, and the rest of the motion.

    `difference` is the mean difference in luma, 0 to 255, less what the displacement explains.
    """

    right: float
    down: float
    difference: float
    still: bool


def small_picture(luma: np.ndarray) -> np.ndarray:
    """A picture to compare: of SIZE, float32 [rows, columns], so smooth that parts of a pixel's motion can be told."""
    small = cv2.resize(luma, SIZE, interpolation=cv2.INTER_AREA).astype(np.float32)
    return cv2.GaussianBlur(small, (5, 5), 1.0)


def motion_between(before: np.ndarray, after: np.ndarray) -> Motion:
    """The motion between two small pictures."""
    change = _in_blocks(cv2.absdiff(before, after))
    is_still = change.max() <= _MOVING and np.abs(_in_blocks(after - before)).max() <= _LIGHTER
    as_it_is = Motion(0.0, 0.0, float(change.mean()), is_still)
    changed = change > _CHANGED
    if np.count_nonzero(changed) < _WIDESPREAD * changed.size:
        return as_it_is
    right, down = _displacement(before, after)
    if abs(right) > _FURTHEST * SIZE[0] or abs(down) > _FURTHEST * SIZE[1]:
        return as_it_is
    rest = _in_blocks(cv2.absdiff(_moved(before, right, down), after))
    explained = np.count_nonzero(rest[changed] < _EXPLAINED * change[changed])
    worse = np.count_nonzero(rest > change + _CHANGED)
    if explained < _MOST * np.count_nonzero(changed) or worse > _WORSE * explained:
        return as_it_is
    return Motion(right / SIZE[0], down / SIZE[1], float(rest.mean()), is_still)


def _displacement(before: np.ndarray, after: np.ndarray) -> tuple[float, float]:
    """The displacement in pixels that explains most: by phase correlation, then by Lucas and Kanade's least squares."""
    (right, down), _ = cv2.phaseCorrelate(_windowed(before), _windowed(after))
    for _ in range(_STEPS):
        moved = _moved(before, right, down)
        left_over = moved - after
        slope_x, slope_y = (cv2.Sobel(moved, cv2.CV_32F, *axis, scale=1 / 8) for axis in ((1, 0), (0, 1)))
        weight = _window() / np.maximum(1.0, np.abs(left_over) / _OUTLIER)
        weighted_x, weighted_y = slope_x * weight, slope_y * weight
        xx, yy, xy = _dot(weighted_x, slope_x), _dot(weighted_y, slope_y), _dot(weighted_x, slope_y)
        x, y = _dot(weighted_x, left_over), _dot(weighted_y, left_over)
        area = xx * yy - xy * xy
        if area < 1e-6 * max(1.0, xx * yy):  # nothing but parallel edges
            break
        right, down = right + (yy * x - xy * y) / area, down + (xx * y - xy * x) / area
    return right, down


def _dot(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.vdot(one, other))


def _moved(picture: np.ndarray, right: float, down: float) -> np.ndarray:
    shift = np.array([[1, 0, right], [0, 1, down]], np.float32)
    return cv2.warpAffine(picture, shift, SIZE, borderMode=cv2.BORDER_REPLICATE)


def _windowed(picture: np.ndarray) -> np.ndarray:
    """A picture without its mean, which never moves, fading out to its edges, where things come and go."""
    faded: np.ndarray = (picture - cv2.mean(picture)[0]) * _window()
    return faded


def _in_blocks(difference: np.ndarray) -> np.ndarray:
    return cv2.resize(difference, _BLOCKS, interpolation=cv2.INTER_AREA)


@functools.cache
def _window() -> np.ndarray:
    return cv2.createHanningWindow(SIZE, cv2.CV_32F)
