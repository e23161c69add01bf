"""pyarrow, DuckDB, Polars and Hugging Face datasets read each table unchanged, through the log and by plain glob."""

from __future__ import annotations

import datetime
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import datasets
import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.dataset as pad
import pyarrow.parquet as pq
import pytest
from deltalake import write_deltalake

from curation.dataset.commits import Replacement
from curation.dataset.dataset import Dataset
from curation.dataset.parts import PartWriter
from curation.dataset.vacuum import vacuum
from curation.dataset.writer import Writer
from curation.errors import DatasetError, UsageError
from curation.records import Row, Timeline, Video
from curation.schema import LINEAGE, TABLES, from_row, schema_of
from tests.support.dataset_files import commit_rows, made_of, make_dataset, stored_media

Values = Mapping[str, Any]
FILLED = [name for name in TABLES if name not in ("forgotten", "policies")]


def same(rows: list[Any], table: str) -> list[Any]:
    """`rows` in a fixed order and with one type of time, so that the results of two readers can be compared."""
    key = TABLES[table].key
    plain = [{name: _plain(row[name]) for name in TABLES[table].schema.names} for row in rows]
    return sorted(plain, key=lambda row: tuple(row[k] for k in key))


def _plain(value: Any) -> Any:
    if isinstance(value, datetime.datetime):
        return value.astimezone(datetime.UTC)
    return value


# --- through the log ------------------------------------------------------------------------------------------------


def by_pyarrow(dataset: Dataset, table: str) -> list[Any]:
    return dataset.delta(table).to_pyarrow_dataset().to_table().to_pylist()


def by_duckdb(dataset: Dataset, table: str) -> list[Any]:
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        files = dataset.delta(table).file_uris()
        return (
            connection.sql("select * from read_parquet($files)", params={"files": files}).to_arrow_table().to_pylist()
        )


def by_polars(dataset: Dataset, table: str) -> list[Any]:
    return pl.scan_delta(dataset.delta(table)).collect().to_dicts()


def by_hugging_face(dataset: Dataset, table: str) -> list[Any]:
    return list(hugging_face(dataset.delta(table).file_uris()))


def hugging_face(files: list[str] | str) -> Any:
    paths = [f.removeprefix("file://") for f in ([files] if isinstance(files, str) else files)]
    return datasets.load_dataset("parquet", data_files=paths, split="train", streaming=True)


LOG_READERS: dict[str, Callable[[Dataset, str], list[Any]]] = {
    "pyarrow": by_pyarrow,
    "duckdb": by_duckdb,
    "polars": by_polars,
    "hugging face": by_hugging_face,
}


# --- by plain glob: exactly table/*.parquet, since checkpoints of the log are Parquet as well -------------------------


def glob_pyarrow(glob: Path) -> list[Any]:
    return pad.dataset(sorted(map(str, glob.parent.glob(glob.name)))).to_table().to_pylist()


def glob_duckdb(glob: Path) -> list[Any]:
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        return connection.sql("select * from read_parquet($at)", params={"at": str(glob)}).to_arrow_table().to_pylist()


def glob_polars(glob: Path) -> list[Any]:
    return pl.scan_parquet(glob).collect().to_dicts()


def glob_hugging_face(glob: Path) -> list[Any]:
    return list(hugging_face(str(glob)))


GLOB_READERS: dict[str, Callable[[Path], list[Any]]] = {
    "pyarrow": glob_pyarrow,
    "duckdb": glob_duckdb,
    "polars": glob_polars,
    "hugging face": glob_hugging_face,
}


@pytest.fixture(scope="module")
def added(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """A dataset to which rows were only added."""
    return make_dataset(tmp_path_factory.mktemp("added") / "data", videos=2, uncaptioned=1)


@pytest.fixture(scope="module")
def vacuumed(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """A dataset in which rows of every table were replaced, and vacuumed; its logs have checkpoints."""
    dataset = make_dataset(tmp_path_factory.mktemp("vacuumed") / "data", videos=2, uncaptioned=1)
    with Writer(dataset, "run-2", {"command": "test"}) as writer:
        for table in FILLED:
            key = TABLES[table].key[-1]
            rows = dataset.read(table)
            one = rows.slice(0, 1)
            parts = PartWriter(dataset.store, writer.lineage, 1 << 30)
            parts.add_rows(table, one.cast(TABLES[table].schema))
            value = frozenset({(one[key][0].as_py(),)})
            again = Replacement(table, (key,), value, frozenset(dataset.live_parts(table)))
            writer.commit(f"again {table}", parts.finish(), [again])
            dataset.delta(table).create_checkpoint()
    assert dataset.folder is not None
    for table in FILLED:
        glob = glob_pyarrow(dataset.folder / table / "*.parquet")
        assert len(glob) > len(by_pyarrow(dataset, table)), "superseded parts are there before the vacuum"
    with Writer(dataset, "run-3", {"command": "test"}) as writer:
        vacuum(writer)
    return dataset


@pytest.mark.parametrize("table", FILLED)
@pytest.mark.parametrize("reader", LOG_READERS)
@pytest.mark.parametrize("state", ["added", "vacuumed"])
def test_read_through_the_log(request: pytest.FixtureRequest, state: str, reader: str, table: str) -> None:
    dataset: Dataset = request.getfixturevalue(state)
    expected = same(dataset.read(table).to_pylist(), table)
    assert expected
    assert same(LOG_READERS[reader](dataset, table), table) == expected


@pytest.mark.parametrize("table", FILLED)
@pytest.mark.parametrize("reader", GLOB_READERS)
@pytest.mark.parametrize("state", ["added", "vacuumed"])
def test_read_by_plain_glob(request: pytest.FixtureRequest, state: str, reader: str, table: str) -> None:
    dataset: Dataset = request.getfixturevalue(state)
    assert dataset.folder is not None
    found = GLOB_READERS[reader](dataset.folder / table / "*.parquet")
    assert same(found, table) == same(dataset.read(table).to_pylist(), table)


@pytest.mark.parametrize(("table", "record"), [("videos", Video), ("timelines", Timeline)])
def test_what_was_written_is_what_is_read(added: Dataset, table: str, record: type) -> None:
    expected = made_of(0, stored_media(), 1)[table][0]
    rows = {row["video_id"]: row for row in by_pyarrow(added, table)}
    assert from_row(record, rows[expected.video_id]) == expected
    assert {row["code_version"] for row in rows.values()} == {"0.1.0"}


# --- the files ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", FILLED)
def test_parts_are_zstd_parquet_with_the_schema_of_the_records(added: Dataset, table: str) -> None:
    assert added.folder is not None
    for part in (added.folder / table).glob("*.parquet"):
        file = pq.ParquetFile(part)
        assert file.schema_arrow == TABLES[table].schema
        assert file.metadata.row_group(0).column(0).compression == "ZSTD"


def test_every_table_has_lineage() -> None:
    for table in TABLES.values():
        assert schema_of(table.record).names[-len(LINEAGE) :] == LINEAGE.names


def test_a_part_is_flushed_by_size_and_holds_small_row_groups(tmp_path: Path) -> None:
    dataset = Dataset(str(tmp_path / "data"))
    dataset.create()
    frame = made_of(0, stored_media())["frames"][0]
    with Writer(dataset, "run", {}) as writer:
        parts = PartWriter(dataset.store, writer.lineage, part_bytes=16 * 2**20)
        for number in range(200):
            big = {**vars(frame), "frame_id": f"f{number}", "image": bytes([number]) * 2**18}
            parts.add([Row(type(frame)(**big), "d")])
        written = parts.finish()
        writer.commit("big", written)
    assert [part.rows for part in written] == [64, 64, 64, 8]
    assert dataset.folder is not None
    groups = pq.read_metadata(dataset.folder / "frames" / written[0].path)
    assert groups.num_row_groups > 1
    assert all(groups.row_group(i).total_byte_size <= 4.1 * 2**20 for i in range(groups.num_row_groups))
    assert dataset.delta("frames").to_pyarrow_dataset().count_rows() == 200


# --- reading --------------------------------------------------------------------------------------------------------


@pytest.mark.hostile("datasets")
def test_sql_sees_the_tables_and_nothing_else(added: Dataset, tmp_path: Path) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("a\n1\n")
    outside = pa.table({"a": [1]})
    assert added.sql("select count(*) as n from clips join videos using (video_id)")["n"].to_pylist() == [14]
    assert outside.num_rows == 1
    for query in (
        f"select * from '{secret}'",
        f"select * from read_csv('{secret}')",
        "select * from outside",
        "set enable_external_access = true; select 1",
        f"copy clips to '{tmp_path / 'out.csv'}'",
    ):
        with pytest.raises(UsageError) as caught:
            added.sql(query)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "out.csv").exists()


def test_what_a_query_makes_or_sets_concerns_no_other_query(added: Dataset) -> None:
    for query in ("create table mine as select 1 as a", "create macro mine(a) as a", "attach ':memory:' as mine"):
        added.sql(query)
    for query in ("from mine", "select mine(1)", "from mine.main.a", "set memory_limit = '1MB'", "set threads = 1"):
        with pytest.raises(UsageError):
            added.sql(query)
    stream = added.stream("select clip_id from clips order by clip_id")
    first = next(stream)
    assert added.sql("select count(*) as n from clips")["n"].to_pylist() == [14]
    assert len(first) + sum(map(len, stream)) == 14


def test_a_stream_gives_all_rows_in_order_at_the_version_asked_for(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data", videos=1)
    version = dataset.delta("clips").version()
    with Writer(dataset, "run-2", {}) as writer:
        commit_rows(writer, "more", {"clips": made_of(5, stored_media())["clips"]})
    query = 'select clip_id from clips order by start desc, "end", clip_id'
    now = [row["clip_id"] for batch in dataset.stream(query) for row in batch.to_pylist()]
    then = [row["clip_id"] for batch in dataset.stream(query, {"clips": version}) for row in batch.to_pylist()]
    assert (len(now), len(then)) == (14, 7)
    assert [clip for clip in now if clip in set(then)] == then


def test_a_process_may_end_in_the_middle_of_a_stream(tmp_path: Path) -> None:
    dataset = Dataset(str(tmp_path / "data"))
    frame = made_of(0, stored_media())["frames"][0]
    with Writer(dataset, "run", {}) as writer:
        parts = PartWriter(dataset.store, writer.lineage, part_bytes=2**20)
        for number in range(100):
            frames = [type(frame)(**{**vars(frame), "frame_id": f"f{number}.{i}"}) for i in range(1000)]
            parts.add(Row(record, "d") for record in frames)
        writer.commit("many", parts.finish())
    watchdog = "import faulthandler; faulthandler.dump_traceback_later(50)"  # shows what hangs, if anything does
    read = "from curation.dataset.dataset import Dataset; s = Dataset(sys.argv[1]).stream('from frames'); next(s)"
    code = f"import sys; {read}"
    command = [sys.executable, "-c", f"{watchdog}; {code}", dataset.uri]
    assert subprocess.run(command, check=False, timeout=180).returncode == 0


def test_keys_are_read_with_the_part_that_holds_them(added: Dataset) -> None:
    keys = added.keys("captions", ["frame_id", "digest"]).to_pylist()
    assert {row["part"] for row in keys} == set(added.live_parts("captions"))
    assert len(keys) == 6


def test_a_folder_that_is_not_a_dataset_is_reported_as_such(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no vidla dataset at"):
        Dataset(str(tmp_path)).read("clips")
    assert not Dataset(str(tmp_path / "not there")).exists()
    assert not (tmp_path / "not there").exists(), "looking makes nothing"


def test_a_log_older_than_a_month_still_opens_old_versions(tmp_path: Path) -> None:
    """Delta drops logs older than 30 days with a checkpoint, and with them the versions that someone has pinned."""
    dataset = make_dataset(tmp_path / "data", videos=1)
    assert dataset.folder is not None
    long_ago = time.time() - 60 * 86400
    for file in (dataset.folder / "clips" / "_delta_log").iterdir():
        os.utime(file, (long_ago, long_ago))
    dataset.delta("clips").create_checkpoint()
    with Writer(dataset, "run-2", {}) as writer:
        commit_rows(writer, "more", {"clips": made_of(5, stored_media())["clips"]})
    dataset.delta("clips").create_checkpoint()
    assert dataset.delta("clips", 1).version() == 1


def test_a_dataset_of_an_older_version_gets_the_columns_it_lacks(tmp_path: Path) -> None:
    dataset, columns = Dataset(str(tmp_path)), TABLES["videos"].schema
    write_deltalake(str(tmp_path / "videos"), columns.remove(columns.get_field_index("sentence_ends")).empty_table())
    with Writer(dataset, "run-1", {}) as writer:
        commit_rows(writer, "run-1:7", {"videos": made_of(7, stored_media())["videos"]})
    assert dataset.read("videos")["sentence_ends"].to_pylist() == [None]
    assert set(dataset.read("videos").schema.names) == set(columns.names)
