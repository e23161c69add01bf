"""Reads frames of video files of any kind, in guarded children, exactly as the single pass would show them.

Stored media is read by frame_reader.py, which is faster but knows nothing else. Here any container and codec that
`vidla curate` takes is read, by the same code: upright, deinterlaced, with square pixels and in SDR. Times are seconds
on the file's clock, which begins with its picture or its sound (curation/media/containers.py:begin_of).
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from pydantic import TypeAdapter, ValidationError

from curation import guard
from curation.errors import DatasetError
from curation.rejects import Rejected
from curation.settings import MediaSettings
from model.data.any_video_child import Length, MeasureTask, Pictures, ReadTask
from model.data.frame_reader import BrokenMedia, Frames

_SETTINGS = MediaSettings()

T = TypeVar("T")


@dataclass(frozen=True)
class VideoFiles:
    """Video files on this machine, by their paths; those in `refused` count as unreadable, for the reason given."""

    refused: Mapping[str, str] = field(default_factory=dict)

    def read(self, media_uri: str, times: Sequence[float], side: int, digest: bytes | None = None) -> Frames:
        """The frames shown at `times`, as `read_any_video` gives them; no digest is known. Raises BrokenMedia."""
        if media_uri in self.refused:
            raise BrokenMedia(self.refused[media_uri])
        return read_any_video(Path(media_uri), times, side)


def measure(path: Path) -> float:
    """Until when the picture of the video at `path` is shown, in seconds on the file's clock. Raises BrokenMedia.

    It is what the header states; a file that states nothing reliable is read through, without being decoded. Raises
    DatasetError for faults of this machine.
    """
    with _own_faults():
        return _call("measure", MeasureTask(path, _SETTINGS), _SETTINGS.timeout_s, Length).end


def read_any_video(path: Path, times: Sequence[float], side: int) -> Frames:
    """The frames of the video at `path` that are shown at `times`, seconds on the file's clock, in order.

    Before the first frame that is the first, and after the last the last. Frames have the size of stored media, or that
    at which their shorter side has `side` pixels, if that is larger; they are never enlarged. Raises BrokenMedia, and
    DatasetError for faults of this machine, such as a full disk.
    """
    with _own_faults(), tempfile.NamedTemporaryFile() as file:
        task = ReadTask(path, tuple(times), side, _SETTINGS, Path(file.name))
        wall_s = _SETTINGS.timeout_s + _SETTINGS.timeout_factor * max(0.0, times[-1])
        made = _call("read", task, wall_s, Pictures)
        shape = len(times), made.height, made.width, 3
        if len(made.times) != len(times) or min(shape) < 1 or math.prod(shape) != os.fstat(file.fileno()).st_size:
            raise BrokenMedia("its decoder returned nonsense")
        pixels = np.fromfile(file.file, np.uint8).reshape(shape)
    return Frames(torch.from_numpy(pixels).permute(0, 3, 1, 2), list(made.times))


@contextmanager
def _own_faults() -> Iterator[None]:
    """Turn errors of our files and processes into DatasetError: those of a video's file come from the child."""
    try:
        yield
    except OSError as error:
        folder = tempfile.tempdir or "the folder for temporary files"
        raise DatasetError(
            f"cannot read videos with the help of {folder} (TMPDIR names another folder): {error.strerror or error}"
        ) from error


def _call(function: str, task: MeasureTask | ReadTask, wall_s: float, answer: type[T]) -> T:
    """Run `function` of any_video_child.py on `task` in a guarded child. Raises BrokenMedia."""
    argument: dict[str, Any] = TypeAdapter(type(task)).dump_python(task, mode="json")
    name = f"model.data.any_video_child:{function}"
    try:
        reply = guard.call(name, argument, guard.Limits(wall_s, _SETTINGS.memory_bytes))
        return TypeAdapter(answer).validate_python(reply)
    except Rejected as error:
        raise BrokenMedia(error.message) from None
    except ValidationError:
        raise BrokenMedia("its decoder returned nonsense") from None
    except guard.GuardError as error:
        reason = " ".join(str(error).removeprefix(f"{name}: ").split())
        raise BrokenMedia(f"its decoder failed: {reason[:300]}") from None
