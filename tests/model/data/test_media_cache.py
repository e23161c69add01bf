"""Reading remote media through the cache: the same bytes, within its limit, with concurrent readers."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from random import Random

import pytest

from curation.dataset.dataset import Dataset
from curation.errors import DatasetError
from model.data.frame_reader import read_frames, sample_times
from model.data.media_cache import BLOCK_BYTES, CachedFile, MediaCache, media_store
from tests.support.bucket import Bucket
from tests.support.dataset_files import stored_media

LIMIT = 5 * BLOCK_BYTES


@pytest.fixture
def cache(tmp_path: Path) -> MediaCache:
    (tmp_path / "cache").mkdir()
    return MediaCache(tmp_path / "cache", LIMIT)


def noise(name: str, size: int) -> bytes:
    return Random(name).randbytes(size)


def put_noise(bucket: Bucket, name: str, size: int) -> bytes:
    bucket.put(name, noise(name, size))
    return noise(name, size)


def bytes_in(folder: Path) -> int:
    total = 0
    for above, _, files in os.walk(folder):
        for name in files:
            try:
                total += (Path(above) / name).stat().st_size
            except FileNotFoundError:  # moved or deleted by now
                continue
    return total


BOOKKEEPING = 100  # bytes of the files `lock` and `used`


@pytest.mark.parametrize("size", [1, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 3 * BLOCK_BYTES + 17])
def test_reads_what_is_there(size: int, bucket: Bucket, cache: MediaCache) -> None:
    data = put_noise(bucket, "a", size)
    for _ in range(2):  # from the bucket, then from the cache
        file = CachedFile(cache, Dataset(bucket.uri), "a")
        assert file.read() == data
        random = Random(0)
        for _ in range(50):
            at, count = random.randint(0, size + 9), random.randint(0, BLOCK_BYTES + 9)
            assert file.seek(at) == at
            found = file.read(count)
            assert found == data[at : at + len(found)]
            assert len(found) == min(count, max(0, size - at)) or len(found) == BLOCK_BYTES - at % BLOCK_BYTES
        assert file.seek(-min(size, 5), os.SEEK_END) == max(0, size - 5)
        assert file.read() == data[-5:]
    assert bucket.given()["a"] == size


@pytest.mark.hostile("datasets")
@pytest.mark.parametrize(
    "name", ["../v.mp4", "/media/v.mp4", "sources/v.mp4", "media/../commits/1.json", "file:///v.mp4"]
)
def test_only_media_is_read(name: str, bucket: Bucket, cache: MediaCache) -> None:
    media = media_store(Dataset(bucket.uri), str(cache.folder), cache.max_bytes)
    with pytest.raises(FileNotFoundError):
        media.open(name)
    assert not [path for _, path, _ in bucket.answers() if path.endswith("v.mp4")]


def test_says_what_is_not_there(bucket: Bucket, cache: MediaCache) -> None:
    with pytest.raises(FileNotFoundError):
        CachedFile(cache, Dataset(bucket.uri), "nothing")


def test_frames_are_the_same_and_only_their_blocks_come(bucket: Bucket, cache: MediaCache, tmp_path: Path) -> None:
    local = tmp_path / "v.mp4"
    picture = ["-f", "lavfi", "-i", "mandelbrot=s=640x360:r=12", "-t", "60", "-pix_fmt", "yuv420p"]
    codec = ["-preset", "ultrafast", "-crf", "10", "-g", "12", "-bf", "0", "-movflags", "+faststart"]
    subprocess.run(["ffmpeg", "-v", "error", "-nostdin", *picture, *codec, local], check=True, timeout=600)
    size = local.stat().st_size
    assert size > 12 * BLOCK_BYTES
    bucket.put("media/v.mp4", local)
    times = sample_times(30.0, 33.0, 8)
    media = media_store(Dataset(bucket.uri), str(cache.folder), cache.max_bytes)
    for _ in range(2):
        found = read_frames(media.open("media/v.mp4"), times)  # type: ignore[arg-type]
        expected = read_frames(local, times)
        assert found.times == expected.times
        assert found.pixels.equal(expected.pixels)
    assert 0 < bucket.given()["media/v.mp4"] < size / 2


def test_media_on_this_machine_is_read_where_it_is(tmp_path: Path) -> None:
    path = tmp_path / "media" / "ab" / "v.mp4"
    path.parent.mkdir(parents=True)
    path.touch()
    media = media_store(Dataset(str(tmp_path)), None, 1)
    assert media.open("media/ab/v.mp4") == path


def test_a_file_is_compared_with_its_digest_once_it_is_here_as_a_whole(bucket: Bucket, cache: MediaCache) -> None:
    data = put_noise(bucket, "a", 2 * BLOCK_BYTES + 17)
    dataset, right = Dataset(bucket.uri), hashlib.blake2b(data, digest_size=16).digest()
    CachedFile(cache, dataset, "a", bytes(16)).read(9)  # nothing is known of the rest
    assert CachedFile(cache, dataset, "a", bytes(16)).read() == data  # when it was opened, the rest was not here
    for _ in range(2):
        with pytest.raises(OSError, match=r"^it is not as it was stored: `vidla verify` finds"):
            CachedFile(cache, dataset, "a", bytes(16))
        assert CachedFile(cache, dataset, "a", right).read() == data
    (block,) = cache.folder.glob("*/*-1")
    block.write_bytes(bytes(BLOCK_BYTES))
    CachedFile(cache, dataset, "a", right)  # once is enough


# --- the bound ------------------------------------------------------------------------------------------------------


def test_keeps_what_was_used_last(bucket: Bucket, cache: MediaCache) -> None:
    for name in "abcdef":
        put_noise(bucket, name, BLOCK_BYTES - 100)
        CachedFile(cache, Dataset(bucket.uri), name)
        CachedFile(cache, Dataset(bucket.uri), "a")  # used again and again
        assert bytes_in(cache.folder) <= LIMIT + BOOKKEEPING
    before = bucket.given()
    for name in "af":
        CachedFile(cache, Dataset(bucket.uri), name)
    assert bucket.given() == before
    CachedFile(cache, Dataset(bucket.uri), "b")
    assert set(bucket.given() - before) == {"b"}


def test_a_block_larger_than_the_cache_is_not_kept(bucket: Bucket, tmp_path: Path) -> None:
    data = put_noise(bucket, "a", BLOCK_BYTES // 2)
    (tmp_path / "tiny").mkdir()
    assert CachedFile(MediaCache(tmp_path / "tiny", 1000), Dataset(bucket.uri), "a").read() == data
    assert bytes_in(tmp_path / "tiny") <= BOOKKEEPING


READER = """
import sys
from pathlib import Path
from random import Random
from curation.dataset.dataset import Dataset
from model.data.media_cache import CachedFile, MediaCache

uri, folder, limit, seed, reads = sys.argv[1], Path(sys.argv[2]), *map(int, sys.argv[3:])
random, dataset = Random(seed), Dataset(uri)
print("ready", flush=True)
for _ in range(reads):
    name = random.choice("abcdefgh")
    data = CachedFile(MediaCache(folder, limit), dataset, name).read()
    assert data == Random(name).randbytes(len(data)) and len(data) > 2**20
"""


def start_reader(bucket: Bucket, cache: MediaCache, seed: int, reads: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", READER, bucket.uri, str(cache.folder), str(cache.max_bytes), str(seed), str(reads)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def fill(bucket: Bucket) -> None:
    for name in "abcdefgh":
        put_noise(bucket, name, BLOCK_BYTES + 50_000)


@pytest.mark.slow
def test_many_processes_keep_within_the_bound(bucket: Bucket, cache: MediaCache) -> None:
    fill(bucket)
    readers = [start_reader(bucket, cache, seed, 150) for seed in range(3)]
    most, deadline = 0, time.monotonic() + 600
    while any(reader.poll() is None for reader in readers) and time.monotonic() < deadline:
        most = max(most, bytes_in(cache.folder))
        time.sleep(0.01)
    assert [reader.wait(5) for reader in readers] == [0, 0, 0]
    # A block that is renamed while the sizes are added up may be counted twice.
    assert 0.5 * LIMIT < most <= LIMIT + BLOCK_BYTES + BOOKKEEPING
    assert bytes_in(cache.folder) <= LIMIT + BOOKKEEPING


@pytest.mark.slow
def test_a_process_that_is_killed_leaves_the_cache_whole(bucket: Bucket, cache: MediaCache) -> None:
    fill(bucket)
    for seed in range(8):
        reader = start_reader(bucket, cache, seed, 10**9)
        assert reader.stdout and reader.stdout.readline() == "ready\n"
        time.sleep(0.1 + 0.05 * seed)
        reader.send_signal(signal.SIGKILL)
        reader.wait(5)
        assert bytes_in(cache.folder) <= LIMIT + BLOCK_BYTES + BOOKKEEPING  # a half-written block is overwritten later
    for name in "abcdefgh":
        assert CachedFile(cache, Dataset(bucket.uri), name).read() == noise(name, BLOCK_BYTES + 50_000)
    (cache.folder / "used").write_text("nonsense")
    for name in "hgfedcba":
        assert CachedFile(cache, Dataset(bucket.uri), name).read() == noise(name, BLOCK_BYTES + 50_000)
    assert bytes_in(cache.folder) <= LIMIT + BOOKKEEPING


def test_says_when_its_disk_is_full(bucket: Bucket, small_disk: Path) -> None:
    for name in "abcd":
        put_noise(bucket, name, BLOCK_BYTES - 10)
    cache = MediaCache(small_disk, LIMIT)
    with pytest.raises(DatasetError, match=r"the cache in .*data.cache_bytes.*full") as raised:
        for name in "abcd":
            CachedFile(cache, Dataset(bucket.uri), name)
    assert "\n" not in str(raised.value)


def test_the_bytes_of_a_stored_video(bucket: Bucket, cache: MediaCache) -> None:
    bucket.put("v.mp4", stored_media())
    assert CachedFile(cache, Dataset(bucket.uri), "v.mp4").read() == stored_media()
