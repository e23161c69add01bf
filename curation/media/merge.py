"""Merge a picture and a sound that were fetched as two files. Runs inside a guarded child (curation/guard)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ffmpeg

from curation import guard
from curation.media.containers import WHITELISTS, Contents, contents_of
from curation.rejects import Kind, Rejected

_MUXERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".webm": "webm"}  # others become Matroska
_RAW_AAC = ("mpegts", "aac")  # formats whose AAC is without the header that other containers need


def merge(parts: Sequence[Path], out: Path, limits: guard.Limits) -> Path:
    """Copy the picture and the sound of `parts` into one file, and delete them; returns `out`, or it named .mkv.

    Each part is probed first, so that ffmpeg is told its demuxer and chooses none by what the file claims to be. Raises
    Rejected, and OSError for a full disk.
    """
    out = out if out.suffix in _MUXERS else out.with_suffix(".mkv")
    command = _command(parts, [contents_of(part) for part in parts], out)
    try:
        guard.run(command, limits)
    except guard.GuardError as error:
        try:
            raise _rejected(error, out, limits) from None
        finally:
            out.unlink(missing_ok=True)
    for part in parts:
        part.unlink()
    return out


def _command(parts: Sequence[Path], contents: Sequence[Contents], out: Path) -> list[str]:
    """The call of ffmpeg: the first picture, and the sound of another part. Raises Rejected."""
    picture = next((i for i, found in enumerate(contents) if found.video), None)
    if picture is None:
        raise Rejected(Kind.NO_VIDEO, "neither of its files is a video")
    sound = next((i for i, found in enumerate(contents) if found.audio and i != picture), None)
    if sound is None:
        raise Rejected(Kind.UNSUPPORTED, "the file of its sound contains none")
    sources = [
        ffmpeg.input(_name(part), f=found.format, **WHITELISTS) for part, found in zip(parts, contents, strict=True)
    ]
    options = {"c": "copy", "movflags": "+faststart", "f": _MUXERS.get(out.suffix, "matroska")}
    if contents[sound].audio == "aac" and contents[sound].format in _RAW_AAC:
        options["bsf:a"] = "aac_adtstoasc"
    streams = sources[picture]["v:0"], sources[sound]["a:0"]
    merged: Any = ffmpeg.output(*streams, _name(out), **options).global_args("-nostdin", "-v", "error")
    command: list[str] = merged.compile(overwrite_output=True)
    return command


def _rejected(error: guard.GuardError, out: Path, limits: guard.Limits) -> Rejected:
    if isinstance(error, guard.TimedOut):
        return Rejected(Kind.TIMEOUT, "its picture and its sound were not merged in time (download.timeout_s)")
    if isinstance(error, guard.OutOfMemory):
        return Rejected(Kind.OUT_OF_MEMORY, f"merging its picture and its sound took over {limits.memory_bytes} bytes")
    _check_room(out)
    message = str(error).replace(f"{out.absolute().parent}/", "")
    return Rejected(Kind.UNSUPPORTED, f"its picture and its sound cannot be merged: {message}")


def _name(path: Path) -> str:
    return f"file:{path.absolute()}"  # never a protocol, whatever the path looks like


def _check_room(out: Path) -> None:
    """Raises OSError if the disk that `out` was written to is full: ffmpeg tells that by a text alone."""
    with out.open("ab") as file:
        file.write(bytes(1 << 20))
