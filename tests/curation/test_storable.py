"""Text and values of strangers can be stored, and the good ones stay as they are."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation import storable
from curation.ids import digest, video_id_of
from tests.support.hostile_values import TEXTS

ANY_TEXT = st.text(st.characters(exclude_categories=()))


@given(ANY_TEXT, st.none() | st.integers(0, 20))
def test_any_text_becomes_storable_and_stays_so(text: str, limit: int | None) -> None:
    stored = storable.text(text, limit)
    assert pa.array([stored]).to_pylist() == [stored] == [storable.text(stored, limit)]
    assert len(stored) <= len(text[:limit])


@given(st.text())
def test_good_text_stays_as_it_is(text: str) -> None:
    assert storable.text(text) == text


@given(st.recursive(ANY_TEXT | st.booleans() | st.none(), lambda v: st.lists(v) | st.dictionaries(ANY_TEXT, v)))
def test_any_tree_becomes_storable(value: Any) -> None:
    json.dumps(storable.tree(value), ensure_ascii=False).encode()


@pytest.mark.hostile("text")
@pytest.mark.parametrize("value", [float("nan"), float("-inf"), 2**63, -(2**63) - 1, [[2**64]], {"a": float("inf")}])
def test_a_number_that_no_table_holds_is_not_storable(value: Any) -> None:
    with pytest.raises(storable.NotStorable, match="64 bits"):
        storable.tree(value)


@pytest.mark.hostile("text")
@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_nesting_is_bounded(opening: str) -> None:
    closing = "]" if opening == "[" else "}"
    levels = storable.NESTING
    storable.tree(json.loads(opening * levels + "1" + closing * levels))
    with pytest.raises(storable.NotStorable, match="nested more than 64 levels deep"):
        storable.tree(json.loads(opening * (levels + 1) + "1" + closing * (levels + 1)))


@pytest.mark.hostile("text")
@pytest.mark.parametrize("name", TEXTS)
def test_an_id_of_any_text_is_a_file_name(name: str) -> None:
    made = video_id_of(TEXTS[name], TEXTS[name], 0.0, 1e9)
    assert len(made) < 200 and made.replace("~", "").replace("-", "").replace("_", "").isalnum() and made.isascii()
    assert len(digest(TEXTS[name])) == 32
