"""The buffer hands frames from one process to another, and leaves nothing behind."""

from __future__ import annotations

import multiprocessing
import tempfile
from pathlib import Path

import pytest
import torch

from curation.errors import DatasetError
from model.data.frame_buffer import FrameBuffer

SHAPE = (2, 3, 5, 5, 3)
FRAMES = torch.arange(450).to(torch.uint8).view(SHAPE)


def write(buffer: FrameBuffer) -> None:
    assert buffer.write(FRAMES, 100) == 100 + FRAMES.numel()


@pytest.mark.parametrize("on_disk", [False, True])
def test_frames_from_another_process(on_disk: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    buffer = FrameBuffer(on_disk)
    process = multiprocessing.get_context("spawn").Process(target=write, args=(buffer,))
    process.start()
    process.join(120)
    assert process.exitcode == 0
    for _ in range(2):  # as often as needed
        assert torch.equal(buffer.read(SHAPE, 100), FRAMES)
    assert not list(tmp_path.iterdir())  # whatever kills the processes
    with pytest.raises(EOFError):
        buffer.read(SHAPE, 101)


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_its_file_is_closed_with_it() -> None:
    before = open_files()
    buffer = FrameBuffer(on_disk=True)
    assert open_files() == before + 1
    del buffer
    assert open_files() == before


def test_says_in_one_line_where_there_is_no_room(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(small_disk))
    buffer = FrameBuffer(on_disk=True)
    with pytest.raises(DatasetError, match=rf"cannot write the frames of a step into {small_disk} \(TMPDIR ") as raised:
        buffer.write(torch.zeros(2**26, dtype=torch.uint8), 0)
    assert "\n" not in str(raised.value)
