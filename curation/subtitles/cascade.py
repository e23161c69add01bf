"""The subtitle cascade: choosing the track, its sentences and their language."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from curation.languages import UNKNOWN, language_of, matches
from curation.records import Sentence, SubtitleTrack
from curation.settings import SubtitleSettings
from curation.subtitles.cues import Piece, pieces_of
from curation.subtitles.sentences import sentence_end_method, sentences_in


@dataclass(frozen=True)
class Spoken:
    """A video's sentences, their language (ISO 639-1), and the kind of subtitles (manual or automatic).

    `ends` is how sentence ends were found: punctuation, model, language or pauses.
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

    `hint` is the video's language as its source states it. Text after `duration` seconds is dropped. Tracks without
    speech are skipped; if none is left, the result is empty. Never raises, whatever the tracks contain.
    """
    for track in _ranked(tracks, wanted):
        pieces = _within(pieces_of(track.text), duration)
        if pieces:
            language = language_of(" ".join(p.text for p in pieces), track.language, hint)
            ends = sentence_end_method(pieces, language, settings)
            return Spoken(sentences_in(pieces, language, settings), language, track.kind, ends)
    return Spoken()


def _ranked(tracks: Sequence[SubtitleTrack], wanted: Sequence[str]) -> Iterator[SubtitleTrack]:
    """The tracks in a `wanted` language, best first; within each kind, tracks without a stated language come last."""
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
