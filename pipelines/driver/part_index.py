"""An index of the parts that hold a video's rows: by number if written before the run, by name if during it."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from curation.dataset.dataset import Dataset
from curation.dataset.video_rows import VideoIndex
from pipelines.worker.work_items import BY_VIDEO

READERS = 8  # parts read at a time


class VideoParts:
    """By video and table, the parts that may hold its rows, kept up to date by `add` and `remove`.

    New videos are followed from their first part on. For others, all tables are scanned once, when the first of them
    is looked for. Not thread-safe.
    """

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self._before: dict[str, PartIndex] | None = None  # by table, as of the scan
        self._since: dict[str, dict[str, set[str]]] = {}  # video_id: table: parts
        self._followed: set[str] = set()
        self._removed: set[str] = set()

    def follow(self, video_ids: Iterable[str]) -> None:
        """Follow these videos, which have no rows yet."""
        self._followed.update(video_ids)

    def look_for(self, video_ids: Iterable[str]) -> None:
        """Scan the tables if that is needed to know the parts of these videos. Raises DatasetError."""
        if self._before is None and not self._followed.issuperset(video_ids):
            self._before = {table: PartIndex.of(self._dataset, table) for table in BY_VIDEO}
            self._since = {v: parts for v, parts in self._since.items() if v in self._followed}

    def add(self, table: str, part: str, video_ids: Iterable[str]) -> None:
        """Add a new `part` with rows of these videos."""
        for video_id in video_ids:
            if self._before is not None or video_id in self._followed:
                self._since.setdefault(video_id, {}).setdefault(table, set()).add(part)

    def remove(self, parts: Iterable[str]) -> None:
        self._removed.update(parts)

    def forget(self, video_ids: Iterable[str]) -> None:
        """Drop videos that are no longer needed."""
        for video_id in video_ids:
            self._since.pop(video_id, None)
            self._followed.discard(video_id)

    def of(self, video_id: str) -> dict[str, tuple[str, ...]]:
        """By table, the parts that may hold rows of a video, which has been followed or looked for."""
        by_table = {table: set(parts) for table, parts in self._since.get(video_id, {}).items()}
        for table, index in (self._before or {}).items():
            if parts := index.of_video(video_id):
                by_table.setdefault(table, set()).update(parts)
        return {table: tuple(sorted(left)) for table, parts in by_table.items() if (left := parts - self._removed)}


@dataclass(frozen=True)
class PartIndex:
    """The parts of one table by the videos in them."""

    parts: list[str]
    index: VideoIndex

    @classmethod
    def of(cls, dataset: Dataset, table: str) -> PartIndex:
        """Scan a table. Raises DatasetError."""
        parts = list(dataset.live_parts(table))
        with ThreadPoolExecutor(READERS) as pool:
            videos = pool.map(lambda part: dataset.distinct(table, part, ["video_id"])["video_id"], parts)
            return cls(parts, VideoIndex.of(videos))

    def of_video(self, video_id: str) -> list[str]:
        """The parts that may hold rows of a video."""
        return [self.parts[number] for number in self.index.places_of(video_id)]
