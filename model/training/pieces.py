"""The pieces of a step: one process's micro-batches, which go through the model as they come."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch

from model.data.loader import Batch, StoredBatch
from model.distributed import World


@dataclass(frozen=True)
class Totals:
    """Counts of a step over all processes."""

    waiting: float
    """seconds of waiting for data"""
    clips: int
    replaced: int
    """clips that could not be read"""
    stop: bool
    """whether any process was asked to stop"""
    save: bool
    """whether a checkpoint is due by time"""
    without_contrast: int
    """losses, one for each piece and kind of text that the run has, in which there is nothing to contrast: fewer than
    two pairs, or all of them in one group"""


class Pieces:
    """The next `count` micro-batches of `stream`. Iterate once; what is counted is complete at the end.

    `has_texts` says whether any clip that the run draws from has a subtitle, and whether any has a caption.
    """

    def __init__(self, stream: Iterator[StoredBatch], count: int, has_texts: tuple[bool, bool] = (True, True)) -> None:
        self._stream, self._count, self._has_texts = stream, count, has_texts
        self.waited = 0.0  # seconds
        self.unreadable: dict[str, str] = {}  # reason by URI
        self.replaced = 0
        self.batches: list[Batch] = []
        """those so far, without frames"""

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[StoredBatch]:
        for _ in range(self._count):
            began = time.monotonic()
            piece = next(self._stream)
            self.waited += time.monotonic() - began
            self._count_clips(piece.batch)
            yield piece

    def _count_clips(self, batch: Batch) -> None:
        self.unreadable.update(batch.unreadable)
        self.replaced += int((batch.index != batch.drawn).sum())
        self.batches.append(replace(batch, frames=torch.empty(0, dtype=torch.uint8)))

    def totals(
        self, world: World, groups: Callable[[Batch], torch.Tensor], *, together: bool, stop: bool, save: bool
    ) -> Totals:
        """What was counted, over all processes. With `together`, all clips of the step are contrasted.

        `groups` gives those of a batch's texts (negatives.py).
        """
        kinds = torch.tensor(self._has_texts)
        losses = torch.stack([_moments(has_text(batch), groups(batch))[kinds] for batch in self.batches])
        losses = losses.sum(0, keepdim=True) if together else losses
        own = [self.waited, len(self.clips), self.replaced, stop, save, *losses.flatten().tolist()]
        waiting, clips, replaced, stops, saves, *sums = world.sum(own)
        by_loss = torch.tensor(sums, dtype=torch.float64).reshape(-1, losses.shape[-1])
        lonely = sum(_is_without_contrast(*map(round, loss)) for loss in by_loss.tolist())
        return Totals(waiting, round(clips), round(replaced), stops > 0, saves > 0, lonely)

    @property
    def clips(self) -> list[int]:
        """The indices of the clips so far."""
        return [int(index) for batch in self.batches for index in batch.index]

    @property
    def has_text(self) -> torch.Tensor:
        """(clips, 2): of the clips so far."""
        return torch.cat([has_text(batch) for batch in self.batches])


def has_text(micro_batch: Batch) -> torch.Tensor:
    """(B, 2): whether each clip has a subtitle, and whether it has a caption."""
    return torch.stack([micro_batch.has_subtitle, micro_batch.has_caption], dim=1)


def _moments(has_text: torch.Tensor, groups: torch.Tensor) -> torch.Tensor:
    """(2, 1 + 2 K), float64, of has_text (B, 2) and groups (B, 2, K): what sums over processes tell of each text.

    How many clips have it, the sum of their groups' numbers, and that of the squares. 20 bits of a number are enough to
    tell groups apart here, and few enough for exact sums over 8,192 clips.
    """
    numbers = (groups % 2**20).double() * has_text[:, :, None]
    return torch.cat([has_text.double().sum(0)[:, None], numbers.sum(0), (numbers**2).sum(0)], dim=1)


def _is_without_contrast(count: int, *moments: int) -> bool:
    """Whether no two of `count` clips can be contrasted: if any two share a group, all are in one group of one kind.

    Numbers are equal where their mean's square is the mean of their squares.
    """
    kinds = len(moments) // 2
    sums, squares = moments[:kinds], moments[kinds:]
    return count < 2 or any(total**2 == count * square for total, square in zip(sums, squares, strict=True))
