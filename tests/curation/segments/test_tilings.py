from __future__ import annotations

import itertools
import json
import math
import os
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import webvtt
from hypothesis import given, settings
from hypothesis import strategies as st

from curation.errors import ConfigError
from curation.ids import frame_id_of
from curation.records import SCALES, Segment, Sentence, Shot
from curation.segments.tilings import choose_frames, sentence_boundaries, tile
from curation.settings import ScaleSettings, TilingSettings, resolve

DEFAULT = TilingSettings()
SMALL = TilingSettings(
    short=ScaleSettings(target_s=4, min_s=2, max_s=6),
    medium=ScaleSettings(target_s=8, min_s=5, max_s=12),
    long=ScaleSettings(target_s=16, min_s=11, max_s=24),
    sentence_cost=3,
)


def of_scale(clips: tuple[Segment, ...], scale: str) -> list[Segment]:
    return [clip for clip in clips if clip.scale == scale]


def seconds(clips: tuple[Segment, ...], scale: str) -> list[float]:
    return [clip.end - clip.start for clip in of_scale(clips, scale)]


def back_to_back(edges: list[float]) -> list[Shot]:
    return [Shot(start, end) for start, end in itertools.pairwise(edges)]


# --- properties -----------------------------------------------------------------------------------------------------


@st.composite
def speech(draw: st.DrawFn, duration: float) -> list[Sentence]:
    """Sentences that may overlap, be empty or outlast the video, as subtitles' do."""
    starts = draw(st.lists(st.floats(0, duration), max_size=40))
    return [Sentence(start, start + draw(st.floats(0, 30)), "") for start in starts]


@st.composite
def footage(draw: st.DrawFn, longest: float = 400) -> tuple[float, list[float], list[Sentence], list[Shot]]:
    duration = draw(st.floats(0.5, longest))
    sentences = draw(speech(duration))
    cuts = sorted(draw(st.sets(st.floats(0, duration), max_size=40)) | {0.0, duration})
    boundaries = [*sentence_boundaries(sentences), *cuts, *draw(st.lists(st.floats(-5, duration + 5), max_size=40))]
    return duration, draw(st.permutations(boundaries)), sentences, back_to_back(cuts)


def check_shape(clips: tuple[Segment, ...], duration: float, boundaries: list[float]) -> None:
    """Exact cover, order, nesting and parents: what holds whatever the candidates are."""
    assert list(clips) == sorted(clips, key=lambda c: (SCALES.index(c.scale), c.start))
    assert len({clip.clip_id for clip in clips}) == len(clips)
    assert {c.end for c in clips} <= {*boundaries, duration}
    by_id = {clip.clip_id: clip for clip in clips}
    present = [scale for scale in SCALES if of_scale(clips, scale)]
    assert present == [scale for scale in SCALES if duration >= getattr(DEFAULT, scale).min_s]
    for scale in present:
        tiles = of_scale(clips, scale)
        assert tiles[0].start == 0 and tiles[-1].end == duration
        assert all(left.end == right.start for left, right in itertools.pairwise(tiles))
        assert all(clip.start < clip.end and clip.frame_ids == () for clip in tiles)
        if scale == present[-1]:
            assert all(clip.parent_id is None for clip in tiles)
            continue
        longer = present[present.index(scale) + 1]
        children = {parent: list(inside) for parent, inside in itertools.groupby(tiles, key=lambda c: c.parent_id)}
        assert list(children) == [clip.clip_id for clip in of_scale(clips, longer)]
        for parent, inside in children.items():
            assert parent is not None
            assert (inside[0].start, inside[-1].end) == (by_id[parent].start, by_id[parent].end)


@given(footage())
def test_clips_cover_and_nest_whatever_the_candidates(
    video: tuple[float, list[float], list[Sentence], list[Shot]],
) -> None:
    duration, boundaries, sentences, shots = video
    clips = tile("v", duration, boundaries, sentences, shots, DEFAULT)
    check_shape(clips, duration, boundaries)
    assert clips == tile("v", duration, boundaries[::-1], sentences[::-1], shots[::-1], DEFAULT)
    middles = [(s.start + s.end) / 2 for s in sentences]
    for clip in clips:
        assert clip.sentence_count == sum(clip.start <= middle < clip.end for middle in middles)


@given(footage())
def test_a_grid_of_two_seconds_keeps_all_bounds(
    video: tuple[float, list[float], list[Sentence], list[Shot]],
) -> None:
    duration, boundaries, sentences, shots = video
    clips = tile("v", duration, [*boundaries, *np.arange(0, duration, 2.0)], sentences, shots, DEFAULT)
    for scale in SCALES:
        bounds: ScaleSettings = getattr(DEFAULT, scale)
        assert all(bounds.min_s <= s <= bounds.max_s for s in seconds(clips, scale))


def can_be_tiled(times: list[float], scales: list[ScaleSettings]) -> bool:
    """By trying: whether nested tilings of `times` within all bounds exist."""

    @cache
    def clip(level: int, i: int, j: int) -> bool:
        bounds = scales[level]
        if not bounds.min_s <= times[j] - times[i] <= bounds.max_s:
            return False
        return level == 0 or tiling(level - 1, i, j)

    @cache
    def tiling(level: int, i: int, j: int) -> bool:
        return any(clip(level, k, j) and (k == i or tiling(level, i, k)) for k in range(i, j))

    return tiling(len(scales) - 1, 0, len(times) - 1)


@settings(max_examples=300)
@given(st.floats(2, 60), st.lists(st.floats(0, 60), max_size=40))
def test_bounds_hold_exactly_where_they_can(duration: float, boundaries: list[float]) -> None:
    clips = tile("v", duration, boundaries, [], [], SMALL)
    scales = [s for s in (SMALL.short, SMALL.medium, SMALL.long) if duration >= s.min_s]
    kept = all(
        bounds.min_s <= s <= bounds.max_s
        for scale, bounds in zip(SCALES, scales, strict=False)
        for s in seconds(clips, scale)
    )
    times = sorted({0.0, duration, *(b for b in boundaries if 0 < b < duration)})
    assert kept == can_be_tiled(times, scales)


def price(time: float, free: set[int], sentences: list[Sentence]) -> float:
    """Of a boundary: full from 0.5 s inside a sentence, none from 0.1 s outside."""
    depth = max((min(time - s.start, s.end - time) for s in sentences), default=-1.0)
    into = min(max((depth + 0.1) / 0.6, 0.0), 1.0)
    return SMALL.sentence_cost * into**3 + (0.0 if time in free else SMALL.shot_cost)


def cheapest(times: list[int], free: set[int], sentences: list[Sentence], scales: list[ScaleSettings]) -> float:
    """By trying: the cost of the cheapest nested tilings of `times` in bounds."""

    @cache
    def clip(level: int, i: int, j: int) -> float:
        length, bounds = times[j] - times[i], scales[level]
        if not bounds.min_s <= length <= bounds.max_s:
            return math.inf
        missed = abs(length - bounds.target_s) / (bounds.target_s / 2)
        return (
            missed**2
            + (price(times[j], free, sentences) if times[j] != times[-1] else 0.0)
            + (tiling(level - 1, i, j) if level else 0.0)
        )

    @cache
    def tiling(level: int, i: int, j: int) -> float:
        return min(clip(level, k, j) + (tiling(level, i, k) if k > i else 0.0) for k in range(i, j))

    return tiling(len(scales) - 1, 0, len(times) - 1)


def cost_of(clips: tuple[Segment, ...], times: list[int], free: set[int], sentences: list[Sentence]) -> float:
    total = 0.0
    for clip in clips:
        target = getattr(SMALL, clip.scale).target_s
        total += (2 * (clip.end - clip.start - target) / target) ** 2
        if clip.end != times[-1]:
            total += price(clip.end, free, sentences)
    return total


@settings(max_examples=100)
@given(st.data())
def test_no_tilings_are_cheaper(data: st.DataObject) -> None:
    duration = data.draw(st.integers(11, 50))
    sentences = data.draw(speech(duration))
    cuts = data.draw(st.sets(st.integers(1, duration - 1)))
    times = list(range(duration + 1))
    clips = tile("v", duration, times, sentences, back_to_back([0.0, *sorted(cuts), duration]), SMALL)
    best = cheapest(times, cuts, sentences, [SMALL.short, SMALL.medium, SMALL.long])
    assert cost_of(clips, times, cuts, sentences) == pytest.approx(best, abs=1e-6)


# --- durations ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("duration", "counts"),
    [
        (0.5, (0, 0, 0)),
        (5.99, (0, 0, 0)),
        (6.0, (1, 0, 0)),
        (15.99, (1, 0, 0)),
        (19.99, (2, 0, 0)),
        (20.0, (2, 1, 0)),
        (40.0, (3, 1, 1)),
    ],
)
def test_a_short_video_has_no_clips_of_longer_scales(duration: float, counts: tuple[int, int, int]) -> None:
    clips = tile("v", duration, np.arange(0, duration, 2.0).tolist(), [], [], DEFAULT)
    assert tuple(len(of_scale(clips, scale)) for scale in SCALES) == counts


def test_durations_are_near_the_targets() -> None:
    random = np.random.default_rng(5)
    starts = np.cumsum(random.gamma(3, 2.2, 300)).tolist()
    sentences = [Sentence(a, b - 0.2, "") for a, b in itertools.pairwise(starts)]
    cuts = np.cumsum(random.exponential(5.0, 400)).tolist()
    duration = min(starts[-1], cuts[-1])
    for spoken, shots in ((sentences, []), ([], back_to_back(cuts)), (sentences, back_to_back(cuts))):
        edges = [*np.arange(0, duration, 2.0), *sentence_boundaries(spoken), *(shot.start for shot in shots)]
        clips = tile("v", duration, edges, spoken, shots, DEFAULT)
        for scale in SCALES:
            assert np.mean(seconds(clips, scale)) == pytest.approx(getattr(DEFAULT, scale).target_s, rel=0.1)


def test_a_hole_among_the_candidates_costs_no_more_than_itself() -> None:
    grid = [t for t in np.arange(0.0, 600, 2) if not 200 < t < 330]
    clips = tile("v", 600.0, grid, [], [], DEFAULT)
    for scale in SCALES:
        bounds: ScaleSettings = getattr(DEFAULT, scale)
        out = [c for c in of_scale(clips, scale) if not bounds.min_s <= c.end - c.start <= bounds.max_s]
        assert [(c.start, c.end) for c in out] == [(200.0, 330.0)]


def test_no_candidates_at_all_give_one_clip_a_scale() -> None:
    clips = tile("v", 7200.0, [], [], [], DEFAULT)
    assert [(c.scale, c.start, c.end) for c in clips] == [(scale, 0.0, 7200.0) for scale in SCALES]


def test_two_hours_with_a_long_frozen_picture_end_soon() -> None:
    grid = [t for t in np.arange(0.0, 7200, 2) if not 1000 < t < 4600]
    clips = tile("v", 7200.0, grid, [], [], DEFAULT)
    assert max(seconds(clips, "long")) == 3600.0


def test_scales_that_shrink_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"tilings: target_s must not shrink"):
        resolve(assignments=["tilings.medium.target_s=70", "tilings.medium.max_s=80", "tilings.long.max_s=80"])


# --- where boundaries fall ------------------------------------------------------------------------------------------


def short_ends(sentences: list[Sentence], shots: list[Shot], extra: list[float], duration: float = 26.0) -> list[float]:
    clips = tile("v", duration, [*np.arange(0, duration, 2.0), *extra], sentences, shots, DEFAULT)
    return [c.end for c in of_scale(clips, "short")][:-1]


def test_a_boundary_goes_into_the_pause_nearest_to_the_target() -> None:
    sentences = [Sentence(0.2, 9.0, ""), Sentence(9.6, 14.0, ""), Sentence(14.8, 25.5, "")]
    assert short_ends(sentences, [], list(sentence_boundaries(sentences))) == [14.3]


def test_a_cut_in_a_pause_is_better_than_a_pause() -> None:
    sentences = [Sentence(0.2, 11.5, ""), Sentence(12.3, 14.0, ""), Sentence(14.8, 25.5, "")]
    ends = list(sentence_boundaries(sentences))
    assert 11.6 < short_ends(sentences, [], ends)[0] < 12.2
    assert short_ends(sentences, [Shot(0, 14.5), Shot(14.5, 26)], [*ends, 14.5]) == [14.5]


def test_a_pause_is_better_than_a_cut_in_a_sentence() -> None:
    sentences = [Sentence(0.2, 8.0, ""), Sentence(8.6, 25.5, "")]
    shots = [Shot(0, 13.0), Shot(13.0, 26.0)]
    assert short_ends(sentences, shots, [*sentence_boundaries(sentences), 13.0]) == [8.3]


def test_a_sentence_longer_than_any_clip_is_cut_at_a_shot() -> None:
    shots = [Shot(0, 11.0), Shot(11.0, 26.0)]
    assert short_ends([Sentence(0.0, 26.0, "")], shots, [11.0]) == [11.0]


def test_imprecise_times_at_a_sentences_end_do_not_matter() -> None:
    touching = [Sentence(0.2, 13.05, ""), Sentence(13.05, 25.8, "")]
    assert short_ends(touching, [], [13.12]) == [13.12]
    assert short_ends(touching, [], [9.0, 13.12, 13.6]) == [13.12]


def test_fast_cutting_does_not_make_boundaries_cut_sentences() -> None:
    random = np.random.default_rng(3)
    starts = np.cumsum(random.uniform(3.0, 9.0, 150))
    sentences = [Sentence(a, b - 0.4, "") for a, b in itertools.pairwise(starts.tolist())]
    duration = float(starts[-1])
    cuts = [0.0, *np.sort(random.uniform(0, duration, 600)).tolist(), duration]
    ends = short_ends(sentences, back_to_back(cuts), [*cuts, *sentence_boundaries(sentences)], duration)
    assert len(ends) > 50
    assert not [e for e in ends if any(s.start + 0.1 < e < s.end - 0.1 for s in sentences)]


# --- sentence boundaries --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ranges", "expected"),
    [
        ([], []),
        ([(1.0, 3.0)], [3.3]),
        ([(1.0, 3.0), (3.4, 5.0)], [3.2, 5.3]),  # the middle of a pause
        ([(1.0, 3.0), (9.0, 10.0)], [3.3, 10.3]),  # a long one
        ([(1.0, 3.0), (3.0, 5.0)], [3.0, 5.3]),  # none
        ([(1.0, 3.2), (3.0, 5.0)], [3.1, 5.3]),  # times that overlap a little
        ([(1.0, 6.0), (3.0, 8.0)], [8.3]),  # two voices
        ([(1.0, 9.0), (3.0, 5.0), (9.4, 11.0)], [9.2, 11.3]),  # one within another
        ([(3.4, 5.0), (1.0, 3.0)], [3.2, 5.3]),  # out of order
    ],
)
def test_sentence_boundaries(ranges: list[tuple[float, float]], expected: list[float]) -> None:
    assert sentence_boundaries([Sentence(a, b, "") for a, b in ranges]) == pytest.approx(expected)


@given(speech(100.0))
def test_sentence_boundaries_lie_in_pauses(sentences: list[Sentence]) -> None:
    boundaries = sentence_boundaries(sentences)
    assert list(boundaries) == sorted(set(boundaries))
    for boundary in boundaries:
        assert all(min(boundary - s.start, s.end - boundary) <= 0.25 for s in sentences)


# --- frames ---------------------------------------------------------------------------------------------------------


@given(footage(longest=150), st.data())
def test_every_short_clip_has_a_frame_and_longer_ones_their_parts(
    video: tuple[float, list[float], list[Sentence], list[Shot]], data: st.DataObject
) -> None:
    duration, boundaries, sentences, shots = video
    times = sorted(data.draw(st.sets(st.floats(0, duration, exclude_max=True), max_size=60)))
    frames = [(f"f{k}", time, data.draw(st.floats(0, 500))) for k, time in enumerate(times)]
    bare = tile("v", duration, boundaries, sentences, shots, DEFAULT)
    clips = choose_frames(bare, frames, 10.0)
    assert [c.clip_id for c in clips] == [c.clip_id for c in bare]
    time_of = {frame_id: time for frame_id, time, _ in frames}
    for clip in clips:
        chosen = [time_of[frame_id] for frame_id in clip.frame_ids]
        assert chosen == sorted(set(chosen))
        assert all(clip.start <= time < clip.end for time in chosen)
        if clip.scale == "short":
            assert bool(chosen) == any(clip.start <= time < clip.end for time in times)
            assert len(chosen) <= max(1, math.ceil((clip.end - clip.start) / 10 - 0.5))
        else:
            assert clip.frame_ids == tuple(f for c in clips if c.parent_id == clip.clip_id for f in c.frame_ids)


def test_the_sharpest_frame_near_the_middle_is_chosen() -> None:
    clips = tile("v", 14.0, [], [], [], DEFAULT)
    frames = [("early", 1.0, 900.0), ("blurred", 7.0, 10.0), ("sharp", 9.0, 300.0), ("late", 13.0, 800.0)]
    assert choose_frames(clips, frames, 10.0)[0].frame_ids == ("sharp",)
    assert choose_frames(clips, [frames[0], frames[3]], 10.0)[0].frame_ids in {("early",), ("late",)}
    assert choose_frames(clips, [], 10.0)[0].frame_ids == ()


def test_long_short_clips_have_more_frames() -> None:
    clips = tile("v", 19.0, [], [], [], DEFAULT)
    frames = [(frame_id_of("v", float(t)), float(t), 1.0) for t in range(19)]
    assert len(choose_frames(clips, frames, 10.0)[0].frame_ids) == 2
    assert len(choose_frames(clips, frames, 5.0)[0].frame_ids) == 4


# --- the sample -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sample() -> tuple[float, list[float], list[Sentence], list[Shot]]:
    folder = os.environ.get("VIDLA_SAMPLE_MEDIA")
    if folder is None:
        pytest.skip("VIDLA_SAMPLE_MEDIA is not set: no sample media to tile")
    truth = json.loads((Path(folder) / "truth.json").read_text())
    cuts = sorted(truth["hard_cut_frames"] + truth["dissolve_mid_frames"])
    shots = back_to_back([frame / truth["fps"] for frame in (0, *cuts, truth["frames"])])
    cues = webvtt.read(str(Path(folder) / "sample.en.vtt"))
    sentences = [Sentence(c.start_in_seconds, c.end_in_seconds, c.text) for c in cues]
    wished = [*np.arange(0.0, truth["duration"], 2.0), *sentence_boundaries(sentences)]
    on_frames = [round(time * truth["fps"]) / truth["fps"] for time in wished]
    return truth["duration"], [*on_frames, *(shot.start for shot in shots)], sentences, shots


def test_the_sample_is_cut_between_sentences(
    sample: tuple[float, list[float], list[Sentence], list[Shot]],
) -> None:
    duration, boundaries, sentences, shots = sample
    clips = tile("v", duration, boundaries, sentences, shots, DEFAULT)
    check_shape(clips, duration, boundaries)
    assert [len(of_scale(clips, scale)) for scale in SCALES] == [9, 4, 2]
    assert not [(c, s) for c in clips for s in sentences if s.start < c.end < s.end]
    for scale in SCALES:
        assert sum(c.sentence_count for c in of_scale(clips, scale)) == len(sentences)
        target = getattr(DEFAULT, scale).target_s
        assert np.mean(seconds(clips, scale)) == pytest.approx(target, rel=0.1)
