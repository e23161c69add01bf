"""Timelines of made-up pictures with known values, second by second."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from curation.media.fingerprints import distance
from curation.media.single_pass import PassResult, decode_once, look
from curation.records import PictureBox, Timeline
from curation.rejects import Rejected
from curation.settings import Settings
from tests.support.made_up_pictures import BLACK, COLUMNS, RATE, ROWS, WHITE, barred, flat, scene, texture, timeline_of
from tests.support.media_files import make

SCENE = scene(0, ROWS + 80, COLUMNS + 160)


def window(right: float, down: float) -> np.ndarray:
    """What a camera sees of SCENE that is turned by so many pixels."""
    shift = np.array([[1, 0, -40 - right], [0, 1, -20 - down]], np.float32)
    return cv2.warpAffine(SCENE, shift, (COLUMNS, ROWS), flags=cv2.INTER_LINEAR)


def with_ball(frame: np.ndarray, at: float) -> np.ndarray:
    """A textured ball in front of a frame, at a share of its width."""
    ball, (column, row) = texture(9, 60, 60), (int(at * (COLUMNS - 60)), 50)
    mask = cv2.circle(np.zeros((60, 60), np.uint8), (30, 30), 28, 1, -1)
    there = frame[row : row + 60, column : column + 60]
    copy = frame.copy()
    copy[row : row + 60, column : column + 60] = np.where(mask, ball, there)
    return copy


def half(luma: int, other: int, share: float) -> np.ndarray:
    frame = flat(other)
    frame[:, : round(COLUMNS * share)] = luma
    return frame


# --- light ----------------------------------------------------------------------------------------------------------

LIGHT: dict[str, tuple[np.ndarray, dict[str, float]]] = {
    "black": (flat(BLACK), {"luminance": 0, "contrast": 0, "black": 1, "blown": 0, "sharpness": 0}),
    "white": (flat(WHITE), {"luminance": 1, "contrast": 0, "black": 0, "blown": 1, "sharpness": 0}),
    "grey": (flat(126), {"luminance": 0.502, "contrast": 0, "black": 0, "blown": 0}),
    "below black and above white": (half(0, 255, 0.5), {"luminance": 0.5, "contrast": 0.5, "black": 0.5, "blown": 0.5}),
    "a quarter black": (half(BLACK, 126, 0.25), {"luminance": 0.377, "contrast": 0.217, "black": 0.25, "blown": 0}),
    "a tenth blown": (half(WHITE, 126, 0.1), {"luminance": 0.552, "black": 0, "blown": 0.1}),
    "a picture in bars": (barred(flat(126), 24, 24), {"luminance": 0.502, "contrast": 0, "black": 0}),
}


@pytest.mark.parametrize("case", LIGHT)
def test_light_of_a_still_picture(case: str) -> None:
    picture, expected = LIGHT[case]
    timeline = timeline_of([picture] * (2 * RATE))
    for name, value in expected.items():
        assert getattr(timeline, name) == pytest.approx((value, value), abs=0.006), name
    assert timeline.still == (1.0, 1.0) and timeline.motion == (0.0, 0.0)


def test_a_fade_grows_lighter_second_by_second() -> None:
    timeline = timeline_of(flat(round(BLACK + (WHITE - BLACK) * i / (4 * RATE))) for i in range(4 * RATE))
    assert timeline.luminance == pytest.approx((1 / 16, 5 / 16, 9 / 16, 13 / 16), abs=0.01)
    assert timeline.still == (0.0,) * 4 and timeline.shake == (0.0,) * 4


def test_a_blurred_picture_is_less_sharp() -> None:
    values = [timeline_of([cv2.GaussianBlur(texture(1, grain=1), (0, 0), s)] * RATE).sharpness[0] for s in (0.1, 1, 3)]
    assert values[0] > 5 * values[1] > 25 * values[2] > 0


# --- motion ---------------------------------------------------------------------------------------------------------


def hand_held(i: int) -> np.ndarray:
    angles = (2 * math.pi * 3.1 * i / RATE, 2 * math.pi * 2.3 * i / RATE)
    return window(4 * math.sin(angles[0]), 3 * math.cos(angles[1]))


MOVING: dict[str, Callable[[int], np.ndarray]] = {
    "nothing": lambda i: window(0, 0),
    "a pan": lambda i: window(0.8 * i - 40, 0),
    "a tilt": lambda i: window(0, 0.4 * i - 18),
    "a hand-held camera": hand_held,
    "a ball": lambda i: with_ball(window(0, 0), 0.5 + 0.4 * math.sin(i / 24)),
    "a ball before a hand-held camera": lambda i: with_ball(hand_held(i), 0.5 + 0.4 * math.sin(i / 24)),
    "noise": lambda i: np.clip(window(0, 0) + np.random.default_rng(i).normal(0, 4, (ROWS, COLUMNS)), 0, 255).astype(
        np.uint8
    ),
    "flicker of the light": lambda i: np.clip(window(0, 0).astype(np.int16) + 12 * (i % 2), 0, 255).astype(np.uint8),
    "other pictures": lambda i: texture(i // 3),
}
# by what moves: the ranges of motion, displacement, shake (in widths of the picture) and still
MOTION: dict[str, Sequence[tuple[float, float]]] = {
    "nothing": ((0, 0), (0, 0), (0, 0), (1, 1)),
    "a pan": ((0, 0.002), (0.0073, 0.0077), (0, 0.0003), (0, 0)),
    "a tilt": ((0, 0.003), (0.0036, 0.0039), (0, 0.0003), (0, 0)),
    "a hand-held camera": ((0, 0.005), (0.015, 0.021), (0.025, 0.036), (0, 0)),
    "a ball": ((0.0025, 0.02), (0, 0), (0, 0), (0, 0.3)),
    "a ball before a hand-held camera": ((0.01, 0.04), (0.008, 0.021), (0.012, 0.036), (0, 0)),
    "noise": ((0, 0.004), (0, 0), (0, 0), (1, 1)),
    "flicker of the light": ((0.03, 0.06), (0, 0), (0, 0), (0, 0)),
    "other pictures": ((0.08, 0.3), (0, 0), (0, 0), (0, 0)),
}


@pytest.mark.parametrize("case", MOVING)
def test_motion_of_the_camera_is_told_from_motion_in_the_picture(case: str) -> None:
    timeline = timeline_of(MOVING[case](i) for i in range(3 * RATE))
    for name, (low, high) in zip(("motion", "displacement", "shake", "still"), MOTION[case], strict=True):
        seconds = getattr(timeline, name)
        assert all(low - 1e-9 <= value <= high + 1e-9 for value in seconds), f"{name}: {seconds}"


def test_a_cut_is_not_motion() -> None:
    pictures = [scene(i // RATE) for i in range(3 * RATE)]
    assert timeline_of(pictures, cuts=(RATE, 2 * RATE)).motion == (0.0, 0.0, 0.0)
    assert max(timeline_of(pictures).motion) > 0.01, "unless nobody says that it is one"


# --- clocks and bars ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rate", "seconds"), [(0.2, 25), (1, 5), (2.5, 4), (12, 3), (60, 2)])
def test_every_second_has_a_value_at_any_frame_rate(rate: float, seconds: int) -> None:
    timeline = timeline_of((flat(126) for _ in range(round(rate * seconds))), rate)
    lengths = {name: len(getattr(timeline, name)) for name in SERIES}
    assert set(lengths.values()) == {seconds}, lengths
    assert timeline.luminance == pytest.approx((0.502,) * seconds, abs=0.001)
    assert timeline.still == (1.0,) * seconds, "what is shown on is still"


SERIES = [
    name for name, value in vars(timeline_of([flat(0)])).items() if isinstance(value, tuple) and name != "fingerprints"
]


def test_a_slide_show_at_half_a_frame_a_second_holds_each_picture() -> None:
    timeline = timeline_of([flat(BLACK), flat(WHITE), flat(BLACK)], rate=0.5)
    assert timeline.luminance == (0.0, 0.0, 1.0, 1.0, 0.0, 0.0)


def test_the_box_is_told_second_by_second_and_for_most_of_the_video() -> None:
    def pictures() -> Iterator[np.ndarray]:
        for i in range(9 * RATE):
            yield scene(1) if i < 3 * RATE else barred(scene(2), 24, 24)

    timeline = timeline_of(pictures(), cuts=(3 * RATE,))
    letterbox = PictureBox(0, pytest.approx(24 / ROWS, abs=0.006), 1, pytest.approx(1 - 24 / ROWS, abs=0.006))  # type: ignore[arg-type]
    assert timeline.picture_boxes[:3] == (PictureBox(),) * 3
    assert timeline.picture_boxes[4:] == (letterbox,) * 5
    assert timeline.picture_box == letterbox


def test_a_timeline_of_the_shortest_video() -> None:
    timeline: Timeline = timeline_of([scene(1)])
    assert len(timeline.luminance) == 1 and len(timeline.fingerprints) == 1


# --- of real media --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def letterboxed(tmp_path_factory: pytest.TempPathFactory) -> tuple[PassResult, Path]:
    """What the pass makes of a source of 640 x 480 pixels whose picture has 640 x 360, and of its stored media."""
    folder = tmp_path_factory.mktemp("letterboxed")
    picture = "testsrc2=size=640x360:rate=25:duration=3,pad=640:480:0:60"
    source = make(folder / "letterboxed.mp4", picture=picture)
    settings = Settings.model_validate({"media": {"preset": "ultrafast"}, "frames": {"keep_s": 1.0}})
    return decode_once(source, (), None, None, settings, folder / "stored.mp4", folder), folder / "stored.mp4"


def test_kept_frames_are_cropped_and_stored_media_is_not(letterboxed: tuple[PassResult, Path]) -> None:
    decoded, stored = letterboxed
    assert decoded.timeline.picture_boxes == (PictureBox(0.0, 0.125, 1.0, 0.875),) * 3
    assert (decoded.width, decoded.height) == (480, 360) == (contents_size(stored))
    images = [cv2.imread(kept.path) for kept in decoded.candidates]
    assert [image.shape for image in images] == [(288, 512, 3)] * 3, "from the source's pixels: 640 x 360, not stored"
    assert all(image[[0, -1]].max(axis=2).mean() > 60 for image in images), "no line of a bar"


def contents_size(path: Path) -> tuple[int, int]:
    with av.open(str(path)) as container:
        return container.streams.video[0].width, container.streams.video[0].height


def test_stored_media_has_the_timeline_of_its_source(letterboxed: tuple[PassResult, Path]) -> None:
    decoded, stored = letterboxed
    cuts = [shot.start for shot in decoded.shots[1:]]
    again, first = look(stored, cuts, decoded.duration, Settings().media), decoded.timeline
    assert again.picture_boxes == first.picture_boxes
    for name in ("luminance", "contrast", "black", "motion", "displacement", "still"):
        assert getattr(again, name) == pytest.approx(getattr(first, name), abs=0.01), name
    pairs = zip(again.fingerprints, first.fingerprints, strict=True)
    assert all(one.start == other.start and distance(one.pdq, other.pdq) <= 31 for one, other in pairs)


def test_media_that_cannot_be_read_has_no_timeline(tmp_path: Path) -> None:
    (tmp_path / "stored.mp4").write_bytes(b"nothing")
    with pytest.raises(Rejected):
        look(tmp_path / "stored.mp4", (), 1.0, Settings().media)
