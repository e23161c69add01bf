"""The single pass over a video, and cutting clips out of the stored media, both run in a guarded child."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from curation import guard
from curation.errors import DISK_FULL_STATUS
from curation.records import Shot, Timeline
from curation.rejects import Kind, Rejected
from curation.settings import MediaSettings, Settings
from curation.source_clock import ClockJump
from curation.work_done import measured_by

_PROBE_S = 60.0
_ANSWER_BYTES = 64 << 20

T = TypeVar("T")


@dataclass(frozen=True)
class Probe:
    """A file's header: duration in seconds (None if not stated), size in pixels, and whether there is sound."""

    duration: float | None
    width: int
    height: int
    has_audio: bool


@dataclass(frozen=True)
class Candidate:
    """A frame that may be captioned: a JPEG on disk, and the variance of its Laplacian."""

    time: float
    sharpness: float
    path: str


@dataclass(frozen=True)
class PassResult:
    """The results of the single pass. Times are seconds on the stored media's clock.

    `boundaries` are the key frames where a clip may begin or end, 0 and `duration` included. `damage` describes the
    damage of a source that is mostly sound. `source_start` is where that clock begins, in seconds on the source's. The
    `video_id` of `timeline` is empty.
    """

    duration: float
    width: int
    height: int
    frame_rate: float
    frame_count: int
    has_audio: bool
    source_width: int
    source_height: int
    shots: tuple[Shot, ...]
    boundaries: tuple[float, ...]
    candidates: tuple[Candidate, ...]
    damage: str | None
    source_start: float
    timeline: Timeline
    source_transfer: str | None = None
    tone_mapping: str | None = None
    source_jumps: tuple[ClockJump, ...] = ()


@dataclass(frozen=True)
class Cut:
    """The answer to a CutTask: empty, since the result is the file."""


# --- the tasks of the child, which cross to it as JSON ---------------------------------------------------------------


@dataclass(frozen=True)
class ProbeTask:
    """Read the header of the media at `path`."""

    path: Path
    settings: MediaSettings


@dataclass(frozen=True)
class PassTask:
    """Decode `source` once, as `decode_once` describes; the stored media is left in pieces, for encode.py to join."""

    source: Path
    boundaries: tuple[float, ...]
    start: float | None
    end: float | None
    settings: Settings
    stored: Path
    spool: Path

    @property
    def pieces(self) -> Path:
        return self.stored.with_name(self.stored.name + ".part")

    @property
    def share_file(self) -> Path:
        """Where the child says how much of the range it has decoded, from 0 to 1, every second or so."""
        return self.stored.with_name(self.stored.name + ".share")

    def share_done(self) -> float:
        try:
            return min(1.0, float(self.share_file.read_text()))
        except (OSError, ValueError):  # not begun, or over
            return 0.0


@dataclass(frozen=True)
class LookTask:
    """Measure the timeline of `stored`, in which shots begin at `cuts`, in seconds."""

    stored: Path
    cuts: tuple[float, ...]
    settings: MediaSettings


@dataclass(frozen=True)
class CutTask:
    """Copy the packets of a clip of `stored` to `out`."""

    stored: Path
    start: float
    end: float
    out: Path


# --- the calls ------------------------------------------------------------------------------------------------------


def probe(path: Path, settings: MediaSettings) -> Probe:
    """Read the header of the media at `path`. Raises Rejected if it has no usable video."""
    limits = guard.Limits(_PROBE_S, settings.memory_bytes)
    return _guarded("probe", ProbeTask(path, settings), limits, Probe)


def decode_once(
    source: Path,
    boundaries: Sequence[float],
    start: float | None,
    end: float | None,
    settings: Settings,
    stored: Path,
    spool: Path,
) -> PassResult:
    """Decode the video at `source` once: find its shots, write `stored`, and spool frames to caption into `spool`.

    `start` and `end` give the requested range (None: all of it) and `boundaries` the times where a clip may begin or
    end, at the nearest frames; all are seconds on the file's clock (containers.begin_of). The same source and settings
    give the same bytes. Raises Rejected, and OSError for a full disk.
    """
    media = settings.media
    length = (probe(source, media).duration or media.max_duration_s) if end is None else end
    wall = media.timeout_s + media.timeout_factor * min(length, media.max_duration_s + (start or 0.0))
    task = PassTask(source, tuple(boundaries), start, end, settings, stored, spool)
    limits = guard.Limits(wall, media.memory_bytes, _ANSWER_BYTES)
    try:
        with measured_by(task.share_done):
            decoded = _guarded("single_pass", task, limits, PassResult)
        # In another process: the index of a long video needs the memory that the pass's codecs and libraries take.
        arguments = [str(task.pieces), str(stored), str(decoded.duration)]
        command = [sys.executable, "-m", "curation.media.encode", *arguments]
        with _rejecting():
            guard.run(command, limits)
    except BaseException:
        stored.unlink(missing_ok=True)
        raise
    finally:
        task.pieces.unlink(missing_ok=True)
        task.share_file.unlink(missing_ok=True)
    return decoded


def look(stored: Path, cuts: Sequence[float], duration: float, settings: MediaSettings) -> Timeline:
    """The timeline of stored media of `duration` seconds, in which shots begin at `cuts`; its `video_id` is empty.

    Raises Rejected if it cannot be decoded.
    """
    wall = settings.timeout_s + settings.timeout_factor * duration
    limits = guard.Limits(wall, settings.memory_bytes, _ANSWER_BYTES)
    return _guarded("look", LookTask(stored, tuple(cuts), settings), limits, Timeline)


def cut(stored: Path, start: float, end: float, out: Path, settings: MediaSettings) -> None:
    """Copy the packets of a clip of stored media to `out`, an mp4 whose clock begins at 0.

    `start` and `end` are boundaries of the single pass. Raises Rejected if `stored` is not such media.
    """
    limits = guard.Limits(settings.timeout_s, settings.memory_bytes)
    try:
        _guarded("cut", CutTask(stored, start, end, out), limits, Cut)
    except BaseException:
        out.unlink(missing_ok=True)
        raise


def _guarded(
    function: str, task: ProbeTask | PassTask | LookTask | CutTask, limits: guard.Limits, answer: type[T]
) -> T:
    """Run `function` of single_pass_child.py on `task` in a guarded child. Raises Rejected."""
    name = f"curation.media.single_pass_child:{function}"
    argument = TypeAdapter(type(task)).dump_python(task, mode="json")
    with _rejecting():
        reply = guard.call(name, argument, limits)
        try:
            return TypeAdapter(answer).validate_python(reply)
        except ValidationError:
            raise guard.Crashed(f"{name}: its answer makes no sense") from None


@contextlib.contextmanager
def _rejecting() -> Iterator[None]:
    """Turn the failure of a child into the reject of its video."""
    try:
        yield
    except guard.TimedOut as error:
        raise Rejected(Kind.TIMEOUT, f"{error}; raise media.timeout_s or media.timeout_factor") from None
    except guard.OutOfMemory as error:
        raise Rejected(Kind.OUT_OF_MEMORY, f"{error}; raise media.memory_bytes") from None
    except (guard.Crashed, guard.Overflowed) as error:
        if isinstance(error, guard.Crashed) and error.code == DISK_FULL_STATUS:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from None
        raise Rejected(Kind.CRASHED, str(error)) from None
