"""Retrieval between texts and videos: R@k, median and mean rank, in both directions, with and without dual softmax.

**What is right.** Texts and videos carry a group; those of one group belong together. So a video may have many texts
(MSVD has some forty) and a text many videos. A query's rank is that of the best of its right answers.

**Ties.** Every figure is its mean over all orders of candidates with the same score (ranking.py).

**Dual softmax** (DSL: Cheng et al., "Improving Video-Text Retrieval by Multi-Stream Corpus Alignment and Dual Softmax
Loss", arXiv 2109.04290, whose model is CAMoE) multiplies a similarity by the candidate's softmax over all queries, for
each direction its own. It sees the whole set of queries at once, which a search engine does not: such figures stand
beside others with DSL only.
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

from model.evaluation.ranking import Floats, Groups, Ranks, normalised, rank, softmax_totals

RECALLS = (1, 5, 10)
DURATIONS = (0.0, 10.0, 20.0, 30.0, 60.0, 120.0, math.inf)
RESAMPLES = 1000
Labels = Sequence[str] | Sequence[int] | npt.NDArray[Any]


# --- what comes out -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Estimate:
    """A figure, and the 95% interval of its bootstrap."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class DurationBin:
    """R@1 of the queries whose video is at least `start` and less than `end` seconds long."""

    start: float
    end: float
    queries: int
    recall_1: Estimate


@dataclass(frozen=True)
class Direction:
    """The figures of one direction. Recalls are shares of the queries; the best rank is 1."""

    queries: int
    candidates: int
    recall_1: Estimate
    recall_5: Estimate
    recall_10: Estimate
    median_rank: Estimate
    mean_rank: Estimate
    by_duration: tuple[DurationBin, ...]


@dataclass(frozen=True)
class Retrieval:
    """Both directions, without and with dual softmax. Prints as a table."""

    text_to_video: Direction
    video_to_text: Direction
    text_to_video_dsl: Direction
    video_to_text_dsl: Direction

    def to_json(self) -> str:
        """All figures, as a JSON object; a bin of durations that has no end ends in null."""
        return json.dumps({**dataclasses.asdict(self), "interval": 0.95}, indent=2).replace("Infinity", "null")

    def __str__(self) -> str:
        rows = [("", "queries", "candidates", *(f"R@{k}" for k in RECALLS), "median", "mean")]
        below = []
        for field in dataclasses.fields(self):
            title, one = field.name.replace("_dsl", ", DSL").replace("_", " "), getattr(self, field.name)
            recalls = (_shown(e, 100) for e in (one.recall_1, one.recall_5, one.recall_10))
            ranks = (_shown(e) for e in (one.median_rank, one.mean_rank))
            rows.append((title, str(one.queries), str(one.candidates), *recalls, *ranks))
            for part in one.by_duration:
                seconds = f"{part.start:g} s and more" if math.isinf(part.end) else f"{part.start:g} to {part.end:g} s"
                below.append((f"{title}, {seconds}:", f"R@1 {_shown(part.recall_1, 100)}", f"of {part.queries}"))
        return "\n".join([*_aligned(rows), *_aligned(below)])


def _shown(figure: Estimate, factor: float = 1) -> str:
    return f"{figure.value * factor:.1f} [{figure.low * factor:.1f}, {figure.high * factor:.1f}]"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


# --- all of it ------------------------------------------------------------------------------------------------------


def evaluate(
    texts: Any,
    videos: Any,
    text_groups: Labels | None = None,
    video_groups: Labels | None = None,
    *,
    scale: float = 100.0,
    durations: Sequence[float] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Retrieval:
    """Figures of `texts` (n, d) and `videos` (m, d): features, normalised here; arrays, or tensors on any device.

    Without groups text i belongs to video i. `scale` is the model's logit scale, by which DSL's softmax is sharpened.
    `durations` (seconds, one a video) ask for R@1 by duration. Raises DatasetError for features that are not finite
    and for a query without a right answer, ValueError for shapes that do not fit.
    """
    text_codes, video_codes = _codes(text_groups, video_groups, len(texts), len(videos))
    by_text, by_video = _durations(durations, text_codes, video_codes)
    texts, videos = normalised(texts, "text"), normalised(videos, "video")
    text_totals, video_totals = softmax_totals(texts, videos, scale)
    forth = rank(texts, videos, text_codes, video_codes, scale, video_totals)
    back = rank(videos, texts, video_codes, text_codes, scale, text_totals)
    again = (resamples, seed)
    return Retrieval(
        text_to_video=_direction(forth[0], text_codes, len(videos), by_text, *again),
        video_to_text=_direction(back[0], video_codes, len(texts), by_video, *again),
        text_to_video_dsl=_direction(forth[1], text_codes, len(videos), by_text, *again),
        video_to_text_dsl=_direction(back[1], video_codes, len(texts), by_video, *again),
    )


def _direction(
    ranks: Ranks, groups: Groups, candidates: int, durations: Floats | None, resamples: int, seed: int
) -> Direction:
    recall_1, recall_5, recall_10, median_rank, mean_rank = _estimates(ranks, groups, resamples, seed)
    by_duration = _by_duration(ranks, groups, durations, resamples, seed)
    return Direction(len(groups), candidates, recall_1, recall_5, recall_10, median_rank, mean_rank, by_duration)


def _codes(text_groups: Labels | None, video_groups: Labels | None, texts: int, videos: int) -> tuple[Groups, Groups]:
    """Both sides' groups as integers from 0."""
    left: Labels = range(texts) if text_groups is None else text_groups
    right: Labels = range(videos) if video_groups is None else video_groups
    if (len(left), len(right)) != (texts, videos):
        raise ValueError(f"{texts} texts and {videos} videos need a group each, not {len(left)} and {len(right)}")
    codes = np.unique(np.concatenate([np.asarray(left), np.asarray(right)]), return_inverse=True)[1].astype(np.int64)
    return codes[:texts], codes[texts:]


def _durations(
    durations: Sequence[float] | None, text_groups: Groups, video_groups: Groups
) -> tuple[Floats | None, Floats | None]:
    """The durations of texts, each that of the first of its videos, and of videos."""
    if durations is None:
        return None, None
    by_video = np.asarray(durations, np.float64)
    if by_video.shape != video_groups.shape:
        raise ValueError(f"{len(video_groups)} videos need as many durations, not {len(durations)}")
    groups, first = np.unique(video_groups, return_index=True)
    place = np.minimum(np.searchsorted(groups, text_groups), len(groups) - 1)
    return by_video[first[place]], by_video


# --- how sure the figures are ---------------------------------------------------------------------------------------


def _estimates(ranks: Ranks, groups: Groups, resamples: int, seed: int) -> list[Estimate]:
    """R@1, R@5, R@10, median and mean rank."""
    rank_of = ranks.ranks()
    columns = np.stack([*(ranks.hits(k) for k in RECALLS), rank_of])
    means = columns.mean(1)
    values = [*means[:-1], float(np.median(rank_of)), means[-1]]
    samples = bootstrap(columns, groups, resamples, seed)
    low, high = np.quantile(samples, (0.025, 0.975), axis=0) if resamples else (values, values)
    return [Estimate(float(v), float(a), float(b)) for v, a, b in zip(values, low, high, strict=True)]


def bootstrap(columns: Floats, groups: Groups, resamples: int, seed: int) -> Floats:
    """(resamples, rows + 1): means of the rows of `columns` (rows, queries), before the last one its median.

    Drawn with replacement are groups, with all their queries: forty texts of one video are not forty witnesses. With
    one query a group that is the bootstrap over queries.
    """
    draw = np.random.default_rng(seed)
    codes = np.unique(groups, return_inverse=True)[1]
    count = int(codes.max()) + 1
    order = np.argsort(columns[-1], kind="stable")
    by_rank = columns[-1][order]
    step = max(1, 2**22 // len(codes))
    samples = []
    for start in range(0, resamples, step):
        some = min(step, resamples - start)
        drawn = draw.integers(count, size=(some, count)) + count * np.arange(some)[:, None]
        times = np.bincount(drawn.ravel(), minlength=some * count).reshape(some, count)[:, codes]
        total = times.sum(1, keepdims=True)
        means = times @ columns.T / total
        upto = np.cumsum(times[:, order], 1) * 2
        median = (by_rank[np.argmax(upto >= total, 1)] + by_rank[np.argmax(upto > total, 1)]) / 2
        samples.append(np.column_stack([means[:, :-1], median, means[:, -1]]))
    return np.concatenate(samples) if samples else np.empty((0, len(columns) + 1))


def _by_duration(
    ranks: Ranks, groups: Groups, durations: Floats | None, resamples: int, seed: int
) -> tuple[DurationBin, ...]:
    if durations is None:
        return ()
    parts = []
    for start, end in itertools.pairwise(DURATIONS):
        inside = np.flatnonzero((durations >= start) & (durations < end))
        if len(inside):
            some = Ranks(ranks.above[inside], ranks.tied[inside], ranks.right[inside])
            parts.append(DurationBin(start, end, len(inside), _estimates(some, groups[inside], resamples, seed)[0]))
    return tuple(parts)
