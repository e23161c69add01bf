"""Texts that another dataset has already: where they are, so that the same text need not be made again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from curation.tables import Dataset, DatasetError
from pipelines.items import Where

REUSED = ("captions", "summaries")


@dataclass(frozen=True)
class Elsewhere:
    """Another dataset, and by video_id the parts of it that hold texts of that video."""

    uri: str
    parts: Mapping[str, Where]

    @classmethod
    def locate(cls, location: str) -> Self:
        """Look through the dataset at `location`, a path or URI. Raises DatasetError where there is none."""
        dataset = Dataset(location)
        if not dataset.exists():
            raise DatasetError(f"run.reuse: there is no vidla dataset at {dataset.uri}")
        parts: dict[str, dict[str, tuple[str, ...]]] = {}
        for table in REUSED:
            for path in dataset.live_parts(table):
                only = (path,)  # one for all the videos in it
                for video_id in dataset.read_part(table, path, ["video_id"])["video_id"].unique().to_pylist():
                    where = parts.setdefault(video_id, {})
                    where[table] = where[table] + only if table in where else only
        return cls(dataset.uri, parts)
