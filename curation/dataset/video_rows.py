"""The rows of single videos, read from parts that hold many videos.

Parts never change. So each part is indexed once, and the last row groups are cached for the videos stored next to
each other. Thread-safe.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Self, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curation.dataset.dataset import Dataset
from curation.dataset.object_store import read_errors
from curation.dataset.parts import conform
from curation.schema import TABLES

T = TypeVar("T")

CACHED_PARTS = 64  # parts with a cached index: the waves under way need a few dozen
CACHED_ROW_GROUPS = 16  # cached row groups of ROW_GROUP_BYTES each: some 64 MB at most


@dataclass(frozen=True)
class VideoIndex:
    """Which of several numbered places hold each video: 12 bytes per video and place.

    A hash collision may (very rarely) name a place without the video.

    >>> index = VideoIndex.of([pa.chunked_array([["a", "a", "b"]]), pa.chunked_array([["b"]])])
    >>> index.places_of("a"), index.places_of("b"), index.places_of("c")
    ([0], [0, 1], [])
    """

    hashes: npt.NDArray[np.int64]  # (n,), sorted
    numbers: npt.NDArray[np.int32]  # (n,), of the places

    @classmethod
    def of(cls, videos: Iterable[pa.ChunkedArray]) -> Self:
        """Index the places, given the `video_id` column of each."""
        by_place = [
            np.fromiter(map(hash, ids), np.int64, len(ids))
            for column in videos
            for ids in (column.drop_null().unique().to_pylist(),)
        ]
        hashes = np.concatenate([np.empty(0, np.int64), *by_place])
        numbers = np.repeat(np.arange(len(by_place), dtype=np.int32), [len(ids) for ids in by_place])
        order = np.argsort(hashes, kind="stable")
        return cls(hashes[order], numbers[order])

    def places_of(self, video_id: str) -> list[int]:
        """The numbers of the places that hold the video, in order."""
        first, last = (np.searchsorted(self.hashes, hash(video_id), side) for side in ("left", "right"))
        return [int(number) for number in self.numbers[first:last]]


def read_video(
    dataset: Dataset,
    table: str,
    path: str,
    video_id: str,
    columns: Sequence[str] | None = None,
    among: Collection[str] | None = None,
) -> pa.Table:
    """One video's rows in a part; with `among`, only those with one of these keys.

    Reads only row groups that have such rows, however large the part is. Raises FileNotFoundError, DatasetError.
    """
    wanted = tuple(columns or TABLES[table].schema.names)
    by = ("video_id", TABLES[table].key[-1])
    part = _part(dataset, table, path)
    read = tuple(dict.fromkeys((*wanted, *by)))
    keys = None if among is None else pa.array(among, pa.string())
    found = []
    for number in part.groups_of(video_id):
        if keys is not None:
            matching = pc.is_in(_row_group(part, number, by).get().of(video_id)[by[1]], keys)
            if not pc.any(matching).as_py():
                continue  # images are large: read them only if needed
        rows = _row_group(part, number, read).get().of(video_id).select(wanted)
        found.append(rows if keys is None else rows.filter(matching))
    return pa.concat_tables(found) if found else TABLES[table].schema.empty_table().select(wanted)


@dataclass(frozen=True)
class _ByVideo:
    """A row group, and for each video the (start, length) runs of its rows, almost always one.

    >>> _ByVideo.of_rows(pa.table({"video_id": ["a", "a", "b", "a"]})).runs
    {'a': [(0, 2), (3, 1)], 'b': [(2, 1)]}
    """

    rows: pa.Table
    runs: Mapping[str, Sequence[tuple[int, int]]]

    @classmethod
    def of_rows(cls, rows: pa.Table) -> Self:
        runs: dict[str, list[tuple[int, int]]] = {}
        first = 0
        for video_id, run in itertools.groupby(rows["video_id"].to_pylist()):
            count = sum(1 for _ in run)
            runs.setdefault(video_id, []).append((first, count))
            first += count
        return cls(rows, runs)

    def of(self, video_id: str) -> pa.Table:
        runs = [self.rows.slice(first, count) for first, count in self.runs.get(video_id, ())]
        return runs[0] if len(runs) == 1 else pa.concat_tables([self.rows.slice(0, 0), *runs])


class _Part:
    """A part, with its footer and its index of videos, read on first use."""

    def __init__(self, dataset: Dataset, table: str, path: str) -> None:
        self._dataset = dataset
        self._table = table
        self._path = f"{table}/{path}"
        self._opened = Lazy(self._open)

    def groups_of(self, video_id: str) -> list[int]:
        """The numbers of the row groups that have rows of a video."""
        return self._opened.get()[1].places_of(video_id)

    def read(self, number: int, columns: tuple[str, ...]) -> pa.Table:
        """One row group, with the current schema."""
        with self._file(self._opened.get()[0]) as file:
            rows = file.read_row_group(number, [name for name in columns if name in file.schema_arrow.names])
        return conform(rows, TABLES[self._table].schema, columns)

    def _open(self) -> tuple[pq.FileMetaData, VideoIndex]:
        with self._file() as file:
            groups = range(file.num_row_groups)
            videos = (file.read_row_group(number, ["video_id"])["video_id"] for number in groups)
            return file.metadata, VideoIndex.of(videos)

    @contextlib.contextmanager
    def _file(self, metadata: pq.FileMetaData | None = None) -> Iterator[pq.ParquetFile]:
        with (
            read_errors(f"{self._dataset.uri}/{self._path}"),
            pq.ParquetFile(self._path, filesystem=self._dataset.filesystem, metadata=metadata) as file,
        ):
            yield file


_part = functools.lru_cache(maxsize=CACHED_PARTS)(_Part)


@functools.lru_cache(maxsize=CACHED_ROW_GROUPS)
def _row_group(part: _Part, number: int, columns: tuple[str, ...]) -> Lazy[_ByVideo]:
    return Lazy(lambda: _ByVideo.of_rows(part.read(number, columns)))


def clear_caches() -> None:
    _row_group.cache_clear()
    _part.cache_clear()


class Lazy(Generic[T]):
    """The value of `make()`, computed by the first thread that asks; others wait, later callers do not."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._made: T | None = None

    def get(self) -> T:
        if self._made is None:
            with self._lock:
                if self._made is None:
                    self._made = self._make()
        return self._made
