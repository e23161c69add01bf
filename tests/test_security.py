"""docs/security.md counts the hostile inputs that the tests have."""

from __future__ import annotations

import pytest

from tests.support.hostile import CASES, KINDS, table, written_table


def test_the_page_counts_the_cases_of_every_kind(pytestconfig: pytest.Config) -> None:
    counts = pytestconfig.stash[CASES]
    if counts is None:
        pytest.skip("only some tests were collected; `make test` collects them all")
    assert written_table() == table(counts), "run `make docs`"
    assert all(counts[kind] >= 10 for kind in KINDS), counts
