"""Looking at a dataset, and copying it, while a writer commits: nothing is accused that is only under way."""

from __future__ import annotations

import io
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from rich.console import Console

from curation.dataset.books import balance
from curation.dataset.dataset import Dataset
from curation.dataset.faults import FaultKind
from curation.dataset.verify import Verification, verify
from curation.dataset.writer import Writer
from curation.errors import DatasetError
from tests.curation.dataset.test_alignment import existing, listed, rewrite
from tests.curation.dataset.test_verify import repaired
from tests.support.dataset_files import make_dataset
from tests.support.project import ROOT
from vidla.inspect import show

WRITER = """
    import sys, time
    from curation.dataset.commits import Replacement
    from curation.dataset.dataset import Dataset
    from curation.dataset.object_store import put
    from curation.dataset.writer import Writer
    from tests.support.dataset_files import add_videos, commit_rows, download_of, made_of, request_of, stored_media
    dataset, number = Dataset(sys.argv[1]), 1000
    with Writer(dataset, "busy", {"command": "test"}) as writer:
        while True:
            rows = made_of(number, media := stored_media())
            put(dataset.store, rows["videos"][0].media_uri, media)
            commit_rows(writer, f"busy:{number}", {**rows, "requests": [request_of(number)],
                                                   "downloads": [download_of(number)]})
            number += 1
            time.sleep(0.05)
            print(number, flush=True)
"""


@contextmanager
def busy_writer(dataset: Dataset) -> Iterator[subprocess.Popen[str]]:
    """A process that commits one video after the other, all its rows in one commit."""
    command = [sys.executable, "-c", textwrap.dedent(WRITER), dataset.uri]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None and writer.stdout.readline()
        try:
            yield writer
            assert writer.poll() is None, "it was still writing"
        finally:
            writer.send_signal(signal.SIGKILL)


@pytest.mark.hostile("datasets")
@pytest.mark.parametrize("times", [2, pytest.param(34, marks=pytest.mark.long)])
def test_inspect_accuses_nothing_that_is_under_way(tmp_path: Path, times: int) -> None:
    dataset = make_dataset(tmp_path / "data", videos=1)
    before = balance(dataset).accounts[0].wanted
    with busy_writer(dataset):
        for _ in range(times):
            books = show(dataset, Console(file=io.StringIO()))
            assert books.imbalances() == []
            assert all(account.pending == 0 for account in books.accounts), "each commit makes a whole video"
    assert books.accounts[0].wanted > before


@pytest.mark.hostile("datasets")
@pytest.mark.parametrize("times", [pytest.param(5, marks=pytest.mark.long)])
def test_verify_accuses_nothing_that_is_under_way(tmp_path: Path, times: int) -> None:
    dataset = make_dataset(tmp_path / "data", videos=1)
    with busy_writer(dataset):
        for _ in range(times):
            assert verify(dataset).faults == []


@pytest.mark.long
@pytest.mark.hostile("datasets")
@pytest.mark.parametrize("number", range(5))
def test_a_copy_made_by_name_while_a_run_commits_is_mended(tmp_path: Path, number: int) -> None:
    dataset = make_dataset(tmp_path / "data", videos=1)
    with busy_writer(dataset):
        shutil.copytree(tmp_path / "data", tmp_path / "copy", ignore_dangling_symlinks=True)
    copy = Dataset(str(tmp_path / "copy"))
    rewrite(copy, "lease.json", open=False)
    before = listed(copy) & existing(copy)
    try:
        with Writer(copy, "first", {}):
            pass
    except DatasetError as error:
        assert "vidla verify" in str(error)
        assert before <= existing(copy)
        repaired(copy)
    with Writer(copy, "next", {}):
        pass
    left = [fault for fault in verify(copy).faults if fault.kind is not FaultKind.ROWS]
    if left:  # parts that were listed before they were copied: the copy could be opened, but not read
        repaired(copy)
    assert [fault for fault in verify(copy).faults if fault.kind is not FaultKind.ROWS] == []


@pytest.mark.long
@pytest.mark.hostile("datasets")
@pytest.mark.parametrize("table", ["captions", "clips", "videos"])
def test_a_repair_that_was_killed_is_repeated(tmp_path: Path, table: str) -> None:
    dataset = make_dataset(tmp_path / "data", videos=2)
    for name in ("captions", "segments"):
        (tmp_path / "data" / name / min(dataset.live_parts(name))).write_bytes(b"")
    min((tmp_path / "data").glob("media/*/*")).unlink()
    code = f"""
        import os, signal, sys
        from curation.dataset import commits
        from curation.dataset.dataset import Dataset
        from tests.curation.dataset.test_verify import repaired
        apply = commits._apply_share
        def deadly(dataset, table, *more):
            if table == {table!r}:
                os.kill(os.getpid(), signal.SIGKILL)
            return apply(dataset, table, *more)
        commits._apply_share = deadly
        repaired(Dataset(sys.argv[1]))
    """
    command = [sys.executable, "-c", textwrap.dedent(code), dataset.uri]
    assert subprocess.run(command, cwd=ROOT, check=False, timeout=360).returncode == -signal.SIGKILL
    assert Verification(dataset).run().faults != []
    repaired(dataset)
    assert verify(dataset).faults == []
    with Writer(dataset, "next", {}):
        pass
    assert verify(dataset).faults == []
    assert balance(dataset).imbalances() == []
