"""What an extractor read from a page is kept, bounded, as valid JSON, and without secrets."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation.sources.page_json import KEYS, PAGE_BYTES, page_json

TOKEN = "9aT4kQz7Lw2XvB8mNc5R"
SIGNED = f"https://cdn.example/a.jpg?X-Amz-Signature={TOKEN}&Expires=1700000000"

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.just("x" * 100_000),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner) | st.tuples(inner),
    max_leaves=20,
)


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.sampled_from(KEYS), values))
def test_whatever_an_extractor_returns_is_valid_json_of_bounded_size(info: dict[str, Any]) -> None:
    page = page_json(info)
    assert len(page.encode()) <= PAGE_BYTES
    assert json.loads(page, parse_constant=pytest.fail).keys() <= info.keys()


@pytest.mark.hostile("pages")
def test_what_is_too_much_is_cut_and_the_rest_is_kept() -> None:
    nested: list[Any] = []
    for _ in range(100_000):
        nested = [nested]
    chapters = [{"start_time": n, "end_time": n + 1, "title": "é" * 3000} for n in range(5000)]
    page = page_json({"tags": ["tag" * 1000] * 5000, "view_count": 7, "cast": nested, "chapters": chapters,
                      "like_count": 10**5000, "average_rating": float("nan")})  # fmt: skip
    kept = json.loads(page)
    assert PAGE_BYTES / 4 < len(page.encode()) <= PAGE_BYTES
    assert kept["view_count"] == 7 and kept["tags"] and "like_count" not in kept and "average_rating" not in kept


@pytest.mark.hostile("secrets")
def test_secrets_are_redacted_wherever_they_stand() -> None:
    info = {"thumbnail": SIGNED, "tags": [f"see {SIGNED}"], "chapters": [{"title": SIGNED, "api_token": TOKEN}]}
    page = page_json(info | {"formats": [{"url": SIGNED}], "http_headers": {"Cookie": TOKEN}})
    assert TOKEN not in page
    assert json.loads(page)["chapters"][0]["api_token"] == "REDACTED"


def test_a_files_date_on_its_server_is_not_the_videos() -> None:
    assert page_json({"timestamp": 5, "direct": True}) == "{}"
    assert page_json({"timestamp": 5}) == '{"timestamp": 5}'
