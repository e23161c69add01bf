"""Texts that exist already: the parts of other datasets, and of this one and its earlier versions, that hold them.

They are looked for in the rows of the same video, and of videos with the same source, whatever ids these have or had.
Whether a text is the wanted one, its digest shows: of the image or source text, and of what makes the text.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
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
class Sources:
    """The videos that were downloaded with the same bytes, by the digest of these: some 40 bytes for each video.

    >>> found = Sources.of([pa.table({"video_id": ["a", "b", "c"], "source_digest": ["x", "y", "x"]})])
    >>> found.videos_of("x"), found.videos_of("z")
    (['a', 'c'], [])
    """

    hashes: npt.NDArray[np.int64]  # (n,), of digests, sorted
    videos: pa.StringArray  # (n,)

    @classmethod
    def of(cls, downloads: Iterable[pa.Table]) -> Self:
        """Index tables with the columns `video_id` and `source_digest`."""
        tables = list(downloads)
        digests = [digest for table in tables for digest in table["source_digest"].to_pylist()]
        hashes = np.fromiter(map(hash, digests), np.int64, len(digests))
        videos = pa.concat_arrays([pa.array([], pa.string()), *(c for t in tables for c in t["video_id"].chunks)])
        order = np.argsort(hashes, kind="stable")
        return cls(hashes[order], videos.take(pa.array(order)))

    def videos_of(self, source_digest: str) -> list[str]:
        """The videos that had this source; a collision of hashes may (very rarely) name another one."""
        first, last = (int(np.searchsorted(self.hashes, hash(source_digest), side)) for side in ("left", "right"))
        return list(self.videos[first:last].to_pylist())


@dataclass(frozen=True)
class TextParts:
    """By table, the parts of a dataset that hold a video's texts, and which videos have the same source."""

    uri: str
    tables: Mapping[str, PartIndex]
    sources: Sources

    @classmethod
    def elsewhere(cls, location: str) -> Self:
        """Those of the dataset at `location`, a path or URI. Raises DatasetError if there is none."""
        dataset = Dataset(location)
        if not dataset.exists():
            raise DatasetError(f"run.reuse: there is no vidla dataset at {dataset.uri}")
        indices = {table: PartIndex.of(dataset, table) for table in REUSED}
        return cls(dataset.uri, indices, _sources(dataset, sorted(dataset.live_parts("downloads"))))

    @classmethod
    def on_disk(cls, dataset: Dataset) -> Self:
        """Those of `dataset` and of its earlier versions, as long as vacuum has not deleted them."""
        parts = {table: sorted(name for name, _ in parts_on_disk(dataset, table)) for table in (*REUSED, "downloads")}
        indices = {table: _index(dataset, table, parts[table]) for table in REUSED}
        return cls(dataset.uri, indices, _sources(dataset, parts["downloads"]))

    def of_videos(self, video_ids: Iterable[str]) -> PartsByTable:
        """By table, the parts that may hold texts of these videos."""
        found: dict[str, dict[str, None]] = {table: {} for table in self.tables}
        for video_id in video_ids:
            for table, index in self.tables.items():
                found[table].update(dict.fromkeys(index.of_video(video_id)))
        return {table: tuple(parts) for table, parts in found.items() if parts}


def places_of_texts(
    reused: Sequence[TextParts], video_id: str, source_digests: Iterable[str]
) -> tuple[list[str], dict[str, PartsByTable]]:
    """The other videos that had one of these sources; by URI, the parts that may hold texts of them and of this one."""
    digests = set(source_digests) - {""}
    same = {video for parts in reused for digest in digests for video in parts.sources.videos_of(digest)} - {video_id}
    found = {parts.uri: tables for parts in reused if (tables := parts.of_videos([video_id, *same]))}
    return sorted(same), found


def reusable(dataset: Dataset, settings: Settings) -> list[TextParts]:
    """Where the texts are that a run need not make: in the datasets that `run.reuse` names, and in this one and its
    earlier versions. Raises DatasetError."""
    return [*map(TextParts.elsewhere, settings.run.reuse), TextParts.on_disk(dataset)]


def _index(dataset: Dataset, table: str, parts: Sequence[str]) -> PartIndex:
    """Of many versions of a part that hold the same rows of a video, as each commit that replaces some of its rows
    leaves one, only the first counts."""
    rows = _new_pairs(dataset, table, parts, ("video_id", "run_id"))
    return PartIndex(list(parts), VideoIndex.of(pairs["video_id"] for pairs in rows))


def _sources(dataset: Dataset, parts: Sequence[str]) -> Sources:
    return Sources.of(_new_pairs(dataset, "downloads", parts, ("video_id", "source_digest")))


def _new_pairs(dataset: Dataset, table: str, parts: Sequence[str], columns: tuple[str, str]) -> Iterator[pa.Table]:
    """For each part, the pairs of values in two columns of strings that no earlier part has."""
    schema = pa.schema([(name, pa.string()) for name in columns])

    def pairs_of(part: str) -> pa.Table:
        try:
            return dataset.distinct(table, part, list(columns))
        except (OSError, DatasetError) as error:
            log.warning("%s/%s/%s is not looked into for texts to reuse: %s", dataset.uri, table, part, error)
            return schema.empty_table()

    seen: set[int] = set()
    with ThreadPoolExecutor(READERS) as pool:
        for some in batches(parts, READERS):
            for rows in pool.map(pairs_of, some):
                pairs = {hash(p): p for p in zip(*(rows[name].to_pylist() for name in columns), strict=True) if all(p)}
                new = [pair for hashed, pair in pairs.items() if hashed not in seen]
                seen.update(pairs)
                yield pa.table([[pair[place] for pair in new] for place in (0, 1)], schema=schema)
