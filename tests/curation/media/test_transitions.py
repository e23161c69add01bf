"""The transition detector on pictures whose transitions are known; benchmarks/shots.py measures it on real footage."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation.media.shots import Boundary, shot_detector, shots_between, without_short_shots
from curation.media.transitions import HISTORY
from curation.records import Shot
from curation.row_digests import media_digest
from curation.settings import Settings, ShotSettings

Picture = np.ndarray
ALONE = 40  # frames of each shot before and after what is tried


def scene(seed: int) -> Picture:
    """A picture with the large and the small shapes of a photograph, twice as wide and high as what is shown of it."""
    random = np.random.default_rng(seed)
    layers = [
        cv2.resize(random.normal(0, 70 / i, (9 * i, 16 * i, 3)).astype(np.float32), (512, 288), interpolation=2)
        for i in (1, 2, 4, 8)
    ]
    return np.clip(128 + sum(layers), 0, 255).astype(np.uint8)


def shown(picture: Picture, left: float = 128, top: float = 72, zoom: float = 1.0) -> Picture:
    window = np.array([[zoom, 0, -left * zoom], [0, zoom, -top * zoom]], np.float32)
    return cv2.warpAffine(picture, window, (256, 144), borderMode=cv2.BORDER_REFLECT)


A, B = shown(scene(1)), shown(scene(2))


def mixed(share: float, a: Picture = A, b: Picture = B) -> Picture:
    return cv2.addWeighted(a, 1 - share, b, share, 0)


def wiped(share: float) -> Picture:
    columns = round(share * A.shape[1])
    return np.hstack([B[:, :columns], A[:, columns:]])


def faded(share: float, to: int = 0) -> Picture:
    side = A if share < 0.5 else B
    return mixed(1 - abs(2 * share - 1), side, np.full_like(side, to))


def boundaries(pictures: list[Picture], **settings: float | str) -> list[Boundary]:
    detector = shot_detector(ShotSettings.model_validate(settings), Fraction(1, 25), Fraction(25))
    noise = np.random.default_rng(0)
    suspects: set[int] = set()
    for i, picture in enumerate(pictures):
        seen = detector.feed(i, cv2.add(picture, noise.integers(0, 4, picture.shape, np.uint8)))
        assert all(i - detector.lateness <= suspect <= i for suspect in seen)
        suspects.update(seen)
    suspects.update(detector.finish())
    assert {b.start for b in detector.boundaries if b.kind == "cut"} <= suspects
    assert all(any(b.end <= s <= b.start for s in suspects) for b in detector.boundaries)
    return detector.boundaries


def between(change: Callable[[float], Picture], frames: int) -> list[Picture]:
    return [A] * ALONE + [change(i / frames) for i in range(1, frames)] + [B] * ALONE


@pytest.mark.parametrize("frames", [6, 12, 25, 50])
@pytest.mark.parametrize(("kind", "change"), [("dissolve", mixed), ("wipe", wiped), ("fade", faded)])
def test_gradual_transitions_are_found_with_their_kind_and_their_ends(
    kind: str, change: Callable[[float], Picture], frames: int
) -> None:
    (found,) = boundaries(between(change, max(frames, 10) if kind == "fade" else frames))
    assert found.kind == kind and 0.5 <= (found.score or 0) <= 1
    assert abs(found.middle - (ALONE + frames / 2)) <= max(2, frames / 8) + (2 if kind == "fade" else 0)
    assert 0.6 * frames - 1 <= found.start - found.end <= 1.4 * frames + 4


def test_a_cut_is_found_at_its_frame_also_among_motion() -> None:
    assert [(b.kind, b.end, b.start) for b in boundaries([A] * 30 + [B] * 30)] == [("cut", 30, 30)]
    one, other = scene(3), scene(4)
    moving = [shown(one, 3.0 * i) for i in range(40)] + [shown(other, 128, 3.0 * i) for i in range(40)]
    assert [(b.kind, b.start) for b in boundaries(moving)] == [("cut", 40)]
    at_the_end = [A] * 30 + [B] * 3
    assert [b.start for b in boundaries(at_the_end, min_shot_s=0.0)] == [30]


@pytest.mark.parametrize(
    "pictures",
    {
        "still": [A] * 100,
        "flash": [A] * 40 + [mixed(0.8, A, np.full_like(A, 255))] * 2 + [A] * 40,
        "whip pan": [shown(scene(5), min(256.0, max(0.0, 32.0 * (i - 40)))) for i in range(90)],
        "slow pan": [shown(scene(5), 2.0 * i) for i in range(120)],
        "zoom": [shown(scene(6), 128 - i, 72 - i / 2, 1 + i / 40) for i in range(60)],
        "shake": [shown(scene(7), 128 + 9 * np.sin(i), 72 + 7 * np.sin(1.3 * i)) for i in range(90)],
        "light goes on": [mixed(min(1.0, max(0.0, (i - 30) / 20)), A // 3, A) for i in range(90)],
        "fade-in at the start": [mixed(min(1.0, i / 25), np.zeros_like(A), A) for i in range(90)],
        "fade-out at the end": [mixed(max(0.0, (i - 50) / 25), A, np.zeros_like(A)) for i in range(75)],
        "black": [np.zeros_like(A)] * 60,
        "one frame": [A],
    }.items(),
    ids=lambda case: case[0],
)
def test_what_looks_like_a_transition_is_none(pictures: tuple[str, list[Picture]]) -> None:
    assert boundaries(pictures[1]) == []


def test_memory_does_not_grow_and_long_videos_find_their_cuts() -> None:
    cuts = list(range(50, 12 * HISTORY, 50))
    found = boundaries([A if i // 50 % 2 else B for i in range(12 * HISTORY)])
    assert [b.start for b in found] == cuts


def test_short_shots_are_merged_and_a_cut_outweighs_what_lies_beside_it() -> None:
    cut, dissolve = Boundary("cut", 100, 100, 0.6), Boundary("dissolve", 105, 120, 0.9)
    assert without_short_shots([cut, dissolve], 15) == [cut]
    inside = Boundary("cut", 110, 110, 0.6)
    assert without_short_shots([inside, dissolve], 15) == [dissolve]
    assert without_short_shots([dissolve, Boundary("cut", 135, 135, 0.6)], 15) == [
        dissolve,
        Boundary("cut", 135, 135, 0.6),
    ]
    assert shots_between([cut], 200, Fraction(1, 100)) == (Shot(0.0, 1.0), Shot(1.0, 2.0, "cut", 0.6))


def test_a_higher_threshold_keeps_the_sure_ones() -> None:
    pictures = [A] * 40 + [B] * 40
    assert len(boundaries(pictures, threshold=0.9)) == 1
    assert boundaries(pictures, threshold=0.99) == []


@pytest.mark.parametrize(
    ("former", "now"),
    [
        ({"detector": "content", "threshold": 27.0}, {}),
        ({"detector": "adaptive", "threshold": 27.0}, {"detector": "adaptive"}),
    ],
)
def test_what_the_former_defaults_cut_is_not_cut_again(former: dict[str, object], now: dict[str, object]) -> None:
    before, today, other = (
        media_digest("download", Settings.model_validate({"shots": shots}), "material")
        for shots in (former, now, {"detector": "content", "threshold": 30.0})
    )
    assert before == today != other


SHARES = st.lists(
    st.tuples(st.sampled_from(["still", "black", "white", "noise", "in", "out", "other"]), st.integers(1, 400)),
    min_size=1,
    max_size=5,
)


@given(SHARES)
@settings(max_examples=25, deadline=None)
def test_whatever_is_shown_for_however_long(parts: list[tuple[str, int]]) -> None:
    detector = shot_detector(ShotSettings(), Fraction(1, 25), Fraction(25))
    random, count = np.random.default_rng(0), 0
    for what, length in parts:
        for i in range(length):
            light = {"black": 0.0, "in": i / length, "out": 1 - i / length}.get(what, 1.0)
            picture = B if what == "other" else np.full_like(A, 255) if what == "white" else A
            if what == "noise":
                picture = random.integers(0, 256, A.shape, np.uint8)
            assert all(
                0 <= suspect <= count for suspect in detector.feed(count, cv2.convertScaleAbs(picture, alpha=light))
            )
            count += 1
    assert all(0 <= suspect < count for suspect in detector.finish())
    assert all(0 <= b.end <= b.start <= count for b in detector.boundaries)
    shots_between(detector.boundaries, count, Fraction(1, 25))


@pytest.mark.parametrize("length", [10, 300, 1000])
def test_a_long_black_end(length: int) -> None:
    found = boundaries([A] * ALONE + [np.zeros_like(A)] * length)
    assert [(b.kind, b.start) for b in found] == [("cut", ALONE)]
