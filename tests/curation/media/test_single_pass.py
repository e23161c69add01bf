"""The single pass on sound files: what it finds is exact, what it stores is exact, and so is what is cut from it."""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from curation import guard
from curation.media.shots import shot_detector
from curation.media.single_pass import PassResult, cut, decode_once
from curation.rejects import Kind, Rejected
from curation.settings import Settings
from tests.curation.guard.test_guard import descendants, wait_until
from tests.support import media_files as files

FAST = Settings.model_validate({"media": {"preset": "ultrafast"}})


def passed(
    source: Path, folder: Path, boundaries: tuple[float, ...] = (), settings: Settings = FAST, **range_: Any
) -> PassResult:
    spool = folder / "spool"
    spool.mkdir(exist_ok=True)
    start, end = range_.get("start"), range_.get("end")
    return decode_once(source, boundaries, start, end, settings, folder / "stored.mp4", spool)


def with_shots(**shots: Any) -> Settings:
    return FAST.model_copy(update={"shots": FAST.shots.model_copy(update=shots)})


def pictures(path: Path, **size: Any) -> Iterator[tuple[float, np.ndarray]]:
    """(seconds, RGB) of every frame."""
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            yield frame.time, frame.to_ndarray(format="rgb24", **size)


def times_of(path: Path) -> list[float]:
    with av.open(str(path)) as container:
        return [float(p.pts * p.time_base) for p in container.demux(video=0) if p.pts is not None]


def sound_of(path: Path) -> np.ndarray:
    """All of its sound, one channel, float32 [samples]."""
    with av.open(str(path)) as container:
        return np.concatenate([frame.to_ndarray().mean(0) for frame in container.decode(audio=0)])


def lag(reference: np.ndarray, sound: np.ndarray, at: int, reach: int = 2400) -> int:
    """Samples by which `sound` comes after `reference[at:]`, the best match within `reach`."""
    low = max(0, at - reach)
    window = reference[low : at + len(sound) + reach]
    size = len(window) + len(sound)
    match = np.fft.irfft(np.fft.rfft(window, size) * np.conj(np.fft.rfft(sound, size)), size)
    energy = np.concatenate([[0], np.cumsum(window.astype(np.float64) ** 2)])
    norm = np.sqrt(energy[len(sound) :] - energy[: -len(sound)] + 1e-9)
    return at - low - int(np.argmax(match[: len(norm)] / norm))


def key_frames(path: Path) -> list[float]:
    with av.open(str(path)) as container:
        return [float(p.pts * p.time_base) for p in container.demux(video=0) if p.is_keyframe]


# --- on real footage ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sample() -> Path:
    folder = os.environ.get("VIDLA_SAMPLE_MEDIA")
    if not folder:
        pytest.skip("VIDLA_SAMPLE_MEDIA names no folder with sample.mp4 and truth.json")
    return Path(folder)


@pytest.fixture(scope="module")
def stored_sample(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[PassResult, Path]:
    folder = tmp_path_factory.mktemp("sample")
    truth = json.loads((sample / "truth.json").read_text())
    ends = tuple(cue["end"] for cue in truth.get("cues", []))
    return passed(sample / "sample.mp4", folder, ends, Settings()), folder / "stored.mp4"


@pytest.mark.slow
def test_the_boundaries_of_shots_are_found(sample: Path, stored_sample: tuple[PassResult, Path]) -> None:
    """Every cut at its frame, or as part of the fade that it lies in; every dissolve; and 3 of 26 are false at most."""
    truth = json.loads((sample / "truth.json").read_text())
    found, stored = stored_sample
    spans = [(a.end - 1e-6, b.start + 1e-6, b.kind) for a, b in itertools.pairwise(found.shots)]
    true = [(shot["start"], shot["start"] + shot["dissolve"]) for shot in truth["shots"][1:]]
    seen = [
        {kind for begin, end, kind in spans if begin <= last / truth["fps"] and first / truth["fps"] <= end}
        for first, last in ((a, b) if a == b else ((a + b) // 2, (a + b) // 2) for a, b in true)
    ]
    assert all(seen) and all("dissolve" in kinds for kinds, (a, b) in zip(seen, true, strict=True) if a < b)
    assert sum("cut" in kinds for kinds in seen) >= 18 and len(spans) <= len(true) + 3
    assert all(shot.kind and 0.5 <= (shot.score or 0) <= 1 for shot in found.shots[1:])
    assert found.shots[0].kind is None and found.shots[0].score is None
    cuts = [shot.start for shot in found.shots[1:] if shot.kind == "cut"]
    assert {*found.boundaries[:-1], *cuts} <= set(key_frames(stored)) and {*cuts} <= {*found.boundaries}
    assert found.frame_count == truth["frames"] and found.duration == pytest.approx(truth["duration"])


@pytest.mark.slow
def test_content_finds_every_hard_cut_of_the_sample_at_its_frame_and_none_false(sample: Path) -> None:
    truth = json.loads((sample / "truth.json").read_text())
    settings = Settings().shots.model_copy(update={"detector": "content"})
    detector = shot_detector(settings, Fraction(1, truth["fps"]), Fraction(truth["fps"]))
    for i, (_, picture) in enumerate(pictures(sample / "sample.mp4", width=256, height=144)):
        detector.feed(i, picture[:, :, ::-1])
    assert [b.start for b in detector.boundaries] == [s["cut"] for s in truth["shots"][1:] if not s["dissolve"]]


@pytest.mark.slow
def test_clips_of_three_scales_are_exact(sample: Path, stored_sample: tuple[PassResult, Path], tmp_path: Path) -> None:
    found, stored = stored_sample
    media = FAST.media
    wished = [(t, t + length) for length in (13, 30, 60) for t in range(0, 110, length)]
    near = lambda t: min(found.boundaries, key=lambda b: abs(b - t))  # noqa: E731
    clips = [(near(a), near(b)) for a, b in wished]
    sound, size = sound_of(sample / "sample.mp4"), {"width": 640, "height": 360, "interpolation": "BILINEAR"}
    ends = {i for clip in clips for i in (round(clip[0] * 25), round(clip[1] * 25) - 1)}
    shown_there = enumerate(pictures(sample / "sample.mp4", **size))
    source = {i: picture for i, (_, picture) in shown_there if not ends.isdisjoint(range(i - 2, i + 3))}
    for start, end in clips:
        path = tmp_path / "clip.mp4"
        cut(stored, start, end, path, media)
        first, last = round(start * 25), round(end * 25) - 1
        shown = list(pictures(path))
        assert [time for time, _ in shown] == pytest.approx([i / 25 for i in range(last - first + 1)], abs=1e-6)
        assert nearest(shown[0][1], source, first) == first and nearest(shown[-1][1], source, last) == last
        heard = sound_of(path)
        assert abs(len(heard) - (end - start) * 48000) <= 1024
        assert abs(lag(sound, heard[:96000], round(start * 48000))) <= 48
        assert abs(lag(sound, heard[-97024:-1024], round(start * 48000) + len(heard) - 97024)) <= 48


def nearest(picture: np.ndarray, source: dict[int, np.ndarray], index: int) -> int:
    """Which of the frames around `index` is nearest to `picture` by PSNR; what shows the same picture counts as one."""
    around = [i for i in range(index - 2, index + 3) if i in source]
    psnr = {i: cv2.PSNR(picture, source[i]) for i in around if i == index or cv2.PSNR(source[i], source[index]) < 45}
    return max(psnr, key=lambda i: psnr[i])


# --- out of the ordinary --------------------------------------------------------------------------------------------


def test_variable_frame_rate_keeps_its_timestamps(tmp_path: Path) -> None:
    times = files.vfr_times()
    found = passed(files.timed(tmp_path / "vfr.mkv", times), tmp_path, (2.43, 4.0))
    assert times_of(tmp_path / "stored.mp4") == pytest.approx(times, abs=1e-9)
    assert found.duration == pytest.approx(4.84, abs=0.011) and found.frame_count == len(times)
    assert set(found.boundaries) >= {0.0, 2.4} and set(found.boundaries) <= {*times, found.duration}


@pytest.mark.parametrize(
    ("rate", "kept"),
    [("60", 2), ("60000/1001", 2), ("120", 4), ("50", None), ("48", None), ("30", 1), ("30000/1001", 1), ("25", 1)],
)
@pytest.mark.parametrize("container", ["mp4", "mkv"])  # whose times are rounded to milliseconds
def test_of_a_source_with_many_frames_thirty_a_second_are_stored(
    rate: str, kept: int | None, container: str, tmp_path: Path
) -> None:
    source = files.make(tmp_path / f"a.{container}", picture=f"testsrc2=size=192x108:rate={rate}:duration=2.1")
    found, times = passed(source, tmp_path, (1.0,)), sorted(times_of(source))
    stored = times_of(tmp_path / "stored.mp4")
    assert {round(time, 6) for time in stored} <= {round(time - times[0], 6) for time in times}
    assert max(sum(at <= time < at + 1 for time in stored) for at in stored) <= 31
    if kept is not None:
        assert stored == pytest.approx([time - times[0] for time in times[::kept]], abs=1e-6)
    last = 2 * times[-1] - times[-2] - times[0]
    assert found.duration == pytest.approx(last, abs=0.002) and found.frame_count == len(stored)


@pytest.mark.parametrize("clockwise", [90, 180, 270])
def test_rotated_video_is_stored_upright(tmp_path: Path, clockwise: int) -> None:
    source = files.rotated(tmp_path, clockwise)
    found = passed(source, tmp_path)
    size = (160, 120) if clockwise == 180 else (120, 160)
    assert (found.source_width, found.source_height) == size == (found.width, found.height)
    files.ffmpeg("-i", source, "-frames:v", "1", tmp_path / "upright.png")  # ffmpeg turns it as players do
    upright = cv2.cvtColor(cv2.imread(str(tmp_path / "upright.png")), cv2.COLOR_BGR2RGB)
    shown = dict(pictures(tmp_path / "stored.mp4"))
    assert cv2.PSNR(shown[0.0], upright) > 20
    jpeg = cv2.cvtColor(cv2.imread(found.candidates[0].path), cv2.COLOR_BGR2RGB)
    assert jpeg.shape == upright.shape and cv2.PSNR(jpeg, shown[found.candidates[0].time]) > 20


def test_pixels_become_square(tmp_path: Path) -> None:
    found = passed(files.make(tmp_path / "a.mp4", "-vf", "setsar=2"), tmp_path)
    assert (found.source_width, found.source_height, found.width, found.height) == (320, 120, 320, 120)
    with av.open(str(tmp_path / "stored.mp4")) as stored:
        assert stored.streams.video[0].sample_aspect_ratio in (None, 1)


def test_large_video_is_stored_at_360_lines_and_captioned_at_512(tmp_path: Path) -> None:
    found = passed(files.make(tmp_path / "a.mp4", picture="testsrc2=size=1280x720:rate=25:duration=1"), tmp_path)
    assert (found.width, found.height) == (640, 360)
    assert cv2.imread(found.candidates[0].path).shape == (288, 512, 3)


def test_interlaced_video_is_deinterlaced(tmp_path: Path) -> None:
    """Two fields of a moving picture: woven together they comb, that is, neighbouring lines differ."""
    moving = "testsrc2=size=160x120:rate=50:duration=2"
    source = files.make(tmp_path / "a.mp4", "-vf", "tinterlace=4", "-flags", "+ildct+ilme", picture=moving, sound=None)
    found = passed(source, tmp_path)
    assert found.frame_count == len(times_of(source))
    combed = [combing(picture) for _, picture in pictures(source)]
    stored = [combing(picture) for _, picture in pictures(tmp_path / "stored.mp4")]
    assert np.mean(stored) < 0.6 * np.mean(combed)


def combing(picture: np.ndarray) -> float:
    lines = picture.astype(np.int32)
    return float(np.abs(2 * lines[1:-1] - lines[:-2] - lines[2:]).mean())


def test_ten_bits_and_odd_sizes_keep_their_picture(tmp_path: Path) -> None:
    for name, pixels in (("ten.mp4", "yuv420p10le"), ("odd.mp4", "yuv444p")):
        picture = "testsrc2=size=161x121:rate=25:duration=1" if name == "odd.mp4" else files.PICTURE
        source = files.make(tmp_path / name, "-pix_fmt", pixels, picture=picture)
        found = passed(source, tmp_path)
        assert (found.width, found.height) == (160, 120)
        small = {"width": 160, "height": 120}
        both = itertools.islice(zip(pictures(source, **small), pictures(tmp_path / "stored.mp4"), strict=False), 10)
        assert all(cv2.PSNR(a, b) > 24 for (_, a), (_, b) in both)


def test_cover_art_is_not_the_video(tmp_path: Path) -> None:
    found = passed(files.with_cover(tmp_path, files.plain(tmp_path), "video_cover.mp4"), tmp_path)
    assert (found.source_width, found.frame_count) == (160, files.SECONDS * files.RATE)


def test_no_sound_is_a_normal_case(tmp_path: Path) -> None:
    found = passed(files.make(tmp_path / "a.mp4", sound=None), tmp_path)
    assert not found.has_audio
    cut(tmp_path / "stored.mp4", 2.0, 4.0, tmp_path / "clip.mp4", FAST.media)
    assert len(times_of(tmp_path / "clip.mp4")) == 50


def test_sound_ends_with_the_picture(tmp_path: Path) -> None:
    for sound in ("sine=sample_rate=48000:duration=20", "sine=sample_rate=48000:duration=1"):
        passed(files.make(tmp_path / "a.mkv", sound=sound), tmp_path)
        assert abs(len(sound_of(tmp_path / "stored.mp4")) - files.SECONDS * 48000) <= 1024


@pytest.mark.parametrize("arguments", [("-af", "adelay=1337"), ("-output_ts_offset", "36000"), ("-ar", "22050")])
def test_sound_stays_in_step(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """A click every second, whenever the clock starts and at whatever rate."""
    clicks = "aevalsrc='if(lt(mod(t,1),0.002),0.9,0)':s=48000:d=4"
    source = files.make(tmp_path / "a.mkv", *arguments, "-c:a", "flac", sound=clicks)
    passed(source, tmp_path)
    rate = 22050 if "22050" in arguments else 48000
    assert abs(lag(sound_of(tmp_path / "stored.mp4"), sound_of(source)[: 3 * rate], 0)) <= rate / 1000


def test_a_jump_between_timestamps_is_closed(tmp_path: Path) -> None:
    times = [i / 25 for i in range(50)]
    found = passed(files.timed(tmp_path / "a.mkv", times + [36000 + t for t in times]), tmp_path)
    assert found.damage and "jump" in found.damage
    assert times_of(tmp_path / "stored.mp4") == pytest.approx([i / 25 for i in range(100)], abs=1e-9)


def test_sound_follows_the_picture_over_a_jump(tmp_path: Path) -> None:
    parts = [files.make(tmp_path / f"{i}.ts", "-output_ts_offset", str(offset)) for i, offset in enumerate((0, 3600))]
    found = passed(files.joined(tmp_path, "both.ts", *parts), tmp_path)
    assert found.damage and found.duration == pytest.approx(8, abs=0.1)
    sound = sound_of(tmp_path / "stored.mp4")
    assert np.mean(np.abs(sound) < 1e-3) < 0.1  # no silence where the jump was


def test_a_range_is_stored_alone(tmp_path: Path) -> None:
    source = files.plain(tmp_path)
    found = passed(source, tmp_path, (2.2,), start=1.0, end=3.0)
    assert (found.duration, found.frame_count) == (2.0, 50) and 1.2 in found.boundaries
    expected = dict(enumerate(picture for _, picture in pictures(source)))
    _, first = next(pictures(tmp_path / "stored.mp4"))
    assert nearest(first, expected, 25) == 25
    assert abs(len(sound_of(tmp_path / "stored.mp4")) - 2 * 48000) <= 1024


def test_a_range_behind_the_end_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(Rejected) as caught:
        passed(files.plain(tmp_path), tmp_path, start=60.0)
    assert caught.value.kind is Kind.TOO_SHORT


def test_the_same_source_and_settings_give_the_same_bytes(tmp_path: Path) -> None:
    source = files.plain(tmp_path)
    stored = []
    for threads in (1, 2):
        settings = FAST.model_copy(update={"media": FAST.media.model_copy(update={"codec_threads": threads})})
        passed(source, tmp_path, (1.5,), settings)
        stored.append((tmp_path / "stored.mp4").read_bytes())
    assert stored[0] == stored[1]


def test_key_frames_lie_where_clips_may_begin(tmp_path: Path) -> None:
    cutting = "testsrc2=size=160x120:rate=25:duration=2[a];color=white:size=160x120:rate=25:duration=2[b];[a][b]concat"
    found = passed(files.make(tmp_path / "a.mp4", picture=cutting), tmp_path, (0.61, 0.649, 3.11, 99.0))
    keys = key_frames(tmp_path / "stored.mp4")
    assert found.boundaries == pytest.approx((0.0, 0.6, 0.64, 2.0, 3.12, 4.0), abs=1e-9)
    assert set(found.boundaries[:-1]) <= set(keys)
    assert max(b - a for a, b in itertools.pairwise([*keys, 4.0])) <= 12 / 25 + 1e-9


def test_the_adaptive_detector_is_late_and_still_exact(tmp_path: Path) -> None:
    settings = with_shots(detector="adaptive")
    cutting = (
        "color=red:size=160x120:rate=25:duration=1.4[a];color=white:size=160x120:rate=25:duration=2[b];[a][b]concat"
    )
    found = passed(files.make(tmp_path / "a.mp4", picture=cutting), tmp_path, (), settings)
    assert [shot.start for shot in found.shots] == pytest.approx([0, 1.4])
    assert 1.4 in [pytest.approx(key) for key in key_frames(tmp_path / "stored.mp4")]


def test_candidates_are_in_every_bucket_and_of_the_sharpest(tmp_path: Path) -> None:
    blurred = "testsrc2=size=160x120:rate=25:duration=9,boxblur=enable='not(between(mod(t,3),1,1.2))'"
    found = passed(files.make(tmp_path / "a.mp4", picture=blurred), tmp_path)
    assert [int(c.time // 3) for c in found.candidates] == [0, 1, 2]
    assert all(1 <= c.time % 3 <= 1.25 for c in found.candidates)


# --- bounds ---------------------------------------------------------------------------------------------------------


@pytest.mark.hostile("media")
def test_a_pass_that_hangs_costs_that_video_alone(tmp_path: Path) -> None:
    source = files.make(tmp_path / "a.mp4", picture="testsrc2=size=1920x1080:rate=60:duration=4")
    quick = FAST.model_copy(update={"media": FAST.media.model_copy(update={"timeout_s": 0.2, "timeout_factor": 0.001})})
    with pytest.raises(Rejected) as caught:
        passed(source, tmp_path, (), quick)
    assert caught.value.kind is Kind.TIMEOUT and caught.value.retryable
    assert not (tmp_path / "stored.mp4").exists()
    assert passed(files.plain(tmp_path), tmp_path).frame_count == 100


@pytest.mark.hostile("media")
def test_a_crash_of_the_decoder_costs_that_video_alone(tmp_path: Path) -> None:
    source = files.make(tmp_path / "a.mp4", picture="testsrc2=size=1920x1080:rate=60:duration=4")
    guard.stop_all()  # no idle child is left to be taken for ours
    guard.resume()
    before = descendants(os.getpid())
    caught: list[BaseException] = []

    def work() -> None:
        try:
            passed(source, tmp_path)
        except Rejected as rejected:
            caught.append(rejected)

    thread = threading.Thread(target=work)
    thread.start()
    wait_until((tmp_path / "stored.mp4.part").exists)
    for pid in descendants(os.getpid()) - before:
        if "launcher.py" not in Path(f"/proc/{pid}/cmdline").read_text():
            os.kill(pid, signal.SIGSEGV)
    thread.join()
    assert [str(error) for error in caught] == [
        "crashed: curation.media.single_pass_child:single_pass: killed by SIGSEGV"
    ]
    assert not list(tmp_path.glob("stored.mp4*"))
    assert passed(files.plain(tmp_path), tmp_path).frame_count == 100


@pytest.mark.hostile("failures")
def test_a_full_disk_is_not_the_fault_of_the_media(tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    spool.mkdir()
    full = tmp_path / "stored.mp4"
    full.symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        decode_once(files.plain(tmp_path), (), None, None, FAST, full, spool)


def peak_bytes(argument: dict[str, Any]) -> dict[str, Any]:
    """In the child: one pass, and the most memory that the process ever had."""
    from curation.media.single_pass_child import single_pass

    decoded = single_pass(argument)
    status = Path("/proc/self/status").read_text()
    return {"peak": _peak(status), "frames": decoded.frame_count, "duration": decoded.duration}


def _peak(status: str) -> int:
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_memory_does_not_grow_with_length(tmp_path: Path) -> None:
    peaks = []
    for minutes in (2, 120):
        source = files.long_video(tmp_path / f"{minutes}.mp4", 60 * minutes)
        (tmp_path / str(minutes)).mkdir()
        argument = {
            "source": str(source),
            "boundaries": [7.0 * i for i in range(9 * minutes)],
            "start": None,
            "end": None,
            "settings": FAST.model_dump(mode="json"),
            "stored": str(tmp_path / "stored.mp4"),
            "spool": str(tmp_path / str(minutes)),
        }
        child = guard.Child()
        limits = guard.Limits(1500, 4 << 30, 64 << 20)
        answer = child.call(f"{__name__}:peak_bytes", argument, limits)
        child.close()
        code = "import sys; from curation.media.encode import main; main(*sys.argv[1:])"
        code += "; print(open('/proc/self/status').read())"
        stored = [str(tmp_path / "stored.mp4.part"), str(tmp_path / "stored.mp4"), str(answer["duration"])]
        finishing = _peak(guard.run([sys.executable, "-c", code, *stored], limits).decode())
        assert answer["frames"] == minutes * 60 * 25
        peaks.append(max(answer["peak"], finishing))
    assert peaks[1] <= 1.2 * peaks[0], f"{peaks[0] >> 20} MiB for 2 minutes, {peaks[1] >> 20} MiB for 2 hours"


def test_time_bases_are_kept_where_they_can_be() -> None:
    from curation.media.encode import stored_time_base

    assert stored_time_base(Fraction(1001, 30000)) == Fraction(1, 30000)
    assert stored_time_base(Fraction(1, 10**9)) == Fraction(1, 90000)
