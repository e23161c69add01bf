"""The subtitle cascade: which track is used, its sentences, and their language."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from curation.languages import UNKNOWN, language_of, matches
from curation.records import Sentence, SubtitleTrack
from curation.settings import SubtitleSettings
from curation.subtitles.cues import Piece, decode, pieces_of
from curation.subtitles.sentences import sentence_end_method, sentences_in

__all__ = ["Spoken", "decode", "language_of", "sentences_of"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Spoken:
    """What is said in a video, in which language (ISO 639-1), and by which kind of subtitles (manual or automatic).

    `ends` is what told where sentences end: punctuation, model, language or pauses.
    """

    sentences: tuple[Sentence, ...] = ()
    language: str | None = None
    kind: str | None = None
    ends: str | None = None


def sentences_of(
    tracks: Sequence[SubtitleTrack],
    wanted: Sequence[str],
    settings: SubtitleSettings,
    hint: str | None = None,
    duration: float | None = None,
) -> Spoken:
    """The sentences of the best track: manual before automatic, then by the order of the `wanted` languages.

    `hint` is the video's language as its source states it. What lies after `duration` seconds is dropped. A track
    without speech in it is passed over; with none left the answer is empty. Never raises, whatever the tracks hold.
    """
    for track in _ranked(tracks, wanted):
        pieces = _within(pieces_of(track.text), duration)
        if pieces:
            language = language_of(" ".join(p.text for p in pieces), track.language, hint)
            ends = sentence_end_method(pieces, language, settings)
            return Spoken(sentences_in(pieces, language, settings), language, track.kind, ends)
    return Spoken()


def _ranked(tracks: Sequence[SubtitleTrack], wanted: Sequence[str]) -> Iterator[SubtitleTrack]:
    """The tracks that are wanted, best first. A track whose language nobody states comes after those of a wanted
    one."""
    for kind in ("manual", "automatic"):
        of_kind = [t for t in tracks if t.kind == kind]
        for language in (*wanted, UNKNOWN):
            matching = [t for t in of_kind if matches(t.language, language)]
            yield from sorted(
                matching, key=lambda t: (t.language.lower() != language.lower(), not t.language.endswith("-orig"))
            )


def _within(pieces: list[Piece], duration: float | None) -> list[Piece]:
    if duration is None:
        return pieces
    return [Piece(p.start, min(p.end, duration), p.text, p.turn) for p in pieces if p.start < duration]
