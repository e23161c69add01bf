"""How workers read the rows that an item names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import pyarrow.compute as pc

from curation.records import TABLES, from_row
from curation.tables import Dataset
from pipelines.plan import VideoItem

T = TypeVar("T")


def rows_of_video(
    dataset: Dataset, table: str, item: VideoItem, columns: Sequence[str] | None = None
) -> list[dict[str, Any]]:
    """The table's rows of a video, older parts first; of rows with one key, the last."""
    latest: dict[tuple[Any, ...], dict[str, Any]] = {}
    key = TABLES[table].key
    wanted = None if columns is None else list(dict.fromkeys([*columns, *key]))
    for part in item.where.get(table, ()):
        rows = dataset.read_part(table, part, wanted, filters=pc.field("video_id") == item.video_id)
        latest.update((tuple(row[k] for k in key), row) for row in rows.to_pylist())
    return list(latest.values())


def records_of_video(dataset: Dataset, table: str, record: type[T], item: VideoItem) -> list[tuple[T, str]]:
    """Likewise, as records, each with its digest."""
    return [(from_row(record, row), row["digest"]) for row in rows_of_video(dataset, table, item)]
