"""Copies of a dataset that were torn: opening one for writing deletes nothing that a table lists, and loses no row."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from curation.dataset.dataset import Dataset
from curation.dataset.pins import pin
from curation.dataset.writer import Writer
from curation.errors import DatasetError
from curation.schema import TABLES
from tests.curation.dataset.test_upkeep import redo
from tests.support.dataset_files import commit_rows, make_dataset, request_of

ENTRIES = (*TABLES, "commits", "lease.json")


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A dataset at two times: before and after the last of three commits of one run, which superseded rows."""
    folder = tmp_path_factory.mktemp("two")
    dataset = make_dataset(folder / "later", videos=2)
    with Writer(dataset, "run-2", {}) as writer:
        commit_rows(writer, "early", {"requests": [request_of(5)]})
        shutil.copytree(folder / "later", folder / "earlier")
    redo(dataset, 0)
    with Writer(dataset, "run-3", {}) as writer:
        commit_rows(writer, "late", {"requests": [request_of(6)]})
    return folder / "earlier", folder / "later"


def compose(two: tuple[Path, Path], later: dict[str, bool], target: Path) -> Dataset:
    """A copy that took some entries early, others late; the end of a run in between."""
    for entry in sorted({path.name for each in two for path in each.iterdir()}):
        source = two[later.get(entry, True)] / entry
        if source.is_dir():
            shutil.copytree(source, target / entry)
        elif source.exists():
            target.mkdir(exist_ok=True)
            shutil.copyfile(source, target / entry)
    dataset = Dataset(str(target))
    rewrite(dataset, "lease.json", open=False)
    return dataset


def rewrite(dataset: Dataset, path: str, **values: Any) -> None:
    """Change a JSON file, which then has no checksum."""
    assert dataset.folder is not None
    (dataset.folder / path).write_text(json.dumps({**(dataset.get_json(path) or {}), **values}))


def listed(dataset: Dataset) -> set[str]:
    return {f"{table}/{part}" for table in TABLES for part in dataset.live_parts(table)}


def existing(dataset: Dataset) -> set[str]:
    assert dataset.folder is not None
    return {str(path.relative_to(dataset.folder)) for path in dataset.folder.glob("*/*.parquet")}


@pytest.mark.hostile("datasets")
@settings(max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(later=st.fixed_dictionaries({entry: st.booleans() for entry in ENTRIES}))
def test_opening_a_torn_copy_deletes_nothing_that_a_table_lists(
    two: tuple[Path, Path], tmp_path: Path, later: dict[str, bool]
) -> None:
    shutil.rmtree(tmp_path / "copy", ignore_errors=True)
    dataset = compose(two, later, tmp_path / "copy")
    before = listed(dataset)
    try:
        with Writer(dataset, "after", {}) as writer:
            commit_rows(writer, "new", {"requests": [request_of(7)]})
    except DatasetError as error:
        assert "do not belong together" in str(error) and "\n" not in str(error)
        assert before <= existing(dataset)
    else:
        assert request_of(7).request_key in dataset.read("requests")["request_key"].to_pylist()
        assert before <= existing(dataset) and listed(dataset) <= existing(dataset)
        for table in TABLES:
            dataset.read(table)


@pytest.mark.hostile("datasets")
@pytest.mark.parametrize(
    ("later", "fault"),
    [
        ({"commits": False, "lease.json": False}, "is ahead: it has commit"),
        ({"clips": False}, "clips is behind"),
        ({"videos": False, "lease.json": False}, "its part videos/part-.* is missing"),
        ({"requests": False, "lease.json": False}, "its part requests/part-.* is missing"),
    ],
)
def test_tables_ahead_of_their_commits_or_behind_are_recognised(
    two: tuple[Path, Path], tmp_path: Path, later: dict[str, bool], fault: str
) -> None:
    dataset = compose(two, later, tmp_path / "copy")
    before = existing(dataset)
    with pytest.raises(DatasetError, match=fault), Writer(dataset, "after", {}):
        pass
    assert existing(dataset) == before


@pytest.mark.hostile("datasets")
@pytest.mark.parametrize("lease", [True, False])
def test_a_copy_without_commits_is_refused(tmp_path: Path, lease: bool) -> None:
    dataset = make_dataset(tmp_path / "data", videos=1)
    shutil.rmtree(tmp_path / "data" / "commits")
    if not lease:
        (tmp_path / "data" / "lease.json").unlink()
    before = existing(dataset)
    with pytest.raises(DatasetError, match="but the commits are missing"), Writer(dataset, "after", {}):
        pass
    assert existing(dataset) == before


@pytest.mark.hostile("datasets")
def test_a_part_that_only_a_pinned_version_lists_is_not_swept(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data", videos=1)
    pin(dataset, "kept")
    pinned = listed(dataset)
    redo(dataset, 0)
    for path in [path for path, _, _ in dataset.list("commits/")]:
        if (dataset.get_json(path) or {})["kind"] == "commit":
            rewrite(dataset, path, tables={})  # as if no commit named the parts
    rewrite(dataset, "lease.json", swept=0)
    with Writer(dataset, "after", {}):
        pass
    assert pinned | listed(dataset) <= existing(dataset)
