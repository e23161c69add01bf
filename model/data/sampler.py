"""Which sample comes when: the same for any number of workers and ranks, and from any step on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from curation.errors import ConfigError, DatasetError
from curation.records import SCALES, Scale

Draw = tuple[int, int]
"""The index of a clip, and the seed of all that is random in its sample."""


@dataclass(frozen=True)
class Order:
    """Batches of `batch` clips without end, in epochs.

    `counts` has the clips of each scale, which lie in that order (short, medium, long). An epoch draws as many clips as
    there are: each one once, in an order of its own. With `weights`, each scale has exactly its share in every epoch
    (to the clip), and takes the clips that have waited longest, from one epoch to the next: so a clip of a scale comes
    again when all others of its scale have come. What does not fill the last batch of an epoch is dropped.
    """

    counts: Mapping[Scale, int]
    batch: int
    seed: int
    weights: Mapping[Scale, float] | None = None

    def __post_init__(self) -> None:
        if self.clips < self.batch:
            raise DatasetError(f"{self.clips} clips are selected, fewer than one batch of {self.batch}; lower `batch`")
        lacking = [s for s in SCALES if self.weights and self.weights.get(s, 0) > 0 and not self.counts.get(s, 0)]
        if lacking:
            raise DatasetError(f"data.scales gives a share to {', '.join(lacking)} clips, but none is selected")

    @property
    def clips(self) -> int:
        """Clips that an epoch draws."""
        return sum(self.counts.values())

    @property
    def steps(self) -> int:
        """Batches of an epoch."""
        return self.clips // self.batch

    def epoch(self, number: int) -> torch.Tensor:
        """The indices that an epoch draws, in order [clips]; four bytes a clip where that is enough."""
        shuffled = _permutation(self.clips, self.seed, "epoch", number)
        return shuffled if self.weights is None else self._drawn(number)[shuffled]

    def shares(self) -> dict[Scale, int]:
        """Clips of each scale in an epoch."""
        if self.weights is None:
            return dict(self.counts)
        exact = {s: self.clips * w / sum(self.weights.values()) for s, w in self.weights.items()}
        shares = {s: int(share) for s, share in exact.items()}
        for s in sorted(exact, key=lambda s: (shares[s] - exact[s], SCALES.index(s)))[
            : self.clips - sum(shares.values())
        ]:
            shares[s] += 1
        return shares

    def _drawn(self, number: int) -> torch.Tensor:
        """What an epoch draws of each scale, one scale after the other."""
        pieces, shares, first = [], self.shares(), 0
        for scale in SCALES:
            count, share = self.counts.get(scale, 0), shares.get(scale, 0)
            at, end = number * share, (number + 1) * share
            while at < end:  # the scale's clips, shuffled anew each time that all have come
                turn, offset = divmod(at, count)
                piece = _permutation(count, self.seed, scale, turn)[offset : offset + end - at]
                pieces.append(first + piece)
                at += len(piece)
            first += count
        return torch.cat(pieces)


def _permutation(count: int, *seeds: Any) -> torch.Tensor:
    dtype = torch.int32 if count < 2**31 else torch.int64
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed_of(*seeds)), dtype=dtype)


def seed_of(*parts: Any) -> int:
    """63 bits that stand for `parts`, the same everywhere."""
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()) >> 1


@dataclass(frozen=True)
class Batches:
    """One rank's draws of steps `first` to `last`: for a loader, as its `batch_sampler`.

    Of each step's batch the ranks take equal parts in their order, in pieces of `micro_batch`. Raises ConfigError where
    that cannot be.
    """

    order: Order
    first: int
    last: int
    micro_batch: int
    rank: int = 0
    ranks: int = 1

    def __post_init__(self) -> None:
        if self.order.batch % (self.ranks * self.micro_batch):
            raise ConfigError(
                f"batch ({self.order.batch}) must be a multiple of micro_batch times the number of processes "
                f"({self.micro_batch} x {self.ranks})"
            )

    @property
    def pieces(self) -> int:
        """Micro-batches of one step on one rank."""
        return self.order.batch // (self.ranks * self.micro_batch)

    def __len__(self) -> int:
        return (self.last - self.first) * self.pieces

    def __iter__(self) -> Iterator[list[Draw]]:
        order, drawn, indices = self.order, -1, torch.empty(0)
        for step in range(self.first, self.last):
            epoch, number = divmod(step, order.steps)
            if epoch != drawn:
                drawn, indices = epoch, order.epoch(epoch)
            for piece in range(self.pieces):
                at = number * order.batch + (self.rank * self.pieces + piece) * self.micro_batch
                chosen = indices[at : at + self.micro_batch].tolist()
                yield [(index, seed_of(order.seed, epoch, at + i)) for i, index in enumerate(chosen)]


@dataclass(frozen=True)
class SequentialBatches:
    """Every clip once, in order, for an evaluation: rank `rank` takes every `ranks`-th piece of `micro_batch`."""

    clips: int
    micro_batch: int
    rank: int = 0
    ranks: int = 1

    def _starts(self) -> range:
        return range(self.rank * self.micro_batch, self.clips, self.ranks * self.micro_batch)

    def __len__(self) -> int:
        return len(self._starts())

    def __iter__(self) -> Iterator[list[Draw]]:
        for at in self._starts():
            yield [(index, seed_of("in turn", index)) for index in range(at, min(at + self.micro_batch, self.clips))]
