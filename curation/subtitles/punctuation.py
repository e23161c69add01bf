"""Sentence ends in punctuated text, by the signs and rules of its language."""

from __future__ import annotations

import itertools
import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

import pysbd

from curation.languages import UNSPACED_SCRIPTS
from curation.subtitles.abbreviations import is_abbreviation
from curation.subtitles.signs import BY_LANGUAGE, FULL_STOPS, OWN, SPACED, full_stops
from curation.subtitles.transcript import Transcript

WINDOW = 2000  # characters that are split by punctuation at once
DENSEST = 6  # minimum characters per sentence end; pysbd takes minutes for denser junk
PAUSE_S = 0.45  # in scripts without capitals, an ellipsis before a shorter pause leads on
PUNCTUATED = 1 / 250  # minimum full stops per character; English prose has one in about 80

# Languages in which pysbd knows more than where signs stand. In the others its signs are not those of the language
# (commas in Arabic, colons in Persian), or it has no rules.
RULES = frozenset(("en", "de", "fr", "es", "it", "nl", "da", "pl", "ru", "bg", "sk", "kk"))

ONE_SENTENCE = re.compile(r"[\w ,'’-]*+[.!?]?\s*+")  # nothing that could end a sentence before its end
_CLOSING = r"(?:\s?[»]|[\"'”’“»›」』）)\]】》〉])*+"
_ENDS = {
    signs: re.compile(rf"(?P<signs>(?:[{re.escape(SPACED + OWN + signs)}]|፡፡)++)(?P<closing>{_CLOSING})(?P<gap>\s*+)")
    for signs in {"", *BY_LANGUAGE.values()}
}
_FIRST = re.compile(r"[\s\"'“”‘’«»„‹(\[¿¡—–-]*+(.)")  # the first character of what follows
_UNSPACED = re.compile(f"[{UNSPACED_SCRIPTS}\u3000-\u303f\uff00-\uffef]")
_ELLIPSIS = re.compile(r"…|\.\.|。。")
_QUOTED = re.compile(r"「[^「」]{0,200}」|『[^『』]{0,200}』|《[^《》]{0,200}》|（[^（）]{0,200}）")
_GOES_ON = re.compile("[とっなはがをにでの、，]")  # after a quotation: said, thought, …
_I = re.compile(r"\s*I\b")  # has a capital anywhere
_CASE = re.compile(r"[.!?][\"'”’»)]?\s+[\"'“‘«(]?([^\W\d_])")
_NUMBER = re.compile(r"\W*\d{1,3}\.\s*")  # of an item in a list


@dataclass(frozen=True)
class Spans:
    """The offsets of sentences in a text. If it is not `punctuated`, a span holds a number of sentences."""

    offsets: tuple[tuple[int, int], ...]
    punctuated: bool


@dataclass(frozen=True)
class _Rules:
    """How a text shows where its sentences end.

    `cased`: they begin with capitals. `stopped`: they end in a full stop of another script, so that "." does not end
    any. `pauses`: where cues begin after a pause; None if the text has no times.
    """

    language: str | None
    cased: bool
    stopped: bool
    pauses: frozenset[int] | None


def sentence_spans(spoken: Transcript, language: str | None) -> Spans:
    """The sentences of `spoken` that its signs, and changes of speaker, show. `language` is an ISO 639-1 code.

    >>> from curation.subtitles.cues import Piece
    >>> sentence_spans(Transcript([Piece(0.0, 2.0, "Dr. No came. He sat.")]), "en")
    Spans(offsets=((0, 12), (13, 20)), punctuated=True)
    """
    text, turns = spoken.text, spoken.turns  # a change of speaker ends a sentence too
    rules = _rules_of(text, language, spoken.cues_after(PAUSE_S))
    between = zip([0, *turns], [*turns, len(text)], strict=True)
    offsets = tuple(span for start, until in between for span in _spans(text, start, until, rules))
    return Spans(offsets, full_stops(text) >= PUNCTUATED * len(text))


def spans_between(text: str, start: int, until: int, language: str | None) -> Iterator[tuple[int, int]]:
    """The offsets of the sentences between two offsets of `text`, without white space between them."""
    return _spans(text, start, until, _rules_of(text, language, None))


def _rules_of(text: str, language: str | None, pauses: frozenset[int] | None) -> _Rules:
    starts = _CASE.findall(text)
    cased = sum(c.islower() for c in starts) <= sum(c.isupper() for c in starts)
    stop = FULL_STOPS.get(language or "", ".")
    return _Rules(language, cased, bool(stop) and stop != "." and text.count(stop) > text.count(". "), pauses)


def _spans(text: str, start: int, until: int, rules: _Rules) -> Iterator[tuple[int, int]]:
    while start < until:
        window = text[start : min(until, start + WINDOW)]
        cuts = _cuts(window, start, rules)
        if start + len(window) < until and len(cuts) > 1:
            cuts = cuts[:-1]  # the last sentence may continue after the window
        for a, b in itertools.pairwise([0, *cuts]):
            sentence = window[a:b].rstrip()
            if bare := sentence.lstrip():
                yield start + a + len(sentence) - len(bare), start + a + len(sentence)
        start += cuts[-1]


def _cuts(window: str, offset: int, rules: _Rules) -> list[int]:
    """Places in `window` at which its sentences end, including its own end. It begins at `offset` of the text."""
    if ONE_SENTENCE.fullmatch(window):
        return [len(window)]
    found = list(_ENDS[BY_LANGUAGE.get(rules.language or "", "")].finditer(window))
    ruled = _by_rules(window, rules.language) if len(found) <= len(window) / DENSEST else None
    quoted = [m.span() for m in _QUOTED.finditer(window)]
    cuts: list[int] = []
    for end in found:
        position = end.end()
        if position == len(window):
            break
        if ruled is not None and end.end("closing") not in ruled and not _ELLIPSIS.search(end["signs"]):
            continue
        begin = cuts[-1] if cuts else 0
        if _is_end(window, end, begin, offset, rules) and not _is_quoted(window, end, quoted):
            cuts.append(position)
    return [*cuts, len(window)]


def _is_end(window: str, end: re.Match[str], begin: int, offset: int, rules: _Rules) -> bool:
    """Whether a sentence that begins at `begin` ends with these signs, by what stands around them."""
    signs, gap = end["signs"], end["gap"] != ""
    before = window[end.start() - 1 : end.start()]
    first = _FIRST.match(window, end.end())
    if first is None:
        return True
    if signs[-1] not in OWN and not gap and not (_UNSPACED.match(first[1]) or _UNSPACED.match(before)):
        return False
    if _ELLIPSIS.search(signs):
        if not (before.strip() or gap) or first[1] in "….":  # it leads on, or the next cue takes it up again
            return False
        if not rules.cased or first[1].lower() == first[1].upper() or _I.match(window, end.end()):
            return rules.pauses is None or offset + end.end() in rules.pauses
    if rules.cased and first[1].islower():
        return False
    if signs == ".":
        sentence = window[begin : end.end()]
        if rules.stopped or _NUMBER.fullmatch(sentence[:12]):
            return False
        word = window[max(begin, end.start() - 30) : end.start()]
        return not is_abbreviation(word, rules.language, title_only=rules.language in RULES)
    return True


def _is_quoted(window: str, end: re.Match[str], quoted: list[tuple[int, int]]) -> bool:
    """Whether the signs stand inside a quotation in corner brackets or the like, which is part of a sentence."""
    place = bisect_right(quoted, (end.start(), len(window))) - 1
    if place < 0 or end.start() >= quoted[place][1]:
        return False
    return end.end("closing") < quoted[place][1] or bool(_GOES_ON.match(window, end.end()))


def _by_rules(window: str, language: str | None) -> set[int] | None:
    """Places at which sentences end by pysbd's rules; None without any, or if it has changed the text, as it may."""
    if language not in RULES:
        return None
    segmenter = pysbd.Segmenter(language=language, clean=False)  # not thread-safe: it stores the text
    cuts: set[int] = set()
    position = 0
    for segment in segmenter.segment(window):
        found = window.find(segment.strip(), position)
        if found < 0 or window[position:found].strip():
            return None
        position = found + len(segment.strip())
        cuts.add(position)
    return cuts if not window[position:].strip() else None
