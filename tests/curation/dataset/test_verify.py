"""Verify finds every changed bit, and what it repairs is whole again or pending."""

from __future__ import annotations

import functools
import random
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path, PurePath
from typing import Any

import pytest

from curation.dataset.books import balance
from curation.dataset.dataset import Dataset
from curation.dataset.faults import FaultKind, VerifyReport
from curation.dataset.file_checks import fault_of_log
from curation.dataset.object_store import put
from curation.dataset.pins import pin, unpin
from curation.dataset.repair import RepairReport, RepairWriter, repair
from curation.dataset.verify import TableNow, Verification, verify
from curation.dataset.writer import Writer
from curation.errors import DatasetError
from curation.ids import content_digest
from curation.schema import TABLES
from tests.curation.dataset.test_alignment import compose, two
from tests.curation.dataset.test_upkeep import redo
from tests.support.dataset_files import commit_rows, download_of, make_dataset, request_of

__all__ = ["two"]  # a fixture

SOURCE = b"0123456789"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset with superseded rows and media, a source, a pin, a log of a run and checkpoints."""
    folder = tmp_path_factory.mktemp("whole") / "data"
    dataset = make_dataset(folder, videos=2, uncaptioned=1)
    redo(dataset, 0)
    pin(dataset, "kept")
    (folder / "logs").mkdir()
    (folder / "logs" / "run-1.jsonl").write_text('{"message": "segmented"}\n')
    source = {"source_bytes": len(SOURCE), "source_digest": content_digest(SOURCE)}
    with Writer(dataset, "run-9", {}) as writer:
        download = functools.partial(type(download_of(5)), **{**vars(download_of(5)), **source})()
        put(dataset.store, download.source_uri, SOURCE)
        commit_rows(writer, "source", {"downloads": [download], "requests": [request_of(5)]})
        dataset.delta("clips").create_checkpoint()
    return folder


def files_of(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and path.stat().st_size)


def flip(path: Path, chance: random.Random) -> None:
    data = bytearray(path.read_bytes())
    bit = chance.randrange(8 * len(data))
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


GROUPS: dict[str, Callable[[str], bool]] = {  # a file whose checksum stands in another is not in the group of that one
    "rows": lambda path: path.endswith(".parquet") and "_delta_log" not in path,
    "checksums": lambda path: path.startswith(("checksums/", "lease", "pins/", "commits/")),
    "logs": lambda path: "_delta_log" in path or path.startswith("logs/"),
    "media": lambda path: path.startswith(("media/", "sources/")),
}


def test_an_intact_dataset_has_no_faults(whole: Path) -> None:
    report = verify(Dataset(str(whole)))
    assert report.faults == [] and report.without_digest == report.unchecked == report.uncommitted == 0
    grouped = [path for path in files_of(whole) if any(holds(path) for holds in GROUPS.values())]
    assert grouped == files_of(whole), "every file is checked in a test below"


@pytest.mark.hostile("datasets")
@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.long)])
def test_a_flipped_bit_in_each_file_is_found(whole: Path, tmp_path: Path, group: str, seed: int) -> None:
    folder = tmp_path / "data"
    shutil.copytree(whole, folder)
    flipped = set(filter(GROUPS[group], files_of(folder)))
    for path in sorted(flipped):
        flip(folder / path, random.Random(f"{seed} {path}"))
    assert flipped <= {fault.path for fault in verify(Dataset(str(folder))).faults}


@pytest.mark.long
@pytest.mark.hostile("datasets")
def test_600_flipped_bits_are_found_one_by_one(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    shutil.copytree(whole, folder)
    dataset, chance, missed = Dataset(str(folder)), random.Random(600), []
    for path in chance.choices(files_of(folder), k=600):
        before = (folder / path).read_bytes()
        flip(folder / path, chance)
        if path not in {fault.path for fault in verify(dataset).faults}:
            missed.append(path)
        (folder / path).write_bytes(before)
    assert missed == []


# --- repairing ------------------------------------------------------------------------------------------------------


def delete(path: Path) -> None:
    path.unlink()


def empty(path: Path) -> None:
    path.write_bytes(b"")


def damage(path: Path) -> None:
    flip(path, random.Random(str(path.name)))


def repaired(dataset: Dataset) -> tuple[VerifyReport, RepairReport]:
    found = Verification(dataset)
    before = found.run()
    with RepairWriter(found, "repair", {"command": "verify --repair"}) as writer:
        return before, repair(writer)


def some_in_short(names: Iterable[str], each: int) -> list[Any]:
    """Every pair of a name and a way to damage; all but `each`-th of them are for the long tests."""
    pairs = [(name, how) for name in names for how in (delete, empty, damage)]
    return [
        pytest.param(*pair, id=f"{pair[0]}-{pair[1].__name__}", marks=[pytest.mark.long] if at % each else [])
        for at, pair in enumerate(pairs)
    ]


LOST: dict[str, str | None] = {"videos": "segment", "segments": "segment", "frames": "segment", "captions": "summarize"}
LOST |= {"summaries": "summarize", "clips": "summarize", "rejects": None, "usage": None, "downloads": "download"}


@pytest.mark.hostile("datasets")
@pytest.mark.parametrize(("table", "how"), some_in_short(LOST, 14))
def test_rows_of_lost_parts_become_pending(
    whole: Path, tmp_path: Path, table: str, how: Callable[[Path], None]
) -> None:
    shutil.copytree(whole, tmp_path / "data")
    dataset = Dataset(str(tmp_path / "data"))
    unpin(dataset, "kept")
    before = {account.stage: account.pending for account in balance(dataset).accounts}
    for name in dataset.live_parts(table):
        how(tmp_path / "data" / table / name)
    found, done = repaired(dataset)
    assert {fault.kind for fault in found.faults} == {FaultKind.PART} and done.lost_rows[table] > 0
    assert verify(dataset).faults == []
    books = balance(dataset)
    pending = {account.stage: account.pending for account in books.accounts}
    assert books.imbalances() == []
    if (stage := LOST[table]) is not None:
        assert pending[stage] > before[stage]
    with Writer(dataset, "next", {}):
        pass
    assert verify(dataset).faults == []


CLASSES = {
    "a commit": "commits/*2.json",
    "an opening": "commits/*1.json",
    "a log's first version": "clips/_delta_log/*0.json",
    "a log": "clips/_delta_log/*1.json",
    "a checkpoint": "clips/_delta_log/*.parquet",
    "a hint": "clips/_delta_log/_last*",
    "checksums": "checksums/*.json",
    "media": "media/*/*",
    "a source": "sources/*",
    "a pin": "pins/*",
    "the lease": "lease.json",
    "a run's log": "logs/*",
}


@pytest.mark.hostile("datasets")
@pytest.mark.parametrize(("name", "how"), some_in_short(CLASSES, 14))
def test_every_other_kind_of_file_can_be_repaired(
    whole: Path, tmp_path: Path, name: str, how: Callable[[Path], None]
) -> None:
    pattern = CLASSES[name]
    shutil.copytree(whole, tmp_path / "data")
    dataset = Dataset(str(tmp_path / "data"))
    rows = {table: dataset.read(table).num_rows for table in TABLES}
    path = next(path for path in files_of(whole) if PurePath(path).match(pattern))
    how(tmp_path / "data" / path)
    found, done = repaired(dataset)
    harmless = how is delete and path.startswith(("checksums/", "pins/", "sources/", "lease", "logs/"))
    assert found.faults or harmless
    assert [fault.kind for fault in done.remaining] in ([], [FaultKind.PINNED])
    again = [fault for fault in verify(dataset).faults if fault.kind is not FaultKind.PINNED]
    assert again == [] and balance(dataset).imbalances() == []
    if not path.startswith("media/"):
        assert {table: dataset.read(table).num_rows for table in TABLES} == rows
    with Writer(dataset, "next", {}):
        pass
    assert [fault for fault in verify(dataset).faults if fault.kind is not FaultKind.PINNED] == []


@pytest.mark.hostile("datasets")
def test_damage_everywhere_is_repaired_at_once(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "data")
    dataset = Dataset(str(tmp_path / "data"))
    for at, pattern in enumerate(CLASSES.values()):
        path = next(path for path in files_of(whole) if PurePath(path).match(pattern))
        (delete, empty, damage)[at % 3](tmp_path / "data" / path)
    for at, table in enumerate(LOST):
        newest = max(dataset.live_parts(table)) if table != "clips" else None
        if newest is not None:
            (delete, empty, damage)[at % 3](tmp_path / "data" / table / newest)
    repaired(dataset)
    with Writer(dataset, "next", {}):
        pass
    assert [fault for fault in verify(dataset).faults if fault.kind is not FaultKind.PINNED] == []
    assert balance(dataset).imbalances() == []


@pytest.mark.hostile("datasets")
def test_a_flip_that_makes_a_log_unreadable_is_found_without_its_checksum(whole: Path, tmp_path: Path) -> None:
    """Also in the JSON inside of the log's texts: the schema of a table, the statistics of a part."""
    shutil.copytree(whole, tmp_path / "data")
    dataset = Dataset(str(tmp_path / "data"))
    log = "clips/_delta_log"
    (tmp_path / "data" / log / "_last_checkpoint").unlink()
    for checkpoint in (tmp_path / "data" / log).glob("*.parquet"):
        checkpoint.unlink()
    unread = 0
    for seed, name in enumerate(["0" * 20 + ".json", "0" * 19 + "1.json"] * 40):
        path = tmp_path / "data" / log / name
        before = path.read_bytes()
        flip(path, random.Random(seed))
        if TableNow.read(dataset, "clips").fault is not None:
            unread += 1
            assert fault_of_log(dataset, f"{log}/{name}"), (seed, name)
        path.write_bytes(before)
    assert unread > 20


TORN = {
    "commits are older": {"commits": False, "lease.json": False},
    "clips are older": {"clips": False},
    "media tables are older": {"videos": False, "frames": False},
    "texts are older": {"captions": False, "summaries": False, "lease.json": False},
    "all but requests are older": {table: False for table in TABLES if table != "requests"},
}


@pytest.mark.hostile("datasets")
@pytest.mark.parametrize(
    "later",
    [pytest.param(v, id=k, marks=[pytest.mark.long] if at % 3 else []) for at, (k, v) in enumerate(TORN.items())],
)
def test_a_torn_copy_is_repaired(two: tuple[Path, Path], tmp_path: Path, later: dict[str, bool]) -> None:
    dataset = compose(two, later, tmp_path / "copy")
    with pytest.raises(DatasetError, match="do not belong together"), Writer(dataset, "too early", {}):
        pass
    found, _ = repaired(dataset)
    assert FaultKind.ALIGNMENT in {fault.kind for fault in found.faults}
    assert [fault for fault in verify(dataset).faults if fault.kind is not FaultKind.ROWS] == []
    with Writer(dataset, "next", {}):
        pass
    assert [fault for fault in verify(dataset).faults if fault.kind is not FaultKind.ROWS] == []


@pytest.mark.hostile("datasets")
def test_a_copy_without_commits_is_repaired_without_losing_a_row(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "data")
    shutil.rmtree(tmp_path / "data" / "commits")
    dataset = Dataset(str(tmp_path / "data"))
    rows = {table: dataset.read(table) for table in TABLES}
    repaired(dataset)
    assert {table: dataset.read(table) for table in TABLES} == rows
    with Writer(dataset, "next", {}) as writer:
        commit_rows(writer, "new", {"usage": []})
    report = verify(dataset)
    assert report.faults == [] and report.without_digest == 0


def test_a_sample_checks_some_of_the_parts_and_media(whole: Path) -> None:
    report = verify(Dataset(str(whole)), sample=2)
    assert (report.checked["parts"], report.checked["media files"]) == (2, 2)
    assert report.total["parts"] > 2 < report.total["media files"]
