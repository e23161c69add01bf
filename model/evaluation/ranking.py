"""Ranks of each query's right candidates, computed in blocks of the similarity matrix, which is never held whole.

**Ties.** Candidates with the same score have no order. `Ranks` counts those above and those tied, so that every metric
is its mean over all orders of the ties: features that are all alike then score exactly chance.
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

BLOCK = 2**24  # similarities per block
TIE_TOLERANCE = 1e-6  # closer cosines are tied: float32 sums vary by some 1e-7 with their position in a block
Groups = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Ranks:
    """For each query: wrong candidates above its best right one, and wrong and right ones with the same score as that.

    >>> import numpy as np
    >>> # two wrong above; none above, but three wrong tied with the right one
    >>> ranks = Ranks(above=np.array([2.0, 0.0]), tied=np.array([0.0, 3.0]), right=np.array([1.0, 1.0]))
    >>> ranks.ranks().tolist()
    [3.0, 2.5]
    >>> ranks.hits(1).tolist(), ranks.hits(3).tolist()
    ([0.0, 0.25], [1.0, 0.75])
    """

    above: Floats
    tied: Floats
    right: Floats

    def ranks(self) -> Floats:
        """The rank of the first right candidate (from 1), as the mean over all orders of the ties."""
        return np.asarray(1 + self.above + self.tied / (self.right + 1))

    def hits(self, k: int) -> Floats:
        """The probability that a right candidate is among the first `k`: 0 or 1 without ties."""
        miss = np.ones_like(self.above)
        for drawn in range(k):  # fill the places that `above` leaves with ties, none of them right
            wrong = np.maximum(self.tied - drawn, 0)
            miss *= np.where(self.above + drawn < k, wrong / (wrong + self.right), 1)
        return 1 - miss


def normalised(features: Any, name: str) -> torch.Tensor:
    """`features` (n, d) in float32, each divided by its norm. Raises DatasetError, naming them as `name`."""
    tensor = torch.as_tensor(features).detach().float()
    if tensor.ndim != 2:
        raise ValueError(f"features must be a matrix (n, d), not of shape {tuple(tensor.shape)}")
    if not len(tensor):
        raise DatasetError(f"there is no {name} to evaluate")
    bad = torch.nonzero(~torch.isfinite(tensor).all(1)).flatten().tolist()
    if bad:
        raise DatasetError(
            f"{len(bad)} of {len(tensor)} {name} features are not finite, the first for {name} {bad[0]}: the model "
            "has diverged; evaluate an earlier checkpoint"
        )
    return torch.nn.functional.normalize(tensor, dim=1)


def rank(
    queries: torch.Tensor,
    candidates: torch.Tensor,
    query_groups: Groups,
    candidate_groups: Groups,
    scale: float = 100.0,
    log_sums: torch.Tensor | None = None,
) -> tuple[Ranks, ...]:
    """The ranks of each query's right candidates by cosine; with `log_sums`, also those by dual softmax.

    Both sides are normalised, and right candidates are those in the query's group. `log_sums` has the logarithm of each
    candidate's softmax denominator (`softmax_log_sums`). Raises DatasetError if a query has no right candidate.

    >>> import numpy as np
    >>> eye, ids = torch.eye(3), np.arange(3)
    >>> (ranks,) = rank(eye, eye[[0, 2, 2]], ids, ids)  # query 1 is tied with all, query 2 with one wrong candidate
    >>> ranks.ranks().tolist()
    [1.0, 2.0, 1.5]
    """
    group, order = torch.sort(torch.as_tensor(candidate_groups, device=queries.device))
    query_group = torch.as_tensor(query_groups, device=queries.device)
    blocks: list[list[torch.Tensor]] = []
    for rows, cosines in _blocks(queries, candidates):
        row, column = _right_pairs(query_group[rows], order, group, rows.start)
        blocks.append([_count(cosines, row, column)])
        if log_sums is not None:
            blocks[-1].append(_count(_dual_softmax(cosines, scale, log_sums, row, column), row, column, scale))
    counts = (torch.cat(column, 1).double().cpu().numpy() for column in zip(*blocks, strict=True))
    return tuple(Ranks(*above_tied_right) for above_tied_right in counts)


def _blocks(queries: torch.Tensor, candidates: torch.Tensor) -> Iterator[tuple[slice, torch.Tensor]]:
    """The matrix of cosines, a few whole rows at a time."""
    step = max(1, BLOCK // max(1, len(candidates)))
    for start in range(0, len(queries), step):
        rows = slice(start, min(start + step, len(queries)))
        with torch.autocast(queries.device.type, enabled=False):
            cosines = queries[rows] @ candidates.T
        yield rows, cosines


def softmax_log_sums(texts: torch.Tensor, videos: torch.Tensor, scale: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Each text's logsumexp of its scaled cosines with all videos, and each video's with all texts."""
    by_text = []
    by_video = torch.full((len(videos),), -math.inf, device=videos.device)
    for _, cosines in _blocks(texts, videos):
        cosines *= scale
        by_text.append(torch.logsumexp(cosines, 1))
        by_video = torch.logaddexp(by_video, torch.logsumexp(cosines, 0))
    return torch.cat(by_text), by_video


def _right_pairs(
    query_group: torch.Tensor, order: torch.Tensor, group: torch.Tensor, start: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Row and column of every right candidate in a block of queries, whose first row is query number `start`.

    `order` has the candidates sorted by group, `group` their groups in that order.
    """
    first = torch.searchsorted(group, query_group)
    count = torch.searchsorted(group, query_group, right=True) - first
    if not bool(count.all()):
        raise DatasetError(
            f"query {start + int(torch.argmin(count))} has no right candidate: leave out texts whose video is missing"
        )
    row = torch.repeat_interleave(torch.arange(len(query_group), device=query_group.device), count)
    offset = torch.arange(len(row), device=query_group.device) - (torch.cumsum(count, 0) - count)[row]
    return row, order[first[row] + offset]


def _dual_softmax(
    cosines: torch.Tensor, scale: float, log_sums: torch.Tensor, row: torch.Tensor, column: torch.Tensor
) -> torch.Tensor:
    """Cosines times their candidates' softmax, each row divided by the largest softmax of its right candidates.

    The division keeps the order within a row, and the scores near the right ones within float32's range.
    """
    weight = scale * cosines - log_sums
    largest = _row_max(weight[row, column], row, len(weight))
    weight -= largest[:, None]
    return weight.clamp_(max=80).exp_().mul_(cosines)


def _count(scores: torch.Tensor, row: torch.Tensor, column: torch.Tensor, scale: float = 0.0) -> torch.Tensor:
    """(3, rows): wrong candidates above the best right one, wrong ones tied with it, right ones tied with it.

    The tolerance grows with `scale`: scores with exp(scale · cosine) in them amplify a difference of cosines.
    """
    right = scores[row, column]
    best = _row_max(right, row, len(scores))
    margin = TIE_TOLERANCE * (1 + scale * best.abs())
    above = (scores > (best + margin)[:, None]).sum(1)
    tied = (scores >= (best - margin)[:, None]).sum(1) - above
    tied_right = torch.zeros_like(tied).scatter_add_(0, row, (right >= (best - margin)[row]).to(tied.dtype))
    return torch.stack([above, tied - tied_right, tied_right])


def _row_max(values: torch.Tensor, row: torch.Tensor, rows: int) -> torch.Tensor:
    start = torch.full((rows,), -math.inf, device=values.device)
    return start.scatter_reduce_(0, row, values, "amax")
