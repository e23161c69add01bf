"""Find a summary's additions to its source."""

from __future__ import annotations

import re
from collections.abc import Collection

from curation.texts.limits import spaced

WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_NUMBERS = WORD.findall("two three four five six seven eight nine ten eleven twelve")  # "one" is not only a number
_DIGITS = {word: str(number) for number, word in enumerate(_NUMBERS, start=2)}
FUNCTION_WORDS = frozenset(
    WORD.findall(
        """a about after again all also an and another any are as at back be because been before being between both but
        by can could did do does down during each few for from further get gets go goes had has have he her here hers
        him his how i if in into is it its just like may me might more most much must my no nor not now of off on once
        one only or other our out over own same she should so some such than that the their them then there these they
        this those through to too under until up very was we were what when where which while who whom whose why will
        with would you your"""
    )
)


def additions(summary: str, source: str, language: str | None = None) -> tuple[float, list[str]]:
    """The additions of `summary` to `source`: the share of new content words, and the new names and numbers.

    Words are compared by their beginnings, so that "walks" supports "walking"; scripts without spaces, by characters.
    This is a cheap guard against invention, not a proof of truth: it does not check relations.

    >>> additions("Anna walks 3 dogs", "Someone is walking two dogs.")
    (0.3333333333333333, ['3'])
    """
    known = {word.lower() for word in WORD.findall(source)}
    related = _Forms(known)
    characters = set(source)
    numbers = {_DIGITS.get(word, word) for word in known}
    content, new, invented = 0, 0, []
    for match in WORD.finditer(summary):
        word = match[0].lower()
        if not spaced(word):
            content, new = content + len(word), new + len(set(word) - characters)
        elif word in _DIGITS or any(c.isdigit() for c in word):
            invented += [match[0]] if _DIGITS.get(word, word) not in numbers else []
        elif word.replace("’", "'").partition("'")[0] not in FUNCTION_WORDS:
            content += 1
            if word not in known and word not in related:
                new += 1
                # German writes every noun like a name.
                invented += [match[0]] if match.start() > 0 and match[0][0].isupper() and language != "de" else []
    return (new / content if content else 0.0), invented


class _Forms:
    """The forms of some words, known by their common beginning: of walk also walking, of city also cities.

    Two different words are forms of one if they have a beginning in common, but for the last letter of the shorter one
    and for three letters at least, and if their lengths differ by four letters at most.
    """

    def __init__(self, words: Collection[str]) -> None:
        self._shorter = {_stem(word, len(word)) for word in words}
        self._longer = {_stem(word, length) for word in words for length in _lengths(word)}

    def __contains__(self, word: str) -> bool:
        as_long = _stem(word, len(word)) in self._longer
        return as_long or any(_stem(word, length) in self._shorter for length in _lengths(word))


def _stem(word: str, length: int) -> tuple[int, str]:
    """What `word` has in common with forms of this length, the shorter of the two."""
    return length, word[: max(3, length - 1)]


def _lengths(word: str) -> range:
    """The lengths of its shorter forms."""
    return range(max(1, len(word) - 4), len(word) + 1)
