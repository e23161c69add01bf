"""The most central sentences of a text, word for word: a summary that invents nothing, and needs no model.

A sentence is central if the others speak of the same things: it is scored by the terms that it shares with them, as
the centroid method does (Radev et al., Centroid-based summarization of multiple documents, 2004). A term weighs most if
it is in some sentences, and little if it is in all of them: in languages without a list of function words, these are.
"""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from curation.texts.additions import FUNCTION_WORDS, WORD
from curation.texts.limits import MAX_CHARS, TextLimits, spaced

FEWEST_WORDS = 4  # of a sentence, or of the beginning of one, that stands for a text
STEM = 6  # letters by which forms of a word are told to be one term
SECOND = 0.5  # a second sentence must be worth this share of the first, by the terms that the first has not
CLINGING = 0.75  # the worth of a sentence that begins with a word that points back

_CLAUSE_END = re.compile(r"(?<![,;:–—])[,;:–—]++(?=\s)|[、，；：]++")
_CONDITIONS = frozenset(
    WORD.findall("after although as because before if since though unless until when whenever while")
)
_POINTERS = frozenset(WORD.findall("and but he her his it its or she so that their these they this those"))
_FILLERS = frozenset(WORD.findall("okay really thing things um uh well yeah yes"))


def extract(sentences: Sequence[str], limits: TextLimits) -> str | None:
    """The one or two most central of `sentences` that are within `limits`, in their order; None if none is.

    A sentence that is too long is cut at the end of a clause.

    >>> extract(["The old bridge is closed.", "Hm.", "A new bridge is built beside the old one."], TextLimits(12, 77))
    'A new bridge is built beside the old one.'
    """
    given = list(_within(sentences, MAX_CHARS))
    weights = _weights(given)
    central = sorted(_candidates(given, weights), key=lambda c: (-c.worth(weights), c.place))
    first = next((fitting for c in central if (fitting := _shortened(c, limits))), None)
    if first is None:
        return None
    known = _terms(first.text)
    left = {term: weight for term, weight in weights.items() if term not in known}
    least = SECOND * first.worth(weights)
    others = sorted(central, key=lambda c: (-c.worth(left), c.place))
    for other in others:
        if other.place == first.place or other.worth(left) < least:
            continue
        both = _joined(first, other)
        if limits.hold(both):
            return both
    return first.text


@dataclass(frozen=True)
class _Candidate:
    """A sentence, by its place among the others."""

    place: int
    text: str
    terms: frozenset[str]
    length: int  # in words, or in characters

    def worth(self, weights: dict[str, float]) -> float:
        """How much the terms in it weigh, so that a long sentence is not better for its length alone."""
        total = sum(weights.get(term, 0.0) for term in self.terms) / math.sqrt(self.length)
        return total * (CLINGING if _first_word(self.text) in _POINTERS else 1.0)


def _within(sentences: Sequence[str], chars: int) -> Iterator[str]:
    """The first of `sentences` with so many characters in all, each once."""
    seen: set[str] = set()
    for sentence in sentences:
        text = sentence.strip()
        chars -= len(text)
        if chars < 0:
            return
        if text.lower() not in seen:
            seen.add(text.lower())
            yield text


def _candidates(sentences: Sequence[str], weights: dict[str, float]) -> Iterator[_Candidate]:
    for place, sentence in enumerate(sentences):
        candidate = _Candidate(place, sentence, _terms(sentence), _length(sentence))
        if _stands_alone(sentence) and candidate.worth(weights) > 0:
            yield candidate


def _weights(sentences: Sequence[str]) -> dict[str, float]:
    """How much each term says of all `sentences`: (n - 1/2) · log((N + 1) / n) for one that is in n of N sentences."""
    counts = Counter(term for sentence in sentences for term in _terms(sentence))
    return {term: (n - 0.5) * math.log((len(sentences) + 1) / n) for term, n in counts.items()}


def _terms(text: str) -> frozenset[str]:
    """The beginnings of its content words; pairs of characters, where a script has no spaces between words."""
    words = [match[0].lower() for match in WORD.finditer(text)]
    if not spaced(text):
        return frozenset(a + b for word in words for a, b in itertools.pairwise(word))
    content = (word.replace("’", "'").partition("'")[0] for word in words)
    return frozenset(word[:STEM] for word in content if word not in FUNCTION_WORDS and word not in _FILLERS)


def _length(text: str) -> int:
    return max(1, len(text.split()) if spaced(text) else len(text))


def _first_word(text: str) -> str:
    match = WORD.search(text)
    return match[0].lower() if match else ""


def _stands_alone(text: str) -> bool:
    return not spaced(text) or len(text.split()) >= FEWEST_WORDS


def _shortened(candidate: _Candidate, limits: TextLimits) -> _Candidate | None:
    """`candidate`, or as many of its first clauses as are within `limits` and stand alone; None if none are."""
    if limits.hold(candidate.text):
        return candidate
    if _first_word(candidate.text) in _CONDITIONS:
        return None
    kept = None
    for end in _CLAUSE_END.finditer(candidate.text):
        clauses = candidate.text[: end.start()].rstrip()
        if not limits.hold(clauses):
            break
        if _stands_alone(clauses):
            kept = _Candidate(candidate.place, clauses, _terms(clauses), _length(clauses))
    return kept


def _joined(a: _Candidate, b: _Candidate) -> str:
    first, second = sorted((a, b), key=lambda c: c.place)
    return f"{first.text}{' ' if spaced(second.text) else ''}{second.text}"
