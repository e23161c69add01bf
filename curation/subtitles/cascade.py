"""The subtitle cascade: choosing the track, its sentences and their language."""

from __future__ import annotations

import contextlib
import logging
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from curation.languages import UNKNOWN, code_of, identify, matches
from curation.records import Sentence, SubtitleTrack
from curation.rejects import Rejected
from curation.settings import SubtitleSettings
from curation.subtitles.cues import MAX_CHARACTERS, MAX_PIECES
from curation.subtitles.parsing import PARSE_S, Parsed, parse
from curation.subtitles.sentences import sentences_in
from curation.subtitles.unpunctuated import end_method

log = logging.getLogger(__name__)

MODEL_WORDS = 40_000  # spoken in more than four hours; a model needs minutes for them
FAR_MORE = 4  # times as much is said in a track than in one of its language that is better by name
_MARKUP = re.compile(r"<[^<>]{0,200}>")


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


class _Read(NamedTuple):
    """A track with its spoken text, its language, and how likely that is."""

    track: SubtitleTrack
    found: Parsed
    language: str | None
    confidence: float | None


def sentences_of(
    tracks: Sequence[SubtitleTrack],
    wanted: Sequence[str],
    settings: SubtitleSettings,
    hint: str | None = None,
) -> Spoken:
    """The sentences of the best track: manual before automatic, then by the order of the `wanted` languages.

    One in which next to nothing is said, compared with another of its language, has signs or titles alone: that other
    one is taken. `hint` is the video's language as its source states it. Tracks without speech are skipped; if none is
    left, the result is empty. Raises Rejected if the tracks cannot be read within PARSE_S.
    """
    deadline = time.monotonic() + PARSE_S
    ranked = list(_ranked(tracks, wanted))
    for place, first in enumerate(ranked):
        if read := _read(first, hint, deadline):
            track, found, language, confidence = _fullest(read, ranked[place + 1 :], hint, deadline)
            if len(found.spoken.text.split()) > MODEL_WORDS:
                log.warning("subtitles of more than %d words: no model looks for their sentence ends", MODEL_WORDS)
                settings = settings.model_copy(update={"sentence_ends": "pauses", "sentence_model": None})
            ends = "punctuation" if found.spans.punctuated else end_method(language, settings)
            sentences = sentences_in(found.spoken, found.spans, language, settings)
            return Spoken(sentences, language, track.kind, ends, confidence)
    return Spoken()


def _fullest(read: _Read, others: Sequence[SubtitleTrack], hint: str | None, deadline: float) -> _Read:
    """What was read, or one of the `others` of its language in which far more is said, if that can be read."""
    enough = FAR_MORE * _letters(read.track)
    for other in others:
        if other.language == read.track.language and _letters(other) >= enough:
            with contextlib.suppress(Rejected):
                rival = _read(other, hint, deadline)
                if rival and len(rival.found.spoken.text) >= FAR_MORE * len(read.found.spoken.text):
                    read, enough = rival, FAR_MORE * _letters(rival.track)
    return read


def _letters(track: SubtitleTrack) -> int:
    """Roughly how much is said in a track: twice as much where lines scroll."""
    return sum(map(str.isalpha, _MARKUP.sub("", track.text[:MAX_CHARACTERS])))


def _read(track: SubtitleTrack, hint: str | None, deadline: float) -> _Read | None:
    """None if nothing is said in a track. Raises Rejected."""
    text = track.text[:MAX_CHARACTERS]
    stated = code_of(hint if track.language == UNKNOWN else track.language)
    found = parse(text, track.format, stated, deadline - time.monotonic())
    if found is None:
        return None
    if len(track.text) > MAX_CHARACTERS or len(found.spoken.pieces) == MAX_PIECES:
        log.warning("a subtitle file of %d characters is not read to its end", len(track.text))
    language, confidence = identify(" ".join(p.text for p in found.spoken.pieces), track.language, hint)
    if language != stated and found.spans.punctuated:  # by the rules of another language
        found = parse(text, track.format, language, deadline - time.monotonic()) or found
    return _Read(track, found, language, confidence)


def _ranked(tracks: Sequence[SubtitleTrack], wanted: Sequence[str]) -> Iterator[SubtitleTrack]:
    """The tracks in a `wanted` language, best first; within each kind, tracks without a stated language come last."""
    for kind in ("manual", "automatic"):
        of_kind = [t for t in tracks if t.kind == kind]
        for language in (*wanted, UNKNOWN):
            matching = [t for t in of_kind if matches(t.language, language)]
            yield from sorted(
                matching, key=lambda t: (t.language.lower() != language.lower(), not t.language.endswith("-orig"))
            )
