"""Reads the media of a remote dataset through a size-limited cache on this machine.

Media is fetched and cached in blocks, since a clip is a small part of its video. All processes of a machine share one
cache: a block appears in it atomically, and all blocks together never exceed the limit.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

import obstore

from curation.dataset.dataset import Dataset
from curation.dataset.media_paths import checked, path_of_media
from curation.dataset.object_store import read_errors, write_errors
from curation.ids import content_digest
from curation.release.released_dataset import homes_of
from model.data.frame_reader import Frames, read_frames

BLOCK_BYTES = 2**20
HELD_BLOCKS = 4  # per open file, in memory
EVICT_TO = 0.9  # evict down to this share of the limit, so that not every new block evicts
_SIZE_BYTES = 8  # before a file's first block: the file's size


@dataclass(frozen=True)
class MediaCache:
    """A cache of at most `max_bytes` in `folder`."""

    folder: Path
    max_bytes: int

    def block(self, dataset: Dataset, path: str, number: int) -> bytes:
        """Block `number` of the file at `path` in `dataset`; block 0 is preceded by the file's size.

        Raises FileNotFoundError, and DatasetError if the store cannot be reached or the cache cannot be written.
        """
        cached = self._place(dataset, path, number)
        with suppress(FileNotFoundError):
            data = cached.read_bytes()
            os.utime(cached)  # mark it as the most recently used
            return data
        with read_errors(f"{dataset.uri}/{path}"):
            byte_range = (number * BLOCK_BYTES, (number + 1) * BLOCK_BYTES)
            response = obstore.get(dataset.store, path, options={"range": byte_range})
            size = response.meta["size"].to_bytes(_SIZE_BYTES, "big") if number == 0 else b""
            data = size + bytes(response.bytes())
        with write_errors(f"the cache in {self.folder} (data.cache_bytes limits its size)"):
            self._store(cached, data)
        return data

    def check(self, dataset: Dataset, path: str, size: int, digest: bytes) -> None:
        """Compare a file with its digest, once, as soon as all its blocks are here. Raises OSError if they differ."""
        found = self._place(dataset, path, "digest")
        blocks = [self._place(dataset, path, number) for number in range(-(-size // BLOCK_BYTES))]
        with suppress(FileNotFoundError):  # a block is not here yet, or not any more
            if not found.exists() and all(block.exists() for block in blocks):
                whole = hashlib.blake2b(digest_size=16)
                for number, block in enumerate(blocks):
                    whole.update(block.read_bytes()[0 if number else _SIZE_BYTES :])
                with write_errors(f"the cache in {self.folder} (data.cache_bytes limits its size)"):
                    self._store(found, whole.digest())
            if found.read_bytes() != digest:
                raise OSError("it is not as it was stored: `vidla verify` finds and repairs such media")

    def _place(self, dataset: Dataset, path: str, part: int | str) -> Path:
        name = content_digest(f"{dataset.uri}/{path}".encode())
        return self.folder / name[:2] / f"{name}-{part}"

    def _store(self, path: Path, data: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._locked() as used:
            if path.exists() or len(data) > self.max_bytes:
                return
            if used() + len(data) > self.max_bytes:
                self._evict(len(data))
            temporary = self.folder / "writing"  # overwritten if a killed process left one; the lock admits one writer
            (self.folder / "used").write_text(str(used() + len(data)))
            temporary.write_bytes(data)
            temporary.replace(path)

    def _evict(self, needed: int) -> None:
        """Delete the least recently used blocks to make room for `needed` bytes. Open ones can still be read."""
        (self.folder / "writing").unlink(missing_ok=True)
        blocks = [(entry.stat(), Path(entry.path)) for entry in _blocks(self.folder)]
        used = sum(status.st_size for status, _ in blocks)
        for status, path in sorted(blocks, key=lambda block: block[0].st_mtime_ns):
            if used <= EVICT_TO * self.max_bytes and used + needed <= self.max_bytes:
                break
            path.unlink()
            used -= status.st_size
        (self.folder / "used").write_text(str(used))

    @contextmanager
    def _locked(self) -> Iterator[Callable[[], int]]:
        """Hold the cache's lock. Yields a function that returns the bytes in use, or an upper bound."""
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
    """A seekable, read-only file of a remote dataset; with a digest, it is checked once it is in the cache as a whole.

    Raises OSError if it differs.
    """

    def __init__(self, cache: MediaCache, dataset: Dataset, path: str, digest: bytes | None = None) -> None:
        self._cache, self._dataset, self._path = cache, dataset, path
        self._held: dict[int, bytes] = {}
        first = cache.block(dataset, path, 0)
        self._size = int.from_bytes(first[:_SIZE_BYTES], "big")
        self._held[0] = first[_SIZE_BYTES:]
        self._position = 0
        if digest is not None:
            cache.check(dataset, path, self._size, digest)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._position = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        return self._position

    def readinto(self, buffer: Any) -> int:
        number, offset = divmod(self._position, BLOCK_BYTES)
        count = min(len(buffer), BLOCK_BYTES - offset, max(0, self._size - self._position))
        if count:
            buffer[:count] = self._block(number)[offset : offset + count]
        self._position += count
        return count

    def _block(self, number: int) -> bytes:
        if number not in self._held:
            data = self._cache.block(self._dataset, self._path, number)
            while len(self._held) >= HELD_BLOCKS:
                del self._held[next(iter(self._held))]
            self._held[number] = data[_SIZE_BYTES:] if number == 0 else data
        return self._held[number]


class Media(Protocol):
    """Files of media by name."""

    def read(self, media_uri: str, times: Sequence[float], side: int, digest: bytes | None = None) -> Frames:
        """The frames shown at `times`, seconds in order. Raises BrokenMedia, OSError, DatasetError.

        They are not enlarged; otherwise their shorter side has at least `side` pixels, if that can be chosen.
        `digest` is that of the whole file, if known.
        """


@dataclass(frozen=True)
class MediaStore:
    """The stored media of a dataset: files on this machine, or remote ones read through a cache."""

    dataset: Dataset
    cache: MediaCache

    def open(self, media_uri: str, digest: bytes | None = None) -> Path | BinaryIO:
        """A path, or an open file for a remote dataset. Raises OSError, DatasetError."""
        holder = self.dataset.holder(media_uri)
        if holder.folder is not None:
            return path_of_media(holder.folder, media_uri)
        return cast(BinaryIO, CachedFile(self.cache, holder, checked(media_uri), digest))

    def read(self, media_uri: str, times: Sequence[float], side: int, digest: bytes | None = None) -> Frames:
        """The frames shown at `times`, as large as they are stored. Raises BrokenMedia, OSError, DatasetError."""
        return read_frames(self.open(media_uri, digest), times)


def media_store(dataset: Dataset, folder: str | None, max_bytes: int) -> MediaStore:
    """The media of `dataset`, cached in `folder` (None: in the user's cache folder)."""
    user_caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    cache = MediaCache(Path(folder) if folder else user_caches / "vidla" / "media", max_bytes)
    if any(home.folder is None for home in homes_of(dataset)):
        with write_errors(f"the cache in {cache.folder}"):
            cache.folder.mkdir(parents=True, exist_ok=True)
    return MediaStore(dataset, cache)
