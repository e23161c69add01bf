"""The processes that train together, started by torchrun; a single process without it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist

from model.settings import TrainingError

T = TypeVar("T")

TIMEOUT = timedelta(hours=1)
"""How long processes wait for each other; no step and no evaluation takes that long."""


@dataclass(frozen=True)
class World:
    """Process `rank` of `size`, and its device."""

    rank: int
    size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and messages for all."""
        return self.rank == 0

    def barrier(self) -> None:
        """Wait until every process is here."""
        if self.size > 1:
            dist.barrier()

    def mean(self, value: torch.Tensor) -> torch.Tensor:
        """The mean of a number over all processes; not finite if any of them is not."""
        if self.size == 1:
            return value
        total = value.detach().double()
        dist.all_reduce(total)
        return total / self.size

    def sum(self, values: Sequence[float]) -> list[float]:
        """The sums of numbers over all processes, the same in all."""
        if self.size == 1:
            return list(values)
        total = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(total)
        sums: list[float] = total.tolist()
        return sums

    def run_on_main(self, work: Callable[[], T]) -> T:
        """Run `work` in the main process and return its result in all. An error that it raises is raised in all."""
        outcome: tuple[T | None, Exception | None] = (None, None)
        if self.is_main:
            try:
                outcome = work(), None
            except Exception as raised:
                outcome = None, raised
        result, error = self.all_gather(outcome)[0]
        if error is not None:
            raise error
        return cast(T, result)

    def all_gather(self, value: T) -> list[T]:
        """The values of all processes, ordered by rank; they must be picklable."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values


@contextmanager
def init_distributed() -> Iterator[World]:
    """Join the processes that torchrun has started, and leave them at the end.

    Raises TrainingError when another process has ended.
    """
    size, local_rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("LOCAL_RANK", "0"))
    cuda = torch.cuda.is_available()
    device = torch.device("cuda", local_rank) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    if size == 1:
        yield World(0, 1, device)
        return
    dist.init_process_group("nccl" if cuda else "gloo", timeout=TIMEOUT, device_id=device if cuda else None)
    try:
        yield World(dist.get_rank(), dist.get_world_size(), device)
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and "closed by peer" not in str(error):
            raise
        raise TrainingError("another process has ended, so this one stops too; its own message says why") from error
    finally:
        dist.destroy_process_group()
