"""`vidla inspect` of a dataset in a bucket: what it shows is the same, and it takes few requests."""

from __future__ import annotations

import io
import subprocess
from collections import Counter
from collections.abc import Callable

import pytest
from rich.console import Console

from curation.dataset.compact import compact
from curation.dataset.dataset import Dataset
from curation.dataset.writer import Writer
from curation.schema import TABLES
from tests.support.bucket import Bucket
from tests.support.dataset_files import commit_rows, download_of, make_dataset, request_of
from vidla.inspect import show

COMMITS = 33
Vidla = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def worn(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """A dataset of many commits on a disk; only read in these tests."""
    dataset = make_dataset(tmp_path_factory.mktemp("worn") / "data", videos=2)
    with Writer(dataset, "run-2", {"command": "curate", "settings": {}}) as writer:
        for number in range(10, 10 + COMMITS):
            commit_rows(writer, f"{number}", {"requests": [request_of(number)], "downloads": [download_of(number)]})
    return dataset


def shown(location: str) -> str:
    console = Console(width=120, record=True, file=io.StringIO())
    show(Dataset(location), console)
    return console.export_text().partition("\n")[2]  # without the address


def parts(dataset: Dataset) -> int:
    return sum(len(dataset.live_parts(table)) for table in TABLES)


def test_the_overview_takes_few_requests(worn: Dataset, bucket: Bucket) -> None:
    assert worn.folder is not None
    bucket.upload(worn.folder)
    before = len(bucket.answers())
    there = shown(bucket.uri)
    answers = bucket.answers()[before:]
    assert there == shown(str(worn.folder))
    assert max(Counter(path for method, path, _ in answers if path != f"/{bucket.name}").values()) == 1
    assert not [path for method, path, _ in answers if method != "GET"]
    assert parts(worn) >= 2 * COMMITS
    entries = [path for _, path, _ in answers if path.endswith(".json") and "_delta_log" in path]
    assert len(answers) - parts(worn) - len(entries) <= 3 * len(TABLES)

    with Writer(Dataset(bucket.uri), "run-3", {"command": "compact"}) as writer:
        compact(writer)
    before = len(bucket.answers())
    shown(bucket.uri)
    assert len(bucket.answers()) - before <= 4 * len(TABLES)


def test_a_table_takes_four_requests(worn: Dataset, bucket: Bucket, vidla: Vidla) -> None:
    assert worn.folder is not None
    bucket.upload(worn.folder)
    with Writer(Dataset(bucket.uri), "run-3", {"command": "curate"}) as writer:
        commit_rows(writer, "last", {"requests": [request_of(99)], "downloads": [download_of(99)]})

    def requests(table: str, where: str | None = None) -> int:
        before = len(bucket.answers())
        done = vidla("inspect", bucket.uri, table, *(["--where", where] if where else []), "--limit", "1")
        assert "1 of" in done.stdout, done.stderr
        return len(bucket.answers()) - before

    live = len(Dataset(bucket.uri).live_parts("requests"))
    assert live > COMMITS
    assert requests("requests") <= 4
    assert requests("requests", "uri like '%'") <= 3 + live
    with Writer(Dataset(bucket.uri), "run-4", {"command": "compact"}) as writer:
        compact(writer)
    assert requests("requests", "uri like '%'") <= 4
    assert requests("clips") <= 4
