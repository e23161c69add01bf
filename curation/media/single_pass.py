"""The single pass over a video, and cutting clips out of what it stored: the calls that run it in a guarded child."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curation import guard
from curation.records import Shot
from curation.rejects import Kind, Rejected
from curation.settings import MediaSettings, Settings

_PROBE_S = 60.0
_ANSWER_BYTES = 64 << 20


@dataclass(frozen=True)
class Probe:
    """What a file's header says: seconds (None where it does not say), pixels, and whether there is sound."""

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
class Pass:
    """What the single pass found and stored, on the stored media's clock.

    `boundaries` are the key frames at which a clip may begin or end, 0 and `duration` included. `damage` says what was
    wrong with a source that was sound for the most part.
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


def probe(path: Path, settings: MediaSettings) -> Probe:
    """What the header of the media at `path` says. Raises Rejected if there is no video to be had from it."""
    argument = {"path": str(path), "settings": settings.model_dump(mode="json")}
    return Probe(**_guarded("probe_json", argument, guard.Limits(_PROBE_S, settings.memory_bytes)))


def decode_once(
    source: Path,
    boundaries: Sequence[float],
    start: float | None,
    end: float | None,
    settings: Settings,
    stored: Path,
    spool: Path,
) -> Pass:
    """Decode the video at `source` once: find its shots, write `stored`, and spool frames to caption into `spool`.

    `boundaries` are seconds after the first frame shown, as are `start` and `end`, the range that is wanted (None: all
    of it); a clip may begin or end at the frames nearest to them. The same source and settings give the same bytes.
    Raises Rejected, and OSError for a full disk.
    """
    media = settings.media
    length = (probe(source, media).duration or media.max_duration_s) if end is None else end
    wall = media.timeout_s + media.timeout_factor * min(length, media.max_duration_s + (start or 0.0))
    argument = {
        "source": str(source),
        "boundaries": list(boundaries),
        "start": start,
        "end": end,
        "settings": settings.model_dump(mode="json"),
        "stored": str(stored),
        "spool": str(spool),
    }
    limits = guard.Limits(wall, media.memory_bytes, _ANSWER_BYTES)
    try:
        found = _guarded("single_pass_json", argument, limits)
        # In a process without the pass's codecs and libraries: the index of a long video needs their memory.
        files = [str(_pieces_of(stored)), str(stored)]
        command = [sys.executable, "-m", "curation.media.encode", *files, str(found["duration"])]
        with _rejecting():
            guard.run(command, limits)
    except BaseException:
        stored.unlink(missing_ok=True)
        raise
    finally:
        _pieces_of(stored).unlink(missing_ok=True)
    shots = tuple(Shot(**shot) for shot in found.pop("shots"))
    candidates = tuple(Candidate(**candidate) for candidate in found.pop("candidates"))
    return Pass(shots=shots, boundaries=tuple(found.pop("boundaries")), candidates=candidates, **found)


def cut(stored: Path, start: float, end: float, out: Path, settings: MediaSettings) -> None:
    """Copy the packets of a clip of stored media to `out`, an mp4 whose clock begins at 0.

    `start` and `end` are boundaries of the single pass. Raises Rejected if `stored` is not such media.
    """
    argument = {"stored": str(stored), "start": start, "end": end, "out": str(out)}
    try:
        _guarded("cut_json", argument, guard.Limits(settings.timeout_s, settings.memory_bytes))
    except BaseException:
        out.unlink(missing_ok=True)
        raise


def _guarded(function: str, argument: dict[str, Any], limits: guard.Limits) -> dict[str, Any]:
    with _rejecting():
        return guard.call(f"curation.media.single_pass_child:{function}", argument, limits)


@contextlib.contextmanager
def _rejecting() -> Iterator[None]:
    """Turn what happened to a child into why its video did not make it."""
    try:
        yield
    except guard.TimedOut as error:
        raise Rejected(Kind.TIMEOUT, f"{error}; raise media.timeout_s or media.timeout_factor") from None
    except guard.OutOfMemory as error:
        raise Rejected(Kind.OUT_OF_MEMORY, f"{error}; raise media.memory_bytes") from None
    except (guard.Crashed, guard.Overflowed) as error:
        if os.strerror(errno.ENOSPC) in str(error):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from None
        raise Rejected(Kind.CRASHED, str(error)) from None


def _pieces_of(stored: Path) -> Path:
    return stored.with_name(stored.name + ".part")
