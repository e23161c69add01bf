"""Stored media of a remote dataset, read through a cache on this machine that has a bound.

Media is fetched and kept in blocks, since a clip is a small part of its video. All processes of a machine share one
cache: a block appears in it whole or not at all, and the room that all blocks take is never more than the bound.
"""

from __future__ import annotations

import fcntl
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import obstore

from curation.dataset.dataset import Dataset
from curation.dataset.object_store import read_errors, write_errors
from curation.ids import content_digest

BLOCK = 2**20
HELD_BLOCKS = 4  # of one open file, in memory
ROOM_LEFT = 0.9  # share of the bound that is left in use when room is made, so that it is not made for every block
_SIZE_BYTES = 8  # in front of a file's first block: how long the file is


@dataclass(frozen=True)
class MediaCache:
    """A cache of at most `limit` bytes in `folder`."""

    folder: Path
    limit: int

    def block(self, dataset: Dataset, path: str, number: int) -> bytes:
        """Block `number` of the file at `path` in `dataset`; the first one begins with the file's size.

        Raises FileNotFoundError, and DatasetError where the store cannot be reached or the cache not be written.
        """
        name = content_digest(f"{dataset.uri}/{path}".encode())
        kept = self.folder / name[:2] / f"{name}-{number}"
        with suppress(FileNotFoundError):
            data = kept.read_bytes()
            os.utime(kept)  # it is the one that was used last
            return data
        with read_errors(f"{dataset.uri}/{path}"):
            found = obstore.get(dataset.store, path, options={"range": (number * BLOCK, (number + 1) * BLOCK)})
            size = found.meta["size"].to_bytes(_SIZE_BYTES, "big") if number == 0 else b""
            data = size + bytes(found.bytes())
        with write_errors(f"the cache in {self.folder} (data.cache_bytes bounds it)"):
            self._keep(kept, data)
        return data

    def _keep(self, path: Path, data: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._locked() as used:
            if path.exists() or len(data) > self.limit:
                return
            if used() + len(data) > self.limit:
                self._make_room(len(data))
            temporary = self.folder / "writing"  # one at a time, and one that a killed process left is written over
            (self.folder / "used").write_text(str(used() + len(data)))
            temporary.write_bytes(data)
            temporary.replace(path)

    def _make_room(self, wanted: int) -> None:
        """Delete the blocks that were not used for longest. Whoever has one open reads it to its end all the same."""
        (self.folder / "writing").unlink(missing_ok=True)
        blocks = [(entry.stat(), Path(entry.path)) for entry in _blocks(self.folder)]
        used = sum(status.st_size for status, _ in blocks)
        for status, path in sorted(blocks, key=lambda block: block[0].st_mtime_ns):
            if used <= ROOM_LEFT * self.limit and used + wanted <= self.limit:
                break
            path.unlink()
            used -= status.st_size
        (self.folder / "used").write_text(str(used))

    @contextmanager
    def _locked(self) -> Iterator[Any]:
        """Alone among all processes; a function that tells how many bytes are in use, never too few."""
        with (self.folder / "lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)

            def used() -> int:
                with suppress(FileNotFoundError, ValueError):
                    return int((self.folder / "used").read_text())
                return sum(entry.stat().st_size for entry in _blocks(self.folder))

            yield used


def _blocks(folder: Path) -> Iterator[os.DirEntry[str]]:
    for entry in os.scandir(folder):
        if entry.is_dir():
            yield from os.scandir(entry.path)


class CachedFile(io.RawIOBase):
    """A file of a remote dataset, to be read anywhere in it."""

    def __init__(self, cache: MediaCache, dataset: Dataset, path: str) -> None:
        self._cache, self._dataset, self._path = cache, dataset, path
        self._held: dict[int, bytes] = {}
        first = cache.block(dataset, path, 0)
        self._size = int.from_bytes(first[:_SIZE_BYTES], "big")
        self._held[0] = first[_SIZE_BYTES:]
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        number, offset = divmod(self._at, BLOCK)
        wanted = min(len(buffer), BLOCK - offset, max(0, self._size - self._at))
        if wanted:
            buffer[:wanted] = self._block(number)[offset : offset + wanted]
        self._at += wanted
        return wanted

    def _block(self, number: int) -> bytes:
        if number not in self._held:
            data = self._cache.block(self._dataset, self._path, number)
            while len(self._held) >= HELD_BLOCKS:
                del self._held[next(iter(self._held))]
            self._held[number] = data[_SIZE_BYTES:] if number == 0 else data
        return self._held[number]


@dataclass(frozen=True)
class Media:
    """The stored media of a dataset: on this machine's disk, or read through a cache."""

    dataset: Dataset
    cache: MediaCache

    def open(self, media_uri: str) -> Path | BinaryIO:
        """Where to read it from. Raises FileNotFoundError, DatasetError."""
        if self.dataset.folder is not None:
            return self.dataset.folder / media_uri
        return cast(BinaryIO, CachedFile(self.cache, self.dataset, media_uri))


def media_of(dataset: Dataset, folder: str | None, limit: int) -> Media:
    """The media of `dataset`, with a cache in `folder`, by default one in the user's own folder for caches."""
    above = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    cache = MediaCache(Path(folder) if folder else above / "vidla" / "media", limit)
    if dataset.folder is None:
        with write_errors(f"the cache in {cache.folder}"):
            cache.folder.mkdir(parents=True, exist_ok=True)
    return Media(dataset, cache)
