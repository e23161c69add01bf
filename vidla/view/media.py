"""The images of frames, and stored media, for the pages: found by the rows that name them, never by a path."""

from __future__ import annotations

import functools
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import obstore

from curation.dataset.database import literal
from curation.dataset.media_paths import checked, path_of_media
from curation.dataset.object_store import read_errors
from curation.dataset.video_rows import VideoIndex, read_video
from vidla.view.tables import LiveTables

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
PIECE = 2**20  # bytes of media held at a time
_READERS = 8  # parts that are read at a time
_MOST_INDEXES = 32


class FrameImages:
    """Finds the images of frames. Remembers which part has which video: 12 bytes for each. Thread-safe."""

    def __init__(self, tables: LiveTables) -> None:
        self._tables = tables
        self._lock = threading.Lock()
        self._indexed: list[tuple[list[str], VideoIndex]] = []  # parts that were read together

    def image(self, frame_id: str) -> bytes | None:
        """The JPEG of a frame; None if there is none."""
        video_id = frame_id.rpartition(".")[0]
        for part in self._parts_of(video_id):
            try:
                rows = read_video(self._tables.dataset, "frames", part, video_id, ["image"], {frame_id})
            except FileNotFoundError:  # it has been replaced since
                continue
            if rows.num_rows:
                image: bytes = rows["image"][0].as_py()
                return image
        return None

    def _parts_of(self, video_id: str) -> list[str]:
        now = self._tables.now()
        live = set(now.arrow("frames").files)
        with self._lock:
            if len(self._indexed) > _MOST_INDEXES:
                self._indexed = []
            new = sorted(live.difference(*(parts for parts, _ in self._indexed)))
            if new:
                with ThreadPoolExecutor(_READERS) as pool:
                    videos = pool.map(lambda part: now.read_part("frames", part, ["video_id"])["video_id"], new)
                    self._indexed.append((new, VideoIndex.of(videos)))
            found = [parts[number] for parts, index in self._indexed for number in index.places_of(video_id)]
        return [part for part in found if part in live]


@dataclass(frozen=True)
class StoredFile:
    """A file of stored media."""

    tables: LiveTables
    uri: str
    size: int

    def read(self, first: int, last: int) -> Iterator[bytes]:
        """The bytes from `first` to `last`, piece by piece."""
        return self.tables.dataset.blocks(self.uri, first, last + 1, PIECE)


def media_of(tables: LiveTables, video_id: str) -> StoredFile | None:
    """The stored media of a video; None if there is none, or if it does not lie in the dataset."""
    tables.now()
    return _media_of(tables, tables.commit, video_id)


@functools.lru_cache(1024)
def _media_of(tables: LiveTables, commit: int, video_id: str) -> StoredFile | None:
    rows = tables.rows(f"select media_uri from videos where video_id = {literal(video_id)}")
    if not rows:
        return None
    dataset, uri = tables.dataset, rows[0]["media_uri"]
    try:
        path = checked(uri) if dataset.folder is None else path_of_media(dataset.folder, uri)
        with read_errors(f"{dataset.uri}/{uri}"):
            return StoredFile(tables, uri, obstore.head(dataset.store, uri)["size"]) if path else None
    except FileNotFoundError:
        return None


def range_of(header: str | None, size: int) -> tuple[int, int] | None:
    """First and last byte of a file that a header of HTTP asks for; None if it asks for none of a file's.

    >>> range_of(None, 100), range_of("bytes=10-19", 100), range_of("bytes=-5", 100), range_of("bytes=100-", 100)
    ((0, 99), (10, 19), (95, 99), None)
    """
    found = _RANGE.fullmatch(header or "bytes=0-")
    first, last = found.groups() if found else ("0", "")
    if not first and not last:
        return None
    begin = int(first) if first else max(0, size - int(last))
    end = min(size - 1, int(last)) if first and last else size - 1
    return (begin, end) if begin <= end else None
