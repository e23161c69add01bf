"""The pieces of a step: one process's micro-batches, which go through the model as they come."""

from __future__ import annotations

import time
from collections.abc import Iterator
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
    """losses, one for each piece and kind of text, of fewer than two pairs: there is nothing to contrast"""


class Pieces:
    """The next `count` micro-batches of `stream`. Iterate once; what is counted is complete at the end."""

    def __init__(self, stream: Iterator[StoredBatch], count: int) -> None:
        self._stream, self._count = stream, count
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

    def totals(self, world: World, *, together: bool, stop: bool, save: bool) -> Totals:
        """What was counted, over all processes. With `together`, all clips of the step are contrasted."""
        texts = torch.stack([has_text(batch).sum(0) for batch in self.batches])
        texts = texts.sum(0, keepdim=True) if together else texts
        own = [self.waited, len(self.clips), self.replaced, stop, save, *texts.flatten().tolist()]
        waiting, clips, replaced, stops, saves, *pairs = world.sum(own)
        lonely = sum(count < 2 for count in pairs)
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
