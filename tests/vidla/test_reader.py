"""`vidla.open`: reading a dataset from notebooks and scripts."""

from __future__ import annotations

import doctest
import io
import shutil
import subprocess
import sys
from pathlib import Path

import av
import pytest
from PIL import Image

import vidla
from curation.dataset.dataset import Dataset
from curation.dataset.pins import pin
from curation.dataset.vacuum import vacuum
from curation.dataset.writer import Writer
from curation.records import Clip
from curation.schema import TABLES
from tests.support.bucket import Bucket
from tests.support.dataset_files import add_videos, download_of, made_of, make_dataset, stored_media
from tests.support.project import ROOT
from vidla import DatasetReader, FrameImage, QueryResult

MEDIUM = "select clip_id from clips where scale = 'medium' order by clip_id limit 1"
OLDER_VERSIONS = sorted((ROOT / "tests" / "datasets").iterdir())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Only read in these tests."""
    folder = tmp_path_factory.mktemp("shared") / "data" / "talks"
    pin(make_dataset(folder, videos=2), "first-training")
    return folder


@pytest.fixture(scope="module")
def talks(folder: Path) -> DatasetReader:
    return vidla.open(str(folder))


def a_clip(reader: DatasetReader) -> str:
    found: str = reader.sql(MEDIUM).to_pylist()[0]["clip_id"]
    return found


def files_below(folder: Path) -> set[tuple[Path, int]]:
    return {(path, path.stat().st_mtime_ns) for path in folder.rglob("*")}


def test_the_page_on_python_shows_what_happens(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(folder, tmp_path / "data" / "talks")
    monkeypatch.chdir(tmp_path)
    page = ROOT / "docs" / "python.md"
    options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    failed, tried = doctest.testfile(str(page), module_relative=False, optionflags=options)
    assert tried > 15
    assert not failed


def test_reading_writes_nothing(folder: Path, tmp_path: Path) -> None:
    before = files_below(folder)
    reader = vidla.open(str(folder))
    clip = a_clip(reader)
    reader.frames(clip)
    reader.cut(clip, tmp_path / "clip.mp4")
    reader._repr_html_()
    assert files_below(folder) == before


def test_a_reader_opens_uris_as_well(folder: Path) -> None:
    assert vidla.open(folder.as_uri()).sql("from clips").to_arrow().num_rows == 14


def test_a_reader_keeps_to_its_version(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data", videos=1)
    before = vidla.open(str(tmp_path / "data"))
    with Writer(dataset, "run-2", {}) as writer:
        add_videos(writer, [1])
    after = vidla.open(str(tmp_path / "data"))
    assert [len(reader.sql("from videos")) for reader in (before, after)] == [1, 2]
    assert [reader["clips"].count_rows() for reader in (before, after)] == [7, 14]
    assert [reader.books.accounts[-1].made for reader in (before, after)] == [7, 14]


def test_a_pin_can_be_opened_for_as_long_as_it_exists(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data", videos=1)
    pin(dataset, "one")
    with Writer(dataset, "run-2", {}) as writer:
        add_videos(writer, [1])
        vacuum(writer)
    reader = vidla.open(str(tmp_path / "data"), pin="one")
    assert len(reader.sql("from videos")) == 1
    assert repr(reader) == f"vidla.open({dataset.uri!r}, pin='one')"
    assert "pinned as one" in reader._repr_html_()
    with pytest.raises(vidla.UsageError, match=r"no version of .* is pinned as 'two'; there are one"):
        vidla.open(str(tmp_path / "data"), pin="two")


@pytest.mark.parametrize("older", OLDER_VERSIONS, ids=lambda folder: folder.name)
def test_a_dataset_of_an_older_version_has_the_columns_of_today(older: Path) -> None:
    reader = vidla.open(str(older / "builtin"))
    assert {name: reader[name].schema.names for name in reader.tables} == {
        name: table.schema.names for name, table in TABLES.items()
    }
    clip = reader.clip(reader.sql("select clip_id from clips where caption_text <> ''").to_pylist()[0]["clip_id"])
    assert clip.caption_text
    assert reader.frames(clip.clip_id)


def test_a_clip_has_its_texts_and_frames(talks: DatasetReader) -> None:
    expected = next(clip for clip in made_of(0, stored_media())["clips"] if clip.scale == "medium")
    assert isinstance(expected, Clip)
    assert talks.clip(expected.clip_id) == expected
    frames = talks.frames(expected.clip_id)
    assert [frame.frame_id for frame in frames] == list(expected.frame_ids)
    assert all(frame._repr_jpeg_() == frame.jpeg != b"" for frame in frames)


def test_a_frame_is_an_image() -> None:
    file = io.BytesIO()
    Image.new("RGB", (32, 16), "red").save(file, "JPEG")
    frame = FrameImage("f", 1.5, file.getvalue(), "Red.")
    assert frame.to_pil().size == (32, 16)
    assert repr(frame).startswith("FrameImage(time=1.5, caption='Red.', jpeg of ")


def test_a_clip_is_cut_to_a_file(talks: DatasetReader, tmp_path: Path) -> None:
    path = talks.cut(a_clip(talks), tmp_path / "clip.mp4")
    with av.open(str(path)) as container:
        assert container.duration is not None
        assert container.duration / 1e6 == pytest.approx(12.0, abs=0.1)
    assert [file.name for file in tmp_path.iterdir()] == ["clip.mp4"]


def test_media_that_is_gone_is_an_error_of_the_dataset(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data", videos=1)
    shutil.rmtree(tmp_path / "data" / "media")
    reader = vidla.open(str(tmp_path / "data"))
    with pytest.raises(vidla.DatasetError, match="cannot cut clip"):
        reader.cut(a_clip(reader), tmp_path / "clip.mp4")
    assert "1 videos whose stored media is missing" in reader._repr_html_()
    assert dataset.exists()


def test_files_that_vacuum_has_deleted_are_an_error_of_the_dataset(tmp_path: Path) -> None:
    make_dataset(tmp_path / "data", videos=1)
    reader = vidla.open(str(tmp_path / "data"))
    clip = a_clip(reader)
    for part in (tmp_path / "data" / "clips").glob("*.parquet"):
        part.unlink()
    with pytest.raises(vidla.DatasetError, match="cannot read"):
        reader.clip(clip)
    with pytest.raises(vidla.DatasetError, match="cannot read"):
        reader.sql("from clips")


@pytest.mark.parametrize("name", ["clip", "x'; drop table clips"])
def test_a_name_that_is_not_there_is_a_usage_error(talks: DatasetReader, tmp_path: Path, name: str) -> None:
    with pytest.raises(vidla.UsageError, match="no table is called"):
        talks[name]
    for ask in (talks.clip, talks.frames, lambda name: talks.cut(name, tmp_path / "clip.mp4")):
        with pytest.raises(vidla.UsageError, match="has no clip"):
            ask(name)
    with pytest.raises(vidla.UsageError, match="Parser Error"):
        talks.sql("selec")


def test_a_location_without_a_dataset_stays_empty(tmp_path: Path) -> None:
    with pytest.raises(vidla.DatasetError, match="no vidla dataset at"):
        vidla.open(str(tmp_path / "nothing"))
    assert not list(tmp_path.iterdir())


def test_html_is_escaped(tmp_path: Path) -> None:
    make_dataset(tmp_path / "a<b>&c", videos=1)
    reader = vidla.open(str(tmp_path / "a<b>&c"))
    assert "<b>&c" not in reader._repr_html_()
    shown = reader.sql("select '<script>' as \"<i>\" from range(30)")._repr_html_()
    assert "&lt;script&gt;" in shown
    assert "<th>&lt;i&gt;</th>" in shown
    assert "30 rows" in shown
    assert (
        QueryResult(reader.sql("select 1 as a where false").rows)._repr_html_() == "<table><tr><th>a</th></tr></table>"
    )


def test_without_pandas_and_pillow_the_rest_works(folder: Path) -> None:
    program = f"""
import sys

class Without:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("pandas", "PIL"):
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Without())
import vidla
reader = vidla.open({str(folder)!r})
result = reader.sql("from clips")
frame = vidla.FrameImage("f", 0.0, b"", None)
for convert in (result.to_pandas, frame.to_pil):
    try:
        convert()
    except vidla.UsageError as error:
        print(error)
print(len(result))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "pip install pandas" in done.stdout
    assert "pip install pillow" in done.stdout
    assert done.stdout.endswith("\n14\n")


def test_a_bucket_is_read_like_a_folder(folder: Path, bucket: Bucket, tmp_path: Path) -> None:
    bucket.upload(folder)
    reader = vidla.open(bucket.uri)
    assert reader.pins.keys() == {"first-training"}
    assert set(reader["videos"].to_table()["video_id"].to_pylist()) == {download_of(n).video_id for n in (0, 1)}
    assert reader.cut(a_clip(reader), tmp_path / "clip.mp4").stat().st_size > 0
    assert "requests downloaded" in reader._repr_html_()
    assert Dataset(bucket.uri).exists()
