"""Runs a function in several real processes that communicate through gloo, as torchrun would start them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

Work = Callable[[int, int], Any]
TIMEOUT = timedelta(seconds=120)


def together(work: Work, size: int) -> list[Any]:
    """The results of `work(rank, size)`, a module-level function, in each of `size` processes."""
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(_run, (work, size, folder), nprocs=size)
        return [torch.load(Path(folder) / f"{rank}.pt", weights_only=True) for rank in range(size)]


def _run(rank: int, work: Work, size: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/meeting", TIMEOUT, size, rank)
    try:
        torch.save(work(rank, size), Path(folder) / f"{rank}.pt")
    finally:
        dist.destroy_process_group()
