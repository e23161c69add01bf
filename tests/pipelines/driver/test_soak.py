"""A long run of many videos: its memory, files and processes do not grow with their number."""

from __future__ import annotations

import subprocess
from pathlib import Path

import psutil
import pytest

from curation.dataset.dataset import Dataset
from tests.conftest import VIDLA, make_video

VIDEOS = 90


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_memory_and_files_do_not_grow_with_the_list(tmp_path: Path) -> None:
    videos = tmp_path / "videos"
    videos.mkdir()
    for number in range(VIDEOS):
        make_video(videos / f"{number:03}.mp4", 7, seed=number)
    command = [VIDLA, "curate", videos, "--dataset", tmp_path / "dataset", "--set", "run.wave_videos=6"]
    seen: list[tuple[int, int, int]] = []  # resident bytes, open files, processes below
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run:
        process = psutil.Process(run.pid)
        while run.poll() is None:
            with psutil.Process(run.pid).oneshot():
                below = len(process.children(recursive=True))
                seen.append((process.memory_info().rss, process.num_fds(), below))
            try:
                run.wait(1.0)
            except subprocess.TimeoutExpired:
                continue
    assert run.returncode == 0
    assert Dataset(str(tmp_path / "dataset")).read("videos", ["video_id"]).num_rows == VIDEOS
    third = len(seen) // 3
    begun, ended = seen[third : 2 * third], seen[2 * third :]
    for what, (early, late) in zip(
        ("memory", "files", "processes"), zip(_peaks(begun), _peaks(ended), strict=True), strict=True
    ):
        assert late <= 1.15 * early + (0 if what == "memory" else 8), (what, early, late)


def _peaks(seen: list[tuple[int, int, int]]) -> list[int]:
    return [max(values) for values in zip(*seen, strict=True)]
