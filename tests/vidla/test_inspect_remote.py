"""`vidla inspect` of a dataset in a bucket: what it shows is the same, and it takes few requests."""

from __future__ import annotations

import io
import subprocess
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from curation.dataset.compact import compact
from curation.dataset.dataset import Dataset
from curation.dataset.writer import Writer
from curation.schema import TABLES
from tests.support.bucket import Bucket
from tests.support.dataset_files import commit_rows, make_dataset, request_of
from vidla.inspect import show

COMMITS = 33
Vidla = Callable[..., subprocess.CompletedProcess[str]]


def shown(location: str) -> str:
    console = Console(width=120, record=True, file=io.StringIO())
    show(Dataset(location), console)
    return console.export_text().partition("\n")[2]  # without the address


def parts(dataset: Dataset) -> int:
    return sum(len(dataset.live_parts(table)) for table in TABLES)


def test_looking_takes_few_requests(tmp_path: Path, bucket: Bucket, vidla: Vidla) -> None:
    here, there = make_dataset(tmp_path / "data", videos=2), Dataset(bucket.uri)
    with Writer(here, "run-2", {"command": "curate", "settings": {}}) as writer:
        for number in range(10, 10 + COMMITS):
            commit_rows(writer, f"{number}", {"requests": [request_of(number)]})
    assert here.folder is not None
    bucket.upload(here.folder)

    before = len(bucket.answers())
    assert shown(bucket.uri) == shown(str(here.folder))
    answers = bucket.answers()[before:]
    assert not [method for method, _, _ in answers if method != "GET"]
    files = [path for _, path, _ in answers if path != f"/{bucket.name}"]
    assert len(files) == len(set(files)), "each is asked for once"
    entries = [path for path in files if "_delta_log" in path and path.endswith(".json")]
    assert len(answers) - len(entries) - parts(here) <= 3 * len(TABLES)

    def requests(*arguments: str) -> int:
        before = len(bucket.answers())
        done = vidla("inspect", bucket.uri, *arguments, "--limit", "1")
        assert "1 of" in done.stdout, done.stderr
        return len(bucket.answers()) - before

    with Writer(there, "run-3", {"command": "curate"}) as writer:
        commit_rows(writer, "last", {"requests": [request_of(99)]})
    live = len(there.live_parts("requests"))
    assert live > COMMITS
    assert requests("requests") <= 4
    assert requests("requests", "--where", "uri like '%'") <= 3 + live

    with Writer(there, "run-4", {"command": "compact"}) as writer:
        compact(writer)
    assert requests("requests", "--where", "uri like '%'") <= 4
    assert requests("clips") <= 4
    before = len(bucket.answers())
    shown(bucket.uri)
    assert len(bucket.answers()) - before <= 4 * len(TABLES)
