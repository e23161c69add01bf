"""The processes that train together, as torchrun starts them; one alone where it does not."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist

from model.settings import TrainingError

T = TypeVar("T")

PATIENCE = timedelta(hours=1)
"""How long the processes wait for each other: no step takes as long, nor does an evaluation."""


@dataclass(frozen=True)
class Processes:
    """Number `rank` of `size` processes, and the device that is its own."""

    rank: int
    size: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this is the one that writes and speaks for all."""
        return self.rank == 0

    def wait(self) -> None:
        """Until all are here."""
        if self.size > 1:
            dist.barrier()

    def mean(self, value: torch.Tensor) -> torch.Tensor:
        """The mean of a number over all processes; not finite where one is not."""
        if self.size == 1:
            return value
        total = value.detach().double()
        dist.all_reduce(total)
        return total / self.size

    def first_does(self, work: Callable[[], T]) -> T:
        """What `work` gives in the first process; an error that it raises there is raised in all."""
        outcome: tuple[T | None, Exception | None] = (None, None)
        if self.first:
            try:
                outcome = work(), None
            except Exception as raised:
                outcome = None, raised
        result, error = self.collect(outcome)[0]
        if error is not None:
            raise error
        return cast(T, result)

    def collect(self, value: T) -> list[T]:
        """What each process has, in the order of ranks; a value that can be pickled."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values


@contextmanager
def join() -> Iterator[Processes]:
    """Be one of the processes that torchrun has started; leave them at the end."""
    size, local = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("LOCAL_RANK", "0"))
    cuda = torch.cuda.is_available()
    device = torch.device("cuda", local) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    if size == 1:
        yield Processes(0, 1, device)
        return
    dist.init_process_group("nccl" if cuda else "gloo", timeout=PATIENCE, device_id=device if cuda else None)
    try:
        yield Processes(dist.get_rank(), dist.get_world_size(), device)
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and "closed by peer" not in str(error):
            raise
        raise TrainingError("this process ends since another one has, whose message says why") from error
    finally:
        dist.destroy_process_group()
