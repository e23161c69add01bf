"""From timed text to timed sentences: by punctuation if there is any, else by pauses and language."""

from __future__ import annotations

import functools
import re
from bisect import bisect_right
from collections.abc import Iterable, Sequence

import pysbd
from pysbd.languages import LANGUAGE_CODES

from curation.languages import UNSPACED_SCRIPTS_AND_PUNCTUATION as _UNSPACED
from curation.records import Sentence
from curation.settings import SubtitleSettings
from curation.subtitles.cues import Piece
from curation.subtitles.unpunctuated import Word, end_method, sentence_ends

WINDOW = 2000  # characters that are split by punctuation at once
DENSEST = 6  # minimum characters per sentence end; pysbd takes minutes for denser junk
PUNCTUATED = 1 / 250  # minimum sentence ends per character; English prose has one in about 80

_UNSPACED_CHARACTER = re.compile(f"[{_UNSPACED}]")
_END = re.compile(r"[.!?…。！？｡؟۔।॥։។။]+")
# A sentence end, with the closing quotes and brackets that belong to it; some scripts need no space after it.
_PLAIN_END = re.compile(r"(?:[。！？｡]+|[.!?…؟۔।॥։។။]+(?=[\s\"'”’»)\]]|$))[\"'”’»」』）)\]]*\s*")
_STOPS = {"zh": "。", "ja": "。", "hi": "।", "mr": "।", "ne": "।", "ur": "۔", "hy": "։", "my": "။", "km": "។", "th": ""}


class Transcript:
    """The pieces as one text, with a time for every character.

    >>> spoken = Transcript([Piece(0.0, 1.0, "Hello"), Piece(2.0, 4.0, "everyone")])
    >>> spoken.text, spoken.start(6), spoken.end(10)
    ('Hello everyone', 2.0, 3.0)
    """

    def __init__(self, pieces: Iterable[Piece]) -> None:
        self.pieces = tuple(pieces)
        self.offsets: list[int] = []  # where each piece begins in the text
        self.turns: list[int] = []  # where another speaker begins
        parts: list[str] = []
        length = 0
        for piece in self.pieces:
            if parts and not (_UNSPACED_CHARACTER.match(piece.text) or _UNSPACED_CHARACTER.match(parts[-1][-1])):
                parts.append(" ")
                length += 1
            if piece.turn:
                self.turns.append(length)
            self.offsets.append(length)
            parts.append(piece.text)
            length += len(piece.text)
        self.text = "".join(parts)

    def start(self, offset: int) -> float:
        """The time, in seconds, at which the character at `offset` begins."""
        return self._at(offset, offset)

    def end(self, offset: int) -> float:
        """The time, in seconds, at which the character before `offset` ends."""
        return self._at(offset - 1, offset)

    def _at(self, inside: int, offset: int) -> float:
        index = bisect_right(self.offsets, inside) - 1
        piece = self.pieces[index]
        share = min(1.0, (offset - self.offsets[index]) / len(piece.text))
        return piece.start + (piece.end - piece.start) * share

    def words(self, start: int, end: int) -> list[Word]:
        """The words between two offsets; in scripts without spaces between words, the characters."""
        return [
            Word(
                self.start(start + m.start()),
                self.end(start + m.end()),
                m.group(),
                start + m.start(),
                start + m.start() in self._turns,
            )
            for m in _WORD.finditer(self.text[start:end])
        ]

    @functools.cached_property
    def _turns(self) -> frozenset[int]:
        return frozenset(self.turns)


_WORD = re.compile(rf"[{_UNSPACED}]|[^\s{_UNSPACED}]+")


def sentences_in(pieces: Sequence[Piece], language: str | None, settings: SubtitleSettings) -> tuple[Sentence, ...]:
    """The sentences of `pieces`, in order. `language` is an ISO 639-1 code."""
    if not pieces:
        return ()
    spoken = Transcript(pieces)
    spans = _by_punctuation(spoken, language) if _is_punctuated(spoken.text) else [(0, len(spoken.text))]
    sentences: list[Sentence] = []
    for start, end in spans:
        if len(spans) > 1 and spoken.end(end) - spoken.start(start) <= settings.max_sentence_s:
            sentences.append(Sentence(spoken.start(start), spoken.end(end), spoken.text[start:end]))
        else:
            sentences.extend(_by_speech(spoken, start, end, language, settings))
    return tuple(sentences)


def sentence_end_method(pieces: Sequence[Piece], language: str | None, settings: SubtitleSettings) -> str:
    """How `sentences_in` finds sentence ends: by punctuation, else by model, language or pauses."""
    return "punctuation" if _is_punctuated(Transcript(pieces).text) else end_method(language, settings)


def _is_punctuated(text: str) -> bool:
    return len(_END.findall(text)) >= PUNCTUATED * len(text)


# --- by punctuation -------------------------------------------------------------------------------------------------


def _by_punctuation(spoken: Transcript, language: str | None) -> list[tuple[int, int]]:
    """Offsets of the sentences, without white space between them; a change of speaker ends a sentence too."""
    text = spoken.text
    spans: list[tuple[int, int]] = []
    for start, until in zip([0, *spoken.turns], [*spoken.turns, len(text)], strict=True):
        while start < until:
            window = text[start : min(until, start + WINDOW)]
            cuts = _cuts(window, language)
            if start + len(window) < until and len(cuts) > 1:
                cuts = cuts[:-1]  # the last sentence may continue after the window
            for a, b in zip([0, *cuts], cuts, strict=False):
                spans.append((start + a, start + b))
            start += cuts[-1]
    stripped = ((a + len(text[a:b]) - len(text[a:b].lstrip()), a + len(text[a:b].rstrip())) for a, b in spans)
    return [(a, b) for a, b in stripped if a < b]


def _cuts(window: str, language: str | None) -> list[int]:
    """Offsets at which the sentences of `window` end, including its own end. The text is never changed."""
    if language in LANGUAGE_CODES and len(_END.findall(window)) <= len(window) / DENSEST:
        segmenter = pysbd.Segmenter(language=language, clean=False)  # not thread-safe: it stores the text
        cuts = _aligned(window, segmenter.segment(window))
        if cuts:
            return cuts
    cuts = [m.end() for m in _PLAIN_END.finditer(window)]
    return cuts if cuts and cuts[-1] == len(window) else [*cuts, len(window)]


def _aligned(window: str, segments: list[str]) -> list[int] | None:
    """Offsets of the segments' ends in `window`, or None if pysbd has changed the text, as it sometimes does."""
    cuts: list[int] = []
    position = 0
    for segment in segments:
        found = window.find(segment.strip(), position)
        if found < 0 or window[position:found].strip():
            return None
        position = found + len(segment.strip())
        cuts.append(position)
    if window[position:].strip():
        return None
    return [*cuts[:-1], len(window)] if cuts else None


# --- by pauses and language -----------------------------------------------------------------------------------------


def _by_speech(
    spoken: Transcript, start: int, end: int, language: str | None, settings: SubtitleSettings
) -> list[Sentence]:
    """Sentences of unpunctuated text, each with a capital and a full stop added; the words stay as spoken."""
    words = spoken.words(start, end)
    stop = _STOPS.get(language or "", ".")
    sentences: list[Sentence] = []
    first = 0
    for last, until in sentence_ends(words, language, settings):
        a, b = words[first].offset, words[last].offset + len(words[last].text)
        text = spoken.text[a:b]
        text = text[0].upper() + text[1:] if len(text[0].upper()) == 1 else text
        sentences.append(Sentence(words[first].start, until, text if _END.search(text[-1]) else text + stop))
        first = last + 1
    return sentences
