"""How long a text may be, in words (if its script has spaces) and in tokens of CLIP."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import pysbd
from pysbd.languages import LANGUAGE_CODES

from curation import clip_tokenizer
from curation.languages import UNSPACED_SCRIPTS
from curation.subtitles.punctuation import ONE_SENTENCE, RULES, spans_between

MAX_CHARS = 20_000
"""More than any text that fits; the rest is ignored."""

AT_ONCE = 500
"""Characters that pysbd may see at once; its work grows faster than the text."""

_UNSPACED = re.compile(f"[{UNSPACED_SCRIPTS}]")


@dataclass(frozen=True)
class TextLimits:
    """The longest text allowed: in `words`, if its script has spaces, and in `tokens`, both end marks included.

    >>> TextLimits(words=4, tokens=77).hold("Four words fit here.")
    True
    >>> truncate(["One sentence fits.", "Two do not."], TextLimits(words=4, tokens=77))
    'One sentence fits.'
    """

    words: int
    tokens: int

    def hold(self, text: str) -> bool:
        return count_words(text) <= self.words and clip_tokens(text) <= self.tokens


def spaced(text: str) -> bool:
    """Whether `text` has spaces between its words, judged by the script of most of its letters."""
    head = text[:MAX_CHARS]
    unspaced = sum(map(str.isalpha, _UNSPACED.findall(head)))
    return unspaced == 0 or 2 * unspaced <= sum(map(str.isalpha, head))


def count_words(text: str) -> int:
    """The number of words in `text`; 0 if its script has no spaces between them."""
    return len(text.split()) if spaced(text) else 0


def clip_tokens(text: str) -> int:
    """The number of tokens of `text` in CLIP's vocabulary, both end marks included."""
    return len(clip_tokenizer.encode(text[:MAX_CHARS]))


def split_sentences(text: str, language: str | None = "en") -> list[str]:
    """The sentences of `text`, by the rules for `language` if there are any, else by those for English.

    >>> split_sentences("Dr. Smith paid 3.50 dollars. He left.")
    ['Dr. Smith paid 3.50 dollars.', 'He left.']
    """
    code = language if language in LANGUAGE_CODES else "en"
    if ONE_SENTENCE.fullmatch(text):
        sentences = [text]
    elif len(text) <= AT_ONCE and code in RULES:
        sentences = pysbd.Segmenter(language=code, clean=False).segment(text)
    else:
        read = text[:MAX_CHARS]
        sentences = [read[a:b] for a, b in spans_between(read, 0, len(read), code)]
    return [sentence.strip() for sentence in sentences if sentence.strip()]


def truncate(sentences: Sequence[str], limits: TextLimits) -> str:
    """As many of the first `sentences` as fit; if not even one does, as many of its words (or characters)."""
    kept = ""
    for sentence in sentences:
        longer = f"{kept}{' ' if kept and spaced(sentence) else ''}{sentence.strip()}"
        if not limits.hold(longer):
            break
        kept = longer
    return kept or _cut(sentences[0].strip(), limits)


def _cut(text: str, limits: TextLimits) -> str:
    """The longest beginning of `text` that fits, cut between words if that leaves any."""
    lengths = range(min(len(text), MAX_CHARS) + 1)
    cut = text[: bisect_right(lengths, limits.tokens, key=lambda length: clip_tokens(text[:length])) - 1]
    if spaced(text):
        words = cut if text[len(cut) : len(cut) + 1].strip() == "" else cut.rpartition(" ")[0]
        cut = " ".join((words or cut).split()[: limits.words])
    while cut and not limits.hold(cut):  # a word's beginning may need more tokens than the word
        cut = cut[:-1]
    return cut.rstrip(" ,;:-–—、，；：")
