"""Retrieval metrics of texts and videos: R@k, median and mean rank, both directions, with and without dual softmax.

**Right answers.** Each text and each video has a group, and those of one group belong together. So a video may have
many texts (MSVD has some forty) and a text many videos. A query's rank is that of its best-ranked right answer.

**Ties.** Every metric is its mean over all orders of candidates with the same score (ranking.py).

**Dual softmax** (DSL: Cheng et al., "Improving Video-Text Retrieval by Multi-Stream Corpus Alignment and Dual Softmax
Loss", arXiv 2109.04290, whose model is CAMoE) multiplies a similarity by the candidate's softmax over all queries,
separately in each direction. It sees all queries at once, which a search engine does not: compare its figures only with
others that use DSL.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from model.evaluation.ranking import Floats, Groups, Ranks, normalised, rank, softmax_log_sums

RECALLS = (1, 5, 10)
DURATIONS = (0.0, 10.0, 20.0, 30.0, 60.0, 120.0, math.inf)
RESAMPLES = 1000
DSL_SCALE = 100.0
"""Inverse temperature of dual softmax, as in CLIP-ViP (Xue et al., arXiv 2209.06430): the same for every model, so that
figures compare, whatever temperature the model was trained to."""
Labels = Sequence[str] | Sequence[int] | npt.NDArray[Any]


# --- results --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Estimate:
    """A metric with its 95% bootstrap interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class DurationBin:
    """R@1 of the queries whose video is from `start` to less than `end` seconds long."""

    start: float
    end: float
    queries: int
    recall_1: Estimate


@dataclass(frozen=True)
class DirectionMetrics:
    """The metrics of one direction. Recalls are fractions of the queries; the best rank is 1."""

    queries: int
    candidates: int
    recall_1: Estimate
    recall_5: Estimate
    recall_10: Estimate
    median_rank: Estimate
    mean_rank: Estimate
    by_duration: tuple[DurationBin, ...]


@dataclass(frozen=True)
class RetrievalMetrics:
    """Both directions, without and with dual softmax. Prints as a table."""

    text_to_video: DirectionMetrics
    video_to_text: DirectionMetrics
    text_to_video_dsl: DirectionMetrics
    video_to_text_dsl: DirectionMetrics

    def to_json(self) -> str:
        """All metrics as a JSON object; the `end` of the last duration bin is null."""
        return json.dumps({**dataclasses.asdict(self), "interval": 0.95}, indent=2).replace("Infinity", "null")

    def __str__(self) -> str:
        rows = [("", "queries", "candidates", *(f"R@{k}" for k in RECALLS), "median", "mean")]
        duration_rows = []
        for field in dataclasses.fields(self):
            title, metrics = field.name.replace("_dsl", ", DSL").replace("_", " "), getattr(self, field.name)
            recalls = (_format(e, 100) for e in (metrics.recall_1, metrics.recall_5, metrics.recall_10))
            ranks = (_format(e) for e in (metrics.median_rank, metrics.mean_rank))
            rows.append((title, str(metrics.queries), str(metrics.candidates), *recalls, *ranks))
            for b in metrics.by_duration:
                seconds = f"{b.start:g} s and more" if math.isinf(b.end) else f"{b.start:g} to {b.end:g} s"
                duration_rows.append((f"{title}, {seconds}:", f"R@1 {_format(b.recall_1, 100)}", f"of {b.queries}"))
        return "\n".join([*_aligned(rows), *_aligned(duration_rows)])


def _format(estimate: Estimate, factor: float = 1) -> str:
    return f"{estimate.value * factor:.1f} [{estimate.low * factor:.1f}, {estimate.high * factor:.1f}]"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


# --- evaluation -----------------------------------------------------------------------------------------------------


def evaluate_retrieval(
    texts: Any,
    videos: Any,
    text_groups: Labels | None = None,
    video_groups: Labels | None = None,
    *,
    scale: float = DSL_SCALE,
    durations: Sequence[float] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> RetrievalMetrics:
    """Retrieval metrics from features of `texts` (n, d) and `videos` (m, d): arrays, or tensors on any device.

    Features are normalised here. Without groups, text i belongs to video i. `scale` is the
    inverse temperature of DSL's softmax. With `durations` (seconds, one per video) R@1 is also given by duration.
    Raises DatasetError for features that are not finite and for a query without a right answer, ValueError for shapes
    that do not match.

    >>> metrics = evaluate_retrieval(np.eye(4), np.eye(4)[[0, 1, 3, 2]])  # texts 2 and 3 find each other's video
    >>> metrics.text_to_video.recall_1.value, metrics.text_to_video.recall_5.value
    (0.5, 1.0)
    """
    text_codes, video_codes = _codes(text_groups, video_groups, len(texts), len(videos))
    by_text, by_video = _durations(durations, text_codes, video_codes)
    texts, videos = normalised(texts, "text"), normalised(videos, "video")
    text_log_sums, video_log_sums = softmax_log_sums(texts, videos, scale)
    to_video, to_video_dsl = rank(texts, videos, text_codes, video_codes, scale, video_log_sums)
    to_text, to_text_dsl = rank(videos, texts, video_codes, text_codes, scale, text_log_sums)
    bootstrap_args = (resamples, seed)
    return RetrievalMetrics(
        text_to_video=_direction(to_video, text_codes, len(videos), by_text, *bootstrap_args),
        video_to_text=_direction(to_text, video_codes, len(texts), by_video, *bootstrap_args),
        text_to_video_dsl=_direction(to_video_dsl, text_codes, len(videos), by_text, *bootstrap_args),
        video_to_text_dsl=_direction(to_text_dsl, video_codes, len(texts), by_video, *bootstrap_args),
    )


def _direction(
    ranks: Ranks, groups: Groups, candidates: int, durations: Floats | None, resamples: int, seed: int
) -> DirectionMetrics:
    recall_1, recall_5, recall_10, median_rank, mean_rank = _estimates(ranks, groups, resamples, seed)
    by_duration = _by_duration(ranks, groups, durations, resamples, seed)
    return DirectionMetrics(len(groups), candidates, recall_1, recall_5, recall_10, median_rank, mean_rank, by_duration)


def _codes(text_groups: Labels | None, video_groups: Labels | None, texts: int, videos: int) -> tuple[Groups, Groups]:
    """The groups of both sides as integers from 0."""
    of_texts: Labels = range(texts) if text_groups is None else text_groups
    of_videos: Labels = range(videos) if video_groups is None else video_groups
    if (len(of_texts), len(of_videos)) != (texts, videos):
        raise ValueError(
            f"{texts} texts and {videos} videos need a group each, not {len(of_texts)} and {len(of_videos)}"
        )
    codes = np.unique(np.concatenate([np.asarray(of_texts), np.asarray(of_videos)]), return_inverse=True)[1].astype(
        np.int64
    )
    return codes[:texts], codes[texts:]


def _durations(
    durations: Sequence[float] | None, text_groups: Groups, video_groups: Groups
) -> tuple[Floats | None, Floats | None]:
    """The durations of texts (of the first right video of each) and of videos."""
    if durations is None:
        return None, None
    by_video = np.asarray(durations, np.float64)
    if by_video.shape != video_groups.shape:
        raise ValueError(f"{len(video_groups)} videos need a duration each, not {len(durations)}")
    groups, first = np.unique(video_groups, return_index=True)
    position = np.minimum(np.searchsorted(groups, text_groups), len(groups) - 1)
    return by_video[first[position]], by_video


# --- confidence intervals -------------------------------------------------------------------------------------------


def _estimates(ranks: Ranks, groups: Groups, resamples: int, seed: int) -> list[Estimate]:
    """R@1, R@5, R@10, median and mean rank."""
    mean_ranks = ranks.ranks()
    columns = np.stack([*(ranks.hits(k) for k in RECALLS), mean_ranks])
    means = columns.mean(1)
    values = [*means[:-1], float(np.median(mean_ranks)), means[-1]]
    samples = bootstrap(columns, groups, resamples, seed)
    low, high = np.quantile(samples, (0.025, 0.975), axis=0) if resamples else (values, values)
    return [Estimate(float(v), float(a), float(b)) for v, a, b in zip(values, low, high, strict=True)]


def bootstrap(columns: Floats, groups: Groups, resamples: int, seed: int) -> Floats:
    """Bootstrap samples (resamples, rows + 1) of the means of `columns` (rows, queries); before the last, its median.

    Whole groups are drawn with replacement, since forty texts of one video are not independent. With one query per
    group this is the plain bootstrap over queries.
    """
    generator = np.random.default_rng(seed)
    codes = np.unique(groups, return_inverse=True)[1]
    count = int(codes.max()) + 1
    order = np.argsort(columns[-1], kind="stable")
    by_rank = columns[-1][order]
    step = max(1, 2**22 // len(codes))
    samples = []
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        drawn = generator.integers(count, size=(size, count)) + count * np.arange(size)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=size * count).reshape(size, count)[:, codes]
        total = weights.sum(1, keepdims=True)
        means = weights @ columns.T / total
        cumulated = np.cumsum(weights[:, order], 1) * 2
        median = (by_rank[np.argmax(cumulated >= total, 1)] + by_rank[np.argmax(cumulated > total, 1)]) / 2
        samples.append(np.column_stack([means[:, :-1], median, means[:, -1]]))
    return np.concatenate(samples) if samples else np.empty((0, len(columns) + 1))


def _by_duration(
    ranks: Ranks, groups: Groups, durations: Floats | None, resamples: int, seed: int
) -> tuple[DurationBin, ...]:
    if durations is None:
        return ()
    bins = []
    for start, end in itertools.pairwise(DURATIONS):
        inside = np.flatnonzero((durations >= start) & (durations < end))
        if len(inside):
            chosen = Ranks(ranks.above[inside], ranks.tied[inside], ranks.right[inside])
            bins.append(DurationBin(start, end, len(inside), _estimates(chosen, groups[inside], resamples, seed)[0]))
    return tuple(bins)
