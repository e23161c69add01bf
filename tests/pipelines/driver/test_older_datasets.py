"""Datasets that older versions wrote: nothing in them is made again because code has moved or has grown.

`tests/datasets/VERSION` has two, as `vidla curate videos.jsonl` of that version left them, without their media:
`builtin` (the built-in engine's texts, after a change of tilings, with a pin) and `served` (texts of two served models,
after a change of max_tokens, compacted; `served.toml` is its configuration).
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest

from curation.dataset.dataset import Dataset
from curation.dataset.pins import pins
from curation.dataset.writer import Writer
from curation.records import Download, ForgottenKey, SubtitleTrack
from curation.schema import TABLES, Table
from tests.support.dataset_files import commit_rows
from tests.support.project import ROOT

VERSIONS = sorted(folder.name for folder in (ROOT / "tests" / "datasets").iterdir())
Vidla = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(params=VERSIONS)
def older(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of a version's datasets. Files of the right size stand in for stored media, which is not looked into."""
    folder = tmp_path / "datasets"
    shutil.copytree(ROOT / "tests" / "datasets" / request.param, folder)
    for name in ("builtin", "served"):
        for row in Dataset(str(folder / name)).read("videos", ["media_uri", "media_bytes"]).to_pylist():
            media = folder / name / row["media_uri"]
            media.parent.mkdir(parents=True, exist_ok=True)
            with media.open("wb") as file:
                file.truncate(row["media_bytes"])
    return folder


def arguments(name: str, folder: Path) -> list[str | Path]:
    served = ["--config", folder / "served.toml"] if name == "served" else ["--set", "download.allow_private=true"]
    return [folder / "videos.jsonl", "--dataset", folder / name, *served]


@pytest.mark.parametrize("name", ["builtin", "served"])
def test_nothing_is_made_again(older: Path, name: str, vidla: Vidla) -> None:
    dataset = Dataset(str(older / name))
    before = {table: dataset.read(table).to_pylist() for table in TABLES}
    run = vidla("curate", *arguments(name, older))
    assert "Nothing to do" in run.stdout, run.stdout + run.stderr
    assert run.returncode == 0, "and its books balance"
    for table, rows in before.items():
        after = dataset.read(table).to_pylist()
        assert [{key: row[key] for key in old} for row, old in zip(after, rows, strict=True)] == rows


@pytest.mark.parametrize("name", ["builtin", "served"])
def test_it_is_read_as_it_stands_before_anything_is_written(older: Path, name: str, vidla: Vidla) -> None:
    inspected = vidla("inspect", older / name)
    assert inspected.returncode == 0 and "The books balance." in inspected.stdout, inspected.stdout + inspected.stderr
    dataset = Dataset(str(older / name))
    for name, table in TABLES.items():
        rows = dataset.read(name)
        assert rows.schema.names == table.schema.names, "further columns of today are there, as null"
        assert dataset.sql(f"select count(*) as n from {name}").to_pylist() == [{"n": len(rows)}]
        dataset.keys(name, list(table.key))


def test_its_pinned_versions_are_read_with_the_columns_of_today(older: Path) -> None:
    dataset = Dataset(str(older / "builtin"))
    (versions,) = pins(dataset).values()
    for name, version in versions.items():
        assert dataset.arrow(name, version).to_table().schema.names == TABLES[name].schema.names
    texts = "select count(*) as n from clips where subtitle_text is not null"
    assert next(iter(dataset.stream(texts, versions))).to_pylist() == [{"n": 9}]


# --- what a later version may add -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class LaterTrack(SubtitleTrack):
    note: Annotated[str | None, "a column inside a column"] = None


@dataclass(frozen=True, kw_only=True)
class LaterDownload(Download):
    rights: Annotated[str | None, "a column"] = None
    subtitles: Annotated[tuple[LaterTrack, ...], "every track that was fetched"] = ()  # type: ignore[assignment]


def test_tables_and_columns_that_a_later_version_adds_are_null_in_an_older_dataset(
    older: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TABLES, "downloads", Table("downloads", LaterDownload, ("request_key",)))
    monkeypatch.setitem(TABLES, "later", Table("later", ForgottenKey, ("key",)))
    dataset = Dataset(str(older / "builtin"))
    pinned = next(iter(pins(dataset).values()))
    unwritten = "select rights, subtitles[1].note as note from downloads where len(subtitles) > 0"
    for version in (None, pinned["downloads"]):
        rows = dataset.arrow("downloads", version).to_table().to_pylist()
        assert len(rows) == 5 and {row["rights"] for row in rows} == {None}
        assert {track["note"] for row in rows for track in row["subtitles"]} == {None}
    assert dataset.sql(unwritten).to_pylist() == [{"rights": None, "note": None}] * 2
    assert dataset.sql("select * from later").num_rows == 0 and dataset.live_parts("later") == {}

    made = {"request_key": "new", "video_id": "v", "uri": "u", "source_uri": "s", "source_digest": "d"}
    track = LaterTrack("en", "manual", "vtt", "WEBVTT", "of today")
    new = LaterDownload(**made, source_bytes=1, rights="CC0", subtitles=(track,))
    with Writer(dataset, "later", {}) as writer:
        commit_rows(writer, "later", {"downloads": [new]})
    again = dataset.sql("select request_key, rights, subtitles[1].note as note from downloads where rights is not null")
    assert again.to_pylist() == [{"request_key": "new", "rights": "CC0", "note": "of today"}]
    versions = {table: dataset.delta(table).version() for table in TABLES}
    dataset.create()
    assert versions == {table: dataset.delta(table).version() for table in TABLES}, "the columns are added once"
