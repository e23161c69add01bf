"""A file without a name, in which worker processes hand the frames of batches to the trainer.

It lies in memory, or on disk for the frames of whole steps. Frames are written and read, never mapped: those on disk
take no memory but the system's page cache, which gives way to whatever else needs it. The file ends with the processes
that have it open, even if they are killed.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from multiprocessing.reduction import DupFd
from typing import Any

import torch

from curation.dataset.object_store import write_errors


class FrameBuffer:
    """A buffer for frames; its users agree on who writes where. Passes to spawned processes."""

    def __init__(self, on_disk: bool) -> None:
        """With `on_disk`, a file in the folder for temporary files. Raises DatasetError."""
        if on_disk:
            with write_errors(_what(None)), tempfile.TemporaryFile(buffering=0) as file:
                self._descriptor = os.dup(file.fileno())
        else:
            self._descriptor = os.memfd_create("frames")  # /dev/shm is too small in many containers
        self._folder = tempfile.gettempdir() if on_disk else None

    def __getstate__(self) -> Mapping[str, Any]:
        return {"_descriptor": DupFd(self._descriptor), "_folder": self._folder}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self._descriptor, self._folder = state["_descriptor"].detach(), state["_folder"]

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)

    def write(self, frames: torch.Tensor, offset: int) -> int:
        """Write `frames` (uint8) at `offset`; returns the offset behind them. Raises DatasetError."""
        data = frames.contiguous().numpy().data.cast("B")
        with write_errors(_what(self._folder)):
            while data:
                written = os.pwrite(self._descriptor, data, offset)
                data, offset = data[written:], offset + written
        return offset

    def read(self, shape: Sequence[int], offset: int, pinned: bool = False) -> torch.Tensor:
        """Frames of a shape (uint8) from `offset` on; if `pinned`, in memory from which a GPU copies asynchronously."""
        frames = torch.empty(tuple(shape), dtype=torch.uint8, pin_memory=pinned)
        data = frames.numpy().data.cast("B")
        while data:
            count = os.preadv(self._descriptor, [data], offset)
            if not count:
                raise EOFError(f"the buffer ends before {offset}")
            data, offset = data[count:], offset + count
        return frames


def _what(folder: str | None) -> str:
    place = "memory" if folder is None else f"{folder} (TMPDIR names another folder)"
    return f"the frames of a step into {place}"
