"""What `vidla verify --repair` makes pending is made again by the next run, exactly as it was."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from curation.dataset.dataset import Dataset
from tests.support.contents import contents

Vidla = Callable[..., subprocess.CompletedProcess[str]]
TABLES = ("requests", "downloads", "videos", "frames", "segments", "captions", "clips")  # summaries: there are none


def damage(dataset: Dataset, what: str) -> None:
    """Damage some of the stored media, or all parts of a table: a changed byte, a missing file."""
    assert dataset.folder is not None
    if what == "media":
        first, second, *_ = sorted(dataset.folder.glob("media/*/*"))
        data = bytearray(first.read_bytes())
        data[len(data) // 2] ^= 1
        first.write_bytes(data)
        second.unlink()
    else:
        for part in dataset.live_parts(what):
            (dataset.folder / what / part).unlink()


@pytest.mark.long
@pytest.mark.hostile("datasets")
@pytest.mark.parametrize("what", [["media", "captions"], *([table] for table in TABLES)], ids=" and ".join)
def test_the_next_run_makes_again_what_was_lost(
    curated: Path, videos: list[Path], tmp_path: Path, vidla: Vidla, what: list[str]
) -> None:
    folder = tmp_path / "dataset"
    shutil.copytree(curated, folder)
    dataset, before = Dataset(str(folder)), contents(folder)
    for each in what:
        damage(dataset, each)
    assert vidla("verify", folder).returncode == 1
    done = vidla("verify", folder, "--repair")
    assert done.returncode == 0, done.stdout + done.stderr
    again = vidla("curate", videos[0].parent, "--dataset", folder)
    assert again.returncode == 0, again.stdout + again.stderr
    assert contents(folder) == before
    done = vidla("verify", folder)
    assert done.returncode == 0, done.stdout
    assert vidla("inspect", folder).returncode == 0
