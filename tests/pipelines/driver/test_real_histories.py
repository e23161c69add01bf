"""Histories whose work is real, with ffmpeg, models and Beam: whatever was begun in between, the last command counts.

test_histories.py tries many more, with cheap work.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from curation.dataset.commits import read_commits
from curation.dataset.dataset import Dataset
from tests.conftest import VIDLA
from tests.support.contents import contents
from tests.support.flink_cluster import Cluster
from tests.support.watching import wait_until

pytestmark = [pytest.mark.long, pytest.mark.slow, pytest.mark.timeout(3600)]

CHANGES = {
    "prompt": "[captions]\nmax_tokens = 20\n",
    "tilings": "[tilings.short]\nmax_s = 12\ntarget_s = 8\n",
    "media": "[media]\ncrf = 30\n",
    "words": "[subtitles]\npause_s = 1.5\n",
}
SPOKEN = "WEBVTT\n\n" + "".join(
    f"00:{n:02}.000 --> 00:{n + 3:02}.500\nThe {noun} stands behind the bridge.\n\n"
    for n, noun in zip(range(0, 24, 4), ("train", "river", "garden", "market", "window", "engine"), strict=True)
)


@pytest.fixture(scope="module")
def spoken(videos: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of the two shorter videos, of which one has subtitles."""
    folder = tmp_path_factory.mktemp("spoken")
    for video in videos[:2]:
        shutil.copy(video, folder)
    (folder / f"{videos[1].stem}.en.vtt").write_text(SPOKEN)
    return folder


@pytest.fixture(scope="module")
def undisturbed(spoken: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed") / "dataset"
    subprocess.run([VIDLA, "curate", spoken, "--dataset", folder], check=True, timeout=800)
    return folder


def check_same(dataset: Path, undisturbed: Path) -> None:
    """The same rows and media, but for captions of frames that no clip uses, and superseded media."""
    found, expected = contents(dataset), contents(undisturbed)
    for kind, its in expected.items():
        if kind in ("captions", "media"):
            assert set(its) <= set(found[kind]), kind
        else:
            assert found[kind] == its, kind


def settings_files(tmp_path: Path, change: str) -> tuple[Path, Path]:
    """The settings of the first run, and those that are wanted in between."""
    first, between = tmp_path / "first.toml", tmp_path / "between.toml"
    first.touch()
    between.write_text(CHANGES[change])
    return first, between


@pytest.mark.parametrize("change", CHANGES)
def test_changed_settings_leave_no_trace_once_they_are_changed_back(
    change: str, spoken: Path, undisturbed: Path, tmp_path: Path
) -> None:
    dataset = shutil.copytree(undisturbed, tmp_path / "dataset")
    first, between = settings_files(tmp_path, change)
    asked = ["curate", str(spoken), "--dataset", str(dataset), "--yes", "--config"]
    for at in ("6", "9", "12"):  # of its writes, where it is killed
        killed = [sys.executable, "-m", "tests.support.killed_run", at, "after", *asked, str(between)]
        done = subprocess.run(killed, capture_output=True, text=True, timeout=800, check=False)
        assert done.returncode in (0, -signal.SIGKILL), done.stderr
    subprocess.run([VIDLA, *asked, first], check=True, timeout=800)
    check_same(dataset, undisturbed)


def test_on_flink_too(flink: Cluster, spoken: Path, undisturbed: Path, tmp_path: Path) -> None:
    dataset = shutil.copytree(undisturbed, tmp_path / "dataset")
    first, between = settings_files(tmp_path, "tilings")
    asked = [VIDLA, "curate", spoken, "--dataset", dataset, "--yes", "--wait", "600", "--config"]
    before = max(number for number, _ in read_commits(Dataset(str(dataset)), 0))
    with subprocess.Popen([*asked, between, "--", *flink.options]) as process:
        wait_until(lambda: bool([n for n, r in read_commits(Dataset(str(dataset)), before) if r.get("tables")]), 300)
        process.kill()
    subprocess.run([*asked, first, "--", *flink.options], check=True, timeout=1200)
    check_same(dataset, undisturbed)
