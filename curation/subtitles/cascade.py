"""The subtitle cascade: which track is used, its sentences, and their language."""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from py3langid.langid import MODEL_FILE, LanguageIdentifier

from curation.records import Sentence, SubtitleTrack
from curation.settings import SubtitleSettings
from curation.subtitles.cues import Piece, decode, pieces_of
from curation.subtitles.sentences import sentence_ends_of, sentences_in

__all__ = ["Spoken", "decode", "language_of", "sentences_of"]

log = logging.getLogger(__name__)

SURE = 0.9  # probability from which the identified language counts more than the stated one


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
            ends = sentence_ends_of(pieces, language, settings)
            return Spoken(sentences_in(pieces, language, settings), language, track.kind, ends)
    return Spoken()


def _ranked(tracks: Sequence[SubtitleTrack], wanted: Sequence[str]) -> Iterator[SubtitleTrack]:
    """The tracks that are wanted, best first. A track whose language nobody states comes after those of a wanted
    one."""
    for kind in ("manual", "automatic"):
        of_kind = [t for t in tracks if t.kind == kind]
        for language in (*wanted, "und"):
            matching = [t for t in of_kind if _matches(t.language, language)]
            yield from sorted(
                matching, key=lambda t: (t.language.lower() != language.lower(), not t.language.endswith("-orig"))
            )


def _matches(stated: str, wanted: str) -> bool:
    stated, wanted = (stated or "und").lower().replace("_", "-"), wanted.lower().replace("_", "-")
    return wanted == "all" or stated == wanted or stated.startswith(f"{wanted}-")


def _within(pieces: list[Piece], duration: float | None) -> list[Piece]:
    if duration is None:
        return pieces
    return [Piece(p.start, min(p.end, duration), p.text, p.turn) for p in pieces if p.start < duration]


# --- language -------------------------------------------------------------------------------------------------------


def language_of(text: str, *stated: str | None) -> str | None:
    """The ISO 639-1 code of the text's language; where the text is too short to be sure, the first one that is
    `stated`."""
    sample = text[:5000]
    with _lock:
        identifier = _identifier()
    guess, probability = identifier.classify(sample) if any(c.isalpha() for c in sample) else (None, 0.0)
    if probability >= SURE:
        return str(guess)
    primary = ((s or "").lower().replace("_", "-").split("-")[0] for s in stated)
    return next((p for p in primary if len(p) == 2 and p.isascii() and p.isalpha()), guess)


_lock = threading.Lock()  # many threads want it at the same moment


@functools.cache
def _identifier() -> Any:
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
