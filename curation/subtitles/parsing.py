"""Subtitle files read in a guarded child, which bounds what a stranger's file costs in time and memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from curation import guard
from curation.guarded_reading import read_guarded
from curation.subtitles.cues import Piece
from curation.subtitles.punctuation import Spans
from curation.subtitles.transcript import Transcript

PARSE_S = 60.0  # for all tracks of a video
_GUESS_S = 30.0
_MEMORY_BYTES = 4 * 2**30  # address space of the child process, which may have decoded video before
_ANSWER_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Parsed:
    """A track's spoken text, with the offsets of its sentences as its signs show them."""

    spoken: Transcript
    spans: Spans


@dataclass(frozen=True)
class Look:
    """Whether a subtitle file has a cue with any text, and whether it has the form of a recogniser's."""

    cues: bool
    automatic: bool


def parse(text: str, form: str, language: str | None, seconds: float) -> Parsed | None:
    """The spoken text of a subtitle file in a format, read within `seconds`; None if there is none.

    Its sentences end as the rules of `language`, an ISO 639-1 code, say. Raises Rejected.
    """
    found = _guarded("parse", {"text": text, "format": form, "language": language}, seconds)
    if not found["pieces"]:
        return None
    pieces = (Piece(*piece) for piece in found["pieces"])
    spans = Spans(tuple((a, b) for a, b in found["spans"]), found["punctuated"])
    return Parsed(Transcript(pieces), spans)


def look(text: str, form: str, seconds: float) -> Look:
    """What a subtitle file is like at first sight, read within `seconds`. Raises Rejected."""
    return Look(**_guarded("look", {"text": text, "format": form}, seconds))


def guess_code_page(sample: bytes, words: str, stated: str | None) -> str:
    """The likeliest code page of `sample`, as code_pages.likeliest says. Raises Rejected."""
    argument = {"sample": sample.decode("latin-1"), "words": words, "stated": stated}
    return str(_guarded("guess_code_page", argument, _GUESS_S)["page"])


def _guarded(function: str, argument: dict[str, Any], seconds: float) -> dict[str, Any]:
    """The answer of a function of subtitles_child.py, within `seconds`. Raises Rejected."""
    limits = guard.Limits(seconds, _MEMORY_BYTES, _ANSWER_BYTES)
    return read_guarded(f"curation.subtitles.subtitles_child:{function}", argument, limits, "its subtitles")
