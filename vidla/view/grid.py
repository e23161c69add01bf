"""The page of many clips: a grid of their frames with both texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from curation.dataset.dataset import Dataset
from vidla.view.choice import PAGE, Choice
from vidla.view.columns import columns
from vidla.view.overview import facets, histograms
from vidla.view.tables import LiveTables, Row

FIRST_PAGES = 10  # up to which the largest rows are found quickly, with all their columns
_SHOWN = (
    "clip_id", "video_id", "scale", "start", "end", "frame_ids", "subtitle_text", "caption_text", "subtitle_status",
    "caption_status", "language",
)  # fmt: skip


def clips_page(tables: LiveTables, choice: Choice) -> Mapping[str, Any]:
    """What the page shows of the clips of `choice`. Raises UsageError for an invalid condition."""
    by = choice.sort.removeprefix("-")
    shown = _SHOWN if not by or by in _SHOWN else (*_SHOWN, by)
    clips, total = _clips(tables, choice, shown)
    pages = max(1, -(-total // PAGE))
    return {
        "choice": choice,
        "clips": clips,
        "by": by if by not in _SHOWN else "",
        "total": total,
        "pages": pages,
        "before": choice.on_page(choice.page - 1).query if choice.page > 1 else None,
        "after": choice.on_page(choice.page + 1).query if choice.page < pages else None,
        "sql": choice.rows(),
        "command": choice.command(_location(tables.dataset)),
        "numbers": [column.name for column in columns().values() if column.kind == "number"],
    }


def filters(tables: LiveTables, choice: Choice) -> Mapping[str, Any]:
    """What the clips of `choice` can be narrowed by."""
    return {"choice": choice, "facets": facets(tables, choice), "histograms": histograms(tables, choice)}


def _location(dataset: Dataset) -> str:
    """The dataset as a command names it."""
    return dataset.uri if dataset.folder is None else str(dataset.folder)


def _clips(tables: LiveTables, choice: Choice, columns_: Sequence[str]) -> tuple[Sequence[Row], int]:
    """The clips of the page with these columns, and the number of all."""
    count = f"select count(*) as clips {choice.source()}"
    if choice.page <= FIRST_PAGES and not choice.search and not choice.where:
        (total,), clips = tables.rows_of_each([count, choice.rows(*columns_)])
        return clips, total["clips"]
    clips = tables.rows(choice.page_rows(*columns_))
    if clips:
        return clips, clips[0]["total"]
    return clips, tables.rows(count)[0]["clips"] if choice.page > 1 else 0
