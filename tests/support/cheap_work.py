"""Cheap stand-ins for yt-dlp and the single pass, which run in a guarded child as the real ones do.

They answer at once: the URL https://videos.example/watch/N with what the file `answers/N.json` beside the dataset
says, hostile or not. Everything around them is real: the driver, Beam, the guard, the borders and the tables.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from curation import guard
from curation.ids import file_digest
from curation.media.single_pass import PassResult
from curation.sources import ytdlp
from tests.support.dataset_files import plain_timeline, stored_media

HERE = __name__
SECONDS = 8.0  # of every video: one short clip
COLUMNS = ("title", "channel", "channel_id", "upload_date", "licence", "description", "language", "webpage_uri")
"""The columns that a site fills."""


def url_of(number: int) -> str:
    return f"https://videos.example/watch/{number}"


def media(argument: dict[str, Any]) -> dict[str, Any]:
    """In place of ytdlp_child.media."""
    folder = Path(argument["folder"])  # dataset/scratch/…/
    file = folder / "media.mp4"
    file.write_text("damage: " + argument["url"])
    answers = folder.parents[2] / "answers" / f"{Path(argument['url']).name}.json"
    given = json.loads(answers.read_text()) if answers.is_file() else {}
    return {
        "media": str(file),
        "digest": file_digest(file),
        "opt_out": None,
        "extractor": "Generic",
        "id": "x",
        "row": {column: given.pop(column, None) for column in COLUMNS},
        "page": {},
        "subtitles": {},
        "automatic": {},
        "waited": 0.0,
        **given,
    }


def subtitles(argument: dict[str, Any]) -> dict[str, Any]:
    """In place of ytdlp_child.subtitles: files with the tracks' own data."""
    tracks = []
    for number, (track, *_) in enumerate(argument["groups"]):
        file = Path(argument["folder"], f"{number}.vtt")
        file.write_text("WEBVTT\n\n00:01.000 --> 00:05.000\n" + track["file"]["data"])
        tracks.append({"language": track["language"], "kind": track["kind"], "path": str(file)})
    return {"tracks": tracks, "missed": []}


def playlist(argument: dict[str, Any]) -> dict[str, Any]:
    """In place of ytdlp_child.playlist: the lines of a local file that the URL names behind its host."""
    Path(argument["file"]).write_bytes(Path(argument["url"].removeprefix("https://playlists.example")).read_bytes())
    return {"count": 1}


def single_pass(argument: dict[str, Any]) -> dict[str, Any]:
    """In place of single_pass_child.single_pass: one frame in the middle, and damage in the source's own words."""
    frame = Path(argument["spool"], "frame.jpg")
    frame.write_bytes(b"a JPEG")
    return {
        "duration": SECONDS,
        "width": 64,
        "height": 36,
        "frame_rate": 12.0,
        "frame_count": 96,
        "has_audio": False,
        "source_width": 64,
        "source_height": 36,
        "shots": [{"start": 0.0, "end": SECONDS}],
        "boundaries": [0.0, SECONDS],
        "candidates": [{"time": SECONDS / 2, "sharpness": 1.0, "path": str(frame)}],
        "damage": argument["damage"] + "\ud83d",
        "source_start": 0.0,
        "timeline": asdict(plain_timeline("", SECONDS)),
    }


def cheap_pass(
    source: Path,
    boundaries: Sequence[float],
    start: float | None,
    end: float | None,
    settings: Any,
    stored: Path,
    spool: Path,
) -> PassResult:
    """In place of single_pass.decode_once."""
    stored.write_bytes(stored_media(SECONDS))
    argument = {"spool": str(spool), "damage": source.read_text()}
    answer = guard.call(f"{HERE}:single_pass", argument, guard.Limits(60.0, 1 << 30))
    return TypeAdapter(PassResult).validate_python(answer)


@contextmanager
def cheap_work() -> Iterator[None]:
    """Work by these functions."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ytdlp, "CHILD", HERE)
        patch.setattr("curation.segments.segmentation.decode_once", cheap_pass)
        yield
