"""Black bars: what is a bar and what is not, and what is known of it frame by frame."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import pytest

from curation.media.picture_box import WHOLE, BoxFinder, crop, shows_outside
from curation.records import PictureBox
from tests.support.made_up_pictures import BLACK, COLUMNS, ROWS, barred, flat, scene, texture, written

LETTERBOX = {"top": 24, "bottom": 24}
Looks = Sequence[np.ndarray]


def found(looks: Looks) -> PictureBox:
    finder = BoxFinder()
    for look in looks:
        finder.look(look)
    return finder.box


def inside(top: int = 0, bottom: int = 0, left: int = 0, right: int = 0) -> PictureBox:
    return PictureBox(left / COLUMNS, top / ROWS, 1 - right / COLUMNS, 1 - bottom / ROWS)


def noisy(frame: np.ndarray, deviation: float = 3.0) -> np.ndarray:
    noise = np.random.default_rng(1).normal(0, deviation, frame.shape)
    return np.clip(frame + noise, 0, 255).astype(np.uint8)


def dark(frame: np.ndarray, share: float) -> np.ndarray:
    return (BLACK + (frame.astype(np.float32) - BLACK) * share).astype(np.uint8)


def night(horizon: int) -> np.ndarray:
    """A black sky over a lit ground, with stars."""
    frame = scene(3)
    frame[:horizon] = BLACK
    frame[10:horizon:20, ::25] = 200
    return frame


def stage() -> np.ndarray:
    """A spot of light that fades into the dark on all sides."""
    rows, columns = np.ogrid[-1 : 1 : ROWS * 1j, -1 : 1 : COLUMNS * 1j]
    light = np.exp(-3 * (rows**2 + columns**2))
    return (BLACK + (scene(4) - BLACK) * light).astype(np.uint8)


def terminal() -> np.ndarray:
    frame = flat(BLACK)
    for row in range(14, 170, 14):
        frame = written(frame, f"$ make test_{row} && run", row, 4, 0.4)
    return frame


LETTERBOXED = [barred(scene(i), **LETTERBOX) for i in range(4)]
SAID = ["Good evening, everybody. Welcome!", "It has rained for two weeks now", "and the river is still rising."]

BOXES: dict[str, tuple[Looks, PictureBox]] = {
    "no bars": ([scene(i) for i in range(3)], WHOLE),
    "letterbox": (LETTERBOXED, inside(**LETTERBOX)),
    "one look is enough": (LETTERBOXED[:1], inside(**LETTERBOX)),
    "pillarbox": ([barred(scene(i), left=40, right=40) for i in range(3)], inside(left=40, right=40)),
    "a telephone's upright picture": ([barred(scene(1), left=110, right=109)], inside(left=110, right=109)),
    "bars on all sides": ([barred(scene(1), 30, 30, 40, 40)], inside(30, 30, 40, 40)),
    "higher up, with room for subtitles": ([barred(scene(1), 14, 34)], inside(14, 34)),
    "a few black columns of a capture": ([barred(scene(1), left=5)], inside(left=5)),
    "a logo in a bar": ([written(f, "NEWS 24", 16, 250) for f in LETTERBOXED], inside(**LETTERBOX)),
    "subtitles in a bar": (
        [written(f, said, 173, 12) for f, said in zip(LETTERBOXED, SAID, strict=False)],
        inside(**LETTERBOX),
    ),
    "subtitles on the picture's edge": ([written(LETTERBOXED[0], SAID[0], 158, 12)], inside(**LETTERBOX)),
    "noise in the bars": ([noisy(f) for f in LETTERBOXED], inside(**LETTERBOX)),
    "a picture that is faded in": ([dark(LETTERBOXED[0], i / 8) for i in range(9)], inside(**LETTERBOX)),
    "a dark scene keeps what is known": ([*LETTERBOXED, *[dark(LETTERBOXED[0], 0.02)] * 4], inside(**LETTERBOX)),
    "black": ([flat(BLACK)] * 3, WHOLE),
    "white": ([flat(235)] * 3, WHOLE),
    "a night with its horizon": ([night(60)] * 6, WHOLE),
    "a spot of light": ([stage()] * 6, WHOLE),
    "a terminal": ([terminal()] * 6, WHOLE),
    "a black band of a program": ([barred(scene(1), bottom=30)] * 6, WHOLE),
    "a slide with a title on black": ([written(flat(BLACK), "Thank you", 90, 100, 1.0)] * 6, WHOLE),
    "a full picture after bars": ([*LETTERBOXED, scene(5)], WHOLE),
    "wider than before": ([*LETTERBOXED, barred(scene(5), 12, 12)], inside(12, 12)),
    "bars for a moment alone": ([scene(1), *LETTERBOXED[:2]], WHOLE),
    "bars after a full picture": ([scene(1), *LETTERBOXED], inside(**LETTERBOX)),
}


@pytest.mark.parametrize("case", BOXES)
def test_bars_are_told_from_what_is_dark(case: str) -> None:
    looks, expected = BOXES[case]
    box = found(looks)
    seen = (box.left * COLUMNS, box.top * ROWS, box.right * COLUMNS, box.bottom * ROWS)
    right = (expected.left * COLUMNS, expected.top * ROWS, expected.right * COLUMNS, expected.bottom * ROWS)
    assert seen == pytest.approx(right, abs=1.01), case


@pytest.mark.parametrize("rows", [720, 1080, 1606])
def test_no_line_of_a_bar_is_left_however_a_source_is_scaled(rows: int) -> None:
    """Bars of a source of any height, measured in a smaller copy, and cropped from the source."""
    columns, bar = rows * 16 // 9, rows // 7
    source = cv2.copyMakeBorder(
        texture(2, rows - 2 * bar, columns), bar, bar, 0, 0, cv2.BORDER_CONSTANT, value=(BLACK,)
    )
    small = cv2.resize(source, (640, 360), interpolation=cv2.INTER_AREA)
    cropped = crop(source, found([small]))
    assert cropped.min() >= 40, "a line of the bar is in it"
    assert cropped.shape[0] >= (rows - 2 * bar) * 0.98


@pytest.mark.parametrize(
    ("frame", "outside"),
    [(scene(1), True), (barred(scene(1), 12, 12), True), (LETTERBOXED[0], False), (barred(scene(1), 40, 40), False)],
    ids=["whole", "wider", "the same", "narrower"],
)
def test_a_frame_that_shows_more_than_the_known_box_is_noticed(frame: np.ndarray, outside: bool) -> None:
    assert shows_outside(frame, inside(**LETTERBOX)) == outside
