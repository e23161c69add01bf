"""Runs that are killed or stopped: the next one ends with the same tables as an undisturbed one."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.conftest import VIDLA, make_video
from tests.support.contents import contents, live_parts, parts_on_disk
from tests.support.forked_command import ForkedCommand

pytestmark = [pytest.mark.slow, pytest.mark.hostile("failures")]

WAVES = ("--set", "run.wave_videos=2")
HOW = ("before", "torn", "after")
RunKilled = Callable[[int, str, Path, Path], int]


@pytest.fixture(scope="module")
def undisturbed(
    videos: list[Path], forked_command: ForkedCommand, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, list[str]]:
    folder = tmp_path_factory.mktemp("undisturbed") / "dataset"
    arguments = ["curate", videos[0].parent, "--dataset", folder, *WAVES]
    forked_command.run("vidla", *arguments, timeout=800).check_returncode()
    return contents(folder)


@pytest.fixture
def run_killed(forked_command: ForkedCommand) -> RunKilled:
    """Runs `vidla curate`, killed at a write; returns its exit code."""

    def run_killed(at: int, how: str, videos: Path, folder: Path) -> int:
        arguments = ["curate", videos, "--dataset", folder, *WAVES]
        run = forked_command.run("tests.support.killed_run", str(at), how, *arguments, timeout=800)
        assert run.returncode in (0, -signal.SIGKILL), run.stderr
        return run.returncode

    return run_killed


def check_whole(folder: Path, expected: dict[str, list[str]]) -> None:
    assert contents(folder) == expected
    assert parts_on_disk(folder) == live_parts(folder)
    assert not [p for p in folder.rglob("*#*") if p.is_file()]
    assert not list((folder / "scratch").glob("*"))


# Each chain is one dataset whose runs die at these of their writes, one after the other. The first three writes of a
# run open it; then come, stage by stage, parts, the commit file, and each table's transaction.
CHAINS = {
    "one of each": [(2, "torn"), (6, "after"), (14, "before"), (20, "after")],
    "opening": [(1, "before"), (1, "torn"), (1, "after"), (2, "torn"), (3, "after"), (4, "torn")],
    "requests and downloads": [(5, "torn"), (5, "after"), (4, "torn"), (6, "after"), (6, "before"), (7, "after")],
    "segments": [(15, "torn"), (12, "after"), (13, "after"), (14, "before"), (5, "after"), (6, "before")],
    "texts": [(29, "after"), (8, "torn"), (7, "after"), (9, "after"), (6, "before")],
}


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    "chain", [chain if chain == "one of each" else pytest.param(chain, marks=pytest.mark.long) for chain in CHAINS]
)
def test_killed_at_its_writes(
    chain: str, videos: list[Path], tmp_path: Path, undisturbed: dict[str, list[str]], run_killed: RunKilled
) -> None:
    killed = [run_killed(at, how, videos[0].parent, tmp_path / "dataset") for at, how in CHAINS[chain]]
    assert killed.count(-signal.SIGKILL) >= len(killed) - 1
    assert run_killed(10**6, "before", videos[0].parent, tmp_path / "dataset") == 0
    check_whole(tmp_path / "dataset", undisturbed)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_killed_at_random_moments(videos: list[Path], tmp_path: Path, undisturbed: dict[str, list[str]]) -> None:
    kill_at_random_moments(6, random.Random(1), videos[0].parent, tmp_path / "dataset")
    check_whole(tmp_path / "dataset", undisturbed)


@pytest.mark.long
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("seed", range(10))
def test_killed_again_and_again(
    seed: int, videos: list[Path], tmp_path: Path, undisturbed: dict[str, list[str]], run_killed: RunKilled
) -> None:
    chance = random.Random(seed)
    for _ in range(10):
        run_killed(chance.randint(1, 50), chance.choice(HOW), videos[0].parent, tmp_path / "dataset")
    kill_at_random_moments(5, chance, videos[0].parent, tmp_path / "dataset")
    check_whole(tmp_path / "dataset", undisturbed)


def kill_at_random_moments(times: int, chance: random.Random, videos: Path, folder: Path) -> None:
    """Kill `times` runs after a random while each, then let one end."""
    command = [VIDLA, "curate", videos, "--dataset", folder, *WAVES]
    for _ in range(times):
        run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            run.wait(chance.uniform(1.0, 14.0))
        except subprocess.TimeoutExpired:
            run.kill()
            run.wait()
    subprocess.run(command, check=True, timeout=800)


# --- stopping -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def long_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A minute of picture: long enough to be still decoding when the run is stopped."""
    return make_video(tmp_path_factory.mktemp("long") / "long.mp4", 60, size="640x480", rate=25)


@pytest.fixture
def decoding(long_video: Path, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], list[psutil.Process]]]:
    """A run in the middle of decoding, and its child processes."""
    command = [VIDLA, "curate", long_video, "--dataset", tmp_path / "dataset"]
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 180
    while not list((tmp_path / "dataset" / "scratch").glob("*/stored*")):
        assert run.poll() is None and time.monotonic() < deadline, run.communicate()
        threading.Event().wait(0.05)
    children = psutil.Process(run.pid).children(recursive=True)
    assert children
    yield run, children
    run.kill()
    run.communicate()


@pytest.mark.parametrize("by", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.long)])
def test_a_stopped_run_ends_within_seconds_and_says_how_to_go_on(
    by: signal.Signals,
    decoding: tuple[subprocess.Popen[str], list[psutil.Process]],
    tmp_path: Path,
    vidla: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    run, children = decoding
    begun = time.monotonic()
    run.send_signal(by)
    _, stderr = run.communicate(timeout=90)
    assert time.monotonic() - begun < 45
    assert run.returncode == 130
    assert "goes on from there" in stderr
    assert "Traceback" not in stderr
    assert not psutil.wait_procs(children, timeout=30)[1]
    # the next run does not find the dataset locked, and finishes the work
    assert vidla("curate", "--dataset", tmp_path / "dataset", "--set", "run.wave_videos=1").returncode == 0


def test_a_killed_run_leaves_no_process(decoding: tuple[subprocess.Popen[str], list[psutil.Process]]) -> None:
    run, children = decoding
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    assert not psutil.wait_procs(children, timeout=30)[1]
