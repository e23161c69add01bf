"""How workers read the rows that an item names."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from curation.dataset.dataset import Dataset
from curation.dataset.video_rows import read_video
from curation.schema import TABLES, from_row
from pipelines.worker.work_items import VideoItem

log = logging.getLogger(__name__)

T = TypeVar("T")


def rows_of_video(
    dataset: Dataset, table: str, item: VideoItem, columns: Sequence[str] | None = None
) -> list[dict[str, Any]]:
    """The table's rows of a video, older parts first; of rows with one key, the last."""
    latest: dict[tuple[Any, ...], dict[str, Any]] = {}
    key = TABLES[table].key
    wanted = None if columns is None else list(dict.fromkeys([*columns, *key]))
    for part in item.where.get(table, ()):
        rows = read_video(dataset, table, part, item.video_id, wanted)
        latest.update((tuple(row[k] for k in key), row) for row in rows.to_pylist())
    return list(latest.values())


def records_of_video(dataset: Dataset, table: str, record: type[T], item: VideoItem) -> list[tuple[T, str]]:
    """Likewise, as records, each with its digest."""
    return _records(record, rows_of_video(dataset, table, item))


def records_elsewhere(table: str, record: type[T], item: VideoItem) -> list[tuple[T, str]]:
    """The same video's rows in the datasets that texts are taken over from, each with its digest."""
    found: list[tuple[T, str]] = []
    for uri, where in item.elsewhere.items():
        for part in where.get(table, ()):
            try:
                rows = read_video(Dataset(uri), table, part, item.video_id)
            except FileNotFoundError:
                log.warning("%s/%s/%s has gone since this run began; what it held is made anew", uri, table, part)
            else:
                found += _records(record, rows.to_pylist())
    return found


def _records(record: type[T], rows: Iterable[dict[str, Any]]) -> list[tuple[T, str]]:
    return [(from_row(record, row), row["digest"]) for row in rows]
