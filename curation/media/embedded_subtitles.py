"""Subtitle tracks inside of containers (mov_text, SubRip, WebVTT and SubStation Alpha in mp4 and Matroska)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from curation import guard
from curation.guarded_reading import read_guarded

_MEMORY_BYTES = 4 * 2**30
_ANSWER_BYTES = 256 * 2**20
_TRACK_CHARACTERS = 4_000_000  # more than ten hours of speech
_MATROSKA = b"\x1a\x45\xdf\xa3"


@dataclass(frozen=True)
class Embedded:
    """A subtitle track of a container: its language as a tag, and its text as a file."""

    language: str
    text: str


def embedded_subtitles(path: Path, wanted: Sequence[str], seconds: float) -> tuple[Embedded, ...]:
    """The subtitle tracks in the media at `path` in `wanted` languages, best first, read within `seconds`.

    The whole file is read if it has any. Raises Rejected.
    """
    if not _may_have_any(path):
        return ()
    argument = {"path": str(path), "wanted": list(wanted), "characters": _TRACK_CHARACTERS}
    limits = guard.Limits(seconds, _MEMORY_BYTES, _ANSWER_BYTES)
    answer = read_guarded("curation.media.embedded_child:embedded_subtitles", argument, limits, "they")
    return tuple(Embedded(track["language"], track["text"]) for track in answer["tracks"])


def _may_have_any(path: Path) -> bool:
    """Whether the file is of a kind that can have such tracks, by its first bytes."""
    with path.open("rb") as file:
        head = file.read(8)
    return head[:4] == _MATROSKA or head[4:8] in (b"ftyp", b"moov", b"mdat", b"free", b"wide", b"skip")
