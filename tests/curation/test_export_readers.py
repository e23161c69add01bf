"""Exports and tables as their readers read them: webdataset, datasets, DuckDB, Polars, pyarrow and daft."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import daft
import datasets
import duckdb
import polars
import pyarrow.dataset
import pytest
import webdataset

from curation.dataset.dataset import Dataset
from curation.export.export import export
from curation.export.webdataset import INDEX
from tests.support.dataset_files import make_dataset


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Only read in these tests."""
    return make_dataset(tmp_path_factory.mktemp("shared") / "data", videos=2)


@pytest.fixture(scope="module")
def expected(shared: Dataset) -> dict[str, str]:
    """The captions of all clips, by id."""
    return {row["clip_id"]: row["caption_text"] for row in shared.read("clips").to_pylist()}


def test_webdataset_reads_the_shards(shared: Dataset, expected: dict[str, str], tmp_path: Path) -> None:
    out = tmp_path / "shards"
    export(shared, out, "webdataset", shard_clips=5)
    index = json.loads((out / INDEX).read_text())
    assert [shard["nsamples"] for shard in index["shardlist"]] == [5, 5, 4]
    assert all((out / shard["url"]).stat().st_size == shard["filesize"] for shard in index["shardlist"])
    urls = [str(out / shard["url"]) for shard in index["shardlist"]]
    found = {}
    for sample in webdataset.WebDataset(urls, shardshuffle=False):
        about = json.loads(sample["json"])
        assert sample["mp4"][4:8] == b"ftyp" and sample["txt"].decode() == about["caption_text"]
        found[about["clip_id"]] = about["caption_text"]
    assert found == expected


READERS: dict[str, Callable[[Path], list[dict[str, Any]]]] = {
    "datasets": lambda folder: datasets.load_dataset("parquet", data_files=str(folder / "*.parquet"))[
        "train"
    ].to_list(),
    "DuckDB": lambda folder: duckdb.sql(f"from '{folder}/*.parquet'").to_arrow_table().to_pylist(),
    "Polars": lambda folder: polars.read_parquet(folder / "*.parquet").to_dicts(),
    "pyarrow": lambda folder: pyarrow.dataset.dataset(folder).to_table().to_pylist(),
    "daft": lambda folder: daft.read_parquet(str(folder / "*.parquet")).to_pylist(),
}


@pytest.mark.parametrize("reader", READERS)
def test_tables_are_read_by(reader: str, shared: Dataset, expected: dict[str, str], tmp_path: Path) -> None:
    export(shared, tmp_path / "tables", "parquet")
    rows = READERS[reader](tmp_path / "tables" / "clips")
    assert {row["clip_id"]: row["caption_text"] for row in rows} == expected
    assert all(list(row["frame_ids"]) and row["language"] == "en" for row in rows)


@pytest.mark.parametrize("reader", ["DuckDB", "Polars", "daft"])
def test_rows_of_a_folder_for_datasets_are_read_by(
    reader: str, shared: Dataset, expected: dict[str, str], tmp_path: Path
) -> None:
    export(shared, tmp_path / "folder", "hf", shard_clips=5, held_out=0)
    rows = [row for shard in sorted((tmp_path / "folder" / "train").iterdir()) for row in READERS[reader](shard)]
    assert {row["clip_id"]: row["caption_text"] for row in rows} == expected
