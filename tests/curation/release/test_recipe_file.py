"""Recipes: what of a release can be given to others without its media."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from curation.dataset.dataset import Dataset
from curation.dataset.object_store import put
from curation.dataset.writer import Writer
from curation.errors import InputError, UsageError
from curation.records import Video
from curation.release.freeze import freeze
from curation.release.rebuilt import compare, write_list
from curation.release.recipe_file import read_recipe, write_recipe
from curation.release.released_dataset import ReleasedDataset
from curation.schema import from_row
from curation.settings import resolve
from curation.source_clock import ClockJump
from tests.support.dataset_files import commit_rows, download_of, made_of, make_dataset, request_of, stored_media

SETTINGS = resolve(
    None,
    [
        "media.crf=30",
        "download.cookies_file=/home/me/cookies.txt",
        "run.reuse=['/home/me/other']",
        "media.max_damage=0.5",
    ],
)


def add_video(
    dataset: Dataset,
    number: int,
    uri: str,
    video: dict[str, Any] | None = None,
    subtitles: str | None = None,
    **range_: Any,
) -> None:
    """A video from another URI, as a run with SETTINGS would have left it."""
    media = stored_media(seed=number)
    rows = made_of(number, media)
    rows["videos"] = [dataclasses.replace(rows["videos"][0], uri=uri, **(video or {}))]
    put(dataset.store, rows["videos"][0].media_uri, media)
    request = dataclasses.replace(request_of(number), uri=uri, subtitles=subtitles, **range_)
    download = dataclasses.replace(download_of(number), uri=uri, **range_)
    with Writer(dataset, f"run-{number}", {"command": "curate", "settings": SETTINGS.shown()}) as writer:
        commit_rows(writer, f"video {number}", {"requests": [request], "downloads": [download], **rows})


def recipe_of(
    dataset: Dataset, out: Path, where: str | None = "scale = 'long'", **options: Any
) -> list[dict[str, Any]]:
    write_recipe(ReleasedDataset(freeze([dataset], out.stem, where, 0.5)), out, **options)
    rows: list[dict[str, Any]] = pq.read_table(out).to_pylist()
    return rows


def test_only_what_others_can_fetch_is_in_it(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "talks", videos=0)
    add_video(dataset, 1, "https://videos.example/1.mp4", subtitles="file:///home/me/secret/1.vtt")
    add_video(dataset, 2, "file:///home/me/secret/2.mp4")
    add_video(dataset, 3, "https://cdn.example/3.mp4?token=REDACTED")
    add_video(dataset, 4, "http://10.1.2.3/4.mp4")
    add_video(dataset, 5, "http://media-server/5.mp4", subtitles="http://media-server/5.vtt")
    rows = recipe_of(dataset, tmp_path / "public.parquet")
    assert [(row["url"], row["subtitles"]) for row in rows] == [("https://videos.example/1.mp4", None)]
    recipe = read_recipe(tmp_path / "public.parquet")
    assert recipe.left_out == {
        "it is a local file": 1,
        "its URL has a secret": 1,
        "its URL is of a private network": 2,
    }
    for path in (tmp_path / "public.parquet", tmp_path / "public.json"):
        data = path.read_bytes()
        assert not [word for word in (b"/home/me", b"REDACTED", b"10.1.2.3", b"media-server") if word in data]
    assert recipe.settings["media"]["crf"] == 30 and "max_damage" not in recipe.settings["media"]
    assert set(recipe.settings) == {"subtitles", "media", "shots", "tilings", "frames", "download"}
    private = recipe_of(dataset, tmp_path / "private.parquet", allow_private=True)
    assert [row["subtitles"] for row in private] == [None, None, "http://media-server/5.vtt"]


def test_times_are_on_the_sources_clock(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "talks", videos=0)
    jumps = (ClockJump(0.0, 100.0), ClockJump(12.0, 3600.0))
    add_video(dataset, 1, "https://videos.example/1.mp4", {"source_start": 2.5, "source_jumps": jumps})
    add_video(dataset, 2, "https://videos.example/2.mp4", start=5.0, end=29.0)
    videos = {row["video_id"]: from_row(Video, row) for row in dataset.read("videos").to_pylist()}
    assert (videos["list-v1"].source_jumps, videos["list-v2"].source_jumps) == (jumps, None)
    rows = recipe_of(dataset, tmp_path / "r.parquet", "scale = 'medium'")
    assert [(row["start"], row["end"], row["duration"]) for row in rows] == [
        (102.5, 114.5, 12.0),
        (3714.5, 3726.5, 12.0),
        (5.0, 17.0, 12.0),
        (17.0, 29.0, 12.0),
    ]
    assert [(row["range_start"], row["range_end"]) for row in rows] == [(None, None)] * 2 + [(5.0, 29.0)] * 2
    assert all(len(row["fingerprints"][0]) == 64 for row in rows)
    assert {row["split"] for row in rows} <= {"train", "held_out"}
    write_list(tmp_path / "r.parquet", tmp_path / "list.jsonl")
    assert [json.loads(line) for line in (tmp_path / "list.jsonl").read_text().splitlines()] == [
        {"url": "https://videos.example/1.mp4", "id": "v1"},
        {"start": 5.0, "end": 29.0, "url": "https://videos.example/2.mp4", "id": "v2"},
    ]


def test_a_dataset_is_like_its_own_recipe(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "talks", videos=2)
    recipe_of(dataset, tmp_path / "r.parquet", None)
    report = compare(dataset, tmp_path / "r.parquet", 0.5)
    assert (report.clips, report.back, report.matching, report.alike, report.max_off_s) == (14, 14, 14, 14, 0.0)


def test_a_recipe_is_written_once_and_read_as_it_was_written(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "talks", videos=1)
    path = tmp_path / "r.parquet"
    recipe_of(dataset, path)
    with pytest.raises(UsageError, match="already exists"):
        write_recipe(ReleasedDataset(freeze([dataset], "more", None, 0.5)), path)
    about = json.loads(path.with_suffix(".json").read_text())
    about["settings"] = {
        "download": {"proxy": "http://evil", "format": "b"},
        "captions": {"engine": {"kind": "openai"}},
    }
    path.with_suffix(".json").write_text(json.dumps(about))
    assert read_recipe(path).settings == {"download": {"format": "b"}}, (
        "a stranger decides how to cut, and nothing else"
    )
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(InputError, match=r"its digest differs|is not a recipe"):
        read_recipe(path)
    for wrong in (tmp_path / "none.parquet", tmp_path / "r.json"):
        with pytest.raises(UsageError, match=r"is not a recipe|is a \.parquet file"):
            read_recipe(wrong)
