"""Extracts: sentences of the text itself, within the limits, central ones first."""

from __future__ import annotations

import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.texts.extracts import extract
from curation.texts.limits import TextLimits, spaced

LIMITS = TextLimits(25, 77)
RIVER = (
    "The river rises every spring when the snow melts in the mountains.",
    "Well, yes.",
    "My sister plays the violin.",
    "Last year the river rose up to the doors of the church.",
    "This spring they have built a wall along the river.",
)


@pytest.mark.parametrize(
    ("sentences", "limits", "text"),
    [
        (RIVER, LIMITS, f"{RIVER[0]} {RIVER[3]}"),
        (RIVER[::-1], LIMITS, f"{RIVER[3]} {RIVER[0]}"),
        (RIVER, TextLimits(12, 77), RIVER[0]),
        (("Bread is baked here.", "Bread is baked here.", "BREAD is baked here."), LIMITS, "Bread is baked here."),
        (("Bread is baked here, as ever, in the oven behind the house.",), TextLimits(5, 77), "Bread is baked here"),
        (("When bread is baked here, people stand in line for it.",), TextLimits(7, 77), None),
        (("Bread is baked here in the old oven behind the house",), TextLimits(5, 77), None),
        (("Oh.", "Well.", "Bread!"), LIMITS, None),
        (("It is what it is.",), LIMITS, None),
        ((), LIMITS, None),
        (("Der Fluss steigt im Frühjahr.", "Anna spielt gern Geige.", "Der Fluss steigt bis zur Kirche."),
         TextLimits(6, 77), "Der Fluss steigt bis zur Kirche."),
        (("河水每年春天上涨。", "他笑了。", "今年河水上涨到教堂。"), LIMITS, "河水每年春天上涨。今年河水上涨到教堂。"),
    ],
)  # fmt: skip
def test_central_sentences_are_taken(sentences: tuple[str, ...], limits: TextLimits, text: str | None) -> None:
    assert extract(sentences, limits) == text


WORDS = st.text(string.ascii_letters + "äöß河水春天,'", min_size=1, max_size=9)
SENTENCES = st.lists(WORDS, min_size=1, max_size=30).map(lambda words: f"{' '.join(words).strip()}.")


@given(st.lists(SENTENCES, max_size=9), st.integers(1, 40), st.integers(5, 90))
def test_an_extract_is_made_of_the_text_and_within_the_limits(sentences: list[str], words: int, tokens: int) -> None:
    limits = TextLimits(words, tokens)
    text = extract(sentences, limits)
    if text is None:
        return
    assert limits.hold(text)
    said = re.sub(r"\s+", "", " ".join(sentences))
    beginnings = [s.strip() for s in sentences]
    assert any(
        re.sub(r"\s+", "", text[: cut]) in said and re.sub(r"\s+", "", text[cut:]) in said
        and any(s.startswith(text[:cut].strip()) for s in beginnings)
        for cut in range(1, len(text) + 1)
    )  # fmt: skip
    assert text == extract(sentences, limits), "the same each time"
    assert not spaced(text) or len(text.split()) >= 4
