"""CLIP's tokenizer, from the vocabulary in the package open_clip_torch."""

from __future__ import annotations

import gzip
import threading
from functools import cache
from typing import Any

from curation.local_models import from_transformers, package_folder


def clip_tokenizer() -> Any:
    """CLIP's tokenizer; open_clip_torch is not imported.

    Raises ModuleNotFoundError, which says what to install.
    """
    with _lock:  # many threads ask at the same moment, and building it takes much memory
        return _clip_tokenizer()


_lock = threading.Lock()


@cache
def _clip_tokenizer() -> Any:
    folder = package_folder("open_clip")
    if folder is None:
        raise ModuleNotFoundError("CLIP's vocabulary is missing: pip install --no-deps open_clip_torch")
    with gzip.open(folder / "bpe_simple_vocab_16e6.txt.gz", "rt", encoding="utf-8") as file:
        lines = file.read().split("\n")
    merges = [tuple(line.split()) for line in lines[1 : 49152 - 256 - 2 + 1]]  # the first line is a comment
    symbols = list(_byte_symbols())
    vocabulary = [
        *symbols,
        *(s + "</w>" for s in symbols),
        *("".join(m) for m in merges),
        "<|startoftext|>",
        "<|endoftext|>",
    ]
    # `vocab_file=` and `merges_file=` would be ignored silently.
    (tokenizers,) = from_transformers("CLIPTokenizerFast")
    tokenizer = tokenizers(vocab={token: i for i, token in enumerate(vocabulary)}, merges=merges)
    if tokenizer("a photo of a cat").input_ids != [49406, 320, 1125, 539, 320, 2368, 49407]:
        raise RuntimeError(
            "CLIP's tokenizer gives wrong tokens: this version of transformers reads its vocabulary differently"
        )
    return tokenizer


def _byte_symbols() -> list[str]:
    """The 256 printable characters that stand for bytes in byte-level BPE, in the order of CLIP's vocabulary."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [b for b in range(256) if b not in printable]
    return [chr(b) for b in printable] + [chr(256 + i) for i in range(len(others))]
