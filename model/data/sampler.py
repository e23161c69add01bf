"""The order of samples: the same for any number of workers and ranks, and from any step on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from curation.errors import ConfigError, DatasetError
from curation.records import SCALES, Scale

Draw = tuple[int, int]
"""The index of a clip, and the seed of everything random in its sample."""


@dataclass(frozen=True)
class EpochSampler:
    """An endless stream of epochs, cut into batches of `batch` clips.

    `counts` has the number of clips per scale; clips are indexed in that order (short, medium, long). An epoch draws as
    many clips as there are: each clip once, in a new order. With `weights`, every epoch has exactly its share of each
    scale (to the clip) and draws the clips that have waited longest, across epochs: a clip is drawn again only once all
    others of its scale were. The rest of an epoch that does not fill a batch is dropped.

    >>> sampler = EpochSampler({"short": 5, "medium": 3, "long": 2}, batch=4, seed=0)
    >>> sorted(sampler.epoch(0).tolist()), sampler.steps
    ([0, 1, 2, 3, 4, 5, 6, 7, 8, 9], 2)
    >>> weighted = EpochSampler(sampler.counts, batch=4, seed=0, weights={"short": 1, "long": 4})
    >>> weighted.shares()  # of 10 draws; each of the 2 long clips is drawn 4 times
    {'short': 2, 'long': 8}
    """

    counts: Mapping[Scale, int]
    batch: int
    seed: int
    weights: Mapping[Scale, float] | None = None

    def __post_init__(self) -> None:
        if self.clips < self.batch:
            raise DatasetError(f"{self.clips} clips are selected, fewer than one batch of {self.batch}; lower `batch`")
        missing = [s for s in SCALES if self.weights and self.weights.get(s, 0) > 0 and not self.counts.get(s, 0)]
        if missing:
            raise DatasetError(f"data.scales asks for {', '.join(missing)} clips, but none are selected")

    @property
    def clips(self) -> int:
        """Clips per epoch."""
        return sum(self.counts.values())

    @property
    def steps(self) -> int:
        """Batches per epoch."""
        return self.clips // self.batch

    def epoch(self, number: int) -> torch.Tensor:
        """The clip indices of an epoch, in order: int32 [clips], or int64 from 2^31 clips on."""
        shuffled = _permutation(self.clips, self.seed, "epoch", number)
        return shuffled if self.weights is None else self._draw_by_scale(number)[shuffled]

    def shares(self) -> dict[Scale, int]:
        """The number of clips that an epoch draws of each scale."""
        if self.weights is None:
            return dict(self.counts)
        exact = {s: self.clips * w / sum(self.weights.values()) for s, w in self.weights.items()}
        shares = {s: int(share) for s, share in exact.items()}
        by_remainder = sorted(exact, key=lambda s: (shares[s] - exact[s], SCALES.index(s)))
        for s in by_remainder[: self.clips - sum(shares.values())]:
            shares[s] += 1
        return shares

    def _draw_by_scale(self, number: int) -> torch.Tensor:
        """The clips that an epoch draws, one scale after the other [clips]."""
        parts, shares, first = [], self.shares(), 0
        for scale in SCALES:
            count, share = self.counts.get(scale, 0), shares.get(scale, 0)
            position, end = number * share, (number + 1) * share
            while position < end:  # a scale is shuffled again each time that all its clips were drawn
                turn, offset = divmod(position, count)
                part = _permutation(count, self.seed, scale, turn)[offset : offset + end - position]
                parts.append(first + part)
                position += len(part)
            first += count
        return torch.cat(parts)


def _permutation(count: int, *seeds: Any) -> torch.Tensor:
    dtype = torch.int32 if count < 2**31 else torch.int64
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed_of(*seeds)), dtype=dtype)


def seed_of(*parts: Any) -> int:
    """A 63-bit seed from `parts`, the same on every machine.

    >>> seed_of("epoch", 1) == seed_of("epoch", 1) != seed_of("epoch", 2)
    True
    """
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()) >> 1


@dataclass(frozen=True)
class TrainBatchSampler:
    """One rank's micro-batches of the steps `first` to `last`, for DataLoader's `batch_sampler`.

    Each step's batch is split into groups of clips that go through the model at once, in order, and each group evenly
    among the ranks. So the groups are the same for half as many ranks with twice the micro-batch. Raises ConfigError if
    the batch cannot be split like that. If `uneven`, the batch is split among the ranks, in order, and each part into
    micro-batches: the parts may differ by a clip, and the last micro-batch of each may be smaller.

    >>> sampler = EpochSampler({"short": 8, "medium": 0, "long": 0}, batch=8, seed=0)
    >>> ranks = [TrainBatchSampler(sampler, 0, 1, micro_batch=2, rank=rank, world_size=2) for rank in range(2)]
    >>> drawn = [index for group in zip(*ranks) for micro_batch in group for index, seed in micro_batch]
    >>> drawn == sampler.epoch(0).tolist(), [len(rank) for rank in ranks]
    (True, [2, 2])
    >>> uneven = EpochSampler({"short": 7, "medium": 0, "long": 0}, batch=7, seed=0)
    >>> ranks = [TrainBatchSampler(uneven, 0, 1, 2, rank, world_size=2, uneven=True) for rank in range(2)]
    >>> [[len(micro_batch) for micro_batch in rank] for rank in ranks]
    [[2, 1], [2, 2]]
    """

    sampler: EpochSampler
    first: int
    last: int
    micro_batch: int
    rank: int = 0
    world_size: int = 1
    uneven: bool = False

    def __post_init__(self) -> None:
        batch = self.sampler.batch
        if batch % (self.world_size * self.micro_batch) and not self.uneven:
            raise ConfigError(
                f"batch ({batch}) must be a multiple of micro_batch times the number of processes "
                f"({self.micro_batch} x {self.world_size}), or gradient_cache true"
            )
        if batch < self.world_size:
            raise ConfigError(f"batch ({batch}) is less than the number of processes ({self.world_size})")

    @cached_property
    def _ranges(self) -> list[tuple[int, int]]:
        """Where this rank's micro-batches begin and end in each batch."""
        batch, size, rank, ranks = self.sampler.batch, self.micro_batch, self.rank, self.world_size
        if not self.uneven:
            return [(start, start + size) for start in range(rank * size, batch, ranks * size)]
        end = (rank + 1) * batch // ranks
        return [(start, min(start + size, end)) for start in range(rank * batch // ranks, end, size)]

    @property
    def micro_batches(self) -> int:
        """Micro-batches per step, of this rank."""
        return len(self._ranges)

    def __len__(self) -> int:
        return (self.last - self.first) * self.micro_batches

    def __iter__(self) -> Iterator[list[Draw]]:
        sampler, current, indices = self.sampler, -1, torch.empty(0)
        for step in range(self.first, self.last):
            epoch, number = divmod(step, sampler.steps)
            if epoch != current:
                current, indices = epoch, sampler.epoch(epoch)
            for start, end in self._ranges:
                start, end = number * sampler.batch + start, number * sampler.batch + end
                chosen = indices[start:end].tolist()
                yield [(index, seed_of(sampler.seed, epoch, start + i)) for i, index in enumerate(chosen)]


@dataclass(frozen=True)
class SequentialBatchSampler:
    """Every clip once, in order, for evaluation: rank r takes every `world_size`-th micro-batch, from the r-th on.

    >>> [[index for index, seed in draws] for draws in SequentialBatchSampler(7, micro_batch=2, rank=1, world_size=2)]
    [[2, 3], [6]]
    """

    clips: int
    micro_batch: int
    rank: int = 0
    world_size: int = 1

    def _starts(self) -> range:
        return range(self.rank * self.micro_batch, self.clips, self.world_size * self.micro_batch)

    def __len__(self) -> int:
        return len(self._starts())

    def __iter__(self) -> Iterator[list[Draw]]:
        for start in self._starts():
            end = min(start + self.micro_batch, self.clips)
            yield [(index, seed_of("in turn", index)) for index in range(start, end)]
