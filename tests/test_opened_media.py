"""Every place that opens media, with every container that is media and every file that names other files."""

from __future__ import annotations

import ast
import functools
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from curation import guard
from curation.media import single_pass
from curation.media.merge import merge
from curation.rejects import Rejected
from curation.settings import MediaSettings, Settings
from curation.sources import ytdlp_child
from model.data.any_video import VideoFiles
from model.data.frame_reader import BrokenMedia, Frames, read_frames
from model.evaluation.benchmark import annotated_range
from model.evaluation.video_files import Example
from tests.support.hostile_media import CARRIED, NAMED, carrier, gallery, is_private, shows_private
from tests.support.media_files import FAST, make
from tests.support.project import ROOT

TIMES = [0.1, 0.7, 1.5]
SETTINGS = Settings.model_validate({"media": {"preset": "ultrafast", "timeout_s": 30.0, "memory_bytes": 1 << 30}})

# --- the places: each takes a file and a folder for what it makes, and returns the frames that it decoded ------------

Place = Callable[[Path, Path], Frames | None]


def downloaded(path: Path, folder: Path) -> None:
    ytdlp_child.probe(path, None)


def probed(path: Path, folder: Path) -> None:
    single_pass.probe(path, SETTINGS.media)


def segmented(path: Path, folder: Path) -> None:
    single_pass.decode_once(path, [], None, None, SETTINGS, folder / "stored.mp4", folder)


def cut(path: Path, folder: Path) -> None:
    single_pass.cut(path, 0.0, 1.0, folder / "clip.mp4", MediaSettings())


def merged(path: Path, folder: Path) -> None:
    parts = [Path(shutil.copy(part, folder)) for part in (path, sound())]
    merge(parts, folder / "media.mkv", guard.Limits(60.0, 4 << 30))


def trained(path: Path, folder: Path) -> Frames:
    return read_frames(path, TIMES)


def trained_from_a_bucket(path: Path, folder: Path) -> Frames:
    with path.open("rb") as file:
        return read_frames(file, TIMES)


def evaluated(path: Path, folder: Path) -> Frames:
    begin, end = annotated_range(Example("v", ("text",), path, None, None))
    return VideoFiles().read(str(path), [begin + share * (end - begin) for share in (0.1, 0.5, 0.9)], 64)


PLACES: tuple[Place, ...] = (
    downloaded,
    probed,
    segmented,
    cut,
    merged,
    trained,
    trained_from_a_bucket,
    evaluated,
)


@functools.cache
def sound() -> Path:
    return make(gallery().private.with_name("sound.m4a"), "-vn", "-t", "2")


# --- what is media --------------------------------------------------------------------------------------------------

VP8 = ["-c:v", "libvpx", "-deadline", "realtime"]
MPEG2 = ["-c:v", "mpeg2video", "-b:v", "2M"]
MPEG4 = ["-c:v", "mpeg4", "-b:v", "1M"]
CONTAINERS: dict[str, list[str]] = {
    "mp4": FAST[:4],
    "m4v": FAST[:4],
    "mov": FAST[:4],
    "3gp": [*MPEG4, "-ar", "8000", "-ac", "1"],
    "mkv": FAST[:4],
    "webm": [*VP8, "-c:a", "libopus"],
    "avi": [*MPEG4, "-c:a", "mp2"],
    "ts": FAST[:4],
    "m2ts": FAST[:4],
    "flv": ["-c:v", "flv1", "-b:v", "1M", "-ar", "44100"],
    "f4v": FAST[:4],
    "ogv": ["-c:v", "libtheora", "-b:v", "1M", "-c:a", "libvorbis"],
    "wmv": ["-c:v", "wmv2", "-b:v", "1M", "-c:a", "wmav2"],
    "mpg": [*MPEG2, "-c:a", "mp2"],
    "vob": [*MPEG2, "-c:a", "mp2"],
    "mxf": [*MPEG2, "-c:a", "pcm_s16le"],
    "nut": [*MPEG2, "-c:a", "mp2"],
    "ivf": VP8,
    "gif": [],
}
"""Codecs for each suffix: of the picture, and of the sound."""


@functools.cache
def container(suffix: str) -> Path:
    video, audio = CONTAINERS[suffix][:4], CONTAINERS[suffix][4:]
    how = {"sound": None} if suffix in ("ivf", "gif") else {}
    return carrier(gallery().private.with_name(f"benign.{suffix}"), *audio, codec=video, **how)  # type: ignore[arg-type]


@pytest.mark.parametrize("place", [downloaded, trained_from_a_bucket, evaluated], ids=lambda place: place.__name__)
@pytest.mark.parametrize("suffix", CONTAINERS)
def test_containers_of_all_kinds_are_opened(place: Place, suffix: str, tmp_path: Path) -> None:
    """The single pass and the merge have tests of their own of what they take."""
    frames = place(container(suffix), tmp_path)
    if frames is not None:
        assert frames.pixels.shape == (3, 3, 120, 160)
        assert all(is_green(pixels.permute(1, 2, 0).numpy()) for pixels in frames.pixels)


def is_green(pixels: np.ndarray) -> bool:
    red, green, blue = pixels.reshape(-1, 3).mean(axis=0)
    return bool(green > 90 and red < 60 and blue < 60)


# --- what names other files -----------------------------------------------------------------------------------------


@pytest.mark.hostile("media")
@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__)
@pytest.mark.parametrize("name", [*NAMED, *CARRIED])
def test_no_place_opens_what_a_file_names(place: Place, name: str, tmp_path: Path) -> None:
    private, hostile = gallery().private, gallery().files[name]
    os.link(private, tmp_path / private.name)  # for relative names
    path = Path(shutil.copy(hostile, tmp_path))
    folder = tmp_path / "made"
    folder.mkdir()
    try:
        frames = place(path, folder)
    except (Rejected, BrokenMedia, ValueError) as error:
        assert "\n" not in str(error) and len(str(error)) < 500
        frames = None
    else:
        assert name in CARRIED or place is downloaded  # which leaves what is damaged to the single pass
    assert frames is None or not any(is_private(pixels.permute(1, 2, 0).numpy()) for pixels in frames.pixels)
    assert not [made.name for made in folder.rglob("*") if shows_private(made, private)]


# --- there are no other places --------------------------------------------------------------------------------------

OPENERS = ("av.open", "VideoDecoder", "AudioDecoder", "Image.open", "ffmpeg.input", "ffmpeg.probe", "cv2.VideoCapture")
OPENING = {
    ("curation/media/containers.py", "av.open"),
    ("curation/media/encode.py", "av.open"),  # for writing
    ("curation/media/merge.py", "ffmpeg.input"),
    ("vidla/reader.py", "Image.open"),  # of JPEG alone
}


def test_media_is_opened_nowhere_else() -> None:
    found = set()
    for top in ("curation", "model", "pipelines", "vidla"):
        for file in (ROOT / top).rglob("*.py"):
            calls = (node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call))
            names = {ast.unparse(call.func) for call in calls}
            found |= {(str(file.relative_to(ROOT)), name) for name in names & set(OPENERS)}
    assert found == OPENING
