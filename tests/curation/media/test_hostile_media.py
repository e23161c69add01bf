"""Media from strangers: every file ends as a pass, perhaps flagged for damage, or as a reject of its kind, in time."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from curation.media.single_pass import PassResult, decode_once, probe
from curation.rejects import Kind, Rejected
from curation.settings import Settings
from tests.support import media_files as files

SOUND = "sound"  # passes, no damage noted
FLAGGED = "flagged"  # passes, with a note on the damage
FAST = {"preset": "ultrafast", "timeout_s": 30.0, "memory_bytes": 1 << 30}
Maker = Callable[[Path], Path]


def at_10_hours(folder: Path) -> Path:
    return files.make(folder / "late.mkv", "-output_ts_offset", "36000")


def jump(folder: Path) -> Path:
    times = [i / 25 for i in range(50)]
    return files.timed(folder / "jump.mkv", times + [36000 + t for t in times])


def step_back(folder: Path) -> Path:
    return files.joined(folder, "back.ts", files.make(folder / "a.ts"), files.make(folder / "b.ts"))


def new_size(folder: Path) -> Path:
    big = files.make(folder / "big.ts", picture="testsrc2=size=320x240:rate=25:duration=2")
    return files.joined(folder, "sizes.ts", files.make(folder / "small.ts"), big)


def long_sound(folder: Path) -> Path:
    return files.make(folder / "sound.mp4", sound="sine=frequency=440:duration=30")


SOUND_FILES: dict[str, Maker] = {
    "plain mp4": files.plain,
    "variable frame rate": lambda d: files.timed(d / "vfr.mkv", files.vfr_times()),
    "rotated": files.rotated,
    "non-square pixels": lambda d: files.make(d / "sar.mp4", "-vf", "setsar=2"),
    "odd size": lambda d: files.make(
        d / "odd.mp4", "-pix_fmt", "yuv444p", picture="testsrc2=size=161x121:rate=25:duration=2"
    ),
    "10 bits": lambda d: files.make(d / "ten.mp4", "-pix_fmt", "yuv420p10le"),
    "interlaced": lambda d: files.make(d / "interlaced.mp4", "-vf", "tinterlace=4", "-flags", "+ildct+ilme"),
    "interlaced mpeg2": lambda d: files.make(
        d / "interlaced.mpg",
        "-flags",
        "+ildct+ilme",
        "-vf",
        "setfield=tff",
        "-c:a",
        "mp2",
        codec=["-c:v", "mpeg2video"],
    ),
    "no sound": lambda d: files.make(d / "silent.mp4", sound=None),
    "cover art": lambda d: files.with_cover(d, files.plain(d), "video_cover.mp4"),
    "clock starts at 10 hours": at_10_hours,
    "sound outlasts the picture": long_sound,
    "sound starts late": lambda d: files.make(d / "late.mp4", "-af", "adelay=1500"),
    "sound ends early": lambda d: files.make(d / "short.mp4", sound="sine=duration=1"),
    "starts inside a group of pictures": lambda d: _copied(d, "-ss", "1.3"),
    "webm": lambda d: files.make(d / "a.webm", "-c:a", "libopus", codec=["-c:v", "libvpx", "-deadline", "realtime"]),
    "webm with alpha": lambda d: files.make(
        d / "alpha.webm", "-pix_fmt", "yuva420p", sound=None, codec=["-c:v", "libvpx", "-auto-alt-ref", "0"]
    ),
    "avi": lambda d: files.make(d / "a.avi", "-c:a", "mp2", codec=["-c:v", "mpeg4"]),
    "motion jpeg, full range": lambda d: files.make(d / "j.avi", "-c:a", "pcm_s16le", codec=["-c:v", "mjpeg"]),
    "transport stream": lambda d: files.make(d / "a.ts"),
    "flash video": lambda d: files.make(d / "a.flv", "-ar", "44100"),
    "gif": lambda d: files.make(d / "a.gif", sound=None, codec=[]),
    "grey": lambda d: files.make(d / "grey.mkv", "-pix_fmt", "gray", codec=["-c:v", "ffv1"]),
    "one frame": lambda d: files.make(d / "one.mp4", "-frames:v", "1", sound=None),
    "size is not what the header says": lambda d: files.declared_size(d, 60000),
    "sound of one channel at 8 kHz": lambda d: files.make(d / "mono.mkv", "-ac", "1", "-ar", "8000", "-c:a", "pcm_u8"),
    "sound of six channels at 96 kHz": lambda d: files.make(d / "six.mkv", "-ac", "6", "-ar", "96000", "-c:a", "flac"),
    "two videos": lambda d: files.make(d / "two.mkv", "-map", "0", "-map", "0", "-map", "1"),
    "4 pixels high": lambda d: files.make(d / "flat.mkv", picture="testsrc2=size=640x4:rate=25:duration=1"),
    "2 pixels wide": lambda d: files.make(d / "thin.mkv", picture="color=size=2x480:rate=25:duration=1"),
    "a name like a protocol": lambda d: files.plain(d).rename(d / "concat:a|b%d.mp4"),
}

FLAGGED_FILES: dict[str, Maker] = {
    "the size of frames changes": new_size,
    "timestamps jump by 10 hours": jump,
    "timestamps step back": step_back,
    "the last frames are missing": lambda d: files.cut_off(files.plain(d), 0.97),
    "a few damaged frames": lambda d: files.damaged(files.plain(d, "-g", "5"), 0.001, 0.5, 0.6),
}


def _copied(folder: Path, *arguments: str) -> Path:
    files.ffmpeg(*arguments, "-i", files.plain(folder), "-c", "copy", folder / "copied.mp4")
    return folder / "copied.mp4"


PLAYLIST = "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\nother.mp4\n#EXT-X-ENDLIST\n"
SDP = "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n"
MPD = (
    '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static">'
    "<Period><BaseURL>other.mp4</BaseURL></Period></MPD>"
)

REJECTED_FILES: dict[str, tuple[Maker, set[Kind], dict[str, Any]]] = {
    "empty": (lambda d: files.text(d / "empty.mp4", ""), {Kind.UNREADABLE}, {}),
    "garbage": (lambda d: files.noise(d / "noise.mp4"), {Kind.UNREADABLE}, {}),
    "a web page": (
        lambda d: files.text(d / "a.mp4", "<!DOCTYPE html><html><body>Sign in</body></html>"),
        {Kind.UNREADABLE},
        {},
    ),
    "no index": (files.without_index, {Kind.UNREADABLE}, {}),
    "subtitles": (
        lambda d: files.text(d / "a.vtt", "WEBVTT\n\n00:01.000 --> 00:02.000\nHello\n"),
        {Kind.UNSUPPORTED},
        {},
    ),
    "a picture": (lambda d: files.still(d / "a.png"), {Kind.UNSUPPORTED}, {}),
    "a playlist": (lambda d: files.text(d / "a.m3u8", PLAYLIST), {Kind.UNSUPPORTED}, {}),
    "a playlist named mp4": (lambda d: files.text(d / "a.mp4", PLAYLIST), {Kind.UNREADABLE}, {}),
    "a list to join": (
        lambda d: files.text(d / "a.ffconcat", "ffconcat version 1.0\nfile other.mp4\n"),
        {Kind.UNSUPPORTED},
        {},
    ),
    "a session description": (lambda d: files.text(d / "a.sdp", SDP), {Kind.UNSUPPORTED, Kind.UNREADABLE}, {}),
    "a DASH manifest": (lambda d: files.text(d / "a.mpd", MPD), {Kind.UNSUPPORTED, Kind.UNREADABLE}, {}),
    "media in another file": (files.referring, {Kind.CORRUPT, Kind.TRUNCATED, Kind.UNREADABLE, Kind.UNSUPPORTED}, {}),
    "sound alone": (lambda d: files.make(d / "a.m4a", "-vn"), {Kind.NO_VIDEO}, {}),
    "sound alone, mp3": (lambda d: files.make(d / "a.mp3", "-vn", "-c:a", "libmp3lame"), {Kind.NO_VIDEO}, {}),
    "sound with a cover": (
        lambda d: files.with_cover(d, files.make(d / "a.m4a", "-vn"), "cover.m4a"),
        {Kind.NO_VIDEO},
        {},
    ),
    "half an mp4": (lambda d: files.cut_off(files.plain(d), 0.5), {Kind.TRUNCATED}, {}),
    "half a matroska": (lambda d: files.cut_off(files.make(d / "a.mkv"), 0.5), {Kind.TRUNCATED}, {}),
    "half an avi": (
        lambda d: files.cut_off(files.make(d / "a.avi", "-c:a", "mp2", codec=["-c:v", "mpeg4"]), 0.5),
        {Kind.TRUNCATED},
        {},
    ),
    "half a flash video": (lambda d: files.cut_off(files.make(d / "a.flv", "-ar", "44100"), 0.5), {Kind.TRUNCATED}, {}),
    "damaged all over": (lambda d: files.damaged(files.plain(d), 0.01, 0.2, 0.99), {Kind.CORRUPT}, {}),
    "an index and no media": (
        lambda d: files.cut_off(files.plain(d), 0.12),
        {Kind.TRUNCATED, Kind.CORRUPT, Kind.UNREADABLE},
        {},
    ),
    "an unknown codec": (
        lambda d: files.patched(files.plain(d), b"avc1", b"zzzz", "unknown.mp4"),
        {Kind.UNSUPPORTED},
        {},
    ),
    "frames too large": (files.plain, {Kind.TOO_LARGE}, {"max_pixels": 160 * 119}),
    "frames that grow": (new_size, {Kind.TOO_LARGE}, {"max_pixels": 200 * 150}),
    "too long": (files.plain, {Kind.TOO_LONG}, {"max_duration_s": 3.0}),
    "longer than it says": (lambda d: files.make(d / "a.ts"), {Kind.TOO_LONG}, {"max_duration_s": 3.0}),
    "too many frames a second": (
        lambda d: files.timed(d / "bomb.mkv", [i / 1000 for i in range(1500)]),
        {Kind.UNSUPPORTED},
        {},
    ),
    "too little memory": (
        lambda d: files.make(d / "big.mp4", picture="color=size=4096x4096:rate=25:duration=0.4", sound=None),
        {Kind.OUT_OF_MEMORY},
        {"memory_bytes": 420 << 20},
    ),
    "a pipe that never ends": (lambda d: _pipe(d / "pipe.mp4"), {Kind.UNREADABLE}, {}),
    "a folder": (lambda d: d, {Kind.UNREADABLE}, {}),
    "not there": (lambda d: d / "none.mp4", {Kind.UNREADABLE}, {}),
}


def _pipe(path: Path) -> Path:
    os.mkfifo(path)
    return path


def attempt(source: Path, folder: Path, media: dict[str, Any] | None = None) -> PassResult | Rejected:
    settings = Settings.model_validate({"media": FAST | (media or {})})
    spool = folder / "spool"
    spool.mkdir()
    begun = time.monotonic()
    try:
        return decode_once(source, [1.0], None, None, settings, folder / "stored.mp4", spool)
    except Rejected as rejected:
        assert not (folder / "stored.mp4").exists()
        return rejected
    finally:
        assert time.monotonic() - begun < 180


@pytest.mark.parametrize("name", SOUND_FILES)
def test_unusual_files_pass(name: str, tmp_path: Path) -> None:
    found = attempt(SOUND_FILES[name](tmp_path), tmp_path)
    assert isinstance(found, PassResult), found
    assert found.damage is None
    assert found.boundaries[0] == 0 and found.boundaries[-1] == found.duration and found.candidates


@pytest.mark.hostile("media")
@pytest.mark.parametrize("name", FLAGGED_FILES)
def test_files_that_are_sound_for_the_most_part_are_flagged(name: str, tmp_path: Path) -> None:
    found = attempt(FLAGGED_FILES[name](tmp_path), tmp_path)
    assert isinstance(found, PassResult), found
    assert found.damage
    assert 2 < found.duration < 10


@pytest.mark.hostile("media")
@pytest.mark.parametrize("name", REJECTED_FILES)
def test_hostile_and_broken_files_are_rejected(name: str, tmp_path: Path) -> None:
    maker, kinds, media = REJECTED_FILES[name]
    found = attempt(maker(tmp_path), tmp_path, media)
    assert isinstance(found, Rejected), found
    assert found.kind in kinds, found


@pytest.mark.hostile("media")
@pytest.mark.parametrize("seed", range(8))
def test_noise_anywhere_in_a_file_ends_in_time(seed: int, tmp_path: Path) -> None:
    kinds = ["plain.mp4", "plain.mkv", "plain.ts", "plain.flv"]
    source = (
        files.plain(tmp_path, "-ar", "44100", name=kinds[seed % 4])
        if seed % 4 == 0
        else files.make(tmp_path / kinds[seed % 4], "-ar", "44100")
    )
    found = attempt(files.damaged(source, 0.003, 0.0, 1.0, seed), tmp_path)
    assert isinstance(found, (PassResult, Rejected))


def test_a_header_is_probed(tmp_path: Path) -> None:
    found = probe(files.plain(tmp_path), Settings().media)
    assert (found.width, found.height, found.has_audio) == (160, 120, True)
    assert found.duration == pytest.approx(files.SECONDS, abs=0.05)
