"""Sentence ends in punctuated text, by the rules of its language."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

import pysbd
from pysbd.languages import LANGUAGE_CODES

from curation.subtitles.transcript import SENTENCE_END, Transcript

WINDOW = 2000  # characters that are split by punctuation at once
DENSEST = 6  # minimum characters per sentence end; pysbd takes minutes for denser junk
PUNCTUATED = 1 / 250  # minimum sentence ends per character; English prose has one in about 80

ONE_SENTENCE = re.compile(r"[\w ,'’-]*+[.!?]?\s*+")  # nothing that could end a sentence before its end
# A sentence end, with the closing quotes and brackets that belong to it; some scripts need no space after it.
_PLAIN_END = re.compile(r"(?:[。！？｡]++|(?<![.!?…؟۔।॥։။])[.!?…؟۔।॥։။]++(?=[\s\"'”’»)\]]|$))[\"'”’»」』）)\]]*+\s*+")


def sentence_spans(spoken: Transcript, language: str | None) -> list[tuple[int, int]] | None:
    """The offsets of the sentences of `spoken`, None if it is not punctuated. `language` is an ISO 639-1 code.

    >>> from curation.subtitles.cues import Piece
    >>> sentence_spans(Transcript([Piece(0.0, 2.0, "Dr. No came. He sat.")]), "en")
    [(0, 12), (13, 20)]
    """
    text, turns = spoken.text, spoken.turns  # a change of speaker ends a sentence too
    if len(SENTENCE_END.findall(text)) < PUNCTUATED * len(text):
        return None
    between = zip([0, *turns], [*turns, len(text)], strict=True)
    return [span for start, until in between for span in spans_between(text, start, until, language)]


def spans_between(text: str, start: int, until: int, language: str | None) -> Iterator[tuple[int, int]]:
    """The offsets of the sentences between two offsets of `text`, without white space between them."""
    while start < until:
        window = text[start : min(until, start + WINDOW)]
        cuts = _cuts(window, language)
        if start + len(window) < until and len(cuts) > 1:
            cuts = cuts[:-1]  # the last sentence may continue after the window
        for a, b in itertools.pairwise([0, *cuts]):
            sentence = window[a:b].rstrip()
            if bare := sentence.lstrip():
                yield start + a + len(sentence) - len(bare), start + a + len(sentence)
        start += cuts[-1]


def _cuts(window: str, language: str | None) -> list[int]:
    """Offsets at which the sentences of `window` end, including its own end. The text is never changed."""
    if ONE_SENTENCE.fullmatch(window):
        return [len(window)]
    if language in LANGUAGE_CODES and len(SENTENCE_END.findall(window)) <= len(window) / DENSEST:
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
