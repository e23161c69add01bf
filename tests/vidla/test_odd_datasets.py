"""Datasets at odd paths, terminals that are not UTF-8, and empty files: every command says so in one clear line."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import vidla
from curation.errors import UsageError
from tests.support.dataset_files import make_dataset
from vidla import cli

VERBS: dict[str, list[str]] = {
    "curate": ["curate", "--dataset", "DIR"],
    "retry": ["retry", "--dataset", "DIR"],
    "inspect": ["inspect", "DIR"],
    "inspect a table": ["inspect", "DIR", "clips"],
    "export": ["export", "DIR", "OUT", "--format", "parquet"],
    "forget": ["forget", "DIR", "--video", "list-v1", "--yes"],
    "pin": ["pin", "DIR", "now"],
    "compact": ["compact", "DIR"],
    "vacuum": ["vacuum", "DIR"],
    "verify": ["verify", "DIR"],
    "prompts try": ["prompts", "try", "caption-frame", "--dataset", "DIR"],
}


def run(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], verb: str, location: str, tmp_path: Path
) -> tuple[int, str]:
    """The exit status of a command and its last line."""
    names = {"DIR": location, "OUT": str(tmp_path / "out")}
    monkeypatch.setattr(sys, "argv", ["vidla", *(names.get(word, word) for word in VERBS[verb])])
    status = cli.run()
    out, err = capfd.readouterr()
    assert "Traceback" not in out + err
    return status, (err or out).strip().rpartition("\n")[2]


ODD = {
    "%20": ("my%20data", "has a '%'"),
    "%": ("100%", "has a '%'"),
    "a URI with %25": ("file:///my%2520data", "has a '%'"),
    "no UTF-8": (os.fsdecode(b"da\xffta"), "is not UTF-8"),
    "a URI of no UTF-8": ("file:///da%FFta", "is not UTF-8"),
}


@pytest.mark.hostile("datasets")
@pytest.mark.parametrize(("name", "message"), ODD.values(), ids=ODD)
@pytest.mark.parametrize("verb", VERBS)
def test_an_odd_path_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
    verb: str,
    name: str,
    message: str,
) -> None:
    location = name if name.startswith("file:") else str(tmp_path / name)
    status, line = run(monkeypatch, capfd, verb, location, tmp_path)
    assert status == 2 and message in line and line.startswith("vidla: ")
    with pytest.raises(UsageError, match=message):
        vidla.open(location)
    assert not Path(location).exists(), "nothing is made there"


EMPTY = {
    "a part": "clips/part-*",
    "requests": "requests/part-*",
    "a log": "clips/_delta_log/*1.json",
    "a log's first version": "clips/_delta_log/*0.json",
    "a commit": "commits/*2.json",
    "the lease": "lease.json",
    "media": "media/*/*",
    "checksums": "checksums/*.json",
}
SHORT = {("a part", verb) for verb in ("compact", "vacuum", "export")} | {(name, "inspect") for name in EMPTY}
LISTS = "inspect", "verify"


@pytest.mark.hostile("datasets")
@pytest.mark.parametrize(
    ("name", "verb"),
    [
        pytest.param(name, verb, marks=[] if (name, verb) in SHORT else pytest.mark.long)
        for name in EMPTY
        for verb in VERBS
        if verb not in ("curate", "prompts try")
    ],
)
def test_an_empty_file_is_told_in_one_line_or_does_no_harm(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path, name: str, verb: str
) -> None:
    dataset = make_dataset(tmp_path / "data")
    rows = {table: dataset.read(table).num_rows for table in ("requests", "clips", "videos")}
    path = min((tmp_path / "data").glob(EMPTY[name]))
    path.write_bytes(b"")
    parts = set((tmp_path / "data").glob("*/part-*"))
    status, line = run(monkeypatch, capfd, verb, str(tmp_path / "data"), tmp_path)
    if status and verb not in LISTS:
        assert line.startswith("vidla: ") and ("verify" in line or "balance" in line)
    if status and verb not in ("forget", "vacuum"):
        assert parts <= set((tmp_path / "data").glob("*/part-*")), "nothing is deleted"
    if not status and verb not in ("forget",) and path.parent.name != "clips" and name != "requests":
        assert {table: dataset.read(table).num_rows for table in rows} == rows, "it does no harm"


@pytest.mark.hostile("datasets")
@pytest.mark.parametrize("encoding", ["ascii", pytest.param("latin-1", marks=pytest.mark.long)])
def test_a_terminal_that_is_not_utf_8_shows_what_it_can(tmp_path: Path, encoding: str) -> None:
    make_dataset(tmp_path / "data", videos=1)
    command = [sys.executable, "-m", "vidla", "inspect", str(tmp_path / "data")]
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run(command, capture_output=True, env=environment, timeout=240, check=False)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    assert b"The books balance." in done.stdout
    shutil.rmtree(tmp_path / "data")
