"""Recipes: the version of each step's code, in addition to the digest of its settings and inputs.

A digest shows whether the settings or the inputs of a row have changed. When a step's code gives other results for the
same settings and inputs, its recipe is raised here: rows of older recipes stay as they are, new rows have the new
number, `vidla inspect` counts the older ones, and `vidla curate --refresh STEP` makes them again.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class Step(StrEnum):
    """The steps that have a digest, and so a recipe, of their own."""

    DOWNLOAD = "download"
    MEDIA = "media"
    TILINGS = "tilings"
    CAPTIONS = "captions"
    SUMMARIES = "summaries"


RECIPES: dict[Step, int] = dict.fromkeys(Step, 1)

STEP_OF: Mapping[str, Step] = {
    "downloads": Step.DOWNLOAD,
    "videos": Step.MEDIA,
    "frames": Step.MEDIA,
    "segments": Step.TILINGS,
    "captions": Step.CAPTIONS,
    "summaries": Step.SUMMARIES,
    "clips": Step.SUMMARIES,
}
"""The step that makes a table's rows. The other tables are records of what happened, and have no recipe."""


def recipe_of(table: str) -> int | None:
    """The recipe of the rows that are written to `table` now."""
    step = STEP_OF.get(table)
    return None if step is None else RECIPES[step]


def is_older(recipe: int | None, step: Step) -> bool:
    """Whether a row with that `recipe` was made by an older version of the step; null is the first recipe.

    >>> is_older(None, Step.MEDIA), is_older(RECIPES[Step.MEDIA], Step.MEDIA)
    (False, False)
    """
    return (recipe or 1) < RECIPES[step]


def older_rows(table: str) -> str:
    """The SQL condition that holds for the rows of `table` that an older recipe made."""
    return f"coalesce(recipe, 1) < {recipe_of(table) or 1}"
