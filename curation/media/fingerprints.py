"""Fingerprints of pictures by which copies of a video are found: PDQ hashes, near in Hamming distance where alike.

PDQ: https://github.com/facebook/ThreatExchange/blob/main/hashing/hashing.pdf. For the same picture of 64 x 64 pixels,
the hash is bit for bit that of Meta's library, whose package on PyPI has to be compiled where it is installed.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from curation.records import Fingerprint

SIDE = 64  # of the picture that is hashed
BITS_PER_SIDE = 16
_NEAR_BITS = 8  # pictures this near to the first of a run belong to it; shots of different things are 100 apart
_QUALITY_UNIT = 90  # PDQ's: a picture with this sum of gradients has 1 of 100

_FREQUENCIES, _PLACES = np.arange(1, BITS_PER_SIDE + 1)[:, None], 2 * np.arange(SIDE)[None, :] + 1
_COSINES = (math.sqrt(2 / SIDE) * np.cos(math.pi / 2 / SIDE * _FREQUENCIES * _PLACES)).astype(np.float32)  # [16, 64]


def pdq(grey: np.ndarray) -> tuple[str, int]:
    """The PDQ hash of a picture, uint8 [height, width], in PDQ's notation (64 hexadecimal digits), and its quality.

    The quality is 0 (nothing to see: a match says nothing) to 100; PDQ's authors ignore those below 50.
    """
    small = cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    coefficients = _COSINES @ small.astype(np.float32) @ _COSINES.T  # [16, 16]
    middle = np.partition(coefficients, coefficients.size // 2 - 1, axis=None)[coefficients.size // 2 - 1]
    bits = np.packbits(coefficients.ravel()[::-1] > middle)
    return bits.tobytes().hex(), _quality(small)


def _quality(small: np.ndarray) -> int:
    """PDQ's measure: the sum of the differences between neighbours, each a share of 255 in whole percent."""
    signed = small.astype(np.int16)
    steps = sum(int((np.abs(np.diff(signed, axis=axis)) * 100 // 255).sum()) for axis in (0, 1))
    return min(100, steps // _QUALITY_UNIT)


def distance(one: str, other: str) -> int:
    """The number of bits in which two hashes differ.

    >>> distance("0f", "0c")
    2
    """
    return (int(one, 16) ^ int(other, 16)).bit_count()


class Fingerprints:
    """Collects the fingerprints of a video, given in the order of their times; runs of nearly equal ones become one."""

    def __init__(self) -> None:
        self.runs: list[Fingerprint] = []

    def add(self, time: float, grey: np.ndarray, begins_shot: bool = False) -> None:
        """Add the picture `grey`, uint8 [height, width], without bars, which is shown at `time`."""
        code, quality = pdq(grey)
        last = self.runs[-1] if self.runs else None
        if last is not None and not begins_shot and distance(last.pdq, code) <= _NEAR_BITS:
            self.runs[-1] = Fingerprint(last.start, time, last.pdq, last.quality)
        else:
            self.runs.append(Fingerprint(time, time, code, quality))
