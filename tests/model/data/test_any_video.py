"""Frames of foreign videos: the right ones, as the single pass shows them, from every container and codec."""

from __future__ import annotations

import functools
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import av
import pytest
import torch

from curation.errors import DatasetError
from curation.media import single_pass
from curation.settings import MediaSettings, Settings
from model.data.any_video import VideoFiles, measure, read_any_video
from model.data.any_video_child import Pictures, ReadTask, Unsure, decode_all, read_by, seek
from model.data.frame_reader import BrokenMedia, read_frames
from tests.support import colour_bars, numbered_videos
from tests.support.clock_files import jumping
from tests.support.media_files import cut_off, damaged, joined, long_video, make, noise
from tests.support.numbered_videos import FRAMES, KINDS, RATE, numbers

CHOSEN = [0, 3, 24, 25, 26, 49, 50, 61, 73, 74]  # around key frames, at both ends, and in between
SOUGHT = {kind for kind, (suffix, _) in KINDS.items() if suffix in ("mp4", "mov", "3gp", "mkv", "webm")} - {
    "VP8 in live WebM"  # which has no index
}
SIDE = 64


@functools.cache
def folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="numbered-"))


@functools.cache
def video(kind: str) -> Path:
    return numbered_videos.numbered(folder(), kind)


def begin(path: Path) -> float:
    """When the first frame is shown: sound may begin before it."""
    return read_any_video(path, [0.0], SIDE).times[0]


def middles(path: Path, chosen: list[int]) -> list[float]:
    """Times in the middles of frames."""
    late = begin(path)
    return [late + (number + 0.5) / RATE for number in chosen]


def by(how: Callable[..., object], path: Path, times: list[float], out: Path) -> tuple[Pictures, bytes]:
    task = ReadTask(path, tuple(times), SIDE, MediaSettings(), out)
    out.touch()
    return read_by(how, task), out.read_bytes()  # type: ignore[arg-type]


# --- containers and codecs ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_frames_are_the_right_ones(kind: str) -> None:
    path = video(kind)
    late = begin(path)
    assert 0 <= late < 0.1
    found = VideoFiles().read(str(path), middles(path, CHOSEN), SIDE)
    assert numbers(found.pixels) == CHOSEN
    assert found.times == pytest.approx([late + number / RATE for number in CHOSEN], abs=0.002)


@pytest.mark.parametrize("kind", KINDS)
def test_seeking_gives_what_decoding_all_gives_or_is_not_tried(kind: str, tmp_path: Path) -> None:
    path = video(kind)
    times = [number / RATE + shift for number in range(0, FRAMES, 4) for shift in (0.0, 0.001, 0.02, 0.039)]
    whole = by(decode_all, path, times, tmp_path / "all")
    if kind in SOUGHT:
        assert by(seek, path, times, tmp_path / "sought") == whole
    else:
        with pytest.raises(Unsure):
            by(seek, path, times, tmp_path / "sought")


@pytest.mark.parametrize("kind", KINDS)
def test_the_length_is_that_of_the_picture(kind: str) -> None:
    assert measure(video(kind)) == pytest.approx(begin(video(kind)) + FRAMES / RATE, abs=2.1 / RATE)


@pytest.mark.parametrize("clockwise", [90, 180, 270])
def test_frames_are_upright(clockwise: int, tmp_path: Path) -> None:
    path = numbered_videos.rotated(tmp_path, clockwise)
    found = read_any_video(path, middles(path, CHOSEN), SIDE)
    assert numbers(found.pixels) == CHOSEN
    assert found.pixels.shape[2:] == (numbered_videos.HEIGHT, numbered_videos.WIDTH)


@pytest.mark.parametrize(
    "kind", ["10-bit HEVC in mp4", "wide pixels in mp4", "MPEG-4 in avi", "interlaced MPEG-2 in vob"]
)
def test_frames_are_those_that_the_single_pass_stores(kind: str, tmp_path: Path) -> None:
    compare_with_stored(video(kind), tmp_path, [number / RATE + 0.5 / RATE for number in CHOSEN])


def test_hdr_becomes_sdr_as_in_the_single_pass(tmp_path: Path) -> None:
    code = colour_bars.Code("bt2020nc", 10)
    codes = [code.encode(tuple(map(colour_bars.pq, bar))) for bar in colour_bars.HDR_BARS]  # type: ignore[arg-type]
    x265 = "colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc:log-level=none:pools=none"
    path = colour_bars.encoded(tmp_path / "hdr.mp4", codes, code, "-c:v", "libx265", "-x265-params", x265)
    compare_with_stored(path, tmp_path, [0.0, 0.1, 0.7])


def compare_with_stored(path: Path, tmp_path: Path, times: list[float]) -> None:
    spool, stored = tmp_path / "spool", tmp_path / "stored.mp4"
    spool.mkdir()
    settings = Settings.model_validate({"media": {"preset": "ultrafast", "crf": 4}})
    made = single_pass.decode_once(path, (), None, None, settings, stored, spool)
    expected = read_frames(stored, times).pixels.float()
    found = read_any_video(path, [made.source_start + time for time in times], SIDE).pixels.float()
    assert found.shape == expected.shape
    assert float((found - expected).abs().mean()) < 4


# --- clocks ---------------------------------------------------------------------------------------------------------


def test_a_jump_of_the_clock_is_closed(tmp_path: Path) -> None:
    part = video("H.264 in ts")
    twice = joined(tmp_path, "twice.ts", part, part)
    assert measure(twice) == pytest.approx(2 * FRAMES / RATE, abs=0.1)
    chosen = [*CHOSEN, *(FRAMES + number for number in CHOSEN)]
    assert numbers(read_any_video(twice, middles(twice, chosen), SIDE).pixels) == CHOSEN * 2
    jump = jumping(video("VP9 in WebM"), tmp_path / "jump.webm", at=1.005, by=500.0)
    with pytest.raises(Unsure):
        by(seek, jump, [2.0], tmp_path / "sought")
    assert numbers(read_any_video(jump, middles(jump, CHOSEN), SIDE).pixels) == CHOSEN


def test_times_outside_are_those_of_the_first_and_the_last_frame() -> None:
    for kind in ("H.264 in mp4", "H.264 in ts"):
        assert numbers(read_any_video(video(kind), [-1.0, 0.0, 3.2, 99.0], SIDE).pixels) == [0, 0, 74, 74]


# --- what is decoded ------------------------------------------------------------------------------------------------


def test_decodes_only_the_groups_of_pictures_that_are_needed(tmp_path: Path) -> None:
    path = video("H.264 in mp4")
    with av.open(str(path)) as container:
        packets = [p for p in container.demux(video=0) if p.pts is not None]
    data = bytearray(path.read_bytes())
    for packet in packets[27:49]:  # of the second group, without its key frame
        data[packet.pos : packet.pos + packet.size] = bytes(packet.size)
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(data)
    chosen = [3, 20, 55, 60]
    assert torch.equal(
        read_any_video(broken, middles(path, chosen), SIDE).pixels,
        read_any_video(path, middles(path, chosen), SIDE).pixels,
    )
    with pytest.raises(BrokenMedia, match="of its frames are damaged"):
        read_any_video(broken, middles(path, [20, 40]), SIDE)


def test_damage_on_the_way_is_judged_as_in_the_single_pass(tmp_path: Path) -> None:
    hurt = damaged(video("H.264 in mkv"), 0.0005)
    with pytest.raises(Unsure):
        by(seek, hurt, [number / RATE for number in range(FRAMES)], tmp_path / "sought")
    found = read_any_video(hurt, [0.5, 2.5], SIDE)
    assert found.pixels.shape[0] == 2


def test_frames_have_the_size_of_stored_media_or_that_of_the_model(tmp_path: Path) -> None:
    wide = make(tmp_path / "wide.mp4", picture="testsrc2=size=1280x720:rate=5:duration=1", sound=None)
    assert read_any_video(wide, [0.5], 224).pixels.shape == (1, 3, 360, 640)
    assert read_any_video(wide, [0.5], 448).pixels.shape == (1, 3, 448, 796)
    tall = make(tmp_path / "tall.mp4", picture="testsrc2=size=360x640:rate=5:duration=1", sound=None)
    assert read_any_video(tall, [0.5], 224).pixels.shape == (1, 3, 398, 224)
    assert read_any_video(tall, [0.5], 999).pixels.shape == (1, 3, 640, 360)


def test_memory_does_not_grow_with_the_video(tmp_path: Path) -> None:
    script = """
import sys
from pathlib import Path
from curation.settings import MediaSettings
from model.data.any_video_child import ReadTask, decode_all, read_by
from tests.support.memory import peak_bytes
end, out = float(sys.argv[2]), Path(sys.argv[1] + ".rgb")
out.touch()
read_by(decode_all, ReadTask(Path(sys.argv[1]), (0.1, end / 2, end - 0.1), 64, MediaSettings(), out))
print(peak_bytes())
"""
    peaks = []
    for seconds in (30, 150):
        path = long_video(tmp_path / f"{seconds}.mp4", seconds)
        command = [sys.executable, "-c", script, str(path), str(seconds)]
        peaks.append(int(subprocess.run(command, check=True, capture_output=True, timeout=360).stdout))
    assert peaks[1] - peaks[0] < 6 << 20  # 120 s of such frames are 260 MB


# --- what cannot be read --------------------------------------------------------------------------------------------


@pytest.mark.hostile("media")
def test_says_in_one_line_why_it_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "empty.mkv").write_bytes(b"")
    (tmp_path / "page.webm").write_text("<!doctype html><p>Not found")
    noise(tmp_path / "noise.flv")
    cut = cut_off(video("H.264 in flv"), 0.5)
    for path, reason in (
        (tmp_path / "none.mp4", "no such file"),
        (tmp_path, "it is not a regular file"),
        (tmp_path / "empty.mkv", "the file is empty"),
        (tmp_path / "page.webm", "it is a web page"),
        (tmp_path / "noise.flv", "not"),
    ):
        for read in (lambda path: read_any_video(path, [0.5], SIDE), measure):
            with pytest.raises(BrokenMedia, match=reason) as raised:
                read(path)
            assert "\n" not in str(raised.value)
    with pytest.raises(BrokenMedia, match="of the video that its header states is missing"):
        read_any_video(cut, [0.5, 2.9], SIDE)
    with pytest.raises(BrokenMedia, match="for this reason"):
        VideoFiles({"a.mp4": "for this reason"}).read("a.mp4", [0.5], SIDE)


def test_a_full_disk_of_our_own_is_no_fault_of_a_video(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = video("H.264 in mp4")
    (small_disk / "full").write_bytes(bytes(3 * 2**20 - 4096))
    monkeypatch.setattr(tempfile, "tempdir", str(small_disk))
    with pytest.raises(DatasetError, match=rf"with the help of {small_disk} \(TMPDIR .*: No space left") as raised:
        read_any_video(path, [0.5, 1.0, 1.5], 224)
    assert "\n" not in str(raised.value)


def test_a_folder_for_temporary_files_that_is_gone_is_no_fault_of_a_video(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = video("H.264 in mp4")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(DatasetError, match=r"with the help of .*/gone .*: No such file or directory"):
        read_any_video(path, [0.5], 224)
