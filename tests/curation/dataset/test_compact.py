"""Compaction: all rows stay, in order; one commit for all tables; a kill loses nothing."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curation.dataset import parts
from curation.dataset.books import balance
from curation.dataset.commits import read_commits, unfinished
from curation.dataset.compact import CompactReport, compact
from curation.dataset.dataset import Dataset
from curation.dataset.parts import Lineage, Part, PartWriter
from curation.dataset.pins import pin
from curation.dataset.vacuum import parts_on_disk, vacuum
from curation.dataset.writer import Writer
from curation.ids import content_digest
from curation.records import Reject, Row, VideoRequest
from curation.schema import TABLES
from tests.support.dataset_files import commit_rows, make_dataset, reject_of
from tests.support.project import ROOT


def writer_of(dataset: Dataset, run_id: str = "compact") -> Writer:
    return Writer(dataset, run_id, {"command": "test"})


def everything(dataset: Dataset) -> dict[str, pa.Table]:
    return {name: dataset.read(name) for name in TABLES}


def small_parts(dataset: Dataset) -> dict[str, int]:
    return {name: len(dataset.live_parts(name)) for name in TABLES}


def test_all_tables_are_merged_in_one_commit_and_no_row_changes(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data", videos=3, uncaptioned=1)
    before, parts = everything(dataset), small_parts(dataset)
    versions = {name: dataset.delta(name).version() for name in TABLES}
    last = max(number for number, _ in read_commits(dataset, 0))
    with writer_of(dataset) as writer:
        compacted = compact(writer)
    merged = len(TABLES) - 2  # nothing was forgotten, and no policy applied
    assert compacted.parts == (sum(n for n in parts.values() if n > 1), merged)
    after = everything(dataset)
    assert all(after[name].equals(before[name]) for name in TABLES), "lineage and order included"
    for name, count in parts.items():
        assert len(dataset.live_parts(name)) == min(count, 1)
        assert dataset.delta(name).version() == versions[name] + (count > 1)
    (opening, commit) = [record for _, record in read_commits(dataset, last)]
    assert (opening["kind"], commit["kind"]) == ("open", "commit")
    assert balance(dataset).imbalances() == []
    with writer_of(dataset) as writer:
        assert compact(writer) == CompactReport()
        assert vacuum(writer).parts == compacted.parts[0]
    assert all(everything(dataset)[name].equals(before[name]) for name in TABLES)


def test_the_log_says_that_no_data_has_changed(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data")
    with writer_of(dataset) as writer:
        compact(writer)
    log = tmp_path / "data" / "clips" / "_delta_log" / f"{dataset.delta('clips').version():020}.json"
    assert '"dataChange":false' in log.read_text()
    assert '"dataChange":true' not in log.read_text()


def test_a_pinned_version_is_kept(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data", videos=3)
    pinned, before = pin(dataset, "first"), everything(dataset)
    with writer_of(dataset) as writer:
        merged = compact(writer).parts[0]
        cleared = vacuum(writer)
    assert (cleared.parts, cleared.kept) == (0, merged)
    for name, version in pinned.items():
        assert dataset.arrow(name, version).to_table().equals(before[name])


@pytest.fixture
def spread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    """Sixty small parts of one table whose rows do not compress, with small row groups, and a large one."""
    monkeypatch.setattr(parts, "ROW_GROUP_BYTES", 4096)
    dataset = Dataset(str(tmp_path / "data"))
    with writer_of(dataset, "run-1") as writer:
        for number in range(60):
            rows = {"rejects": rejects_of(number, 20)}
            commit_rows(writer, f"small:{number}", rows)
        commit_rows(writer, "large", {"rejects": rejects_of(1000, 2000)})
    return dataset


def rejects_of(number: int, count: int) -> list[Reject]:
    keys = [content_digest(f"{number} {at}".encode()) for at in range(count)]
    return [reject_of(key, f"v{number}", f"https://videos.example/{key}", "segment", "timeout") for key in keys]


def test_new_parts_have_the_wanted_size_and_large_ones_are_left_alone(
    spread: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("curation.dataset.compact.ROW_GROUP_BYTES", 4096)
    target = 25_000
    before = spread.live_parts("rejects")
    large = next(path for path, part in before.items() if part.size >= target)
    rows = spread.read("rejects").sort_by("key")
    in_order = [key for path in before if path != large for key in keys_of(spread, path)]
    with writer_of(spread) as writer:
        compacted = compact(writer, target)
    merged, made = compacted.parts
    assert merged == 60
    assert made > 1
    assert spread.read("rejects").sort_by("key").equals(rows)
    after = spread.live_parts("rejects")
    assert large in after
    assert all(part.size >= target for part in after.values())
    assert [key for part in compacted.made["rejects"] for key in keys_of(spread, part.path)] == in_order
    for part in compacted.made["rejects"]:
        file = pq.ParquetFile(folder_of(spread) / "rejects" / part.path)
        assert file.metadata.num_rows == part.rows
        assert file.metadata.num_row_groups > 1, "readers can skip"
    with writer_of(spread) as writer:
        assert compact(writer, target) == CompactReport()


def keys_of(dataset: Dataset, path: str) -> list[str]:
    return [str(key) for key in dataset.read_part("rejects", path, ["key"])["key"].to_pylist()]


def folder_of(dataset: Dataset) -> Path:
    assert dataset.folder is not None
    return dataset.folder


def test_parts_from_before_a_column_was_added_are_merged_with_those_that_have_it(tmp_path: Path) -> None:
    dataset = Dataset(str(tmp_path / "data"))
    with writer_of(dataset, "run-1") as writer:
        parts = []
        for number, rows in enumerate((request_rows("old").drop_columns(["metadata"]), request_rows("new"))):
            name = f"part-{writer.lineage.epoch:020d}-{number:032x}.parquet"
            path = folder_of(dataset) / "requests" / name
            pq.write_table(rows, path)
            parts.append(Part("requests", name, path.stat().st_size, 1))
        writer.commit("both", parts)
        before = dataset.read("requests")
        compact(writer)
    assert len(dataset.live_parts("requests")) == 1
    assert dataset.read("requests").equals(before)
    assert set(before["metadata"].to_pylist()) == {None, "{}"}


def request_rows(name: str) -> pa.Table:
    lineage = {"run_id": "r", "digest": "d", "code_version": "0", "created_at": 0}
    request = VideoRequest(request_key=name, uri=f"https://videos.example/{name}", metadata="{}")
    return pa.Table.from_pylist([{**request.__dict__, **lineage}], schema=TABLES["requests"].schema)


KILLS = {
    "between two new parts": ("curation.dataset.compact._NewPart.finish", 3),
    "before the commit": ("curation.dataset.commits.Committer._shares", 1),
    "between the commit and the tables": ("curation.dataset.commits._apply_share", 1),
    "between two tables": ("curation.dataset.commits._apply_share", 4),
}


@pytest.mark.parametrize("point", KILLS)
def test_a_kill_at_any_moment_loses_nothing(tmp_path: Path, point: str) -> None:
    function, call = KILLS[point]
    dataset = make_dataset(tmp_path / "data", videos=3)
    before = everything(dataset)
    code = f"""
        import os, pkgutil, signal, sys
        from curation.dataset.writer import Writer
        from curation.dataset.compact import compact
        from curation.dataset.dataset import Dataset
        path, _, name = "{function}".rpartition(".")
        place = pkgutil.resolve_name(path)
        real, calls = getattr(place, name), 0
        def deadly(*args):
            global calls
            calls += 1
            if calls == {call}:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args)
        with Writer(Dataset(sys.argv[1]), "killed", {{}}) as writer:
            setattr(place, name, deadly)
            compact(writer)
    """
    command = [sys.executable, "-c", textwrap.dedent(code), dataset.uri]
    assert subprocess.run(command, cwd=ROOT, check=False, timeout=360).returncode == -signal.SIGKILL
    committed = "tables" in point
    assert bool(unfinished(dataset)) == committed
    same_rows(everything(dataset), before)
    with writer_of(dataset) as writer:
        assert bool(compact(writer).merged) != committed, "what was committed is finished by the next writer"
        vacuum(writer)
    same_rows(everything(dataset), before)
    for name in TABLES:
        assert {path for path, _ in parts_on_disk(dataset, name)} == set(dataset.live_parts(name))
        assert len(dataset.live_parts(name)) <= 1


def same_rows(after: dict[str, pa.Table], before: dict[str, pa.Table]) -> None:
    for name, rows in before.items():
        assert after[name].equals(rows), name


def test_memory_holds_a_row_group_not_a_part(tmp_path: Path) -> None:
    """320 MB of rows are merged in a process that may grow by a third of that after its start."""
    dataset = Dataset(str(tmp_path / "data"))
    with writer_of(dataset, "run-1") as writer:
        parts = []
        for number in range(160):
            writing = PartWriter(dataset.store, Lineage("run-1", writer.lineage.epoch), 1 << 30)
            writing.add([Row(reject_of(f"{number}", "v", "u" * 2_000_000, "segment", "timeout"), "d")])
            parts += writing.finish()
        writer.commit("rows", parts)
    code = """
        import sys
        from curation.dataset.writer import Writer
        from curation.dataset.compact import compact
        from curation.dataset.dataset import Dataset
        from tests.support.memory import peak_bytes
        with Writer(Dataset(sys.argv[1]), "compact", {}) as writer:
            begun = peak_bytes()
            print(compact(writer).parts, peak_bytes() - begun)
    """
    command = [sys.executable, "-c", textwrap.dedent(code), dataset.uri]
    output = subprocess.run(command, cwd=ROOT, check=True, timeout=360, capture_output=True, text=True).stdout
    *parts, grown = output.replace("(", "").replace(")", "").replace(",", "").split()
    assert parts == ["160", "1"]
    assert int(grown) < 107 << 20


@pytest.mark.slow
def test_the_command_says_what_it_did(tmp_path: Path, vidla: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    dataset = make_dataset(tmp_path / "data", videos=3)
    first = vidla("compact", tmp_path / "data")
    assert first.returncode == 0
    assert first.stdout.startswith("Merged ")
    assert "parts of 14 tables into 14 in one commit" in first.stdout
    assert first.stdout.count("\n") == 1
    second = vidla("compact", tmp_path / "data")
    assert second.stdout == "Nothing to do: no table has two parts of less than 64 MB.\n"
    nowhere = vidla("compact", tmp_path / "nowhere")
    assert (nowhere.returncode, nowhere.stdout) == (1, "")
    assert nowhere.stderr.startswith("vidla: no vidla dataset at ")
    assert not (tmp_path / "nowhere").exists()
    assert balance(dataset).imbalances() == []
