"""Retrieval metrics: against a plain reference, with ties, several right answers, several blocks, in little memory."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from curation.errors import DatasetError
from model.evaluation.ranking import Ranks, normalised, rank, softmax_log_sums
from model.evaluation.retrieval import bootstrap, evaluate_retrieval

Floats = npt.NDArray[np.float64]
SCALE = 8.0


def cosines_of(queries: Floats, candidates: Floats) -> Floats:
    with np.errstate(invalid="ignore"):
        left, right = (np.nan_to_num(x / np.linalg.norm(x, axis=1, keepdims=True)) for x in (queries, candidates))
    return left @ right.T


def plain_counts(
    cosines: Floats, weights: Floats, query_groups: list[int], candidate_groups: list[int]
) -> list[tuple[int, int, int]]:
    """Above, tied and right, one query at a time, by cosine times weight."""
    counts = []
    for scores, weight, group in zip(cosines * weights, weights, query_groups, strict=True):
        is_right = [g == group for g in candidate_groups]
        best = max(s for s, right in zip(scores, is_right, strict=True) if right)
        unit = max(w for w, right in zip(weight, is_right, strict=True) if right)
        gaps = [(s - best) / unit for s in scores]
        assume(all(abs(gap) < 1e-10 or abs(gap) > 1e-4 for gap in gaps))  # in between, whether they tie is rounding
        above = sum(gap > 1e-10 for gap in gaps)
        level = [right for gap, right in zip(gaps, is_right, strict=True) if abs(gap) <= 1e-10]
        counts.append((above, len(level) - sum(level), sum(level)))
    return counts


def counts_of(ranks: Ranks) -> list[tuple[int, int, int]]:
    return [(int(a), int(t), int(r)) for a, t, r in zip(ranks.above, ranks.tied, ranks.right, strict=True)]


# --- against a reference --------------------------------------------------------------------------------------------


@st.composite
def some_features(draw: st.DrawFn) -> tuple[Floats, Floats, list[int], list[int]]:
    """Features of small integers, so that ties are common; every group has texts and videos."""
    groups = draw(st.lists(st.integers(0, 3), min_size=1, max_size=7))
    known = sorted(set(groups))
    others = draw(st.permutations(known + draw(st.lists(st.sampled_from(known), max_size=4))))
    vector = st.lists(st.integers(-2, 2), min_size=3, max_size=3)
    texts = draw(st.lists(vector, min_size=len(groups), max_size=len(groups)))
    videos = draw(st.lists(vector, min_size=len(others), max_size=len(others)))
    return np.array(texts, float), np.array(videos, float), groups, list(others)


@settings(max_examples=300)
@given(some_features())
def test_places_are_those_of_a_plain_reference(some: tuple[Floats, Floats, list[int], list[int]]) -> None:
    texts, videos, text_groups, video_groups = some
    cosines = cosines_of(texts, videos)
    powers = np.exp(SCALE * cosines)
    expected = [
        (cosines, powers / powers.sum(0), text_groups, video_groups),
        (cosines.T, powers.T / powers.T.sum(0), video_groups, text_groups),
    ]
    left, right = normalised(texts.astype(np.float32), "text"), normalised(videos.astype(np.float32), "video")
    text_totals, video_totals = softmax_log_sums(left, right, SCALE)
    groups = np.array(text_groups), np.array(video_groups)
    found = [
        rank(left, right, *groups, SCALE, video_totals),
        rank(right, left, *groups[::-1], SCALE, text_totals),
    ]
    for (plain, softmax, *sides), (by_cosine, by_dual) in zip(expected, found, strict=True):
        assert counts_of(by_cosine) == plain_counts(plain, np.ones_like(plain), *sides)
        assert counts_of(by_dual) == plain_counts(plain, softmax, *sides)


def test_several_blocks_give_what_one_matrix_gives() -> None:
    random = np.random.default_rng(3)
    size = 5000  # 25 million cosines: a block and a half
    videos = random.normal(size=(size, 16))
    texts = videos + 2 * random.normal(size=(size, 16))
    cosines = cosines_of(texts, videos)
    powers = np.exp(30 * cosines)
    got = evaluate_retrieval(texts, videos, scale=30, resamples=0)
    for one, scores in (
        (got.text_to_video, cosines),
        (got.video_to_text, cosines.T),
        (got.text_to_video_dsl, cosines * (powers / powers.sum(0))),
        (got.video_to_text_dsl, cosines.T * (powers.T / powers.T.sum(0))),
    ):
        ranks = 1 + (scores > np.diag(scores)[:, None]).sum(1)
        for figure, value in ((one.recall_1, ranks <= 1), (one.recall_5, ranks <= 5), (one.recall_10, ranks <= 10)):
            assert figure.value == pytest.approx(value.mean(), abs=2 / size)
        assert one.mean_rank.value == pytest.approx(ranks.mean(), rel=1e-4)
        assert one.median_rank.value == pytest.approx(np.median(ranks), abs=1)


def test_dual_softmax_keeps_its_order_where_float32_alone_would_underflow() -> None:
    """With a scale of 1000 nearly every softmax underflows float32; the reference uses logarithms."""
    random = np.random.default_rng(5)
    videos = random.normal(size=(60, 6))
    texts = videos + 0.6 * random.normal(size=(60, 6))
    cosines = cosines_of(texts, videos)
    largest = 1000 * cosines.max(0)
    exponents = 1000 * cosines - largest - np.log(np.exp(1000 * cosines - largest).sum(0))
    logarithms = np.where(cosines > 0, np.log(np.abs(cosines)) + exponents, -np.inf)
    own = np.diag(logarithms)
    assert (own > -np.inf).all()
    assert (own < -200).sum() > 5
    ranks = 1 + (logarithms > own[:, None]).sum(1)
    got = evaluate_retrieval(texts, videos, scale=1000, resamples=0).text_to_video_dsl
    assert got.mean_rank.value == pytest.approx(ranks.mean())
    assert got.recall_1.value == pytest.approx((ranks == 1).mean())


# --- ties -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("above", "tied", "right"), [*itertools.product((0, 1, 4, 9), (0, 1, 3), (1, 2, 3))])
def test_ties_count_as_the_mean_over_all_orders(above: int, tied: int, right: int) -> None:
    firsts = [
        above + 1 + min(at for at, is_right in enumerate(order) if is_right)
        for order in itertools.permutations([False] * tied + [True] * right)
    ]
    ranks = Ranks(*(np.array([float(n)]) for n in (above, tied, right)))
    assert ranks.ranks() == pytest.approx([np.mean(firsts)])
    for k in (1, 5, 10):
        assert ranks.hits(k) == pytest.approx([np.mean([first <= k for first in firsts])])


@pytest.mark.parametrize("number", [float, np.float32])
@pytest.mark.parametrize("size", [1, 7, 100, 4099])
def test_features_that_are_all_the_same_score_what_chance_scores(size: int, number: type) -> None:
    constant = np.full((size, 33), 0.1, number)
    got = evaluate_retrieval(constant, constant, resamples=0)
    for one in (got.text_to_video, got.video_to_text, got.text_to_video_dsl, got.video_to_text_dsl):
        assert one.recall_1.value == pytest.approx(1 / size)
        assert one.recall_10.value == pytest.approx(min(1, 10 / size))
        assert one.mean_rank.value == one.median_rank.value == (size + 1) / 2
        assert one.queries == size, "ties add no entries"


def test_a_text_twice_for_two_videos_is_a_coin() -> None:
    videos = np.eye(3)
    texts = np.array([[1, 1, 0], [1, 1, 0], [0, 0, 1]])
    assert evaluate_retrieval(texts, videos, resamples=0).text_to_video.recall_1.value == pytest.approx(
        (0.5 + 0.5 + 1) / 3
    )


# --- what is right --------------------------------------------------------------------------------------------------


def test_of_several_right_answers_the_best_counts() -> None:
    videos = np.eye(2)
    texts = np.array([[0.1, 1.0], [1.0, 0.2], [0.3, 1.0]])  # the first text of video "a" looks like video "b"
    got = evaluate_retrieval(texts, videos, ["a", "a", "b"], ["a", "b"], resamples=0)
    assert (got.text_to_video.queries, got.text_to_video.candidates) == (3, 2)
    assert got.text_to_video.recall_1.value == pytest.approx(2 / 3)
    assert (got.video_to_text.queries, got.video_to_text.candidates) == (2, 3)
    assert got.video_to_text.recall_1.value == pytest.approx(1 / 2), "b's nearest text is the first one of a"
    assert got.video_to_text.mean_rank.value == pytest.approx(1.5)


def test_dual_softmax_takes_a_hub_out_of_the_way() -> None:
    """A hub video, nearest to every text, ranks below each text's own video, which is near to no other text."""
    videos = np.eye(4)
    texts = np.array([[0.5, 0, 0, 0.6], [0, 0.5, 0, 0.6], [0, 0, 0.5, 0.6], [0, 0, 0, 1.0]])
    got = evaluate_retrieval(texts, videos, resamples=0)
    assert got.text_to_video.recall_1.value == pytest.approx(1 / 4)
    assert got.text_to_video_dsl.recall_1.value == 1


def test_lengths_of_features_and_the_order_of_candidates_do_not_matter() -> None:
    random = np.random.default_rng(7)
    texts, videos = random.normal(size=(2, 50, 8))
    order = random.permutation(50)
    lengths = random.uniform(0.1, 10, (50, 1))
    once = evaluate_retrieval(texts, videos)
    assert evaluate_retrieval(texts * lengths, videos[order], np.arange(50), order).text_to_video == once.text_to_video


# --- intervals and durations ----------------------------------------------------------------------------------------


def test_the_bootstrap_draws_groups_with_all_their_queries() -> None:
    random = np.random.default_rng(11)
    groups = np.array([4, 4, 4, 7, 9, 9])
    columns = random.normal(size=(3, 6)).round(1)
    samples = bootstrap(columns, groups, 40, seed=5)
    draws = np.random.default_rng(5).integers(3, size=(40, 3))
    for sample, draw in zip(samples, draws, strict=True):
        drawn = np.concatenate([np.flatnonzero(groups == (4, 7, 9)[code]) for code in draw])
        means = columns[:, drawn].mean(1)
        assert sample == pytest.approx([*means[:2], np.median(columns[2, drawn]), means[2]])


def test_an_interval_is_as_wide_as_theory_says_and_the_seed_decides_it() -> None:
    size = 400
    videos = np.eye(size)
    texts = np.eye(size)
    texts[:200] = np.roll(texts[:200], 1, axis=0)  # half of them are swapped
    one = evaluate_retrieval(texts, videos, seed=1).text_to_video.recall_1
    assert one == evaluate_retrieval(texts, videos, seed=1).text_to_video.recall_1
    assert one != evaluate_retrieval(texts, videos, seed=2).text_to_video.recall_1
    assert one.value == 0.5
    assert one.high - one.low == pytest.approx(2 * 1.96 * 0.5 / np.sqrt(size), rel=0.15)


def test_recall_by_duration_is_that_of_the_queries_in_each_bin() -> None:
    videos = np.eye(4)
    texts = np.eye(4)[[0, 1, 3, 2]]
    got = evaluate_retrieval(texts, videos, durations=[5, 10, 15, 500])
    bins = [(b.start, b.queries, b.recall_1.value) for b in got.text_to_video.by_duration]
    assert bins == [(0, 1, 1.0), (10, 2, 0.5), (120, 1, 0.0)]
    many = evaluate_retrieval(texts[[0, 0, 1, 2, 3]], videos, [0, 0, 1, 2, 3], [0, 1, 2, 3], durations=[5, 10, 15, 500])
    assert [b.queries for b in many.text_to_video.by_duration] == [2, 2, 1]
    assert [b.queries for b in many.video_to_text.by_duration] == [1, 2, 1]


# --- what goes in and comes out -------------------------------------------------------------------------------------


def test_the_result_prints_as_a_table_and_dumps_to_json() -> None:
    videos = np.eye(20)
    got = evaluate_retrieval(videos[[1, 0, *range(2, 20)]], videos, durations=[130.0] * 20)
    assert "text to video       20       20          90.0 [" in str(got)
    assert "video to text, DSL, 120 s and more:  R@1 90.0" in str(got)
    dumped = json.loads(got.to_json())
    assert dumped["video_to_text_dsl"]["recall_1"]["value"] == 0.9
    assert dumped["text_to_video"]["by_duration"][0]["end"] is None


def test_tensors_of_half_precision_that_train_are_taken_under_autocast() -> None:
    random = torch.Generator().manual_seed(2)
    videos = torch.randn(40, 16, generator=random).bfloat16().requires_grad_()
    texts = videos.detach() + 0.1 * torch.randn(40, 16, generator=random)
    alone = evaluate_retrieval(texts, videos)
    with torch.autocast("cpu", torch.bfloat16):
        assert evaluate_retrieval(texts, videos) == alone
    assert alone.text_to_video.recall_1.value == 1


def test_bad_input_is_told_in_a_line() -> None:
    videos = np.eye(3)
    broken = np.eye(3)
    broken[1, 1] = np.nan
    for texts, others, what in ((broken, videos, "text 1"), (videos, np.full((3, 3), np.inf), "video 0")):
        with pytest.raises(DatasetError, match=rf"of 3 .* features are not finite, .*{what}: .* diverged") as raised:
            evaluate_retrieval(texts, others)
        assert "\n" not in str(raised.value)
    with pytest.raises(DatasetError, match="query 2 has no right candidate"):
        evaluate_retrieval(videos, videos, [0, 1, 5], [0, 1, 2])
    with pytest.raises(DatasetError, match="no text to evaluate"):
        evaluate_retrieval(np.empty((0, 3)), videos, [], [0, 1, 2])
    with pytest.raises(ValueError, match="3 texts and 3 videos need a group each"):
        evaluate_retrieval(videos, videos, [0, 1], [0, 1, 2])
    with pytest.raises(ValueError, match="3 videos need a duration each"):
        evaluate_retrieval(videos, videos, durations=[1.0])


@pytest.mark.slow
def test_no_whole_matrix_is_held() -> None:
    """12,000 × 12,000 cosines take 576 MB; the process grows by less, whatever their number."""
    program = """if True:
        import numpy as np
        from model.evaluation.retrieval import evaluate_retrieval
        from tests.support.memory import peak_bytes
        random = np.random.default_rng(0)
        evaluate_retrieval(*random.normal(size=(2, 100, 32)).astype(np.float32))
        texts, videos = random.normal(size=(2, 12_000, 32)).astype(np.float32)
        before = peak_bytes()
        evaluate_retrieval(texts, videos)
        print(peak_bytes() - before)
    """
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=840, check=True)
    assert int(ran.stdout) < 550 << 20
