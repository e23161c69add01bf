"""Commits: exactly once, completely or not at all, by one writer at a time, whichever process dies in between."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from curation.dataset import lease as leases
from curation.dataset.commits import Committer, Replacement, unfinished
from curation.dataset.dataset import Dataset
from curation.dataset.lease import LEASE, holder
from curation.dataset.object_store import put
from curation.dataset.parts import Lineage, PartWriter
from curation.dataset.vacuum import parts_on_disk
from curation.dataset.writer import DatasetLocked, Writer
from curation.errors import DatasetError, Superseded
from curation.records import Reject, Row
from tests.support.bucket import Bucket
from tests.support.dataset_files import add_videos, commit_rows, make_dataset, reject_of
from tests.support.project import ROOT


def writer_of(dataset: Dataset, run_id: str = "run-2", wait_s: float = 0.0) -> Writer:
    return Writer(dataset, run_id, {"command": "test"}, wait_s)


def rejects_of(*keys: str, video_id: str = "v") -> list[Reject]:
    return [reject_of(key, video_id, "https://videos.example/", "segment", "timeout") for key in keys]


def keys_of(dataset: Dataset) -> list[str]:
    return sorted(dataset.read("rejects", ["key"])["key"].to_pylist())


def rows_of(dataset: Dataset) -> dict[str, int]:
    return {name: dataset.read(name, ["digest"]).num_rows for name in ("captions", "summaries", "clips")}


def live_files(dataset: Dataset, table: str) -> set[str]:
    return {name for name, _ in parts_on_disk(dataset, table)}


@pytest.fixture(params=["disk", pytest.param("bucket", marks=pytest.mark.slow)])
def dataset(request: pytest.FixtureRequest, tmp_path: Path) -> Dataset:
    if request.param == "disk":
        return Dataset(str(tmp_path / "data"))
    bucket: Bucket = request.getfixturevalue("bucket")
    return Dataset(f"{bucket.uri}/data")


# --- one process ----------------------------------------------------------------------------------------------------


def test_a_token_committed_twice_changes_nothing(dataset: Dataset) -> None:
    with writer_of(dataset) as writer:
        first = commit_rows(writer, "wave-1", {"rejects": rejects_of("a", "b")})
        assert commit_rows(writer, "wave-1", {"rejects": rejects_of("a", "b")}) == first
        worker = Committer(dataset, writer.lineage)
        parts = PartWriter(dataset.store, writer.lineage, 1 << 30)
        parts.add(Row(record, "d") for record in rejects_of("c"))
        assert worker.commit("wave-1", parts.finish()) == first
    assert keys_of(dataset) == ["a", "b"]
    assert dataset.delta("rejects").version() == 1


def test_a_replacement_removes_exactly_its_rows(dataset: Dataset) -> None:
    with writer_of(dataset) as writer:
        commit_rows(writer, "1", {"rejects": rejects_of("a", "b", "c")})
        commit_rows(writer, "2", {"rejects": rejects_of("d", "e")})
        commit_rows(writer, "3", {"rejects": rejects_of("f")})
        untouched = set(dataset.live_parts("rejects"))
        before = dataset.delta("rejects").version()
        gone = frozenset({("segment", "b"), ("segment", "f"), ("download", "d"), ("segment", "zz")})
        replacement = Replacement("rejects", ("stage", "key"), gone, frozenset(dataset.live_parts("rejects")))
        commit_rows(writer, "4", {"rejects": rejects_of("b2")}, [replacement])
    assert keys_of(dataset) == ["a", "b2", "c", "d", "e"]
    assert dataset.delta("rejects").version() == before + 1, "readers must never see a state in between"
    assert len(untouched & set(dataset.live_parts("rejects"))) == 1, "a part that holds no such row stays as it is"


def test_a_replacement_searches_only_the_named_parts_and_those_of_this_epoch(dataset: Dataset) -> None:
    with writer_of(dataset, "run-1") as writer:
        commit_rows(writer, "1", {"rejects": rejects_of("a")})
        named = frozenset(dataset.live_parts("rejects"))
        commit_rows(writer, "2", {"rejects": rejects_of("a", "b")})
    with writer_of(dataset, "run-2") as writer:
        commit_rows(writer, "3", {"rejects": rejects_of("a", "c")})
        commit_rows(writer, "4", {}, [Replacement("rejects", ("key",), frozenset({("a",)}), named)])
    assert keys_of(dataset) == ["a", "b", "c"]


@pytest.mark.hostile("failures")
def test_uncommitted_parts_are_deleted_by_the_next_writer(dataset: Dataset) -> None:
    with writer_of(dataset, "run-1") as writer:
        commit_rows(writer, "1", {"rejects": rejects_of("a")})
        orphan = PartWriter(dataset.store, writer.lineage, 1 << 30)
        orphan.add(Row(record, "d") for record in rejects_of("lost"))
        orphan.finish()
    assert len(live_files(dataset, "rejects")) == 2
    with writer_of(dataset, "run-2"):
        pass
    assert live_files(dataset, "rejects") == set(dataset.live_parts("rejects"))
    assert keys_of(dataset) == ["a"]


@pytest.mark.hostile("failures")
def test_torn_files_on_disk_are_deleted_by_the_next_writer(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data", videos=1)
    torn = tmp_path / "data" / "media" / "ab" / "x.mp4#1"
    torn.parent.mkdir(parents=True, exist_ok=True)
    torn.write_bytes(b"half")
    with writer_of(dataset):
        pass
    assert not torn.exists()


@pytest.mark.hostile("failures")
@pytest.mark.usefixtures("soon")
def test_a_writer_that_was_overtaken_cannot_commit(dataset: Dataset) -> None:
    with writer_of(dataset, "run-1") as old:
        commit_rows(old, "1", {"rejects": rejects_of("a")})
        _pretend_elsewhere(dataset)
        with writer_of(dataset, "run-2") as young:
            with pytest.raises(Superseded, match="took over"):
                commit_rows(old, "2", {"rejects": rejects_of("b")})
            with pytest.raises(Superseded):
                Committer(dataset, old.lineage).commit("3", [])
            commit_rows(young, "4", {"rejects": rejects_of("c")})
            old.__exit__(None, None, None)
            lease = dataset.get_json(LEASE)
            assert lease is not None
            assert lease["open"], "the end of the old one must not end the young one's lease"
            assert lease["epoch"] == young.lineage.epoch
    assert keys_of(dataset) == ["a", "c"]


@pytest.mark.hostile("failures")
def test_a_container_is_not_mistaken_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two containers may run on one boot of a machine without seeing each other's processes."""
    here = holder()["boot"]
    readlink = Path.readlink
    monkeypatch.setattr(Path, "readlink", lambda self: Path("pid:[7]") if self.name == "pid" else readlink(self))
    assert holder()["boot"] != here


# --- several processes ----------------------------------------------------------------------------------------------

CHILD = """
    import os, signal, sys, threading
    from curation.dataset import commits
    from curation.dataset import writer as writing
    from curation.dataset.writer import Writer
    from curation.dataset.dataset import Dataset
    from curation.dataset.parts import PartWriter
    from curation.records import Row
    from tests.support.dataset_files import commit_rows
    from tests.curation.dataset.test_commits import rejects_of

    def say(text):
        print(text, flush=True)

    dataset = Dataset(sys.argv[1])
"""


@contextlib.contextmanager
def child(dataset: Dataset, code: str) -> Iterator[subprocess.Popen[str]]:
    """A process that runs `code` and is killed at the end."""
    script = textwrap.dedent(CHILD) + textwrap.dedent(code)
    command = [sys.executable, "-c", script, dataset.uri]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()


def read_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def let_continue(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("continue\n")
    process.stdin.flush()


HOLDING = """
    with Writer(dataset, "theirs", {}) as writer:
        commit_rows(writer, "theirs-1", {"rejects": rejects_of("theirs")})
        say("holding")
        sys.stdin.readline()
"""


def test_a_second_writer_learns_who_holds_the_dataset(dataset: Dataset) -> None:
    with child(dataset, HOLDING) as other:
        assert read_line(other) == "holding"
        with pytest.raises(DatasetLocked, match=f"process {other.pid} on .* is writing"), writer_of(dataset):
            pass
        other.send_signal(signal.SIGSTOP)  # alive, but stopped
        with pytest.raises(DatasetLocked), writer_of(dataset):
            pass
    with writer_of(dataset) as writer:  # killed: its death is seen at once
        commit_rows(writer, "1", {"rejects": rejects_of("ours")})
    assert keys_of(dataset) == ["ours", "theirs"]


def test_a_second_writer_waits_for_the_first(dataset: Dataset) -> None:
    with child(dataset, HOLDING) as other:
        assert read_line(other) == "holding"
        threading.Timer(1.0, let_continue, [other]).start()
        begun = time.monotonic()
        with writer_of(dataset, wait_s=60) as writer:
            assert time.monotonic() - begun >= 0.9
            commit_rows(writer, "1", {"rejects": rejects_of("ours")})
    assert keys_of(dataset) == ["ours", "theirs"]


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lease is stale after two seconds."""
    monkeypatch.setattr(leases, "STALE_S", 2.0)


def _pretend_elsewhere(dataset: Dataset) -> None:
    """Make the lease look like that of a writer on another machine."""
    lease = dataset.get_json(LEASE)
    assert lease is not None
    lease["holder"]["boot"] = "another machine"
    put(dataset.store, LEASE, json.dumps(lease).encode())


@pytest.mark.hostile("failures")
@pytest.mark.usefixtures("soon")
def test_a_writer_that_was_presumed_dead_and_comes_back_cannot_commit(dataset: Dataset) -> None:
    code = """
        from curation.errors import Superseded
        writing.HEARTBEAT_S = 0.2
        with Writer(dataset, "theirs", {}) as writer:
            commit_rows(writer, "theirs-1", {"rejects": rejects_of("before")})
            say("holding")
            sys.stdin.readline()
            try:
                commit_rows(writer, "theirs-2", {"rejects": rejects_of("after")})
                say("committed")
            except Superseded as error:
                say(error)
            writer.lost.wait(30)
            say(f"lost: {writer.lost.is_set()}")
    """
    with child(dataset, code) as other:
        assert read_line(other) == "holding"
        other.send_signal(signal.SIGSTOP)
        _pretend_elsewhere(dataset)
        with writer_of(dataset) as writer:
            commit_rows(writer, "1", {"rejects": rejects_of("ours")})
            other.send_signal(signal.SIGCONT)
            let_continue(other)
            assert f"process {os.getpid()}" in read_line(other)
            assert read_line(other) == "lost: True"
            assert other.wait(60) == 0
            commit_rows(writer, "2", {"rejects": rejects_of("ours again")})
            deadline = time.monotonic() + 60  # if it was stopped amid a heartbeat, ours puts the lease right
            while (lease := dataset.get_json(LEASE) or {}).get("epoch") != writer.lineage.epoch:
                assert time.monotonic() < deadline, lease
                time.sleep(0.1)
    assert keys_of(dataset) == ["before", "ours", "ours again"]


@pytest.mark.hostile("failures")
def test_the_job_of_a_dead_driver_cannot_commit_once_it_has_a_successor(dataset: Dataset) -> None:
    """The driver opens the dataset and dies; its job continues under its epoch in another process."""
    driver = """
        writer = Writer(dataset, "theirs", {})
        writer.__enter__()
        say(writer.lineage.epoch)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    with child(dataset, driver) as dead:
        epoch = int(read_line(dead))
        assert dead.wait(60) == -signal.SIGKILL
    job = f"""
        from curation.dataset.commits import Committer, Lineage
        from curation.errors import Superseded
        lineage = Lineage("theirs", {epoch})
        def commit(key):
            parts = PartWriter(dataset.store, lineage, 1 << 30)
            parts.add(Row(record, "d") for record in rejects_of(key))
            try:
                say(Committer(dataset, lineage).commit(key, parts.finish()))
            except Superseded as error:
                say(error)
        commit("before")
        sys.stdin.readline()
        commit("after")
    """
    with child(dataset, job) as worker:
        assert read_line(worker) == str(epoch + 1)  # a driver's death alone does not stop it
        with writer_of(dataset) as successor:
            let_continue(worker)
            assert f"process {os.getpid()}" in read_line(worker)
            commit_rows(successor, "1", {"rejects": rejects_of("ours")})
            assert live_files(dataset, "rejects") == set(dataset.live_parts("rejects")), "its parts went with it"
    assert keys_of(dataset) == ["before", "ours"]


KILLS = {
    "before the commit file": ("put", "args[1].startswith('commits/')"),
    "between the commit file and the tables": ("_apply_share", "True"),
    "between two tables": ("_apply_share", "args[1] == 'clips'"),
}


@pytest.mark.hostile("failures")
@pytest.mark.slow
@pytest.mark.parametrize("point", KILLS)
def test_a_killed_commit_is_finished_or_undone_by_the_next_writer(tmp_path: Path, point: str) -> None:
    dataset = make_dataset(tmp_path / "data", videos=1)
    function, condition = KILLS[point]
    code = f"""
        from tests.support.dataset_files import made_of, stored_media
        with Writer(dataset, "theirs", {{}}) as writer:
            whole = commits.{function}
            def deadly(*args, **named):
                if {condition}:
                    os.kill(os.getpid(), signal.SIGKILL)
                return whole(*args, **named)
            commits.{function} = deadly
            rows = made_of(5, stored_media())
            commit_rows(writer, "theirs", {{name: rows[name] for name in ("captions", "summaries", "clips")}})
    """
    with child(dataset, code) as other:
        assert other.wait(120) == -signal.SIGKILL
    lost = point == "before the commit file"
    assert bool(unfinished(dataset)) == (not lost)
    shown = 2 if point == "between two tables" else 1
    assert rows_of(dataset) == {"captions": 4 * shown, "summaries": 6 * shown, "clips": 7}
    with writer_of(dataset):
        pass
    assert unfinished(dataset) == []
    times = 1 if lost else 2
    assert rows_of(dataset) == {"captions": 4 * times, "summaries": 6 * times, "clips": 7 * times}
    for table in rows_of(dataset):
        assert live_files(dataset, table) == set(dataset.live_parts(table)), "nothing is left over"


@pytest.mark.hostile("failures")
def test_a_writer_killed_while_writing_a_part_leaves_nothing(dataset: Dataset) -> None:
    code = """
        with Writer(dataset, "theirs", {}) as writer:
            commit_rows(writer, "theirs", {"rejects": rejects_of("a")})
            parts = PartWriter(dataset.store, writer.lineage, part_bytes=1)
            parts.add(Row(record, "d") for record in rejects_of("b"))
            say("written")
            os.kill(os.getpid(), signal.SIGKILL)
    """
    with child(dataset, code) as other:
        assert read_line(other) == "written"
        assert other.wait(60) == -signal.SIGKILL
    assert len(live_files(dataset, "rejects")) == 2
    with writer_of(dataset):
        pass
    assert len(live_files(dataset, "rejects")) == 1
    assert keys_of(dataset) == ["a"]


def commit_many(uri: str, lineage: Lineage, names: list[str]) -> None:
    """The work of one of several workers: a commit for each name, some of which others may do as well."""
    dataset = Dataset(uri)
    committer = Committer(dataset, lineage)
    for name in names:
        parts = PartWriter(dataset.store, lineage, 1 << 30)
        parts.add(Row(record, "d") for record in rejects_of(name))
        parts.add([])
        committer.commit(name, parts.finish())


@pytest.mark.hostile("failures")
@pytest.mark.slow
def test_racing_workers_lose_and_duplicate_nothing(dataset: Dataset) -> None:
    spawn = multiprocessing.get_context("spawn")
    each = 5 if dataset.folder is None else 15  # a small server takes its time over the logs
    names = [f"token-{i:03}" for i in range(4 * each)]
    with writer_of(dataset) as writer:
        a, b, c, d = (names[i : i + each] for i in range(0, len(names), each))
        shares = [[*a, *b], [*b, *c], [*c, *d], [*d, *a]]
        workers = [spawn.Process(target=commit_many, args=(dataset.uri, writer.lineage, share)) for share in shares]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(800)
        assert [worker.exitcode for worker in workers] == [0] * len(workers)
        writer.check()
    assert Counter(keys_of(dataset)) == Counter(names)
    assert unfinished(dataset) == []


# --- a full disk ----------------------------------------------------------------------------------------------------


@pytest.mark.hostile("failures")
@pytest.mark.slow
def test_a_full_disk_gives_a_clear_message_and_keeps_the_last_commit_intact(small_disk: Path) -> None:
    dataset = Dataset(str(small_disk / "data"))
    (small_disk / "filler").write_bytes(bytes(200_000))
    done = 0
    full = r"No space left on device.*the disk is full"
    with pytest.raises(DatasetError, match=full) as caught, writer_of(dataset) as writer:
        while True:
            add_videos(writer, [done])
            done += 1
    assert "\n" not in str(caught.value)
    assert done > 0
    assert dataset.read("clips").num_rows == 7 * done
    (small_disk / "filler").unlink()
    with writer_of(dataset, "run-3") as writer:
        commit_rows(writer, "more", {"rejects": rejects_of("a")})
    assert "a" in keys_of(dataset)
    assert dataset.read("clips").num_rows == 7 * done
