"""CLIP's tokenizer without transformers gives what transformers' own gives."""

from __future__ import annotations

import gzip
from functools import cache
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from transformers import CLIPTokenizerFast

from curation import clip_tokenizer, storable
from curation.clip_tokenizer import END, END_TOKEN, SIZE, START, encode, token_ends
from tests.support.hostile_values import TEXTS


@cache
def reference() -> Any:
    merges = [
        tuple(line.split()) for line in gzip.decompress(clip_tokenizer._MERGES.read_bytes()).decode().splitlines()
    ]
    return CLIPTokenizerFast(vocab=clip_tokenizer._built().get_vocab(), merges=merges)


def test_the_tokens_are_those_that_clip_was_trained_on() -> None:
    assert encode("hello world!") == [49406, 3306, 1002, 256, 49407]
    assert encode("A Diagram") == encode("a   diagram") == [49406, 320, 22697, 49407]
    assert encode("") == [49406, 49407]
    assert len(reference()) == SIZE
    assert reference().eos_token_id == END_TOKEN


WORDS = [
    "it's",
    "We'LL",
    "naïve",
    "1st",
    "二三",
    "कि",
    "👍🏽",
    "!?…",
    START,
    END,
    "\u00a0",
    "e\u0301",
    "ﬁ",
    "İ",
    "\x00",
]
PIECES = st.sampled_from(WORDS) | st.text(max_size=8)


@settings(max_examples=200, deadline=None)
@given(st.lists(PIECES, max_size=12).map("".join))
@example("it's 1st: <|endoftext|>naïve İ e\u0301\u00a0 x")
def test_any_text_has_the_tokens_and_offsets_of_transformers(text: str) -> None:
    told = reference()(text, return_offsets_mapping=True)
    assert encode(text) == told.input_ids
    assert token_ends(text) == [end for _, end in told.offset_mapping[1:-1]]


@pytest.mark.parametrize("name", TEXTS)
def test_odd_texts_have_the_tokens_of_transformers(name: str) -> None:
    text = storable.text(TEXTS[name], 20_000)
    assert encode(text) == reference()(text).input_ids
