"""Each file of a dataset emptied or cut, as a power cut leaves it: no traceback, nothing lost, and what can heals."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import vidla
from curation.dataset.dataset import Dataset
from curation.dataset.pins import pin
from curation.errors import VidlaError
from curation.schema import TABLES
from curation.settings import Settings
from model.data.clips import current_version, select_clips
from model.settings import DataSettings
from tests.support.scripted_server import ScriptedServer
from tests.support.segmented import run, segment_videos, settings_for, texts
from vidla.cli import run as run_vidla

pytestmark = pytest.mark.hostile("failures")

VIDEOS = 3


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Settings]]:
    """A curated dataset with a pinned version, and the settings of its run, whose next one has nothing to do."""
    folder = tmp_path_factory.mktemp("whole") / "data"
    with ScriptedServer(texts) as server:
        settings = settings_for(server.url, assignments=["run.wave_videos=1"])
        dataset = segment_videos(folder, settings, range(VIDEOS))
        assert run(dataset, settings) == 0
        pin(dataset, "kept")
        yield folder, settings


def kinds_of_files(folder: Path) -> dict[str, list[str]]:
    """The files of a dataset by what they are, oldest first."""
    found: dict[str, list[str]] = {}
    for path in sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file()):
        kind = "/".join("TABLE" if part in TABLES else part for part in path.parts)
        kind = re.sub(r"\d{20}(-[0-9a-f]{32})?", "N", re.sub(r"media/.*", "media/V.mp4", kind))
        found.setdefault(kind, []).append(str(path))
    return found


def rows_of(dataset: Dataset) -> dict[str, int]:
    return {table: dataset.read(table, ["digest"]).num_rows for table in TABLES}


def needed(dataset: Dataset) -> set[str]:
    """What a repair needs: the parts that tables and pins list, and stored media."""
    parts = {f"{table}/{part}" for table in TABLES for part in dataset.live_parts(table)}
    return parts | set(dataset.read("videos", ["media_uri"])["media_uri"].to_pylist())


def verbs(folder: Path, settings: Settings, scratch: Path) -> dict[str, Callable[[], object]]:
    """Everything that reads or writes a dataset; `forget`, which deletes on purpose, comes last."""
    dataset = Dataset(str(folder))

    def command(*arguments: str) -> Callable[[], object]:
        def call() -> None:
            sys.argv = ["vidla", *arguments]
            raise SystemExit(run_vidla())

        return call

    def read() -> None:
        opened = vidla.open(str(folder))
        assert opened.books
        for table in opened.tables:
            opened[table].to_table()
        opened.sql("select * from clips")

    def train() -> None:
        select_clips(dataset, current_version(dataset), DataSettings(), "train", scratch / "clips.arrow")

    return {
        "inspect": command("inspect", str(folder)),
        "inspect clips": command("inspect", str(folder), "clips"),
        "export": command("export", str(folder), str(scratch / "out"), "--format", "webdataset"),
        "export parquet": command("export", str(folder), str(scratch / "tables"), "--format", "parquet"),
        "vidla.open": read,
        "train": train,
        "pins": command("pin", str(folder)),
        "pin": command("pin", str(folder), "again"),
        "curate": lambda: run(dataset, settings),
        "compact": command("compact", str(folder)),
        "vacuum": command("vacuum", str(folder)),
        "verify": command("verify", str(folder)),
        "forget": command("forget", str(folder), "--video", "list-v1", "--yes"),
    }


def outcome(verb: Callable[[], object], capsys: pytest.CaptureFixture[str]) -> str:
    """What the user sees: nothing if it succeeds, else one line. Any other exception is a traceback, and fails."""
    capsys.readouterr()
    try:
        verb()
    except VidlaError as error:
        text = str(error)
    except SystemExit as end:
        shown = capsys.readouterr()
        assert "Traceback" not in shown.err
        text = "" if not end.code else (shown.err.strip() or shown.out.strip()).splitlines()[-1]
        assert not end.code or text
    else:
        return ""
    assert "\n" not in text
    return text


def damage(path: Path, how: str) -> None:
    data = path.read_bytes()
    path.write_bytes(b"" if how == "empty" else data[: len(data) // 2])


HEALS = re.compile(r"lease\.json|logs/|TABLE/_delta_log/|checksums/")
LONG = [pytest.mark.long, pytest.mark.timeout(14_400)]
FEW = ("lease.json", "commits/N.json", "TABLE/_delta_log/N.json", "TABLE/part-N.parquet", "pins/kept.json")


@pytest.mark.slow
@pytest.mark.parametrize("how", ["empty", "cut"])
@pytest.mark.parametrize("which", ["a few", *(pytest.param(more, marks=LONG) for more in ("of each kind", "every"))])
def test_each_file_in_turn(
    whole: tuple[Path, Settings], tmp_path: Path, capsys: pytest.CaptureFixture[str], which: str, how: str
) -> None:
    folder, settings = whole
    kinds = kinds_of_files(folder)
    rows, keep = rows_of(Dataset(str(folder))), needed(Dataset(str(folder)))
    few = FEW[::2] if how == "empty" else FEW[1::2]
    chosen = {"a few": few, "of each kind": tuple(kinds), "every": tuple(kinds)}[which]
    files = [(kind, path) for kind in chosen for path in (kinds[kind] if which == "every" else kinds[kind][-1:])]
    faults: list[str] = []
    for number, (kind, path) in enumerate(files):
        copy = tmp_path / str(number) / "data"
        shutil.copytree(folder, copy)
        damage(copy / path, how)
        (tmp_path / str(number) / "scratch").mkdir()
        for name, verb in verbs(copy, settings, tmp_path / str(number) / "scratch").items():
            try:
                said = outcome(verb, capsys)
            except Exception as error:
                faults.append(f"{path}: {name}: {type(error).__name__}: {error}"[:300])
                continue
            gone = {file for file in keep if name != "forget" and not (copy / file).exists()}
            if gone:
                faults.append(f"{path}: {name} deletes {len(gone)} files, such as {min(gone)}: {said}")
            if HEALS.match(kind) and name == "vacuum" and said:
                faults.append(f"{path}: {name} after curate: {said}")
            if HEALS.match(kind) and name == "vacuum" and rows_of(Dataset(str(copy))) != rows:
                faults.append(f"{path}: rows are missing")
        shutil.rmtree(tmp_path / str(number))
    assert not faults, "\n".join(faults)
