"""Exports: clips cut out of stored media, shards, and plain folders; resumable, up to date, and complete."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import av
import datasets
import duckdb
import pyarrow.parquet as pq
import pytest

from curation.dataset.commits import Replacement
from curation.dataset.dataset import Dataset
from curation.dataset.writer import Writer
from curation.errors import DatasetError, UsageError
from curation.export import cutting
from curation.export.export import FORMATS, Format, export
from curation.export.hugging_face import METADATA
from curation.export.manifest import MANIFEST
from curation.export.outcome import ExportReport
from curation.export.selection import Selection
from curation.export.sums import SUMS, check
from curation.export.webdataset import INDEX
from curation.schema import TABLES
from curation.splits import is_held_out
from tests.support.bucket import Bucket
from tests.support.dataset_files import FRAME_RATE, commit_rows, download_of, made_of, make_dataset, stored_media


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Only read in these tests."""
    return make_dataset(tmp_path_factory.mktemp("shared") / "data", videos=2)


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def contents_of(folder: Path) -> dict[str, Any]:
    """The contents of all files except the manifest; for tables, whose parts have random names, their rows."""
    contents: dict[str, Any] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in (MANIFEST, SUMS)):
        name = str(path.relative_to(folder))
        if path.suffix == ".parquet":
            contents[name.split("/")[0]] = pq.read_table(path).to_pylist()
        else:
            contents[name] = path.read_bytes()
    return contents


def stamps(folder: Path) -> dict[str, int]:
    """When each file was last written."""
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir() if path.name not in (SUMS, INDEX)}


# --- mp4 ------------------------------------------------------------------------------------------------------------


def test_each_clip_is_a_file_of_its_range_with_its_texts(shared: Dataset, tmp_path: Path) -> None:
    out = tmp_path / "out"
    reported: list[int] = []
    assert export(shared, out, "mp4", progress=reported.append) == ExportReport(present=14)
    assert sum(reported) == 14
    clips = {row["clip_id"]: row for row in shared.read("clips").to_pylist()}
    assert names_in(out) == {f"{c}{s}" for c in clips for s in (".mp4", ".json")} | {MANIFEST, SUMS}
    for clip_id, clip in clips.items():
        about = json.loads((out / f"{clip_id}.json").read_text())
        for name in ("clip_id", "start", "end", "subtitle_text", "caption_text", "parent_id", "frame_ids"):
            assert about[name] == clip[name]
        assert about["title"].startswith("Talk")
        assert about["uri"].startswith("https://videos.example/")
        with av.open(str(out / f"{clip_id}.mp4")) as container:
            frames = [frame for frame in container.decode(video=0)]
        assert len(frames) == round((clip["end"] - clip["start"]) * FRAME_RATE)
        assert frames[0].time == 0
        with av.open(str(shared.folder / clip["media_uri"])) as container:  # type: ignore[operator]
            stored = [frame for frame in container.decode(video=0)]
        first = stored[round(clip["start"] * FRAME_RATE)]
        assert (frames[0].to_ndarray() == first.to_ndarray()).all(), "a packet copy decodes to the very same pixels"


def test_a_second_export_writes_nothing(shared: Dataset, tmp_path: Path) -> None:
    export(shared, tmp_path, "mp4", Selection(scale="long"))
    before = stamps(tmp_path)
    assert export(shared, tmp_path, "mp4", Selection(scale="long")) == ExportReport(present=2, kept=2)
    assert stamps(tmp_path) == before


def test_an_interrupted_export_continues(shared: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cut, calls = cutting.cut, []

    def stops(*args: object) -> None:
        calls.append(args)
        if len(calls) == 4:
            raise KeyboardInterrupt
        cut(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(cutting, "cut", stops)
    with pytest.raises(KeyboardInterrupt):
        export(shared, tmp_path, "mp4")
    assert len(list(tmp_path.glob("*.mp4"))) == 3
    (tmp_path / ".vidla-left").mkdir()
    (tmp_path / ".vidla-left" / "clip.mp4").write_bytes(b"half")
    before = stamps(tmp_path)
    monkeypatch.setattr(cutting, "cut", cut)
    assert export(shared, tmp_path, "mp4") == ExportReport(present=14, kept=3)
    assert not list(tmp_path.glob(".vidla-*"))
    assert {n: t for n, t in stamps(tmp_path).items() if n in before} == {
        n: t for n, t in before.items() if n != ".vidla-left"
    }


def test_new_texts_leave_the_media_alone_and_removed_clips_are_deleted(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data")
    out = tmp_path / "out"
    export(dataset, out, "mp4", Selection(scale="short"))
    before = stamps(out)
    clips = [c for c in made_of(0, stored_media())["clips"] if c.scale == "short"]
    changed = [type(c)(**{**vars(c), "caption_text": "Another text"}) for c in clips[1:]]
    with Writer(dataset, "run-2", {}) as writer:
        ids = frozenset((c.clip_id,) for c in clips)
        replaced = Replacement("clips", ("clip_id",), ids, frozenset(dataset.live_parts("clips")))
        commit_rows(writer, "new texts", {"clips": changed}, [replaced])
    assert export(dataset, out, "mp4", Selection(scale="short")) == ExportReport(present=7, kept=4)
    after = stamps(out)
    assert set(before) - set(after) == {f"{clips[0].clip_id}.mp4", f"{clips[0].clip_id}.json"}
    assert {n for n in after if after[n] != before[n]} == {f"{c.clip_id}.json" for c in clips[1:]}
    assert json.loads((out / f"{clips[1].clip_id}.json").read_text())["caption_text"] == "Another text"


@pytest.mark.parametrize("form", FORMATS)
def test_older_captions_that_say_nothing_are_null(tmp_path: Path, form: Format) -> None:
    dataset = make_dataset(tmp_path / "data")
    of_older = {
        "An unrecognised scene.": (None, "unrecognised"),
        "An unrecognised scene: dark. An unrecognised scene: bright, mostly red.": (None, "unrecognised"),
        "An unrecognised scene. A scene with a bus.": ("A scene with a bus.", "verbatim"),
        "A scene with a bus: mostly red.": ("A scene with a bus: mostly red.", "verbatim"),
    }
    clips = [c for c in made_of(0, stored_media())["clips"] if c.scale == "short"][: len(of_older)]
    changed = [dataclasses.replace(c, caption_text=text) for c, text in zip(clips, of_older, strict=True)]
    with Writer(dataset, "run-2", {}) as writer:
        ids = frozenset((c.clip_id,) for c in clips)
        replaced = Replacement("clips", ("clip_id",), ids, frozenset(dataset.live_parts("clips")))
        commit_rows(writer, "older texts", {"clips": changed}, [replaced])
    export(dataset, tmp_path / "out", form, Selection(scale="short"))
    if form == "parquet":
        rows = pq.read_table(tmp_path / "out" / "clips").to_pylist()
    elif form == "hf":
        rows = [row for path in (tmp_path / "out").rglob(METADATA) for row in pq.read_table(path).to_pylist()]
    elif form == "mp4":
        rows = [json.loads(path.read_bytes()) for path in (tmp_path / "out").glob("*.json") if path.name != MANIFEST]
    else:
        with tarfile.open(tmp_path / "out" / "clips-000000.tar") as tar:
            texts = [tar.extractfile(m).read() for m in tar if m.name.endswith(".json")]  # type: ignore[union-attr]
        rows = [json.loads(text) for text in texts]
    found = {row["clip_id"]: (row["caption_text"], row["caption_status"]) for row in rows}
    assert [found[clip.clip_id] for clip in clips] == list(of_older.values())


def test_missing_media_does_not_stop_other_clips(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data")
    (dataset.folder / made_of(0, stored_media(seed=0))["videos"][0].media_uri).unlink()  # type: ignore[operator]
    exported = export(dataset, tmp_path / "out", "mp4", Selection(scale="medium"))
    assert exported.present == 2
    assert len(exported.failed) == 2
    assert all(line.startswith(f"{download_of(0).video_id}.medium.") and "\n" not in line for line in exported.failed)


@pytest.mark.parametrize("form", FORMATS)
def test_a_remote_dataset_gives_the_same_files_and_each_video_is_fetched_once(
    shared: Dataset, tmp_path: Path, bucket: Bucket, form: Format
) -> None:
    assert shared.folder is not None
    bucket.upload(shared.folder)
    here = export(shared, tmp_path / "here", form)
    assert export(Dataset(bucket.uri), tmp_path / "there", form) == here
    found = [contents_of(tmp_path / name) for name in ("here", "there")]
    for contents in found:
        for name in ("README.md", "croissant.json"):  # which have the dataset's name
            contents.pop(name, None)
    assert found[0] == found[1]
    brought = [path for method, path, _ in bucket.answers() if method == "GET" and path.startswith("media/")]
    assert len(brought) == len(set(brought)) == (0 if form == "parquet" else 2)


@pytest.mark.hostile("datasets")
@pytest.mark.parametrize("name", ["../../outside", "/etc/outside", "a/b", ".hidden", ""])
def test_a_clip_of_a_strangers_dataset_is_not_written_elsewhere(tmp_path: Path, name: str) -> None:
    dataset = make_dataset(tmp_path / "data", videos=1)
    clip = made_of(0, stored_media())["clips"][0]
    with Writer(dataset, "run-2", {}) as writer:
        commit_rows(writer, "bad", {"clips": [type(clip)(**{**vars(clip), "clip_id": name})]})
    with pytest.raises(DatasetError, match="not named as vidla names clips"):
        export(dataset, tmp_path / "out" / "deep", "mp4")
    assert not list(tmp_path.glob("outside*"))


# --- what may be asked for ------------------------------------------------------------------------------------------


def test_clips_are_selected_by_scale_and_condition(shared: Dataset, tmp_path: Path) -> None:
    selection = Selection("subtitle_text is null -- no speech", "short")
    assert export(shared, tmp_path, "mp4", selection).present == 4


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        (Selection(scale="tiny"), "no scale is called 'tiny'; there are short, medium, long"),
        (Selection(where="durtion > 3"), "durtion"),
        (Selection(where="true) union (select 1"), "is not one condition"),
        (Selection(where="exists (from '/etc/passwd')"), "Error"),
    ],
)
def test_an_invalid_selection_is_explained_in_one_line(
    shared: Dataset, tmp_path: Path, selection: Selection, message: str
) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        export(shared, tmp_path / "out", "mp4", selection)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_folder_is_used_for_one_export_only(shared: Dataset, tmp_path: Path) -> None:
    export(shared, tmp_path / "out", "mp4", Selection(scale="long"))
    with pytest.raises(UsageError, match="holds another export"):
        export(shared, tmp_path / "out", "webdataset", Selection(scale="long"))
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.tex").write_text("years of work")
    with pytest.raises(UsageError, match="not empty"):
        export(shared, mine, "mp4")
    with pytest.raises(UsageError, match="not a folder"):
        export(shared, mine / "thesis.tex", "mp4")
    assert shared.folder is not None
    link = tmp_path / "link"
    link.symlink_to(shared.folder)
    for inside in (shared.folder, shared.folder / "media" / "out", link / "out"):
        with pytest.raises(UsageError, match="inside the dataset"):
            export(shared, inside, "mp4")
    assert names_in(mine) == {"thesis.tex"}


# --- WebDataset -----------------------------------------------------------------------------------------------------


def members(shard: Path) -> list[str]:
    with tarfile.open(shard) as tar:
        return tar.getnames()


def test_shards_hold_three_files_a_clip_in_order_and_are_the_same_each_time(shared: Dataset, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    assert export(shared, first, "webdataset", shard_clips=5).present == 14
    export(shared, second, "webdataset", shard_clips=5)
    shards = ["clips-000000.tar", "clips-000001.tar", "clips-000002.tar"]
    assert names_in(first) == {*shards, INDEX, MANIFEST, SUMS}
    keys = [name for shard in shards for name in members(first / shard)]
    assert len(keys) == 3 * 14
    by_key = [tuple(name.partition(".")[::2]) for name in keys]
    assert [suffix for _, suffix in by_key] == ["mp4", "json", "txt"] * 14
    assert len({key for key, _ in by_key}) == 14
    for shard in shards:
        assert (first / shard).read_bytes() == (second / shard).read_bytes()
    with tarfile.open(first / shards[0]) as tar:
        about = json.load(tar.extractfile(keys[1]))  # type: ignore[arg-type]
        assert tar.extractfile(keys[2]).read().decode() == about["caption_text"]  # type: ignore[union-attr]
        with av.open(tar.extractfile(keys[0])) as container:
            assert container.streams.video[0].frames == round((about["end"] - about["start"]) * FRAME_RATE)


def test_complete_shards_are_kept_and_the_others_written_again(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data")
    out = tmp_path / "out"
    export(dataset, out, "webdataset", shard_clips=5)
    before = stamps(out)
    (out / "clips-000001.tar").unlink()
    assert export(dataset, out, "webdataset", shard_clips=5) == ExportReport(present=14, kept=9)
    after = stamps(out)
    assert {n for n in before if before[n] != after[n]} == {"clips-000001.tar"}
    clips = shard_order(dataset)
    with Writer(dataset, "run-2", {}) as writer:
        parts = frozenset(dataset.live_parts("clips"))
        gone = Replacement("clips", ("clip_id",), frozenset((c,) for c in clips[7:]), parts)
        commit_rows(writer, "fewer", {}, [gone])
    assert export(dataset, out, "webdataset", shard_clips=5) == ExportReport(present=7, kept=5)
    assert names_in(out) == {"clips-000000.tar", "clips-000001.tar", INDEX, MANIFEST, SUMS}
    assert len(members(out / "clips-000001.tar")) == 6


def shard_order(dataset: Dataset) -> list[str]:
    rows = dataset.sql('select clip_id from clips order by media_uri, start, "end", clip_id')
    return list(rows["clip_id"].to_pylist())


# --- tables ---------------------------------------------------------------------------------------------------------


def count(out: Path, table: str) -> int:
    with duckdb.connect() as connection:
        (rows,) = connection.sql(f"select count(*) from '{out / table}/*.parquet'").fetchall()[0]
    return int(rows)


def test_tables_become_plain_folders_that_a_glob_reads(shared: Dataset, tmp_path: Path) -> None:
    exported = export(shared, tmp_path, "parquet")
    assert {name: count(tmp_path, name) for name in TABLES} == {name: shared.read(name).num_rows for name in TABLES}
    again = export(shared, tmp_path, "parquet")
    assert (again.present, again.kept) == (exported.present, exported.present)


def test_a_selection_takes_what_belongs_to_its_clips(shared: Dataset, tmp_path: Path) -> None:
    video_id = download_of(0).video_id
    export(shared, tmp_path, "parquet", Selection(f"video_id = '{video_id}'", "long"))
    assert {name: count(tmp_path, name) for name in TABLES} == {
        "requests": 1,
        "pages": 1,
        "downloads": 1,
        "videos": 1,
        "timelines": 1,
        "frames": 4,
        "captions": 4,
        "segments": 1,
        "summaries": 2,
        "clips": 1,
        "signals": 1,
        "policies": 0,
        "quantiles": 0,
        "rejects": 0,
        "usage": 4,
        "forgotten": 0,
        "labels": 0,
    }


def test_changed_tables_are_written_again(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data", videos=1)
    out = tmp_path / "out"
    export(dataset, out, "parquet")
    with Writer(dataset, "run-2", {}) as writer:
        commit_rows(writer, "more", {"clips": made_of(5, stored_media())["clips"]})
    assert export(dataset, out, "parquet").kept == 0
    assert count(out, "clips") == 14


# --- for Hugging Face datasets --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(shared: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export with one of the videos held out."""
    out = tmp_path_factory.mktemp("hf") / "talks"
    assert export(shared, out, "hf", shard_clips=5, held_out=0.5).present == 14
    return out


def test_datasets_loads_the_folder(folder: Path, shared: Dataset, tmp_path: Path) -> None:
    loaded = datasets.load_dataset(str(folder), cache_dir=str(tmp_path))
    videos = {split: set(loaded[split]["video_id"]) for split in loaded}
    assert set().union(*videos.values()) == set(shared.read("videos")["video_id"].to_pylist())
    assert all(is_held_out(video, 0.5) == (split == "test") for split, some in videos.items() for video in some)
    rows = {row["clip_id"]: row for split in loaded for row in loaded[split]}
    assert len(rows) == 14
    for number in (0, 1):
        for clip in made_of(number, stored_media(seed=number))["clips"]:
            row = rows[clip.clip_id]
            assert (row["caption_text"], row["language"]) == (clip.caption_text, "en")
            assert json.loads(row["metadata"]) == {"topic": "bees"}
            times = [time - clip.start for time in (3.0, 9.0, 15.0, 21.0) if clip.start <= time < clip.end]
            assert [caption["time"] for caption in row["captions"]] == times
            said = [(max(0.0, 6.0 * n), text) for n, text in enumerate(("Bees dance.", "They tell where flowers are."))]
            assert [(s["start"], s["text"]) for s in row["sentences"]] == [
                (start - clip.start, text) for start, text in said if start < clip.end and start + 6 > clip.start
            ]
            frames = row["video"].get_frames_in_range(0, 1).data
            first = round(clip.start * FRAME_RATE)
            assert abs(float(frames[0, :, -4:].float().mean()) - first) < 4, "the picture is the clip's first"


def test_a_folder_is_brought_up_to_date(folder: Path, shared: Dataset, tmp_path: Path) -> None:
    out = shutil.copytree(folder, tmp_path / "talks")
    again = export(shared, out, "hf", shard_clips=5, held_out=0.5)
    assert (again.present, again.kept) == (14, 14)
    split = next(split for split in ("train", "test") if (out / split / "000001").exists())
    (out / split / "000001" / "metadata.parquet").unlink()  # as a kill leaves nothing of it
    (out / split / "000007").mkdir()
    mended = export(shared, out, "hf", shard_clips=5, held_out=0.5)
    assert (mended.present, mended.kept) == (14, 12)
    assert contents_of(out) == contents_of(folder)
    with pytest.raises(UsageError, match="holds another export"):
        export(shared, out, "hf", shard_clips=5, held_out=0.1)


# --- checking -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMATS)
def test_an_export_checks_itself(shared: Dataset, tmp_path: Path, form: Format) -> None:
    out = tmp_path / "out"
    export(shared, out, form)
    report = check(out)
    assert not report.faults and report.clips == (0 if form == "parquet" else 14)
    assert subprocess.run(["b2sum", "-c", "--quiet", SUMS], cwd=out, check=False).returncode == 0
    sums = (out / SUMS).read_text()
    export(shared, out, form)
    assert (out / SUMS).read_text() == sums


@pytest.mark.hostile("datasets")
@pytest.mark.parametrize("harm", ["a bit", "gone", "shorter", "another", "left over", "unfinished", "no export"])
@pytest.mark.parametrize("form", FORMATS)
def test_what_is_wrong_with_an_export_is_found(shared: Dataset, tmp_path: Path, form: Format, harm: str) -> None:
    out = tmp_path / "out"
    export(shared, out, form)
    victim = max((path for path in out.rglob("*") if path.suffix in (".mp4", ".tar", ".parquet")), key=str)
    name, data = victim.relative_to(out).as_posix(), victim.read_bytes()
    if harm == "a bit":
        victim.write_bytes(data[:100] + bytes([data[100] ^ 1]) + data[101:])
    elif harm == "gone":
        victim.unlink()
    elif harm == "shorter":
        victim.write_bytes(data[:-1])
    elif harm == "another":
        (out / "x.mp4").write_bytes(b"")
    elif harm == "left over":
        (out / ".vidla-abc").mkdir()
    else:
        (out / (SUMS if harm == "unfinished" else MANIFEST)).unlink()
        with pytest.raises(UsageError, match="was not finished" if harm == "unfinished" else "is not an export"):
            check(out)
        return
    found = check(out).faults
    expected = {
        "a bit": f"{name} is not what was written",
        "gone": f"{name} is missing",
        "shorter": f"{name} is not what was written",
        "another": "x.mp4 is not of this export",
        "left over": ".vidla-abc is left of an export that was killed",
    }
    assert found == [expected[harm]]


def test_a_file_that_was_changed_back_in_time_is_read_again(shared: Dataset, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export(shared, out, "mp4")
    clip = min(out.glob("*.mp4"))
    clip.write_bytes(b"other")
    os.utime(clip, (0, 0))
    export(shared, out, "mp4")  # keeps it, since its row is the same
    assert not check(out).faults
