"""Texts that exist already: the parts of other datasets, and superseded ones of this one, that hold them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Self

import pyarrow as pa

from curation.dataset.dataset import Dataset
from curation.dataset.vacuum import parts_on_disk
from curation.dataset.video_rows import VideoIndex
from curation.errors import DatasetError
from curation.settings import Settings
from pipelines.driver.part_index import READERS, PartIndex
from pipelines.worker.batches import batches
from pipelines.worker.work_items import PartsByTable

log = logging.getLogger(__name__)

REUSED = ("captions", "summaries")


@dataclass(frozen=True)
class TextParts:
    """By table, the parts of a dataset that hold a video's texts."""

    uri: str
    tables: Mapping[str, PartIndex]

    @classmethod
    def elsewhere(cls, location: str) -> Self:
        """Those of the dataset at `location`, a path or URI. Raises DatasetError if there is none."""
        dataset = Dataset(location)
        if not dataset.exists():
            raise DatasetError(f"run.reuse: there is no vidla dataset at {dataset.uri}")
        return cls(dataset.uri, {table: PartIndex.of(dataset, table) for table in REUSED})

    @classmethod
    def superseded(cls, dataset: Dataset) -> Self:
        """Those of earlier versions of `dataset`, as long as vacuum has not deleted them."""
        return cls(dataset.uri, {table: _superseded(dataset, table) for table in REUSED})

    def of_video(self, video_id: str) -> PartsByTable:
        """By table, the parts that may hold texts of a video."""
        return {table: tuple(parts) for table, index in self.tables.items() if (parts := index.of_video(video_id))}


def reusable(dataset: Dataset, settings: Settings, *, again: bool) -> list[TextParts]:
    """The texts that a run need not make: of the datasets that `run.reuse` names, and of earlier versions of this one
    if it makes some `again`. Raises DatasetError."""
    others = [TextParts.elsewhere(location) for location in settings.run.reuse]
    return [*others, TextParts.superseded(dataset)] if again else others


def _superseded(dataset: Dataset, table: str) -> PartIndex:
    """The parts on disk that the table does not list. Of many versions of a part that hold the same rows of a video,
    as each commit that replaces some of its rows leaves one, only the first counts."""
    parts = sorted({name for name, _ in parts_on_disk(dataset, table)} - dataset.live_parts(table).keys())
    return PartIndex(parts, VideoIndex.of(_new_videos(dataset, table, parts)))


def _new_videos(dataset: Dataset, table: str, parts: Sequence[str]) -> Iterator[pa.ChunkedArray]:
    """For each part, the videos with rows of a run that no earlier part has."""

    def makers(part: str) -> pa.Table:
        try:
            return dataset.distinct(table, part, ["video_id", "run_id"])
        except (OSError, DatasetError) as error:
            log.warning("%s/%s/%s is not looked into for texts to reuse: %s", dataset.uri, table, part, error)
            return pa.table({"video_id": pa.array([], pa.string()), "run_id": pa.array([], pa.string())})

    seen: set[int] = set()
    with ThreadPoolExecutor(READERS) as pool:
        for some in batches(parts, READERS):
            for rows in pool.map(makers, some):
                videos, runs = (rows[name].to_pylist() for name in ("video_id", "run_id"))
                pairs = {hash(pair): pair[0] for pair in zip(videos, runs, strict=True)}
                new = [video_id for pair, video_id in pairs.items() if pair not in seen]
                seen.update(pairs)
                yield pa.chunked_array([pa.array(new, pa.string())])
