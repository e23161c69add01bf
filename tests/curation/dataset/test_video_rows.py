"""One video's rows are found in parts of many videos: all of them, in order, without reading the rest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from curation.dataset import video_rows
from curation.dataset.compact import compact
from curation.dataset.dataset import Dataset
from curation.dataset.video_rows import VideoIndex, read_video
from curation.dataset.writer import Writer
from curation.records import Frame
from curation.schema import TABLES, from_row
from tests.support.dataset_files import commit_rows, make_dataset

Reads = list[tuple[int, tuple[str, ...]]]
VIDEOS = 8


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Iterator[Reads]:
    """Row groups as they are read, with their columns."""
    read_row_group, read = pq.ParquetFile.read_row_group, []

    def noted(file: pq.ParquetFile, number: int, columns: Sequence[str] = (), **more: Any) -> pa.Table:
        read.append((number, tuple(columns)))
        return read_row_group(file, number, columns or None, **more)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", noted)
    video_rows.clear_caches()
    yield read


@pytest.fixture
def merged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    """One part per table, with many row groups."""
    dataset = make_dataset(tmp_path / "data", videos=VIDEOS)
    monkeypatch.setattr("curation.dataset.compact.ROW_GROUP_BYTES", 1024)
    with Writer(dataset, "compact", {"command": "test"}) as writer:
        compact(writer)
    return dataset


@pytest.mark.parametrize("table", ["segments", "clips", "captions", "videos", "frames"])
def test_all_rows_of_a_video_are_found_in_their_order(merged: Dataset, table: str) -> None:
    (part,) = merged.live_parts(table)
    assert pq.ParquetFile(merged.folder / table / part).num_row_groups > 2  # type: ignore[operator]
    rows = merged.read(table)
    for video_id in (*rows["video_id"].unique().to_pylist(), "nobody"):
        expected = rows.filter(pc.equal(rows["video_id"], video_id))
        assert read_video(merged, table, part, video_id).cast(expected.schema).equals(expected)
        some = read_video(merged, table, part, video_id, ["digest", "video_id"])
        assert some.equals(expected.select(["digest", "video_id"]).cast(some.schema))


def test_row_groups_read_for_one_video_serve_its_neighbours(tmp_path: Path, reads: Reads) -> None:
    dataset = make_dataset(tmp_path / "data", videos=VIDEOS)
    with Writer(dataset, "compact", {"command": "test"}) as writer:
        compact(writer)
    video_ids = dataset.read("segments", ["video_id"])["video_id"].unique().to_pylist()
    (part,) = dataset.live_parts("segments")
    del reads[:]

    def rows_of(video_id: str) -> int:
        return len(read_video(dataset, "segments", part, video_id))

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(rows_of, video_ids * 10))
    assert [number for number, _ in reads] == [0, 0]  # once for where the videos are, once for the rows


def test_images_are_read_only_from_row_groups_with_wanted_frames(
    tmp_path: Path, reads: Reads, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long video's frames are written to many row groups, even if they are added at once."""
    dataset = make_dataset(tmp_path / "data", videos=1)
    one = from_row(Frame, next(iter(dataset.read("frames").to_pylist())))
    frames = [replace(one, frame_id=f"long-{n}", video_id="long", time=float(n)) for n in range(40)]
    monkeypatch.setattr("curation.dataset.parts.ROW_GROUP_BYTES", 4 * len(one.image))
    before = dataset.live_parts("frames").keys()
    with Writer(dataset, "long", {"command": "test"}) as writer:
        commit_rows(writer, "frames", {"frames": frames})
    (part,) = dataset.live_parts("frames").keys() - before
    del reads[:]
    found = read_video(dataset, "frames", part, "long", among=["long-17", "long-18", "another"])
    assert found["frame_id"].to_pylist() == ["long-17", "long-18"]
    with_images = [number for number, columns in reads if "image" in columns]
    assert 1 <= len(with_images) <= 2
    assert len({number for number, _ in reads}) >= 10


def test_a_missing_part_is_an_error_not_an_empty_one(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data", videos=1)
    with pytest.raises(FileNotFoundError):
        read_video(dataset, "segments", "part-of-old.parquet", "nobody")


def test_a_part_older_than_a_column_has_nulls_in_it(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data", videos=1)
    rows = dataset.read("segments")
    old = rows.drop_columns(["scale"])
    pq.write_table(old, dataset.folder / "segments" / "old.parquet")  # type: ignore[operator]
    found = read_video(dataset, "segments", "old.parquet", rows["video_id"][0].as_py())
    assert found.schema.names == TABLES["segments"].schema.names
    assert found["scale"].null_count == len(found) > 0


def test_an_index_names_every_place_of_a_video() -> None:
    places = [["a", "b", "a", None], [], ["b"], ["c", "b"]]
    index = VideoIndex.of(pa.chunked_array([place], pa.string()) for place in places)
    assert [index.places_of(video) for video in ("a", "b", "c", "d")] == [[0], [0, 2, 3], [3], []]
    assert VideoIndex.of([]).places_of("a") == []
