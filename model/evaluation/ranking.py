"""Where each query finds its right candidates among all of them, in blocks, so that no whole matrix is ever held.

**Ties.** Candidates with the same score have no order; what is kept is how many are above and how many are level, so
that every figure can be its mean over all their orders. Features that are all the same then score exactly what chance
scores, and ties never add entries to the ranks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from curation.errors import DatasetError

BLOCK = 2**24  # similarities of a block
SAME = 1e-6  # cosines no further apart are the same: sums of float32 differ by some 1e-7 with the place in a block
Groups = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Ranks:
    """For each query: wrong candidates above its best right one, and wrong and right ones that share its score."""

    above: Floats
    tied: Floats
    right: Floats

    def ranks(self) -> Floats:
        """The rank of the first right candidate, as its mean over all orders of those tied."""
        return np.asarray(1 + self.above + self.tied / (self.right + 1))

    def hits(self, k: int) -> Floats:
        """The chance that a right candidate is among the first `k`: 0 or 1 where nothing is tied."""
        miss = np.ones_like(self.above)
        for drawn in range(k):  # one of the tied for each place that those above leave, none of them right
            wrong = np.maximum(self.tied - drawn, 0)
            miss *= np.where(self.above + drawn < k, wrong / (wrong + self.right), 1)
        return 1 - miss


def normalised(features: Any, what: str) -> torch.Tensor:
    """`features` (n, d) as float32, divided by their norms. Raises DatasetError."""
    tensor = torch.as_tensor(features).detach().float()
    if tensor.ndim != 2:
        raise ValueError(f"features are rows of a matrix, not of shape {tuple(tensor.shape)}")
    if not len(tensor):
        raise DatasetError(f"there is no {what} to evaluate")
    bad = torch.nonzero(~torch.isfinite(tensor).all(1)).flatten().tolist()
    if bad:
        raise DatasetError(
            f"{len(bad)} of {len(tensor)} {what} features are not finite, the first that of {what} {bad[0]}: the model "
            "has diverged; evaluate an earlier checkpoint"
        )
    return torch.nn.functional.normalize(tensor, dim=1)


def rank(
    queries: torch.Tensor,
    candidates: torch.Tensor,
    query_groups: Groups,
    candidate_groups: Groups,
    scale: float = 100.0,
    totals: torch.Tensor | None = None,
) -> tuple[Ranks, ...]:
    """Where each query finds its right candidates, by cosine; with `totals` a second time, with dual softmax.

    Both sides are normalised. `totals` is, for each candidate, the logarithm of its softmax's denominator. Raises
    DatasetError where a query has no right candidate.
    """
    group, order = torch.sort(torch.as_tensor(candidate_groups, device=queries.device))
    wanted = torch.as_tensor(query_groups, device=queries.device)
    blocks: list[list[torch.Tensor]] = []
    for rows, cosines in _blocks(queries, candidates):
        row, column = _right_pairs(wanted[rows], order, group, rows.start)
        blocks.append([_place(cosines, row, column)])
        if totals is not None:
            blocks[-1].append(_place(_dual(cosines, scale, totals, row, column), row, column, scale))
    places = (torch.cat(column, 1).double().cpu().numpy() for column in zip(*blocks, strict=True))
    return tuple(Ranks(*three) for three in places)


def _blocks(queries: torch.Tensor, candidates: torch.Tensor) -> Iterator[tuple[slice, torch.Tensor]]:
    """Rows of the matrix of cosines, with all their columns."""
    step = max(1, BLOCK // max(1, len(candidates)))
    for start in range(0, len(queries), step):
        rows = slice(start, min(start + step, len(queries)))
        with torch.autocast(queries.device.type, enabled=False):
            cosines = queries[rows] @ candidates.T
        yield rows, cosines


def softmax_totals(texts: torch.Tensor, videos: torch.Tensor, scale: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Each text's logsumexp of its scaled cosines with all videos, and each video's with all texts."""
    by_text = []
    by_video = torch.full((len(videos),), -math.inf, device=videos.device)
    for _, cosines in _blocks(texts, videos):
        cosines *= scale
        by_text.append(torch.logsumexp(cosines, 1))
        by_video = torch.logaddexp(by_video, torch.logsumexp(cosines, 0))
    return torch.cat(by_text), by_video


def _right_pairs(
    wanted: torch.Tensor, order: torch.Tensor, group: torch.Tensor, start: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Row and column of every right candidate of some queries, the first of which is number `start` of all.

    `order` are the candidates in the order of their groups, `group` the groups in that order.
    """
    first = torch.searchsorted(group, wanted)
    count = torch.searchsorted(group, wanted, right=True) - first
    if not bool(count.all()):
        raise DatasetError(
            f"query {start + int(torch.argmin(count))} has no right candidate: leave out texts whose video is missing"
        )
    row = torch.repeat_interleave(torch.arange(len(wanted), device=wanted.device), count)
    offset = torch.arange(len(row), device=wanted.device) - (torch.cumsum(count, 0) - count)[row]
    return row, order[first[row] + offset]


def _dual(
    cosines: torch.Tensor, scale: float, totals: torch.Tensor, row: torch.Tensor, column: torch.Tensor
) -> torch.Tensor:
    """Cosines times their candidates' softmax, each row divided by the largest softmax of its right candidates.

    The division changes no order within a row, and keeps what matters within float32's range.
    """
    weight = scale * cosines - totals
    largest = _largest(weight[row, column], row, len(weight))
    weight -= largest[:, None]
    return weight.clamp_(max=80).exp_().mul_(cosines)


def _place(scores: torch.Tensor, row: torch.Tensor, column: torch.Tensor, scale: float = 0.0) -> torch.Tensor:
    """(3, rows): wrong candidates above the best right one, wrong ones level with it, right ones level with it.

    Scores that grow with the exponential of `scale` times a cosine differ by so much more where the cosines differ.
    """
    right = scores[row, column]
    best = _largest(right, row, len(scores))
    margin = SAME * (1 + scale * best.abs())
    above = (scores > (best + margin)[:, None]).sum(1)
    level = (scores >= (best - margin)[:, None]).sum(1) - above
    shared = torch.zeros_like(level).scatter_add_(0, row, (right >= (best - margin)[row]).to(level.dtype))
    return torch.stack([above, level - shared, shared])


def _largest(values: torch.Tensor, row: torch.Tensor, rows: int) -> torch.Tensor:
    start = torch.full((rows,), -math.inf, device=values.device)
    return start.scatter_reduce_(0, row, values, "amax")
