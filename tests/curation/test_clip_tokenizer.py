"""Texts have the tokens of open_clip's and OpenAI's tokenizer; clean ones those of transformers, too."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from transformers import CLIPTokenizerFast

from curation import clip_tokenizer, storable
from curation.clip_tokenizer import END, END_TOKEN, SIZE, START, clean, encode
from tests.support.hostile_values import TEXTS
from tests.support.odd_texts import COUNT, DIGEST_BYTES, DIGESTS, digest, odd_texts


@cache
def reference() -> Any:
    return CLIPTokenizerFast(vocab=clip_tokenizer.vocabulary(), merges=list(clip_tokenizer.merges()))


def test_the_tokens_are_those_that_clip_was_trained_on() -> None:
    assert encode("hello world!") == [49406, 3306, 1002, 256, 49407]
    assert encode("A Diagram") == encode("a   diagram") == [49406, 320, 22697, 49407]
    assert encode("") == [49406, 49407]
    assert len(reference()) == len(clip_tokenizer.vocabulary()) == SIZE
    assert reference().eos_token_id == END_TOKEN


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("It’s a “dog”", 'it\'s a "dog"'),
        ("fish &amp; chips", "fish & chips"),
        ("fish &amp;amp; chips", "fish & chips"),
        ("&lt;i&gt;so&lt;/i&gt;", "<i>so</i>"),
        ("schÃ¶n", "schön"),
        ("ﬁne", "fine"),
        ("ＷＩＤＥ", "wide"),
        ("cafe\u0301", "café"),
        ("ΌΔΟΣ", "όδος"),
        (" a\u00a0 b\n\tc ", "a b c"),
        ("\x1b[31mred\x1b[0m", "red"),
    ],
)
def test_texts_are_cleaned_first(text: str, plain: str) -> None:
    assert clean(text) == plain
    assert encode(text) == encode(plain)


@pytest.mark.parametrize("mark", [START, END, "<start_of_text>", "<end_of_text>"])
def test_marks_of_clip_in_a_text_are_text(mark: str) -> None:
    tokens = encode(f"a {mark}dog")
    assert tokens[0] == 49406 and tokens[-1] == END_TOKEN
    assert not {49406, END_TOKEN} & set(tokens[1:-1])
    assert len(tokens) > 7


def test_ten_thousand_odd_texts_have_the_tokens_of_open_clip() -> None:
    expected = DIGESTS.read_bytes()
    assert len(expected) == COUNT * DIGEST_BYTES
    other = [
        text
        for number, text in enumerate(odd_texts())
        if digest(encode(text)) != expected[number * DIGEST_BYTES : (number + 1) * DIGEST_BYTES]
    ]
    assert not other, f"{len(other)} texts, such as {other[0]!r}: {encode(other[0])}"


@pytest.mark.long
@settings(max_examples=2000, deadline=None)
@given(st.text(st.characters(max_codepoint=0xFFFF, exclude_categories=("Cs", "Cn", "Co")), max_size=40))
def test_any_text_has_the_tokens_of_open_clip_where_that_is_installed(text: str) -> None:
    tokenizer = pytest.importorskip("open_clip.tokenizer").tokenize
    (row,) = tokenizer(text, 400).tolist()
    assert encode(text) == row[: row.index(END_TOKEN) + 1]


WORDS = ["it's", "We'LL", "naïve", "1st", "二三", "कि", "👍🏽", "!?…", "\u00a0", "e\u0301", "ﬁ", "\x00", "’"]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(WORDS) | st.text(max_size=8), max_size=12).map("".join))
@example("it's 1st: naïve e\u0301\u00a0 x")
def test_a_clean_text_has_the_tokens_of_transformers(text: str) -> None:
    plain = clean(text)
    if plain == reference().backend_tokenizer.normalizer.normalize_str(plain) and "ſ" not in plain:
        assert encode(text) == reference()(plain).input_ids


@pytest.mark.parametrize("name", TEXTS)
def test_odd_texts_are_encoded(name: str) -> None:
    tokens = encode(storable.text(TEXTS[name], 20_000))
    assert (tokens[0], tokens[-1]) == (49406, END_TOKEN)
