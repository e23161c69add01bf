"""The exit statuses of docs/running.md."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from curation.dataset.dataset import Dataset
from curation.dataset.writer import Writer
from curation.settings import resolve
from pipelines.driver.intake import add_requests
from tests.support.dataset_files import make_dataset, stored_media
from tests.support.project import ROOT
from vidla.cli import run

STATUSES = set(map(int, re.findall(r"^\| (\d+) \|", (ROOT / "docs" / "running.md").read_text(), re.MULTILINE)))

CASES: dict[str, tuple[int, str]] = {
    "--help": (0, ""),
    "--version": (0, ""),
    "inspect {data}": (0, ""),
    "inspect {none}": (1, "no vidla dataset at"),
    "curate --dataset {none}": (1, "no vidla dataset at"),
    "curate {empty}/broken.mp4 --dataset {new}": (1, "1 of 1 rejected in this run"),
    "curate {empty}/missing.mp4 --dataset {none}": (2, "missing.mp4"),
    "curate {empty} --set media.crf=99 --dataset {none}": (2, "media.crf"),
    "curate {empty} --max-reject-rate 2 --dataset {none}": (2, "--max-reject-rate"),
    "retry --kind sadness --dataset {data}": (2, "no kind of reject"),
    "curates": (2, "curates"),
    "export {data}": (2, "name a dataset, a folder and a format"),
}


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("places")
    make_dataset(folder / "data", videos=1)
    (folder / "empty").mkdir()
    (folder / "empty" / "broken.mp4").write_bytes(b"not a video")
    return {name: folder / name for name in ("data", "empty", "none", "new")}


@pytest.mark.parametrize("line", CASES)
def test_a_command_ends_with_the_status_that_is_documented(
    line: str, places: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status, hint = CASES[line]
    monkeypatch.setattr(sys, "argv", ["vidla", *line.format(**places).split()])
    ended = run()
    said = capsys.readouterr()
    assert ended == status, said.err
    assert hint in said.err
    assert "Traceback" not in said.err


@pytest.mark.parametrize(("share", "status"), [("0.5", 1), ("0.6", 0)])
def test_a_run_fails_from_the_share_of_rejects_on_that_is_given(
    share: str, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("good.mp4", "gone.mp4"):
        (tmp_path / name).write_bytes(stored_media())
    location = str(tmp_path / "data")
    with Writer(Dataset(location), "20261126T000000-abcd", {}) as writer:
        add_requests(writer, resolve(), [str(tmp_path / "good.mp4"), str(tmp_path / "gone.mp4")])
    (tmp_path / "gone.mp4").unlink()
    monkeypatch.setattr(sys, "argv", ["vidla", "download", "--dataset", location, "--max-reject-rate", share])
    assert run() == status
    assert "1 of 2 rejected in this run" in capsys.readouterr().err


def test_every_documented_status_is_tried() -> None:
    elsewhere = {130, 75}  # test_kill.py stops runs, test_trainer.py training
    assert {status for status, _ in CASES.values()} | elsewhere == STATUSES
