"""Merging a picture and a sound: by copying, whatever their containers, and from those two files alone."""

from __future__ import annotations

import errno
import functools
import os
import shutil
from pathlib import Path

import av
import pytest

from curation import guard
from curation.media.merge import merge
from curation.rejects import Kind, Rejected
from tests.support import media_files
from tests.support.hostile_media import CARRIED, NAMED, carrier, gallery, shows_private

LIMITS = guard.Limits(60.0, 4 << 30)
VP8 = ["-c:v", "libvpx", "-deadline", "realtime"]


def picture(folder: Path, name: str = "picture.mp4", codec: list[str] = media_files.FAST) -> Path:
    return carrier(folder / name, codec=codec, sound=None)  # type: ignore[arg-type]


def sound(folder: Path, name: str = "sound.m4a", *codec: str) -> Path:
    return media_files.make(folder / name, "-vn", *codec)


PAIRS = {
    "mp4 and m4a": ("picture.mp4", media_files.FAST, "sound.m4a", ["-c:a", "aac"], "mp4", "aac"),
    "webm and webm": ("picture.webm", VP8, "sound.webm", ["-c:a", "libopus"], "webm", "opus"),
    "mp4 and webm": ("picture.mp4", media_files.FAST, "sound.webm", ["-c:a", "libopus"], "mkv", "opus"),
    "transport streams": ("picture.ts", media_files.FAST, "sound.ts", ["-c:a", "aac"], "mp4", "aac"),
    "a transport stream and bare AAC": ("picture.ts", media_files.FAST, "sound.aac", ["-c:a", "aac"], "mp4", "aac"),
    "flash video and mp3": ("picture.flv", ["-c:v", "flv1"], "sound.mp3", ["-c:a", "libmp3lame"], "mkv", "mp3float"),
}


@pytest.mark.parametrize("name", PAIRS)
def test_a_picture_and_a_sound_become_one_file(name: str, tmp_path: Path) -> None:
    video, codec, audio, sound_codec, suffix, stored = PAIRS[name]
    parts = [picture(tmp_path, video, codec), sound(tmp_path, audio, *sound_codec)]
    merged = merge(parts, tmp_path / f"media.{suffix}", LIMITS)
    with av.open(str(merged)) as container:
        assert [s.type for s in container.streams] == ["video", "audio"]
        assert container.streams.audio[0].codec_context.name == stored
        assert sum(1 for _ in container.decode(video=0)) == 50
        container.seek(0)
        assert sum(frame.samples for frame in container.decode(audio=0)) > 3 * 44100
    assert [path.name for path in tmp_path.iterdir()] == [f"media.{suffix}"]


def test_the_sound_of_the_picture_gives_way_to_the_other(tmp_path: Path) -> None:
    parts = [carrier(tmp_path / "both.mp4"), sound(tmp_path, "sound.mka", "-c:a", "libopus")]
    with av.open(str(merge(parts, tmp_path / "media.mkv", LIMITS))) as container:
        assert [s.codec_context.name for s in container.streams] == ["h264", "opus"]


def test_an_unknown_suffix_becomes_matroska(tmp_path: Path) -> None:
    assert merge([picture(tmp_path), sound(tmp_path)], tmp_path / "media.unknown_video", LIMITS).name == "media.mkv"


@pytest.mark.hostile("media")
@pytest.mark.parametrize("name", [*NAMED, *CARRIED])
@pytest.mark.parametrize("place", ["picture", "sound"])
def test_what_a_part_names_is_not_opened(name: str, place: str, tmp_path: Path) -> None:
    private, hostile = gallery().private, gallery().files[name]
    os.link(private, tmp_path / private.name)
    part, other = Path(shutil.copy(hostile, tmp_path)), Path(shutil.copy(other_part(place), tmp_path))
    parts = [part, other] if place == "picture" else [other, part]
    out = tmp_path / "media.mkv"
    try:
        merge(parts, out, LIMITS)
    except Rejected as rejected:
        assert rejected.kind in (Kind.UNREADABLE, Kind.UNSUPPORTED, Kind.NO_VIDEO), rejected
        assert "\n" not in rejected.message and str(tmp_path) not in rejected.message
        assert not out.exists()
    else:
        assert name in CARRIED
        assert not shows_private(out, private)


@functools.cache
def other_part(place: str) -> Path:
    folder = gallery().private.parent
    return sound(folder) if place == "picture" else picture(folder)


@pytest.mark.hostile("media")
def test_two_sounds_are_no_video(tmp_path: Path) -> None:
    with pytest.raises(Rejected) as caught:
        merge([sound(tmp_path), sound(tmp_path, "other.m4a")], tmp_path / "media.mp4", LIMITS)
    assert caught.value.kind is Kind.NO_VIDEO


@pytest.mark.hostile("media")
def test_a_merge_ends_in_time(tmp_path: Path) -> None:
    parts = [picture(tmp_path), sound(tmp_path)]
    with pytest.raises(Rejected) as caught:
        merge(parts, tmp_path / "media.mp4", guard.Limits(0.001, 4 << 30))
    assert caught.value.kind is Kind.TIMEOUT
    assert not (tmp_path / "media.mp4").exists()


@pytest.mark.hostile("failures")
def test_a_full_disk_is_not_the_medias_fault(tmp_path: Path) -> None:
    parts = [picture(tmp_path), sound(tmp_path)]
    (tmp_path / "media.mp4").symlink_to("/dev/full")
    with pytest.raises(OSError) as caught:
        merge(parts, tmp_path / "media.mp4", LIMITS)
    assert caught.value.errno == errno.ENOSPC


@pytest.mark.parametrize("name", ["a DASH manifest named mp4", "an HLS playlist of a neighbour", "a list to join"])
def test_an_ffmpeg_that_may_choose_shows_the_private_video(name: str, tmp_path: Path) -> None:
    """The files above do what they are made for."""
    media_files.ffmpeg("-i", gallery().files[name], "-frames:v", "1", tmp_path / "seen.png")
    assert shows_private(tmp_path / "seen.png", gallery().private)
