"""Texts that other datasets have: the parts that hold them, so that no text is made twice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from curation.dataset.dataset import Dataset
from curation.errors import DatasetError
from pipelines.driver.part_index import PartIndex
from pipelines.worker.work_items import PartsByTable

REUSED = ("captions", "summaries")


@dataclass(frozen=True)
class OtherDataset:
    """Another dataset, and by table which of its parts hold a video's texts."""

    uri: str
    tables: Mapping[str, PartIndex]

    @classmethod
    def locate(cls, location: str) -> Self:
        """Scan the dataset at `location`, a path or URI. Raises DatasetError if there is none."""
        dataset = Dataset(location)
        if not dataset.exists():
            raise DatasetError(f"run.reuse: there is no vidla dataset at {dataset.uri}")
        return cls(dataset.uri, {table: PartIndex.of(dataset, table) for table in REUSED})

    def parts_of(self, video_id: str) -> PartsByTable:
        """By table, the parts that may hold texts of a video."""
        return {table: tuple(parts) for table, index in self.tables.items() if (parts := index.of_video(video_id))}
