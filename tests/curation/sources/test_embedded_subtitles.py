"""Subtitle tracks inside of containers are subtitles too, on the file's clock."""

from __future__ import annotations

from pathlib import Path

import pytest

from curation.download_settings import DownloadSettings
from curation.records import Download
from curation.settings import SubtitleSettings
from curation.sources import fetch as sources_fetch
from curation.sources.fetch import fetch, fetch_subtitles
from curation.sources.requests import read_inputs
from curation.sources.targets import FetchTarget
from curation.subtitles.cascade import sentences_of
from tests.support.media_files import ffmpeg

SETTINGS = DownloadSettings(subtitle_languages=("en", "de"))
FILE = "1\n00:00:01,000 --> 00:00:02,500\n{}\n\n2\n00:00:03,000 --> 00:00:05,000\n{}\n\n"
ENGLISH = FILE.format("Hello <i>there</i>.", "Two lines,\nand & more.")
GERMAN = FILE.format("Guten Tag zusammen.", "Heute kochen wir Suppe.")
PICTURE = ("-f", "lavfi", "-i", "testsrc=size=64x36:rate=5:duration=6")
FORMATS = [
    ("mov_text", "mp4"),
    ("mov_text", "mov"),
    ("srt", "mkv"),
    ("webvtt", "mkv"),
    ("ass", "mkv"),
    ("webvtt", "webm"),
]


def make(path: Path, codec: str, tracks: list[tuple[str, str, str]]) -> Path:
    """Media with subtitle tracks: (text, language, disposition)."""
    inputs: list[str] = []
    options: list[str] = []
    for number, (text, language, disposition) in enumerate(tracks):
        file = path.with_name(f"{number}.srt")
        file.write_text(text)
        inputs += ["-i", str(file)]
        options += ["-map", f"{number + 2}", f"-metadata:s:s:{number}", f"language={language}"]
        options += [f"-disposition:s:{number}", disposition]
    sound = ["-f", "lavfi", "-i", "sine=duration=8", "-map", "0:v", "-map", "1:a"]
    video = (
        ["libvpx", "-deadline", "realtime", "-c:a", "libopus"] if path.suffix == ".webm" else ["libx264", "-c:a", "aac"]
    )
    command = [*PICTURE, *sound[:4], *inputs, *sound[4:], *options, "-c:v", *video]
    ffmpeg(*command, "-c:s", codec, path)
    return path


def target(path: Path) -> FetchTarget:
    (found,) = read_inputs([str(path)], SETTINGS)
    assert isinstance(found, FetchTarget)
    return found


def download(path: Path, tmp_path: Path) -> Download:
    return fetch(target(path), SETTINGS, tmp_path / "download").download


@pytest.mark.parametrize(("codec", "suffix"), FORMATS)
def test_a_track_inside_of_media_is_a_subtitle_file(codec: str, suffix: str, tmp_path: Path) -> None:
    path = make(tmp_path / f"x.{suffix}", codec, [(ENGLISH, "eng", "default")])
    got = download(path, tmp_path)
    assert [(track.language, track.kind) for track in got.subtitles] == [("en", "manual")]
    assert got.subtitle_note is None
    spoken = sentences_of(got.subtitles, ["en"], SubtitleSettings(sentence_ends="pauses"))
    assert [s.text for s in spoken.sentences] == ["Hello there.", "Two lines, and & more."]
    found = [t for s in spoken.sentences for t in (s.start, s.end)]
    assert found == pytest.approx([1.0, 2.5, 3.0, 5.0], abs=0.05)
    assert fetch_subtitles(target(path), SETTINGS, tmp_path).tracks == got.subtitles


def test_tracks_in_wanted_languages_are_kept_best_first_behind_a_file_beside(tmp_path: Path) -> None:
    made = [(GERMAN, "ger", "0"), (ENGLISH, "fre", "default"), (ENGLISH, "eng", "forced"), (ENGLISH, "eng", "0")]
    path = make(tmp_path / "x.mkv", "srt", made)
    assert [t.language for t in download(path, tmp_path).subtitles] == ["en", "de"]
    path.with_suffix(".en.srt").write_text(ENGLISH.replace("Hello", "Beside"))
    beside, *inside = download(path, tmp_path).subtitles
    assert "Beside" in beside.text
    assert [t.language for t in inside] == ["en", "de"]


@pytest.mark.hostile("media")
def test_broken_tracks_cost_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make(tmp_path / "x.mkv", "srt", [(ENGLISH, "eng", "0")])
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert download(path, tmp_path).subtitle_note is None
    path.write_bytes(b"\x1a\x45\xdf\xa3" + b"\0" * 100)
    assert download(path, tmp_path).subtitles == ()
    path.write_bytes(whole)
    monkeypatch.setattr(sources_fetch, "SUBTITLES_S", 0.0)
    got = download(path, tmp_path)
    assert got.subtitles == ()
    assert got.subtitle_note is not None
    assert got.subtitle_note.startswith("subtitles inside of the media: they could not be read within")


def test_a_track_of_signs_comes_behind_the_speech_of_its_language(tmp_path: Path) -> None:
    signs = ENGLISH.replace("Hello", "Police")
    path = make(tmp_path / "x.mkv", "srt", [(signs, "eng", "0"), (ENGLISH, "eng", "0")])
    named = tmp_path / "named.mkv"
    titles = ["-metadata:s:s:0", "title=Signs & Songs", "-metadata:s:s:1", "title=Full"]
    ffmpeg("-i", path, "-map", "0", "-c", "copy", *titles, named)
    assert [("Hello" in track.text) for track in download(named, tmp_path).subtitles] == [True, False]


def test_what_is_over_before_the_file_begins_is_left_out(tmp_path: Path) -> None:
    subtitles, path = tmp_path / "other.srt", tmp_path / "x.mkv"
    subtitles.write_text(ENGLISH)
    late = ["-itsoffset", "4", *PICTURE, "-itsoffset", "4", "-f", "lavfi", "-i", "sine=duration=6"]
    ffmpeg(*late, "-i", subtitles, "-map", "0", "-map", "1", "-map", "2", "-c:s", "srt", path)
    got = download(path, tmp_path)
    spoken = sentences_of(got.subtitles, ["en"], SubtitleSettings(sentence_ends="pauses"))
    assert [s.text for s in spoken.sentences] == ["Two lines, and & more."]
    assert [(s.start, s.end) for s in spoken.sentences] == [pytest.approx((0.0, 1.0), abs=0.05)]
