"""What a page states, whatever it states."""

from __future__ import annotations

import math
from typing import Any

import pytest

from curation.sources.page_columns import page_columns
from curation.sources.ytdlp_child import _check_gate

pytestmark = pytest.mark.hostile("pages")


@pytest.mark.parametrize(
    ("stated", "kept"),
    [
        (["Nature", None, {}, "", 5], ["Nature", "5"]),
        ("Nature", ["Nature"]),
        (7.5, []),
        (None, []),
        ({"en": [], "de": []}, ["en", "de"]),
        (["x" * 1000] * 1000, ["x" * 200] * 200),
    ],
    ids=["mixed", "text", "number", "nothing", "dictionary", "huge"],
)
def test_only_names_are_kept_of_what_should_be_a_list(stated: Any, kept: list[str]) -> None:
    assert page_columns({"categories": stated})["categories"] == kept


@pytest.mark.parametrize("stated", [math.nan, math.inf, -1, 1e300, "12", [], {}])
def test_what_is_not_a_number_is_not_kept(stated: Any) -> None:
    columns = page_columns({name: stated for name in ("duration", "age_limit", "view_count", "width", "height")})
    assert not any(columns[name] for name in ("duration", "age_limit", "view_count", "width", "height"))


def test_half_a_character_passes_the_gate() -> None:
    _check_gate("duration > 1", {"title": "half \ud83d", "categories": ["\udc80"], "duration": 5.0})
