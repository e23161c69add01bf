"""Which code page a subtitle file is written in, by the language that its text then has.

Every page says what text the same bytes are, and every language how likely that text is: by the letters that it is
written with (letters.py), and by its words as far as they are plain ASCII, which all pages agree about. The likeliest
pair of a page and a language wins; a language that the file's name or its site states is likelier from the start.
This is naive Bayes with tables of letters in place of training.
"""

from __future__ import annotations

import functools
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping

from curation.languages import probabilities
from curation.subtitles.letters import IDEOGRAPHS, LANGUAGES, PENALTIES, Script

STATED = 5.0  # how much likelier a stated language is, in nats
_ALSO = {"hr": ("hr", "bs", "sr"), "no": ("no", "nb", "nn")}  # written with the same letters
_UNLIKELY = -7.0  # the least that ASCII words say about a language
_FEW_LETTERS = 40  # of ASCII, that tell no language
_ASCII_LETTER = -3.0
_UPPER = 0.07  # share of capitals among letters
_ONE_OF_MANY = -math.log(_UPPER) - 0.3
_SIGNS = "’“”…—–«»‘„♪\u00a0°€£‚·©®´"
_OPENING = "„‚¿¡"
_FOREIGN = math.log(5e-4)  # a letter of the same script that the language does not use
_STRANGE = -10.0  # any other character
_BROKEN = -14.0  # bytes that are no character
_MISPLACED = -4.0  # a capital after a small letter, a sign between two letters, a mark after none

Pair = tuple[str, str]
"""A code page and a language."""


def likeliest(sample: bytes, words: str, stated: str | None = None) -> str:
    """The likeliest code page of `sample`, of which every line has a byte beyond ASCII.

    `words` are the ASCII words of its file, and `stated` is the ISO 639-1 code of its language if known.

    >>> likeliest("Utána a sütőt melegítjük elő, hogy könnyű legyen.".encode("cp1250"), "hogy legyen", "hu")
    'cp1250'
    """
    known = probabilities(words.lower()) if len(words) - words.count(" ") >= _FEW_LETTERS else None
    scores = dict(_scored(sample, known, stated))
    return max(scores, key=scores.__getitem__)[0]


def _scored(sample: bytes, known: dict[str, float] | None, stated: str | None) -> Iterator[tuple[Pair, float]]:
    by_page: dict[str, list[str]] = {}
    for language, script in LANGUAGES.items():
        for page in (*script.pages, "utf-8"):  # with more faults than valid characters
            by_page.setdefault(page, []).append(language)
    for page, languages in by_page.items():
        text = sample.decode(page, "replace")
        counts = Counter(text)
        places = _places(text)
        for language in languages:
            weights = _weights(language)
            letters = sum(count * weights[char] for char, count in counts.items())
            as_read = max(places, _places(text[::-1])) if language == "he" else places  # some have it in visual order
            yield (page, language), letters + as_read + _prior(page, language, known, stated)


def _prior(page: str, language: str, known: Mapping[str, float] | None, stated: str | None) -> float:
    """What speaks for a page and a language besides the letters beyond ASCII, in nats."""
    code = language.partition("-")[0]
    prior = (STATED if stated == code else 0.0) - PENALTIES.get(page, 0.0)
    if known is None or not LANGUAGES[language].latin:
        return prior
    return prior + max(_UNLIKELY, math.log(sum(known.get(name, 0.0) for name in _ALSO.get(code, (code,))) + 1e-9))


# --- characters -----------------------------------------------------------------------------------------------------


class _Weights(dict[str, float]):
    """The logarithm of the probability of every character in a language."""

    def __init__(self, language: str) -> None:
        super().__init__()
        self._script = script = LANGUAGES[language]
        self._others = _ranges(script)
        self._ideographs = IDEOGRAPHS.get(language, 0.0)
        listed = script.share * (1 - script.signs)
        for sign, weight in _by_rank(_SIGNS, script.share * script.signs):
            self[sign] = weight
        for letters, share in script.letters:
            for letter, weight in _by_rank(letters, listed * share):
                self.setdefault(letter, weight)
                if letter.upper() != letter and len(letter.upper()) == 1:
                    self.setdefault(letter.upper(), weight + math.log(_UPPER))

    def __missing__(self, char: str) -> float:
        self[char] = weight = self._unlisted(char)
        return weight

    def _unlisted(self, char: str) -> float:
        if char == "\ufffd":
            return _BROKEN
        if char < "\x80":
            share = 1 - self._script.share
            return math.log(share) + _ASCII_LETTER if char.isalpha() else _ASCII_LETTER
        if self._ideographs and "\u4e00" <= char <= "\u9fff":
            return math.log(self._ideographs / 4000)
        name = unicodedata.name(char, "").partition(" ")[0]
        if name in self._others:
            return math.log(0.1 / 2350) if name == "HANGUL" else math.log(self._script.share) + _FOREIGN
        return _STRANGE


def _by_rank(characters: str, share: float) -> Iterator[tuple[str, float]]:
    """Characters, the most frequent one first, with the logarithms of probabilities that add up to `share`.

    Of 33 letters the last is a fiftieth as frequent as the first.
    """
    scale = max(8.0, len(characters) / 3)
    total = sum(math.exp(-rank / scale) for rank in range(len(characters)))
    for rank, character in enumerate(characters):
        yield character, math.log(share / total) - rank / scale


def _ranges(script: Script) -> frozenset[str]:
    """The scripts of a language's letters, as the names of characters begin with them."""
    letters = script.letters[0][0]
    return frozenset(unicodedata.name(char).partition(" ")[0] for char in letters if char.isalpha())


@functools.cache
def _weights(language: str) -> _Weights:
    return _Weights(language)


# --- places ---------------------------------------------------------------------------------------------------------


_INSIDE_WORDS = "’·\u00ad\u200c"
_FINAL = "ךםןףץςةى"


class _Classes(dict[int, str]):
    """For str.translate: l for a small letter, u for a capital, f for one that ends words, o for another letter of
    Hebrew or Arabic, i for an ideograph and the like, m for a mark, b for a sign that begins something, s for another.
    """

    def __missing__(self, code: int) -> str:
        char = chr(code)
        category = unicodedata.category(char)
        if category in ("Ll", "Lu"):
            kind = "f" if char in _FINAL else category[1]
        elif category in ("Lo", "Lm"):
            kind = "f" if char in _FINAL else "o" if "\u0590" <= char <= "\u06ff" else "i"
        elif category in ("Mn", "Mc"):
            kind = "m"
        elif code < 0x80 or char in _INSIDE_WORDS or category in ("Nd", "Zs", "Cf"):
            kind = " "
        else:
            kind = "b" if char in _OPENING else "s"
        self[code] = kind
        return kind


_classes = _Classes()
_WRONG_PLACE = re.compile(r"(?<=l)u|(?<=[luof])s(?=[luof])|(?<=[luof])b|f(?=[luof])|(?<![luofim])m")
_AMONG_CAPITALS = re.compile(r"(?<=u)u|u(?=u)")


def _places(text: str) -> float:
    """What the places of characters say, in nats: some are wrong, and a capital among capitals is not a rare one."""
    classes = text.translate(_classes)
    return _MISPLACED * len(_WRONG_PLACE.findall(classes)) + _ONE_OF_MANY * len(_AMONG_CAPITALS.findall(classes))
