"""Marks on settings: what a change of them redoes, and that keys which are added later redo nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any

import pytest
from pydantic import Field

from curation.config import Added, Operational, Policy, Section
from curation.settings import Settings
from tests.support.project import ROOT


class Inner(Section):
    size: int = 1


class Before(Section):
    lines: int = 360
    workers: Annotated[int, Operational] = 8
    max_bytes: Annotated[int, Policy] = 100
    inner: Inner = Inner()


class LaterInner(Inner):
    shape: Annotated[str, Added] = "round"


class Later(Before):
    rotate: Annotated[bool, Added] = Field(False, description="a key of a later version")
    inner: LaterInner = LaterInner()


def test_each_mark_keeps_a_key_out_of_the_digests_that_it_does_not_concern() -> None:
    before = Before()
    assert Before(workers=1).digest() == Before(max_bytes=1).digest() == before.digest() != Before(lines=1).digest()
    assert Before(workers=1).policy_digest() == before.policy_digest() != Before(max_bytes=1).policy_digest()
    assert Before(inner=Inner(size=2)).digest() != before.digest()


@pytest.mark.parametrize("digest", [Section.digest, Section.policy_digest])
def test_a_key_that_is_added_changes_no_digest_at_its_default_and_every_one_elsewhere(digest: Any) -> None:
    assert digest(Later()) == digest(Before())
    assert digest(Later(rotate=True)) != digest(Before())
    assert digest(Later(inner=LaterInner(shape="square"))) != digest(Before())


def keys(section: type[Section], above: str = "") -> Iterator[tuple[str, list[Any]]]:
    """Every key of a section with its marks."""
    for name, field in section.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from keys(field.annotation, f"{above}{name}.")
        else:
            yield f"{above}{name}", field.metadata


def flat(settings: dict[str, Any], above: str = "") -> Iterator[str]:
    for name, value in settings.items():
        yield from flat(value, f"{above}{name}.") if isinstance(value, dict) else [f"{above}{name}"]


def test_keys_that_0_1_0_did_not_have_are_marked_as_added() -> None:
    opening = json.loads((ROOT / "tests/datasets/0.1.0/builtin/commits/00000000000000000001.json").read_text())
    known = set(flat(opening["about"]["settings"]))
    assert {"media.lines", "captions.engine.model", "tilings.short.target_s"} <= known
    new = {key for key, marks in keys(Settings) if key not in known and not {Added, Operational} & set(marks)}
    assert not new, "give them a default that means 'as before' and Annotated[…, Added]"
