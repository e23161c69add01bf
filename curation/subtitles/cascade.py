"""The subtitle cascade: choosing the track, its sentences and their language."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from curation.languages import UNKNOWN, code_of, identify, matches
from curation.records import Sentence, SubtitleTrack
from curation.settings import SubtitleSettings
from curation.subtitles.cues import MAX_CHARACTERS, MAX_PIECES
from curation.subtitles.parsing import PARSE_S, Parsed, parse
from curation.subtitles.sentences import sentences_in
from curation.subtitles.unpunctuated import end_method

log = logging.getLogger(__name__)

MODEL_WORDS = 40_000  # spoken in more than four hours; a model needs minutes for them


@dataclass(frozen=True)
class Spoken:
    """A video's sentences, their language (ISO 639-1), and the kind of subtitles (manual or automatic).

    `ends` is how sentence ends were found: punctuation, model, language or pauses. `confidence` is how likely the
    language is the right one, by the words and by what is stated.
    """

    sentences: tuple[Sentence, ...] = ()
    language: str | None = None
    kind: str | None = None
    ends: str | None = None
    confidence: float | None = None


def sentences_of(
    tracks: Sequence[SubtitleTrack],
    wanted: Sequence[str],
    settings: SubtitleSettings,
    hint: str | None = None,
) -> Spoken:
    """The sentences of the best track: manual before automatic, then by the order of the `wanted` languages.

    `hint` is the video's language as its source states it. Tracks without speech are skipped; if none is left, the
    result is empty. Raises Rejected if the tracks cannot be read within PARSE_S.
    """
    deadline = time.monotonic() + PARSE_S
    for track in _ranked(tracks, wanted):
        found, language, confidence = _parsed(track, hint, deadline)
        if found:
            if len(found.spoken.text.split()) > MODEL_WORDS:
                log.warning("subtitles of more than %d words: no model looks for their sentence ends", MODEL_WORDS)
                settings = settings.model_copy(update={"sentence_ends": "pauses", "sentence_model": None})
            ends = "punctuation" if found.spans.punctuated else end_method(language, settings)
            sentences = sentences_in(found.spoken, found.spans, language, settings)
            return Spoken(sentences, language, track.kind, ends, confidence)
    return Spoken()


def _parsed(track: SubtitleTrack, hint: str | None, deadline: float) -> tuple[Parsed | None, str | None, float | None]:
    """A track's spoken text, None if there is none, its language, and how likely that is. Raises Rejected."""
    text = track.text[:MAX_CHARACTERS]
    stated = code_of(hint if track.language == UNKNOWN else track.language)
    found = parse(text, track.format, stated, deadline - time.monotonic())
    if found is None:
        return None, None, None
    if len(track.text) > MAX_CHARACTERS or len(found.spoken.pieces) == MAX_PIECES:
        log.warning("a subtitle file of %d characters is not read to its end", len(track.text))
    language, confidence = identify(" ".join(p.text for p in found.spoken.pieces), track.language, hint)
    if language != stated and found.spans.punctuated:  # by the rules of another language
        found = parse(text, track.format, language, deadline - time.monotonic())
    return found, language, confidence


def _ranked(tracks: Sequence[SubtitleTrack], wanted: Sequence[str]) -> Iterator[SubtitleTrack]:
    """The tracks in a `wanted` language, best first; within each kind, tracks without a stated language come last."""
    for kind in ("manual", "automatic"):
        of_kind = [t for t in tracks if t.kind == kind]
        for language in (*wanted, UNKNOWN):
            matching = [t for t in of_kind if matches(t.language, language)]
            yield from sorted(
                matching, key=lambda t: (t.language.lower() != language.lower(), not t.language.endswith("-orig"))
            )
