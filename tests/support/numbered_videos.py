"""Videos of every container and codec whose frames show their own numbers, upright and unmistakably."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from tests.support.media_files import ffmpeg

WIDTH, HEIGHT, RATE, FRAMES = 224, 96, 25, 75
_BITS = 7

H264 = ["-c:v", "libx264", "-preset", "ultrafast", "-bf", "2", "-g", "25", "-pix_fmt", "yuv420p", "-threads", "1"]
VP9 = ["-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-g", "25", "-b:v", "1M", "-c:a", "libopus"]
VP8 = ["-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8", "-g", "25", "-b:v", "1M", "-c:a", "libvorbis"]
AV1 = ["-c:v", "libsvtav1", "-preset", "12", "-g", "25", "-svtav1-params", "lp=1", "-c:a", "libopus"]
HEVC = ["-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "keyint=25:bframes=3:log-level=none:pools=none"]
MPEG2 = ["-c:v", "mpeg2video", "-q:v", "4", "-bf", "2", "-g", "15", "-c:a", "mp2"]
MPEG4 = ["-c:v", "mpeg4", "-q:v", "4", "-bf", "2", "-g", "25"]
TOP_FIRST = ["-flags", "+ilme+ildct", "-vf", "setfield=tff"]
KINDS: Mapping[str, tuple[str, Sequence[str]]] = {
    "H.264 in mp4": ("mp4", [*H264, "-c:a", "aac"]),
    "H.264 in fragmented mp4": ("mp4", [*H264, "-c:a", "aac", "-movflags", "frag_keyframe+empty_moov"]),
    "10-bit HEVC in mp4": ("mp4", [*HEVC, "-pix_fmt", "yuv420p10le", "-c:a", "aac"]),
    "wide pixels in mp4": ("mp4", [*H264, "-vf", "scale=112:96,setsar=2", "-c:a", "aac"]),
    "10-bit ProRes in mov": ("mov", ["-c:v", "prores_ks", "-profile:v", "0", "-c:a", "pcm_s16le"]),
    "H.263 in 3gp": ("3gp", ["-c:v", "h263", "-s", "176x144", "-q:v", "3", "-g", "25", "-c:a", "aac"]),
    "H.264 in mkv": ("mkv", [*H264, "-c:a", "aac"]),
    "AV1 in mkv": ("mkv", AV1),
    "VP9 in WebM": ("webm", VP9),
    "VP8 in live WebM": ("webm", [*VP8, "-live", "1"]),
    "MPEG-4 in avi": ("avi", [*MPEG4, "-c:a", "mp2"]),
    "Motion JPEG in avi": ("avi", ["-c:v", "mjpeg", "-q:v", "4", "-c:a", "pcm_s16le"]),
    "H.264 in flv": ("flv", [*H264, "-c:a", "aac"]),
    "Sorenson in flv": ("flv", ["-c:v", "flv1", "-q:v", "4", "-ar", "44100"]),
    "MPEG-2 in mpg": ("mpg", MPEG2),
    "MPEG-1 in mpg": ("mpg", ["-c:v", "mpeg1video", "-q:v", "4", "-bf", "2", "-g", "15", "-c:a", "mp2"]),
    "interlaced MPEG-2 in vob": ("vob", [*MPEG2, *TOP_FIRST]),
    "H.264 in ts": ("ts", [*H264, "-c:a", "aac"]),
    "interlaced H.264 in mts": ("mts", [*H264, *TOP_FIRST, "-c:a", "ac3"]),
    "WMV in wmv": ("wmv", ["-c:v", "wmv2", "-q:v", "4", "-g", "25", "-c:a", "wmav2"]),
    "Theora in ogv": ("ogv", ["-c:v", "libtheora", "-q:v", "8", "-g", "25", "-c:a", "libvorbis"]),
    "MPEG-2 in mxf": ("mxf", ["-c:v", "mpeg2video", "-q:v", "4", "-g", "15", "-c:a", "pcm_s16le"]),
    "RealVideo in rm": ("rm", ["-c:v", "rv20", "-s", "352x288", "-q:v", "4", "-g", "25", "-c:a", "ac3"]),
    "animated GIF": ("gif", ["-an"]),
}
"""The suffix of each kind of file, and how ffmpeg makes one."""


def numbered(folder: Path, kind: str) -> Path:
    """A file of FRAMES frames, RATE a second."""
    suffix, arguments = KINDS[kind]
    path = folder / f"{kind.replace(' ', '_')}.{suffix}"
    sound = ["-f", "lavfi", "-i", f"sine=frequency=440:sample_rate=48000:duration={FRAMES / RATE}"]
    ffmpeg(*_raw_input(), *sound, *arguments, path)
    return path


def rotated(folder: Path, clockwise: int) -> Path:
    """`H.264 in mp4` coded sideways, so that a player that turns it `clockwise` shows it upright."""
    turns = {90: "transpose=cclock", 180: "hflip,vflip", 270: "transpose=clock"}
    ffmpeg(*_raw_input(), *H264, "-vf", turns[clockwise], folder / "sideways.mp4")
    path = folder / f"rotated_{clockwise}.mov"
    ffmpeg("-i", folder / "sideways.mp4", "-c", "copy", "-metadata:s:v", f"rotate={360 - clockwise}", path)
    return path


def numbers(pixels: torch.Tensor) -> list[int]:
    """The numbers that frames show: uint8 [T, 3, H, W]. Raises AssertionError if one is not upright and clear."""
    images = pixels.float()
    bits = images[:, :, : images.shape[2] // 2].mean(dim=1)
    columns = torch.stack([_middle(part) for part in bits.tensor_split(_BITS, dim=2)], dim=1)
    assert bool(((columns < 90) | (columns > 165)).all()), columns
    left, right = images[:, :, images.shape[2] // 2 :].tensor_split(2, dim=3)
    assert bool((_middle(left[:, 2]) > _middle(left[:, 1]) + 60).all()), "the lower left is not blue"
    assert bool((_middle(right[:, 1]) > _middle(right[:, 2]) + 60).all()), "the lower right is not green"
    return [sum(2**i for i in range(_BITS) if row[i] > 128) for row in columns.tolist()]


def _middle(part: torch.Tensor) -> torch.Tensor:
    """The mean of the inner half of pictures [T, H, W]: [T]."""
    height, width = part.shape[1:]
    return part[:, height // 4 : height - height // 4, width // 4 : width - width // 4].mean(dim=(1, 2))


def _raw_input() -> list[str]:
    size = f"{WIDTH}x{HEIGHT}"
    return ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", size, "-r", str(RATE), "-i", str(_raw())]


@functools.cache
def _raw() -> Path:
    frames = np.zeros((FRAMES, HEIGHT, WIDTH, 3), np.uint8)
    for number in range(FRAMES):
        for bit in range(_BITS):
            shade = 235 if number >> bit & 1 else 16
            frames[number, : HEIGHT // 2, bit * WIDTH // _BITS : (bit + 1) * WIDTH // _BITS] = shade
    frames[:, HEIGHT // 2 :, : WIDTH // 2] = 20, 20, 200
    frames[:, HEIGHT // 2 :, WIDTH // 2 :] = 20, 160, 20
    with tempfile.NamedTemporaryFile(suffix=".rgb", delete=False) as file:
        file.write(frames.tobytes())
    return Path(file.name)
