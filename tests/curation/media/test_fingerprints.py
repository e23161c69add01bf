"""Fingerprints: PDQ's own values, near for copies of a picture and far for others, one for a run of equal pictures."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import cv2
import numpy as np
import pytest

from curation.media.fingerprints import distance, pdq
from curation.media.picture_box import BoxFinder, crop
from tests.support.made_up_pictures import BLACK, COLUMNS, RATE, ROWS, barred, flat, scene, timeline_of, written

ALIKE, OTHERWISE = 31, 80  # bits: vPDQ's bound, and what no two other pictures come near to
_X, _Y = np.meshgrid(np.arange(64), np.arange(64))

PUBLISHED = {
    "a product": ((_X * _Y) % 251, "999933116633c6338c6338e371c7c3c787870f0e3c0ef03e807e03f83ff8ff80", 100),
    "rings": (
        ((_X - 20) ** 2 + (_Y - 41) ** 2) // 9 % 256,
        "5b594a4b4b492a4bab4bab4bad49a5495549556b552b2aabaaa9aaad68b55555",
        100,
    ),
    "curves": (
        (_X * _X + 3 * _Y * _X + _Y) // 40 % 256,
        "aaaa2aaa55558555aaaa58aa9555a95552aab5266b5596a54d6a96d569ad96da",
        100,
    ),
}
"""Pictures of 64 x 64 pixels, with the hash and the quality that Meta's library (pdqhash 0.2.8) has for them."""


@pytest.mark.parametrize("picture", PUBLISHED)
def test_hashes_are_those_of_the_library(picture: str) -> None:
    pixels, code, quality = PUBLISHED[picture]
    assert pdq(pixels.astype(np.uint8)) == (code, quality)


def encoded(frame: np.ndarray, quality: int = 20) -> np.ndarray:
    _, data = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)


def found(frame: np.ndarray) -> np.ndarray:
    """The picture as the pass finds it in a frame."""
    return crop(frame, BoxFinder().look(frame))


COPIES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "encoded again": encoded,
    "half the size": lambda frame: cv2.resize(frame, (COLUMNS // 2, ROWS // 2), interpolation=cv2.INTER_AREA),
    "twice the size": lambda frame: cv2.resize(frame, (COLUMNS * 2, ROWS * 2), interpolation=cv2.INTER_CUBIC),
    "another shape": lambda frame: cv2.resize(frame, (240, 180), interpolation=cv2.INTER_AREA),
    "brighter": lambda frame: np.minimum(frame.astype(np.uint16) * 5 // 4, 235).astype(np.uint8),
    "less contrast": lambda frame: (frame // 2 + 60).astype(np.uint8),
    "with a logo": lambda frame: written(frame, "NEWS", 22, 270),
    "letterboxed": lambda frame: barred(frame, 24, 24),
    "pillarboxed": lambda frame: barred(frame, left=40, right=40),
    "letterboxed, with subtitles, encoded again": lambda f: encoded(written(barred(f, 24, 24), "Good evening!", 173)),
}


@pytest.mark.parametrize("copy", COPIES)
def test_copies_are_near(copy: str) -> None:
    distances = [distance(pdq(found(COPIES[copy](scene(i))))[0], pdq(scene(i))[0]) for i in range(6)]
    assert max(distances) <= ALIKE, distances


def test_other_pictures_are_far() -> None:
    codes = [pdq(scene(i))[0] for i in range(12)]
    assert min(distance(one, other) for one, other in itertools.combinations(codes, 2)) > OTHERWISE


@pytest.mark.parametrize(("picture", "least", "most"), [(flat(126), 0, 0), (flat(BLACK), 0, 0), (scene(1), 50, 100)])
def test_quality_tells_pictures_with_little_to_see(picture: np.ndarray, least: int, most: int) -> None:
    assert least <= pdq(picture)[1] <= most


def test_a_still_is_one_run_and_each_shot_has_its_own() -> None:
    (still,) = timeline_of([scene(1)] * (3 * RATE)).fingerprints
    assert (still.start, still.end) == (0.0, 2.5) and still.pdq == pdq(scene(1))[0]
    cut = int(1.25 * RATE)
    one, early, other = timeline_of([scene(1)] * cut + [scene(2)] * RATE, cuts=(cut,)).fingerprints
    assert (one.start, one.end) == (0.0, 1.0)
    assert (early.start, early.end) == (1.5, 1.5) and early.pdq == other.pdq == pdq(scene(2))[0]
    assert (other.start, other.end) == (1.75, 2.0), "half a second after the cut, whatever the grid"


def test_a_moving_picture_has_a_fingerprint_each_half_second() -> None:
    runs = timeline_of(scene(i // 12) for i in range(4 * RATE)).fingerprints
    assert [run.start for run in runs] == [i / 2 for i in range(8)]
    assert all(run.start == run.end for run in runs)
