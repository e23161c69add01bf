"""Subtitles and the requested range are on the file's clock, wherever on it the picture begins."""

from __future__ import annotations

from pathlib import Path

import av
import pytest

from curation.ids import file_digest
from curation.records import Download, SubtitleTrack, Video
from curation.segments.segmentation import segment_video, with_words
from curation.segments.tilings import sentence_boundaries
from curation.settings import Settings
from tests.support.media_files import ffmpeg

SETTINGS = Settings.model_validate(
    {
        "media": {"preset": "ultrafast"},
        "subtitles": {"sentence_ends": "pauses"},
        "tilings": {"short": {"min_s": 1.0, "target_s": 3.0, "max_s": 6.0}},
    }
)
FIRST, SECOND = "The first sentence is here.", "The second one."
SAID = f"1\n00:00:05,000 --> 00:00:07,000\n{FIRST}\n\n2\n00:00:10,000 --> 00:00:12,000\n{SECOND}\n\n"


def make(path: Path, late_s: float) -> Path:
    """Twelve seconds of picture, beginning `late_s` after the sound, with a flash 4 s after its own beginning."""
    flash = "color=black:size=64x36:rate=10:duration=12,drawbox=c=white:t=fill:enable='between(t,4,4.45)'"
    inputs = ["-itsoffset", str(late_s), "-f", "lavfi", "-i", flash, "-f", "lavfi", "-i", "sine=duration=14"]
    ffmpeg(
        *inputs, "-fps_mode", "passthrough", "-c:v", "libx264", "-preset", "ultrafast", "-bf", "0", "-c:a", "aac", path
    )
    return path


def segmented(source: Path, folder: Path, start: float | None = None, end: float | None = None) -> tuple[Video, Path]:
    (folder / "scratch").mkdir()
    video = segment_video(download(source, start, end), source, "media/v.mp4", SETTINGS, folder / "scratch")
    return video.video, video.stored


def download(source: Path, start: float | None, end: float | None) -> Download:
    return Download(
        request_key="r",
        video_id="v",
        uri=source.as_uri(),
        start=start,
        end=end,
        source_uri=source.as_uri(),
        source_bytes=source.stat().st_size,
        source_digest=file_digest(source),
        subtitles=(SubtitleTrack("en", "manual", "srt", SAID),),
    )


def flash_of(stored: Path) -> float:
    """When the picture turns white in stored media."""
    with av.open(str(stored)) as container:
        return next(float(f.time) for f in container.decode(video=0) if f.to_ndarray(format="gray").mean() > 128)


@pytest.mark.parametrize(
    ("suffix", "late", "start", "end"),
    [
        ("mp4", 0.0, None, None),
        ("mp4", 3.0, None, None),
        ("mkv", 3.0, None, None),
        ("ts", 3.0, None, None),
        ("mp4", 3.0, 4.5, 13.0),
        ("mp4", 0.0, 4.5, 9.0),
    ],
)
def test_words_are_where_they_are_in_the_file(
    suffix: str, late: float, start: float | None, end: float | None, tmp_path: Path
) -> None:
    source = make(tmp_path / f"x.{suffix}", late)
    video, stored = segmented(source, tmp_path, start, end)
    begin = max(late, start or 0.0)
    assert video.source_start == pytest.approx(begin, abs=0.1)
    assert video.duration == pytest.approx(min(late + 12.0, end or 99.0) - begin, abs=0.15)
    said = [(s.start, s.text) for s in video.sentences]
    expected = [(t - begin, text) for t, text in ((5.0, FIRST), (10.0, SECOND))]
    expected = [(t, text) for t, text in expected if t + 1 < video.duration]
    assert [text for _, text in said] == [text for _, text in expected]
    assert [t for t, _ in said] == pytest.approx([t for t, _ in expected], abs=0.1)
    for between in sentence_boundaries(video.sentences):  # key frames, so that clips may begin there
        assert min(abs(known - between) for known in video.boundaries) < 0.11 or between > video.duration
    if late + 4.0 > begin:
        assert flash_of(stored) == pytest.approx(late + 4.0 - begin, abs=0.1)
    again = with_words(video, download(source, start, end), SETTINGS)
    assert again.sentences == video.sentences
