"""CLIP's tokenizer: the tokens that OpenAI's CLIP was trained on, without the packages of OpenAI or open_clip.

A text is cleaned first, as theirs do it: mojibake, curly quotes and ligatures are mended by ftfy, HTML entities are
decoded, white space is reduced to single spaces, and letters become lower case. Unlike theirs, marks of CLIP that
stand in a text, such as <|endoftext|>, are text: only the tokenizer itself begins and ends a text.

`clip_merges.txt.gz` holds the merges of CLIP's vocabulary, most frequent first; the tokens follow from them (NOTICE).
"""

from __future__ import annotations

import gzip
import html
import threading
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import ftfy

START, END = "<|startoftext|>", "<|endoftext|>"
SIZE = 49_408
"""Tokens of the vocabulary."""
END_TOKEN = SIZE - 1
"""Ends every text, and pads it."""

_MERGES = Path(__file__).with_name("clip_merges.txt.gz")
_PIECES = r"'[sſ]|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}\u0345]+"
"""CLIP's own pattern ignores case, for which ſ is an s and the mark U+0345 is nothing."""
_lock = threading.Lock()


def encode(text: str) -> list[int]:
    """The tokens of `text`, both end marks included.

    >>> encode("a photo of a cat")
    [49406, 320, 1125, 539, 320, 2368, 49407]
    """
    tokens: list[int] = _tokenizer().encode(clean(text)).ids
    return tokens


def clean(text: str) -> str:
    """`text` as CLIP's vocabulary is applied to it.

    >>> clean("A “Café”  &amp;amp; Bar")
    'a "café" & bar'
    """
    return " ".join(html.unescape(html.unescape(ftfy.fix_text(text))).split()).lower()


def vocabulary() -> dict[str, int]:
    """Each token's number."""
    return {token: number for number, token in enumerate(_tokens(merges()))}


@cache
def merges() -> tuple[tuple[str, str], ...]:
    """The pairs of tokens that are merged into one, most frequent first."""
    lines = gzip.decompress(_MERGES.read_bytes()).decode().splitlines()
    return tuple((first, second) for first, second in map(str.split, lines))


def _tokens(pairs: tuple[tuple[str, str], ...]) -> list[str]:
    symbols = list(_byte_symbols())
    return [*symbols, *(symbol + "</w>" for symbol in symbols), *map("".join, pairs), START, END]


def _tokenizer() -> Any:
    with _lock:  # many threads ask at the same moment, and building it takes much memory
        return _built()


@cache
def _built() -> Any:
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors

    numbers = vocabulary()
    tokenizer = Tokenizer(models.BPE(numbers, list(merges()), unk_token=END, end_of_word_suffix="</w>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    marks = (END, numbers[END]), (START, numbers[START])
    tokenizer.post_processor = processors.RobertaProcessing(*marks, trim_offsets=False, add_prefix_space=False)
    return tokenizer


def _byte_symbols() -> Iterator[str]:
    """The 256 printable characters that stand for bytes in byte-level BPE, in the order of CLIP's vocabulary."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    yield from map(chr, printable)
    yield from (chr(256 + i) for i in range(256 - len(printable)))
