"""CLIP's tokenizer, as CLIPTokenizerFast of transformers has it, without transformers.

`clip_merges.txt.gz` holds the merges of CLIP's vocabulary, most frequent first; the tokens follow from them (NOTICE).
"""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

START, END = "<|startoftext|>", "<|endoftext|>"
SIZE = 49_408
"""Tokens of the vocabulary."""
END_TOKEN = SIZE - 1
"""Ends every text, and pads it."""

_MERGES = Path(__file__).with_name("clip_merges.txt.gz")
_PIECES = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
_lock = threading.Lock()


def encode(text: str) -> list[int]:
    """The tokens of `text`, both end marks included.

    >>> encode("a photo of a cat")
    [49406, 320, 1125, 539, 320, 2368, 49407]
    """
    tokens: list[int] = _tokenizer().encode(text).ids
    return tokens


def token_ends(text: str) -> list[int]:
    """For each token of `text` except the end marks, the index in `text` at which it ends.

    >>> token_ends("a photo")
    [1, 7]
    """
    return [end for _, end in _tokenizer().encode(text).offsets[1:-1]]


def _tokenizer() -> Any:
    with _lock:  # many threads ask at the same moment, and building it takes much memory
        return _built()


@cache
def _built() -> Any:
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

    lines = gzip.decompress(_MERGES.read_bytes()).decode().splitlines()
    merges = [(first, second) for first, second in map(str.split, lines)]
    symbols = list(_byte_symbols())
    tokens = [*symbols, *(s + "</w>" for s in symbols), *("".join(merge) for merge in merges), START, END]
    numbers = {token: number for number, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(numbers, merges, unk_token=END, end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    marks = (END, numbers[END]), (START, numbers[START])
    tokenizer.post_processor = processors.RobertaProcessing(*marks, trim_offsets=False, add_prefix_space=False)
    tokenizer.add_special_tokens([START, END])
    return tokenizer


def _byte_symbols() -> Iterator[str]:
    """The 256 printable characters that stand for bytes in byte-level BPE, in the order of CLIP's vocabulary."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    yield from map(chr, printable)
    yield from (chr(256 + i) for i in range(256 - len(printable)))
