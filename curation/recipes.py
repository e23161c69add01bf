"""Recipes: the version of each step's code, in addition to the digest of its settings and inputs.

A digest shows whether the settings or the inputs of a row have changed. When a step's code gives other results for the
same settings and inputs, its recipe is raised here: rows of older recipes stay as they are, new rows have the new
number, `vidla inspect` counts the older ones, and `vidla curate --refresh STEP` makes them again.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import pyarrow as pa
import pyarrow.compute as pc

from curation.ids import digest


class Step(StrEnum):
    """The steps with a separate digest, and therefore a separate recipe."""

    DOWNLOAD = "download"
    MEDIA = "media"
    TILINGS = "tilings"
    TIMELINES = "timelines"
    CAPTIONS = "captions"
    SUMMARIES = "summaries"


RECIPES: dict[Step, int] = dict.fromkeys(Step, 1) | {
    # HDR as SDR, HD without tags as BT.709, mirrored pictures, bars around other shapes; frames are cropped of bars;
    # gradual transitions between shots; still pictures and silence as long as they last, AVI with B frames in order
    Step.MEDIA: 2,
    Step.TILINGS: 2,  # of sentences too: ends by the signs of every script, none inside cues; speech alone, speakers
    # extracts by the built-in engine, in place of summaries by SmolLM2; tokens are counted of the cleaned text
    Step.SUMMARIES: 2,
}

STEP_OF: Mapping[str, Step] = {
    "downloads": Step.DOWNLOAD,
    "videos": Step.MEDIA,
    "frames": Step.MEDIA,
    "segments": Step.TILINGS,
    "timelines": Step.TIMELINES,
    "captions": Step.CAPTIONS,
    "summaries": Step.SUMMARIES,
    "clips": Step.SUMMARIES,
}
"""The step that makes a table's rows. The other tables are records of what happened, and have no recipe."""


def recipe_of(table: str) -> int | None:
    """The recipe of the rows that are written to `table` now."""
    step = STEP_OF.get(table)
    return None if step is None else RECIPES[step]


def identity(digest_of_row: str, recipe: int | None) -> str:
    """Identifies a row as an input of the next step: its digest, combined with its recipe from the second recipe on.

    So the rows that depend on a refreshed row are made again, although its settings and inputs are the same.

    >>> identity("d", None) == identity("d", 1) == "d" != identity("d", 2)
    True
    """
    return digest_of_row if recipe in (None, 1) else digest(digest_of_row, recipe)


def identities(digests: pa.ChunkedArray, recipes: pa.ChunkedArray) -> pa.ChunkedArray:
    """`identity` of many rows at once; null for a null digest."""
    if pc.max(recipes).as_py() in (None, 1):
        return digests
    pairs = zip(digests.to_pylist(), recipes.to_pylist(), strict=True)
    made = [of_row and identity(of_row, recipe) for of_row, recipe in pairs]
    return pa.chunked_array([pa.array(made, pa.string())])


def is_older(recipe: int | None, step: Step) -> bool:
    """Whether a row with that `recipe` was made by an older version of the step; null is the first recipe.

    >>> is_older(None, Step.MEDIA), is_older(RECIPES[Step.MEDIA], Step.MEDIA)
    (True, False)
    """
    return (recipe or 1) < RECIPES[step]


def older_rows(table: str) -> str:
    """The SQL condition that holds for the rows of `table` that an older recipe made."""
    return f"coalesce(recipe, 1) < {recipe_of(table) or 1}"
