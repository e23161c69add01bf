"""Reading frames: the right ones, the same as torchcodec's, only from the needed part of the file, none damaged."""

from __future__ import annotations

import io
import subprocess
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from random import Random
from typing import Any, BinaryIO

import av
import numpy as np
import pytest

from curation.media import single_pass
from curation.media.encode import VideoTrack, open_stored
from curation.segments.tilings import tile
from curation.settings import MediaSettings, Settings
from model.data.frame_reader import (
    INSIDE_S,
    BrokenMedia,
    Frames,
    read_frames,
    sample_times,
)

RATE = 12


def read_with_torchcodec(media: Path | BinaryIO, times: list[float]) -> Frames:
    """By another library, to compare with."""
    decoders = pytest.importorskip("torchcodec.decoders")
    decoder = decoders.VideoDecoder(media, seek_mode="exact", dimension_order="NHWC", num_ffmpeg_threads=1)
    end = decoder.metadata.end_stream_seconds
    frames = decoder.get_frames_played_at([min(time, end - INSIDE_S) for time in times])
    return Frames(frames.data.permute(0, 3, 1, 2), frames.pts_seconds.tolist())


READERS: list[Callable[[Path | BinaryIO, list[float]], Frames]] = [read_frames, read_with_torchcodec]


def store(path: Path, ticks: list[int], time_base: Fraction, keys: frozenset[int] = frozenset(), **tags: int) -> Path:
    """A video as the single pass stores it, with a frame at each of `ticks`; its brightness encodes its number."""
    noise = np.random.default_rng(0)
    with open_stored(path) as out:
        track = VideoTrack(out, (96, 54), time_base, Fraction(RATE), MediaSettings(preset="ultrafast"))
        for number, tick in enumerate(ticks):
            pixels = np.full((54, 96, 3), 40 + number % 20 * 9, np.uint8)
            pixels[:16] = noise.integers(0, 256, (4, 24, 3), np.uint8).repeat(4, 0).repeat(4, 1)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuv420p")
            for name, value in tags.items():
                setattr(frame, name, value)
            track.write(frame, tick, number in keys)
        track.close(ticks[-1] + 1000)
    return path


def even(path: Path, seconds: int = 20) -> Path:
    return store(path, [i * 1000 for i in range(seconds * RATE)], Fraction(1, RATE * 1000), frozenset({100, 163}))


def uneven(path: Path) -> Path:
    steps = Random(0).choices([1500, 3000, 6000, 45_000], k=240)
    return store(path, [sum(steps[:i]) for i in range(240)], Fraction(1, 90_000), frozenset({100, 163}))


def every_frame(path: Path) -> tuple[list[float], list[np.ndarray]]:
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    return [float(f.pts * f.time_base) for f in frames], [f.to_ndarray(format="rgb24") for f in frames]


def expected(path: Path, times: list[float]) -> tuple[list[float], np.ndarray]:
    shown, pixels = every_frame(path)
    found = [max(i for i, begin in enumerate(shown) if begin <= time) for time in times]
    return [shown[i] for i in found], np.stack([pixels[i] for i in found])


def check(found: Frames | None, path: Path, times: list[float]) -> None:
    assert found is not None
    shown, pixels = expected(path, times)
    assert found.times == pytest.approx(shown, abs=1e-9)
    assert np.array_equal(found.pixels.permute(0, 2, 3, 1).numpy(), pixels)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("tags", [{}, {"colorspace": 1, "color_range": 1}, {"colorspace": 5, "color_range": 2}])
def test_every_frame_is_the_right_one(reader: Any, tags: dict[str, int], tmp_path: Path) -> None:
    path = store(tmp_path / "v.mp4", [i * 1001 for i in range(60)], Fraction(1, 12_012), **tags)
    starts, _ = every_frame(path)
    times = [start + part for start in starts for part in (INSIDE_S, 0.04, 0.08)]
    check(reader(path, times), path, times)


@pytest.mark.parametrize("make", [even, uneven])
def test_clips_of_any_range(make: Callable[[Path], Path], tmp_path: Path) -> None:
    path = make(tmp_path / "v.mp4")
    starts, _ = every_frame(path)
    random = Random(1)
    for _ in range(20):
        start, end = sorted(random.sample(starts, 2))
        times = sample_times(start, end, 12, random)
        found = read_frames(path, times)
        check(found, path, times)
        assert start <= min(found.times) and max(found.times) < end


def test_exact_ranges_of_what_the_single_pass_stores(videos: list[Path], tmp_path: Path) -> None:
    settings, spool = Settings(), tmp_path / "spool"
    spool.mkdir()
    stored = tmp_path / "stored.mp4"
    found = single_pass.decode_once(videos[1], (), None, None, settings, stored, spool)
    segments = tile("v", found.duration, found.boundaries, (), found.shots, settings.tilings)
    starts, _ = every_frame(stored)
    for segment in segments:
        inside = [start for start in starts if segment.start <= start < segment.end]
        assert inside[0] == pytest.approx(segment.start, abs=1e-9)
        times = [time + 0.001 for time in inside]
        check(read_with_torchcodec(stored, times), stored, times)
        check(read_frames(stored, times), stored, times)
    times = sample_times(segments[-1].start, segments[-1].end, 5)
    assert read_frames(stored, [*times, found.duration, found.duration + 9]).times[-2:] == [starts[-1]] * 2


def test_times_are_uniform_or_stratified() -> None:
    assert sample_times(10.0, 22.0, 4) == [11.5, 14.5, 17.5, 20.5]
    drawn = [sample_times(10.0, 22.0, 4, Random(seed)) for seed in range(500)]
    assert sample_times(10.0, 22.0, 4, Random(7)) == drawn[7]
    for part in range(4):
        times = [times[part] for times in drawn]
        assert 10 + 3 * part <= min(times) < 10.1 + 3 * part and 12.9 + 3 * part < max(times) < 13 + 3 * part


class Counted(io.FileIO):
    """A file that counts the bytes read from it."""

    taken = 0

    def readinto(self, buffer: Any) -> int:
        count = super().readinto(buffer) or 0
        self.taken += count
        return count

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(-1 if size is None else size) or b""
        self.taken += len(data)
        return data


def test_reads_only_what_is_needed(tmp_path: Path) -> None:
    path = even(tmp_path / "v.mp4", seconds=120)
    times = sample_times(60.0, 62.0, 12)
    with Counted(path) as file:
        check(read_frames(file, times), path, times)
        assert 0 < file.taken < 0.2 * path.stat().st_size  # the clip is 2%, the rest index and read-ahead


def test_decodes_only_the_groups_of_pictures_that_are_needed(tmp_path: Path) -> None:
    path = even(tmp_path / "v.mp4", seconds=60)
    with av.open(str(path)) as container:
        packets = [p for p in container.demux(video=0) if p.pts is not None]
    data = bytearray(path.read_bytes())
    key = max(i for i, p in enumerate(packets) if p.is_keyframe and p.pts * p.time_base <= 30)
    for packet in packets[key - 12 : key]:  # destroy the media right before the clip
        data[packet.pos : packet.pos + packet.size] = bytes(packet.size)
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(data)
    times = sample_times(float(packets[key].pts * packets[key].time_base), 40.0, 12)
    check(read_frames(broken, times), path, times)


def broken_files(folder: Path) -> dict[str, Path]:
    whole = even(folder / "whole.mp4").read_bytes()
    made = {"missing": folder / "missing.mp4", "folder": folder}
    files = {"empty": b"", "noise": Random(0).randbytes(9999), "page": b"<html>", "cut": whole[: len(whole) // 2]}
    for name, data in files.items():
        made[name] = folder / f"{name}.mp4"
        made[name].write_bytes(data)
    made["sound"] = folder / "sound.mp4"
    tone = ["-f", "lavfi", "-i", "sine=duration=3"]
    subprocess.run(["ffmpeg", "-v", "error", "-nostdin", *tone, made["sound"]], check=True, timeout=180)
    return made


@pytest.mark.hostile("media")
def test_says_in_one_line_what_is_broken(tmp_path: Path) -> None:
    for name, path in broken_files(tmp_path).items():
        with pytest.raises(BrokenMedia) as raised:
            read_frames(path, sample_times(12.0, 20.0, 12))
        assert "\n" not in str(raised.value), name


@pytest.mark.hostile("media")
def test_notices_damaged_frames_and_those_that_are_made_from_them(tmp_path: Path) -> None:
    path, broken = even(tmp_path / "v.mp4"), tmp_path / "broken.mp4"
    starts, _ = every_frame(path)
    with av.open(str(path)) as container:
        packets = [p for p in container.demux(video=0) if p.pts is not None]
    keys = [i for i, p in enumerate(packets) if p.is_keyframe]
    noticed = 0
    for seed in range(10):
        random = Random(seed)
        hit = random.randrange(keys[1], keys[-1])
        before = max(key for key in keys if key <= hit) - 1
        after = min(key for key in keys if key > hit)
        data, half = bytearray(path.read_bytes()), packets[hit].size // 2
        data[packets[hit].pos + half : packets[hit].pos + 2 * half] = random.randbytes(half)
        broken.write_bytes(data)
        intact = [starts[before], starts[after]]
        check(read_frames(broken, intact), path, intact)
        try:
            read_frames(broken, [starts[before], starts[after - 1]])
        except BrokenMedia as error:
            noticed += 1
            assert "\n" not in str(error)
    assert noticed >= 8
