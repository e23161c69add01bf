"""`vidla logs`: what runs have logged, of one run or about one video, and what is logged while one looks."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from curation.dataset.dataset import Dataset
from curation.dataset.object_store import put
from curation.dataset.writer import Writer
from tests.support.dataset_files import make_dataset

Vidla = Callable[..., subprocess.CompletedProcess[str]]


def line(message: str, level: str = "info", subject: str | None = None, **more: str) -> str:
    about = {} if subject is None else {"subject": subject}
    found = {"time": "2026-01-02T03:04:05.000+00:00", "level": level, "message": message, **about, **more}
    return json.dumps(found) + "\n"


@pytest.fixture
def logged(tmp_path: Path) -> Dataset:
    dataset = make_dataset(tmp_path / "data", videos=1)
    first = line("begins") + line("slow", "warning", "video list-v0") + line("other", "error", "video list-v01")
    second = line("begins again") + line("broken", "error", "video list-v0", traceback="Traceback\n  here\x1b[2J")
    for name, text in (("20260101T000000-aaaa", first), ("20260102T000000-bbbb", second + '{"time": "cut')):
        put(dataset.store, f"logs/{name}.jsonl", text.encode())
    return dataset


@pytest.mark.parametrize(
    ("arguments", "messages"),
    [
        ((), ["begins again", "broken"]),
        (("--run", "20260101T000000-aaaa"), ["begins", "slow", "other"]),
        (("--video", "list-v0"), ["slow", "broken"]),
        (("--video", "list-v0", "--run", "20260101T000000-aaaa"), ["slow"]),
        (("--video", "list-v0", "--level", "error"), ["broken"]),
        (("--follow",), ["begins again", "broken"]),
    ],
)
def test_lines_are_chosen(arguments: tuple[str, ...], messages: list[str], logged: Dataset, vidla: Vidla) -> None:
    done = vidla("logs", logged.folder, *arguments, "--json")
    assert [json.loads(text)["message"] for text in done.stdout.splitlines()] == messages
    plain = vidla("logs", logged.folder, *arguments)
    assert all(message in plain.stdout for message in messages) and "\x1b[2J" not in plain.stdout


def test_what_cannot_be_shown_is_said(logged: Dataset, tmp_path: Path, vidla: Vidla) -> None:
    for arguments, code, message in (
        ((logged.folder, "--run", "none"), 2, "no run 'none' has a log"),
        ((logged.folder, "--level", "loud"), 2, "no level is called 'loud'; there are debug, info"),
        ((tmp_path / "none",), 1, "no vidla dataset"),
    ):
        done = vidla("logs", *arguments)
        assert done.returncode == code and message in done.stderr and len(done.stderr.splitlines()) == 1


@pytest.mark.slow
def test_a_run_is_followed_to_its_end(logged: Dataset) -> None:
    command = [sys.executable, "-m", "vidla", "logs", str(logged.folder), "--follow", "--json"]
    path = "logs/20260103T000000-cccc.jsonl"
    with Writer(logged, "20260103T000000-cccc", {}) as writer:
        put(logged.store, path, line("one").encode())
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as following:
            assert following.stdout is not None
            for number, text in enumerate((line("one"), line("two") + '{"half', line("two") + line("three"))):
                put(logged.store, path, ((line("one") if number else "") + text).encode())
                assert json.loads(following.stdout.readline())["message"] == ("one", "two", "three")[number]
            writer.__exit__(None, None, None)
            assert following.wait(60) == 0
