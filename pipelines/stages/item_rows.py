"""Reading the rows of an item."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from curation.dataset.dataset import Dataset
from curation.dataset.video_rows import read_video
from curation.errors import DatasetError
from curation.recipes import Step, is_older
from curation.records import Row
from curation.schema import TABLES, from_row, table_of
from pipelines.worker.work_items import VideoItem

log = logging.getLogger(__name__)

T = TypeVar("T")


def columns_of_video(
    dataset: Dataset, table: str, item: VideoItem, columns: Sequence[str] | None = None
) -> list[dict[str, Any]]:
    """The values of a video's rows in a table, older parts first; of rows with the same key, the last.

    Without `columns`, all of them are read.
    """
    latest: dict[tuple[Any, ...], dict[str, Any]] = {}
    key = TABLES[table].key
    read = None if columns is None else list(dict.fromkeys([*columns, *key]))
    for part in item.parts.get(table, ()):
        rows = read_video(dataset, table, part, item.video_id, read)
        latest.update((tuple(row[k] for k in key), row) for row in rows.to_pylist())
    return list(latest.values())


def rows_of_video(dataset: Dataset, record: type[T], item: VideoItem) -> list[Row[T]]:
    """A video's rows in the table of these records, older parts first; of rows with the same key, the last."""
    return _rows(record, columns_of_video(dataset, table_of(record), item))


def rows_elsewhere(record: type[T], item: VideoItem) -> list[Row[T]]:
    """The rows that texts are taken from: the same video's in other datasets and in earlier versions of this one, and
    those of other videos with the same source, in this version too."""
    rows: list[Row[T]] = []
    table = table_of(record)
    for uri, parts in item.parts_elsewhere.items():
        own = item.parts.get(table, ())
        for part, video_id in itertools.product(parts.get(table, ()), (item.video_id, *item.same_source)):
            if video_id == item.video_id and part in own:
                continue
            try:
                values = read_video(Dataset(uri), table, part, video_id)
            except (OSError, DatasetError) as error:  # such as a file that was deleted meanwhile
                log.warning("%s/%s/%s cannot be read; its texts are made again: %s", uri, table, part, error)
            else:
                rows += _rows(record, values.to_pylist())
    return rows


def up_to_date(rows: Iterable[Row[T]], item: VideoItem, step: Step) -> list[Row[T]]:
    """`rows`, except those of an older recipe if `item` refreshes the step."""
    return [row for row in rows if step not in item.refresh or not is_older(row.recipe, step)]


def _rows(record: type[T], values: Iterable[dict[str, Any]]) -> list[Row[T]]:
    return [Row(from_row(record, row), row["digest"], row["recipe"] or 1) for row in values]
