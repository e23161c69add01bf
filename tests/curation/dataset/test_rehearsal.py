"""A dataset as the next writer will find it: nothing is written, and what is missing or damaged does not matter."""

from __future__ import annotations

from pathlib import Path

import pytest

from curation.dataset.commits import Replacement
from curation.dataset.dataset import Dataset
from curation.dataset.parts import PartWriter
from curation.dataset.rehearsal import Rehearsal, RehearsedDataset
from curation.dataset.writer import Writer
from curation.ids import digest
from curation.records import Row
from curation.schema import TABLES
from tests.support.dataset_files import commit_rows, request_of


def keys(dataset: Dataset) -> list[str]:
    """The keys of the requests, as each way of reading gives them."""
    whole = sorted(dataset.read("requests", ["request_key"])["request_key"].to_pylist())
    parts = [dataset.read_part("requests", part, ["request_key"]) for part in dataset.live_parts("requests")]
    assert sorted(key for part in parts for key in part["request_key"].to_pylist()) == whole
    assert sorted(dataset.sql("select request_key from requests")["request_key"].to_pylist()) == whole
    return whole


def test_there_need_be_no_dataset(tmp_path: Path) -> None:
    rehearsed = RehearsedDataset(str(tmp_path / "d"))
    assert keys(rehearsed) == [] and all(not rehearsed.live_parts(table) for table in TABLES)
    assert not (tmp_path / "d").exists()


@pytest.mark.hostile("failures")
def test_a_log_that_a_power_cut_has_emptied_is_read_as_its_next_writer_makes_it(tmp_path: Path) -> None:
    dataset = Dataset(str(tmp_path / "d"))
    with Writer(dataset, "first", {}) as writer:
        for number in range(3):
            commit_rows(writer, str(number), {"requests": [request_of(number)]})
    before = keys(dataset)
    last = max((tmp_path / "d" / "requests" / "_delta_log").glob("*.json"))
    last.write_bytes(b"")
    assert keys(RehearsedDataset(dataset.uri)) == before and len(before) == 3
    assert not last.read_bytes()


def test_a_rehearsed_commit_is_nowhere_but_in_the_rehearsal(tmp_path: Path) -> None:
    dataset = Dataset(str(tmp_path / "d"))
    with Writer(dataset, "first", {}) as writer:
        commit_rows(writer, "0", {"requests": [request_of(0), request_of(1)]})
    before, files = keys(dataset), sorted(tmp_path.rglob("*"))
    rehearsal = Rehearsal(dataset)
    parts = PartWriter(rehearsal.dataset.store, rehearsal.lineage, 1 << 20)
    request = request_of(2)
    parts.add([Row(request, digest("request", request.request_key))])
    gone = Replacement(
        "requests", ("request_key",), frozenset({(before[0],)}), frozenset(rehearsal.dataset.live_parts("requests"))
    )
    rehearsal.commit("token", parts.finish(), [gone])
    assert keys(rehearsal.dataset) == sorted([before[1], request.request_key])
    assert keys(dataset) == before and sorted(tmp_path.rglob("*")) == files
