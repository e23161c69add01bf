"""Pictures are upright and never squeezed, in frames to caption and in stored media, whatever their source states."""

from __future__ import annotations

import struct
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from tests.curation.media.test_colours import run
from tests.support import media_files as files

# --- orientations -----------------------------------------------------------------------------------------------------

CORNERS = {"R": (255, 0, 0), "G": (0, 255, 0), "B": (0, 0, 255), "W": (255, 255, 255)}
IDENTITY = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
ORIENTATIONS = {  # (a, b, c, d): (x, y) is shown at (a x + c y, b x + d y); and the corners, by rows, of what is shown
    "upright": ((1, 0, 0, 1), "RG BW"),
    "mirrored": ((-1, 0, 0, 1), "GR WB"),
    "upside down": ((-1, 0, 0, -1), "WB GR"),
    "flipped": ((1, 0, 0, -1), "BW RG"),
    "clockwise": ((0, 1, -1, 0), "BR WG"),
    "anticlockwise": ((0, -1, 1, 0), "GW RB"),
    "mirrored, then anticlockwise": ((0, 1, 1, 0), "RB GW"),
    "mirrored, then clockwise": ((0, -1, -1, 0), "WG BR"),
}


def quarters(folder: Path, name: str, *arguments: str) -> Path:
    """160x96, red and green above blue and white."""
    corner = "color={}:size=80x48:rate=5:duration=1[{}]"
    four = ";".join(corner.format(c, n) for c, n in (("red", "r"), ("0x00ff00", "g"), ("blue", "b"), ("white", "w")))
    graph = f"{four};[r][g]hstack[t];[b][w]hstack[u];[t][u]vstack"
    return files.make(folder / name, *arguments, picture=graph, sound=None)


def corners(picture: np.ndarray) -> str:
    """The letters of the four corners of an RGB picture, by rows."""
    height, width = picture.shape[:2]
    at = [picture[y, x].astype(int) for y in (height // 4, 3 * height // 4) for x in (width // 4, 3 * width // 4)]
    found = [min(CORNERS, key=lambda c: np.abs(pixel - CORNERS[c]).sum()) for pixel in at]
    return f"{found[0]}{found[1]} {found[2]}{found[3]}"


def shown(source: Path, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """The last frame to caption and the last stored frame, RGB."""
    found, stored = run(source, folder)
    frame = cv2.cvtColor(cv2.imread(found.candidates[-1].path), cv2.COLOR_BGR2RGB)
    with av.open(str(stored)) as container:
        *_, last = (f.to_ndarray(format="rgb24") for f in container.decode(video=0))
    assert last.shape[:2] == (found.height, found.width)
    return frame, last


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_every_display_matrix_is_applied(name: str, tmp_path: Path) -> None:
    (a, b, c, d), expected = ORIENTATIONS[name]
    matrix = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    data = quarters(tmp_path, "a.mp4").read_bytes()
    at = data.index(IDENTITY, data.index(b"tkhd"))
    (tmp_path / "b.mp4").write_bytes(data[:at] + matrix + data[at + len(matrix) :])
    size = (160, 96) if a else (96, 160)
    for picture in shown(tmp_path / "b.mp4", tmp_path):
        assert (corners(picture), picture.shape[1::-1]) == (expected, size)


@pytest.mark.parametrize(
    ("orientation", "expected"), [("flip=horizontal", "GR WB"), ("rotate=90:flip=horizontal", "RB GW")]
)
def test_the_orientation_in_a_stream_is_applied(orientation: str, expected: str, tmp_path: Path) -> None:
    """As H.264 states it: mirrored first, then turned anticlockwise."""
    source = quarters(tmp_path, "a.ts", "-bsf:v", f"h264_metadata=display_orientation=insert:{orientation}")
    assert [corners(picture) for picture in shown(source, tmp_path)] == [expected] * 2


# --- other shapes -----------------------------------------------------------------------------------------------------

SHAPES = {  # size and shape of pixels, before and after; and what part of the picture the second is shown in
    "portrait": (("320x180", "1"), ("180x320", "1"), (101, 180)),
    "narrower": (("320x180", "1"), ("240x180", "1"), (240, 180)),
    "wider": (("320x180", "1"), ("320x96", "1"), (320, 96)),
    "the same shape, smaller": (("320x180", "1"), ("160x90", "1"), (320, 180)),
    "other pixels": (("180x144", "64/45"), ("180x144", "16/15"), (192, 144)),
}


def grey(path: Path, size: str, aspect: str, *arguments: str) -> Path:
    picture = f"color=gray:size={size}:rate=25:duration=1,setsar={aspect}"
    codec = ["-c:v", "mpeg2video", "-q:v", "2", "-bf", "2", "-g", "25"] if aspect != "1" else files.FAST
    return files.make(path, *arguments, picture=picture, sound=None, codec=codec)


@pytest.mark.parametrize("name", SHAPES)
def test_a_change_of_shape_brings_bars(name: str, tmp_path: Path) -> None:
    before, after, box = SHAPES[name]
    parts = [grey(tmp_path / "0.ts", *before), grey(tmp_path / "1.ts", *after, "-output_ts_offset", "2")]
    found, stored = run(files.joined(tmp_path, "both.ts", *parts), tmp_path)
    with av.open(str(stored)) as container:
        pictures = [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]
    assert len(pictures) == 50
    whole = (found.width, found.height)
    assert [lit(picture) for picture in pictures[:25]] == [whole] * 25
    for picture in pictures[25:]:
        assert lit(picture) == pytest.approx(box, abs=2)
    frame = cv2.imread(found.candidates[-1].path, cv2.IMREAD_GRAYSCALE)
    assert lit(frame) == pytest.approx(box, abs=2)
    assert frame.shape[::-1] in (whole, lit(frame)), "the bars are cropped once they are known"


def lit(picture: np.ndarray) -> tuple[int, int]:
    """Width and height of what is not black; it lies in the middle."""
    rows, columns = (np.flatnonzero(picture.max(axis) > 60) for axis in (1, 0))
    for at, length in zip((columns, rows), picture.shape[::-1], strict=True):
        assert abs(at[0] - (length - 1 - at[-1])) <= 3
    return len(columns), len(rows)
