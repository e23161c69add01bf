"""Pictures with known properties: luma of studio range, uint8 [rows, columns]."""

from __future__ import annotations

from collections.abc import Iterable

import av
import cv2
import numpy as np

from curation.media.timelines import TimelineBuilder
from curation.records import Timeline

ROWS, COLUMNS = 180, 320
RATE = 24
BLACK, WHITE = 16, 235


def texture(seed: int = 0, rows: int = ROWS, columns: int = COLUMNS, grain: float = 3.0) -> np.ndarray:
    """Blotches of about `grain` pixels, between 60 and 220; none is alike another's."""
    noise = np.random.default_rng(seed).standard_normal((rows, columns)).astype(np.float32)
    blotches = cv2.GaussianBlur(noise, (0, 0), grain)
    return np.clip(140 + 40 * blotches / blotches.std(), 60, 220).astype(np.uint8)


def scene(seed: int = 0, rows: int = ROWS, columns: int = COLUMNS) -> np.ndarray:
    """Something to see at every scale, as in a photograph."""
    layers = [texture(seed * 7 + i, rows, columns, grain).astype(np.float32) for i, grain in enumerate((2, 6, 20, 40))]
    return np.mean(layers, axis=0).astype(np.uint8)


def flat(luma: int) -> np.ndarray:
    return np.full((ROWS, COLUMNS), luma, np.uint8)


def barred(picture: np.ndarray, top: int = 0, bottom: int = 0, left: int = 0, right: int = 0) -> np.ndarray:
    """A picture resized to what black bars of these widths leave of the frame."""
    size = (COLUMNS - left - right, ROWS - top - bottom)
    return cv2.copyMakeBorder(
        cv2.resize(picture, size, interpolation=cv2.INTER_AREA),
        top,
        bottom,
        left,
        right,
        cv2.BORDER_CONSTANT,
        value=(BLACK,),
    )


def written(frame: np.ndarray, text: str, row: int, column: int = 20, size: float = 0.5) -> np.ndarray:
    """A frame with white letters on it."""
    return cv2.putText(frame.copy(), text, (column, row), cv2.FONT_HERSHEY_SIMPLEX, size, (WHITE,), 1, cv2.LINE_AA)


def as_frame(luma: np.ndarray) -> av.VideoFrame:
    chroma = np.full((luma.shape[0] // 2, luma.shape[1]), 128, np.uint8)
    return av.VideoFrame.from_ndarray(np.concatenate([luma, chroma]), format="yuv420p")


def timeline_of(pictures: Iterable[np.ndarray], rate: float = RATE, cuts: Iterable[int] = ()) -> Timeline:
    """The timeline of pictures shown at `rate`; shots begin at the pictures with the numbers `cuts`."""
    builder, shown, number = TimelineBuilder(), set(cuts), 0
    for number, picture in enumerate(pictures, start=1):
        builder.feed(as_frame(picture), (number - 1) / rate, number - 1 in shown)
    return builder.finish(number / rate)
