"""Files with odd clocks: what is stored lasts as long as it should, and flashes whenever it beeps.

The picture of every file flashes when its sound beeps (tests/support/clock_files.py). Both are measured in the stored
media, and compared with where they are in the source.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import av
import pytest

from curation.media import encode, single_pass_child
from curation.media.clocks import FileClock
from curation.media.single_pass import PassResult, PassTask
from curation.rejects import Kind, Rejected
from curation.settings import Settings
from tests.support import clock_files as clocks
from tests.support.clock_files import AAC, AVI, MP4, WEBM, X264, X264_B, signal, signals, still
from tests.support.media_files import cut_off, ffmpeg

SETTINGS = Settings.model_validate({"media": {"preset": "ultrafast"}})
_TOLERANCE_S = 0.11  # a frame of 10 a second; encoders of sound add up to 70 ms where a container states no delay


def passed(
    source: Path, marks: tuple[float, ...] = (), start: float | None = None, end: float | None = None
) -> PassResult:
    """The single pass over `source`, in this process; stored in stored.mp4 beside it."""
    stored = source.with_name("stored.mp4")
    task = PassTask(source, marks, start, end, SETTINGS, stored, source.parent)
    result = single_pass_child.single_pass(task.__dict__)
    encode.main(str(task.pieces), str(stored), str(result.duration))
    return result


@dataclass(frozen=True)
class Case:
    """A file, and what is right: its duration, its flashes and beeps (None: as the flashes), and whether it jumps."""

    make: Callable[[Path], Path]
    duration: float
    flashes: list[float]
    beeps: list[float] | None = None
    jumps: bool = False
    expensive: bool = field(default=False, kw_only=True)


AROUND_A_STILL = signals(8) + signals(40, 28)


def joined(path: Path, *parts: Path) -> Path:
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


def at(folder: Path, offset: float, seconds: float = 20) -> Path:
    """A transport stream whose clock begins at `offset`."""
    return signal(folder / f"at{offset:g}.ts", *MP4, "-output_ts_offset", f"{offset}", seconds=seconds)


def late(folder: Path, name: str, kind: str) -> Path:
    """The picture or the sound (`kind`: v or a) begins 3 s late."""
    base = signal(folder / "base.mp4")
    maps = ["-map", f"{int(kind == 'a')}:v", "-map", f"{int(kind == 'v')}:a"]
    ffmpeg("-itsoffset", "3", "-i", base, "-i", base, *maps, "-c", "copy", folder / name)
    return folder / name


def copied(folder: Path, name: str, *arguments: str, source: Path | None = None) -> Path:
    ffmpeg(*arguments[:2], "-i", source or signal(folder / "base.mp4"), "-c", "copy", *arguments[2:], folder / name)
    return folder / name


def avi_with_b_frames(folder: Path) -> Path:
    base = signal(folder / "base.mkv", *X264_B, "-c:a", "pcm_s16le", rate=25)
    return copied(folder, "a.avi", "-fflags", "+genpts", "-bsf:v", "h264_mp4toannexb", source=base)


def twice_a_second(name: str, *codecs: str) -> Callable[[Path], Path]:
    """Half of it has 2 frames a second, the rest 10."""
    rates = ["-vf", "select='if(lt(t,10),not(mod(n,5)),1)'", "-vsync", "vfr"]
    return lambda d: signal(d / name, *rates, *codecs)


def stills(suffix: str, *codecs: str, expensive: bool = True) -> Case:
    return Case(lambda d: still(d / f"a.{suffix}", *codecs), 40, AROUND_A_STILL, signals(40), expensive=expensive)


def old(suffix: str, *codecs: str, rate: int = 25) -> Case:
    return Case(lambda d: signal(d / f"a.{suffix}", *codecs, rate=rate), 20, signals(20), expensive=True)


def with_late(name: str, kind: str, expensive: bool = True) -> Case:
    shift = -3 if kind == "v" else 3
    beeps = [t + shift for t in signals(20) if 0 <= t + shift < 20]
    return Case(lambda d: late(d, name, kind), 20, signals(20), beeps, expensive=expensive)


def joins(*offsets: float, seconds: float = 20, expensive: bool = True) -> Case:
    """Transport streams one after the other, whose clocks begin at `offsets`."""
    length = seconds * len(offsets)
    make = lambda d: joined(d / "a.ts", *(at(d, offset, seconds) for offset in offsets))  # noqa: E731
    return Case(make, length, signals(length), jumps=True, expensive=expensive)


def jump(suffix: str, expensive: bool = True) -> Case:
    make = lambda d: clocks.jumping(signal(d / "base.mp4"), d / f"a.{suffix}", 10, 60)  # noqa: E731
    return Case(make, 20, signals(20), jumps=True, expensive=expensive)


def subtitled(suffix: str, codec: str, *codecs: str, expensive: bool = True) -> Case:
    """Its last subtitle stays until 26 s."""
    make = lambda d: clocks.with_subtitle(signal(d / f"base.{suffix}", *codecs), d / f"a.{suffix}", 15, 26, codec)  # noqa: E731
    return Case(make, 20, signals(20), expensive=expensive)


def amr(folder: Path) -> Path:
    """H.263 and AMR, as in early telephones; PyAV has the encoder that ffmpeg lacks."""
    base = signal(folder / "base.3gp", "-vf", "scale=176:144", "-c:v", "h263", *AAC)
    with av.open(str(base)) as given, av.open(str(folder / "a.3gp"), "w") as out:
        picture, sound = given.streams.video[0], given.streams.audio[0]
        copy = out.add_stream_from_template(picture)
        coded = out.add_stream("libopencore_amrnb", rate=8000, layout="mono", bit_rate=12_200)
        resampler = av.AudioResampler("s16", "mono", 8000)
        for packet in given.demux(picture, sound):
            if packet.stream is sound:
                for frame in itertools.chain(*map(resampler.resample, packet.decode())):
                    out.mux(coded.encode(frame))
            elif packet.dts is not None:
                packet.stream = copy
                out.mux(packet)
        out.mux(coded.encode(None))
    return folder / "a.3gp"


CASES: dict[str, Case] = {
    "a still picture, webm": stills("webm", *WEBM, expensive=False),
    "a still picture, mkv": stills("mkv", *MP4),
    "a still picture, mkv with B frames": stills("mkv", *X264_B, *AAC),
    "a still picture, mkv with flac": stills("mkv", *X264, "-c:a", "flac"),
    "a still picture, flv": stills("flv", *MP4, "-ar", "44100"),
    "a still picture, ts": stills("ts", *MP4),
    "a still picture, mp4": stills("mp4", *MP4),
    "a still picture, avi": stills("avi", *AVI),
    "a still picture, wmv": stills("wmv", "-c:v", "wmv2", "-c:a", "wmav2"),
    "a still picture, ogv": stills("ogv", "-c:v", "libtheora", "-c:a", "libvorbis"),
    "a still picture without sound, mkv": Case(
        lambda d: still(d / "a.mkv", *X264, sound=False), 40, AROUND_A_STILL, []
    ),
    "two still pictures": Case(
        lambda d: still(d / "a.webm", *WEBM, gaps=((4, 17), (24, 40)), seconds=60),
        60,
        signals(4) + signals(24, 17) + signals(60, 40),
        signals(60),
        expensive=True,
    ),
    "a still picture at the start": Case(
        lambda d: still(d / "a.mkv", gaps=((0.1, 16),), seconds=30), 30, signals(30, 16), signals(30), expensive=True
    ),
    "a still picture at the end, after another": Case(
        lambda d: still(d / "a.webm", *WEBM, gaps=((4, 16), (24, 40))), 40, signals(4) + signals(24, 16), signals(40)
    ),
    "a still picture of minutes, with raw sound": Case(
        lambda d: still(
            d / "a.mkv", *X264, "-c:a", "pcm_s16le", "-ar", "48000", "-ac", "2", gaps=((8, 208),), seconds=220
        ),
        220,
        signals(8) + signals(220, 208),
        signals(220),
        expensive=True,
    ),
    "silence without packets, mkv": Case(
        lambda d: clocks.hushed(signal(d / "base.mkv", seconds=40), d / "a.mkv", 8, 28), 40, signals(40), AROUND_A_STILL
    ),
    "silence without packets, ts": Case(
        lambda d: clocks.hushed(signal(d / "base.ts", seconds=40), d / "a.ts", 8, 28),
        40,
        signals(40),
        AROUND_A_STILL,
        expensive=True,
    ),
    "silence without packets, mp4": Case(
        lambda d: clocks.hushed(signal(d / "base.mp4", seconds=40), d / "a.mp4", 8, 28),
        40,
        signals(40),
        AROUND_A_STILL,
        expensive=True,
    ),
    "a jump forward, ts": joins(0, 3600),
    "a jump back, ts": joins(3600, 0),
    "the same clock twice, ts": joins(0, 0, expensive=False),
    "three clocks, ts": joins(0, 500, 100, seconds=12),
    "the same clock twice, mpg": Case(
        lambda d: joined(d / "b.mpg", *[signal(d / "a.mpg", "-c:v", "mpeg2video", "-c:a", "mp2", rate=25)] * 2),
        40,
        signals(40),
        jumps=True,
        expensive=True,
    ),
    "a jump, mkv": jump("mkv", expensive=False),
    "a jump, mp4": jump("mp4"),
    "a jump, flv": jump("flv"),
    "a jump, asf": jump("asf"),
    "a jump without sound, ts": Case(
        lambda d: clocks.jumping(signal(d / "base.ts", *X264, sound=False), d / "a.ts", 10, 60),
        20,
        signals(20),
        [],
        jumps=True,
        expensive=True,
    ),
    "AVI with few frames a second": Case(twice_a_second("a.avi", *AVI), 20, signals(20), expensive=True),
    "AVI with H.264 with B frames": Case(avi_with_b_frames, 20, signals(20)),
    "AVI with MPEG-4 with B frames": old("avi", *AVI, "-bf", "2"),
    "AVI with empty chunks at the end": Case(
        lambda d: clocks.emptied(signal(d / "base.avi", *AVI), d / "a.avi", 50), 20, signals(15), signals(20)
    ),
    "an edit list that hides the end": Case(
        lambda d: clocks.shown_for(signal(d / "base.mp4"), d / "a.mp4", 8), 8, signals(8)
    ),
    "an edit list that hides the start": Case(
        lambda d: copied(d, "a.mp4", "-ss", "5"), 15, [t - 5 for t in signals(20, 5)]
    ),
    "an edit list that hides both, mov": Case(
        lambda d: copied(d, "a.mov", "-ss", "5", "-t", "7"), 7, [1.0, 5.0], expensive=True
    ),
    "subtitles that stay longer, mkv": subtitled("mkv", "srt", expensive=False),
    "subtitles that stay longer, mkv with ASS": subtitled("mkv", "ass"),
    "subtitles that stay longer, webm": subtitled("webm", "webvtt", *WEBM),
    "subtitles that stay longer, mp4": subtitled("mp4", "mov_text"),
    "a track of time codes": Case(
        lambda d: copied(d, "a.mov", "-fflags", "+genpts", "-timecode", "01:00:00:00"), 20, signals(20), expensive=True
    ),
    "the picture late, mp4": with_late("a.mp4", "v"),
    "the picture late, mkv": with_late("a.mkv", "v"),
    "the picture late, ts": with_late("a.ts", "v"),
    "the sound late, mp4": with_late("a.mp4", "a"),
    "the sound late, mkv": with_late("a.mkv", "a"),
    "the sound late, flv": with_late("a.flv", "a"),
    "Theora, whose repeated frames have no data": old("ogv", "-c:v", "libtheora", "-c:a", "libvorbis", rate=10),
    "motion JPEG": old("avi", "-c:v", "mjpeg", "-c:a", "pcm_u8", "-ar", "11025", rate=10),
    "QuickTime with motion JPEG": old("mov", "-c:v", "mjpeg", "-c:a", "pcm_s16be", rate=10),
    "MPEG-1": old("mpg", "-c:v", "mpeg1video", "-c:a", "mp2", "-ar", "44100"),
    "DVD": old("vob", "-r", "25", "-c:v", "mpeg2video", "-bf", "2", "-c:a", "ac3", "-ar", "48000", rate=10),
    "Windows Media": old("wmv", "-c:v", "wmv2", "-c:a", "wmav2"),
    "Flash": old("flv", "-c:v", "flv1", "-c:a", "libmp3lame", "-ar", "22050"),
    "RealVideo": old("rm", "-vf", "scale=176:144", "-c:v", "rv10", "-c:a", "ac3", "-ar", "44100"),
    "DV": old(
        "dv",
        "-vf",
        "scale=720:576",
        "-c:v",
        "dvvideo",
        "-pix_fmt",
        "yuv420p",
        "-c:a",
        "pcm_s16le",
        "-ar",
        "48000",
        "-ac",
        "2",
    ),
    "MXF": old("mxf", "-vf", "scale=176:144", "-c:v", "mpeg2video", "-c:a", "pcm_s16le", "-ar", "48000"),
    "3GP with AMR": Case(amr, 20, signals(20), expensive=True),
}


def _marked(name: str, *, long: bool) -> object:
    return pytest.param(name, marks=pytest.mark.long if long else ())


@pytest.mark.parametrize("name", [_marked(name, long=case.expensive) for name, case in CASES.items()])
def test_a_file_lasts_as_it_should_and_beeps_when_it_flashes(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    found, stored = passed(case.make(tmp_path)), tmp_path / "stored.mp4"
    assert found.duration == pytest.approx(case.duration, abs=0.25)
    assert clocks.flashes(stored) == pytest.approx(case.flashes, abs=_TOLERANCE_S)
    assert clocks.beeps(stored) == pytest.approx(case.flashes if case.beeps is None else case.beeps, abs=_TOLERANCE_S)
    assert (found.damage is not None and "jump" in found.damage) if case.jumps else found.damage is None, found.damage
    assert max(b - a for a, b in itertools.pairwise(found.boundaries)) <= SETTINGS.media.stride_s + 1


def test_clips_may_begin_while_the_picture_stands_still(tmp_path: Path) -> None:
    found = passed(still(tmp_path / "a.webm", *WEBM), (12.34, 19.99))
    assert {12.34, 19.99} <= {round(found.source_start + b, 2) for b in found.boundaries}
    assert [c.time for c in found.candidates if 9 < c.time < 27]  # frames to caption


def test_a_range_may_begin_and_end_while_the_picture_stands_still(tmp_path: Path) -> None:
    found = passed(still(tmp_path / "a.webm", *WEBM), start=11.5, end=25.2)
    assert found.duration == pytest.approx(13.7, abs=0.01)
    assert clocks.beeps(tmp_path / "stored.mp4") == pytest.approx([2.5, 6.5, 10.5], abs=_TOLERANCE_S)


def test_a_range_before_the_picture_begins_is_refused_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(Rejected, match=r"ends before the picture begins, 3\.\d+ s into the file"):
        passed(late(tmp_path, "a.mkv", "v"), start=0.5, end=2.5)
    with pytest.raises(Rejected, match="begins after the video's end"):
        passed(late(tmp_path, "a.mkv", "v"), start=100.0, end=120.0)


# --- files that are cut off -----------------------------------------------------------------------------------------

CUT: dict[str, Callable[[Path], Path]] = {
    "mp4": lambda d: signal(d / "a.mp4", *MP4, "-movflags", "+faststart"),
    "mkv": lambda d: signal(d / "a.mkv"),
    "webm": lambda d: signal(d / "a.webm", *WEBM),
    "avi": lambda d: signal(d / "a.avi", *AVI),
    "flv": lambda d: signal(d / "a.flv", *MP4, "-ar", "44100"),
    "wmv": lambda d: signal(d / "a.wmv", "-c:v", "wmv2", "-c:a", "wmav2"),
    "mkv with subtitles that stay longer": lambda d: clocks.with_subtitle(
        signal(d / "base.mp4"), d / "a.mkv", 10, 26, "srt"
    ),
    "avi with few frames a second": twice_a_second("a.avi", *AVI),
    "avi with B frames": avi_with_b_frames,
    "mkv with a still picture": lambda d: still(d / "a.mkv"),
    "mxf": lambda d: signal(d / "a.mxf", "-vf", "scale=176:144", "-c:v", "mpeg2video", "-an", rate=25),
    "dash": lambda d: signal(d / "a.mp4", *MP4, "-movflags", "+dash+frag_keyframe+global_sidx"),
}
_QUICK = ("mp4", "mkv", "avi", "mkv with subtitles that stay longer")


@pytest.mark.parametrize("name", [_marked(name, long=name not in _QUICK) for name in CUT])
def test_a_file_that_is_cut_off_is_truncated(name: str, tmp_path: Path) -> None:
    source = CUT[name](tmp_path)
    for share in (0.5, 0.8):
        with pytest.raises(Rejected) as caught:
            passed(cut_off(source, share))
        assert caught.value.kind is Kind.TRUNCATED


# --- the clock alone ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gap", [12.0, 60.0, 3000.0])
@pytest.mark.parametrize("lag", [0.0, 0.7, 3.0])  # seconds by which the sound is behind the picture in the file
@pytest.mark.parametrize("shared", [True, False])
def test_a_gap_is_a_jump_if_both_streams_have_it(gap: float, lag: float, shared: bool) -> None:
    pictures = [i / 10 for i in range(400)]
    sounds = [i / 5 for i in range(200 if shared else 200 + int(gap * 5))]
    packets = [(t if t < 20 or shared else t + gap, t + gap * (t >= 20), 0) for t in pictures]
    packets += [(t + lag, t + gap * (t >= 20 and shared), 1) for t in sounds]
    clock, mended = FileClock(max_gap=10.0, is_streamed=True), ([0.0], [0.0])
    for _, time, kind in sorted(packets):  # by their places in the file
        stream, duration = ((clock.picture, 0.1), (clock.sound, 0.2))[kind]
        mended[kind].append(time - clock.offset(stream, time, duration))
    assert bool(clock.jumps) == shared
    length = 40 if shared else 40 + gap
    assert mended[0][-1] == pytest.approx(length - 0.1) and mended[1][-1] == pytest.approx(length - 0.2)


@pytest.mark.parametrize(("start", "at"), [(None, 10.0), (4.0, 6.1), (12.0, 0.0)])
def test_a_jump_of_the_sources_clock_is_known(start: float | None, at: float, tmp_path: Path) -> None:
    source = clocks.jumping(signal(tmp_path / "base.mp4"), tmp_path / "a.ts", 10, 60)
    found = passed(source, start=start, end=18.0)
    assert [(jump.time, jump.seconds) for jump in found.source_jumps] == [
        (pytest.approx(at, abs=_TOLERANCE_S), pytest.approx(60, abs=_TOLERANCE_S))
    ]


def test_a_range_before_a_jump_has_none(tmp_path: Path) -> None:
    source = clocks.jumping(signal(tmp_path / "base.mp4"), tmp_path / "a.ts", 10, 60)
    assert not passed(source, end=9.0).source_jumps
