"""Make small media files of every kind that the single pass must handle: odd, broken and hostile ones.

Each maker writes one file of 160x120 pixels and a few seconds into the given folder, and returns its path.
"""

from __future__ import annotations

import random
import struct
import subprocess
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

SECONDS = 4
RATE = 25
PICTURE = f"testsrc2=size=160x120:rate={RATE}:duration={SECONDS}"
TONE = f"sine=frequency=440:sample_rate=48000:duration={SECONDS}"
FAST = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "25", "-threads", "1"]


def ffmpeg(*arguments: str | Path) -> None:
    """Run the system's ffmpeg; only for files that the tests make themselves."""
    command = ["ffmpeg", "-nostdin", "-v", "error", "-y", *map(str, arguments)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, timeout=180)


def make(
    path: Path, *arguments: str, picture: str = PICTURE, sound: str | None = TONE, codec: list[str] = FAST
) -> Path:
    """A test picture with a tone, encoded with `arguments`."""
    inputs = ["-f", "lavfi", "-i", picture]
    if sound:
        inputs += ["-f", "lavfi", "-i", sound]
    ffmpeg(*inputs, *codec, *(["-c:a", "aac"] if sound and "-c:a" not in arguments else []), *arguments, path)
    return path


def plain(folder: Path, *arguments: str, name: str = "plain.mp4") -> Path:
    return make(folder / name, "-movflags", "+faststart", *arguments)


# --- valid, but out of the ordinary ---------------------------------------------------------------------------------


def vfr_times() -> list[float]:
    """Timestamps of a variable frame rate: 25/s, then 10/s, then single ones far apart; in whole milliseconds."""
    times = [0.04 * i for i in range(50)] + [2 + 0.1 * i for i in range(10)] + [3.033, 3.5, 4.75, 4.8]
    return [round(t, 3) for t in times]


def timed(path: Path, times: list[float], time_base: Fraction = Fraction(1, 1000), codec: str = "libx264") -> Path:
    """Frames of growing brightness at `times`, seconds."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options={"preset": "ultrafast", "bf": "0"})
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        stream.time_base = stream.codec_context.time_base = time_base
        for i, time in enumerate(times):
            image = np.full((120, 160, 3), 30 + 200 * i // max(1, len(times)), np.uint8)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = round(time / time_base), time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def rotated(folder: Path, clockwise: int = 90) -> Path:
    """A picture that players rotate clockwise, with one corner marked so that every rotation looks different."""
    source = make(folder / "upright.mp4", picture=f"testsrc=size=160x120:rate=25:duration=1,{_MARK}")
    ffmpeg("-i", source, "-c", "copy", "-metadata:s:v", f"rotate={360 - clockwise}", folder / "rotated.mp4")
    return folder / "rotated.mp4"


_MARK = "drawbox=x=0:y=0:w=40:h=40:color=blue:t=fill"


def with_cover(folder: Path, source: Path, name: str) -> Path:
    ffmpeg("-f", "lavfi", "-i", "color=green:size=640x640", "-frames:v", "1", folder / "cover.png")
    path = folder / name
    ffmpeg(
        *("-i", source, "-i", folder / "cover.png", "-map", "0", "-map", "1", "-c", "copy"),
        *(f"-disposition:v:{1 if 'video' in name else 0}", "attached_pic", path),
    )
    return path


def joined(folder: Path, name: str, *parts: Path) -> Path:
    """Transport streams concatenated: the second does not continue the clock of the first."""
    path = folder / name
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


def ts(folder: Path, name: str, *arguments: str, **how: str) -> Path:
    return make(folder / name, *arguments, **how)  # type: ignore[arg-type]


# --- broken ---------------------------------------------------------------------------------------------------------


def cut_off(source: Path, share: float) -> Path:
    """The first `share` of the bytes of `source`."""
    data = source.read_bytes()
    path = source.with_stem(f"{source.stem}_{share:g}")
    path.write_bytes(data[: int(len(data) * share)])
    return path


def damaged(source: Path, share: float, begin: float = 0.3, end: float = 0.9, seed: int = 0) -> Path:
    """`share` of the bytes between two points of `source` replaced by noise."""
    data = bytearray(source.read_bytes())
    noise = random.Random(seed)
    low, high = int(len(data) * begin), int(len(data) * end)
    for _ in range(max(1, int((high - low) * share))):
        data[noise.randrange(low, high)] = noise.randrange(256)
    path = source.with_stem(f"{source.stem}_damaged_{share:g}_{begin:g}_{seed}")
    path.write_bytes(data)
    return path


def patched(source: Path, old: bytes, new: bytes, name: str) -> Path:
    data = source.read_bytes()
    assert old in data
    path = source.with_name(name)
    path.write_bytes(data.replace(old, new))
    return path


def without_index(folder: Path) -> Path:
    """An mp4 whose writer was killed before it wrote the index."""
    source = make(folder / "index_last.mp4")
    data = source.read_bytes()
    path = folder / "no_index.mp4"
    path.write_bytes(data[: data.index(b"moov") - 4])
    return path


def declared_size(folder: Path, side: int) -> Path:
    """An mp4 whose header claims frames of `side` x `side` pixels."""
    source = plain(folder, name="small.mp4")
    data = bytearray(source.read_bytes())
    at = data.index(b"avc1", data.index(b"stsd")) + 4 + 24
    data[at : at + 4] = struct.pack(">HH", side, side)
    path = folder / "declared_size.mp4"
    path.write_bytes(data)
    return path


def referring(folder: Path) -> Path:
    """A QuickTime file with a data reference to media in another file."""
    other = make(folder / "other.mp4")
    data = other.read_bytes()
    url = b"file://" + bytes(other) + b"\0"
    reference = struct.pack(">I4sI", 12 + len(url), b"url ", 0) + url
    old = struct.pack(">I4sI", 12, b"url ", 1)
    moov = data[data.index(b"moov") - 4 :]
    path = folder / "referring.mov"
    path.write_bytes(data[: data.index(b"mdat") - 4] + grown(moov, old, reference))
    return path


def grown(box: bytes, old: bytes, new: bytes) -> bytes:
    """The mp4 box `box` with every `old` replaced by `new`, and the sizes of the enclosing boxes corrected."""
    if old not in box:
        return box
    if box == old:
        return new
    size, kind = struct.unpack(">I4s", box[:8])
    head = 16 if kind == b"dref" else 8
    parts, at = b"", head
    while at < size:
        inner = struct.unpack(">I", box[at : at + 4])[0]
        parts += grown(box[at : at + inner], old, new)
        at += inner
    return struct.pack(">I", head + len(parts)) + box[4:head] + parts


def still(path: Path) -> Path:
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=160x120", "-frames:v", "1", path)
    return path


def text(path: Path, content: str) -> Path:
    path.write_text(content)
    return path


def noise(path: Path, size: int = 200_000) -> Path:
    path.write_bytes(random.Random(1).randbytes(size))
    return path


def long_video(path: Path, seconds: float, frame_rate: int = 25, size: tuple[int, int] = (320, 180)) -> Path:
    """`seconds` of video with sound, made quickly: 30 s, whose packets are repeated with growing timestamps."""
    block = path.with_name("block.mp4")
    if not block.exists():
        picture = f"testsrc2=size={size[0]}x{size[1]}:rate={frame_rate}:duration=30"
        make(block, "-t", "30", picture=picture, sound="sine=frequency=440:sample_rate=48000:duration=30.72")
    with av.open(str(block)) as source, av.open(str(path), "w") as out:
        streams = [source.streams.video[0], source.streams.audio[0]]
        copies = [out.add_stream_from_template(s) for s in streams]
        for packets in _repeated(source, streams, seconds):
            packets.stream = copies[streams.index(packets.stream)]
            out.mux(packets)
    return path


def _repeated(
    source: av.container.InputContainer, streams: list[av.stream.Stream], seconds: float
) -> Iterator[av.Packet[Any]]:
    for turn in range(int(seconds / 30)):
        source.seek(0)
        for packet in source.demux(streams):
            if packet.pts is None or packet.dts is None or not 0 <= packet.pts * packet.time_base < 30:
                continue
            shift = round(30 * turn / packet.time_base)
            packet.pts += shift
            packet.dts += shift
            yield packet


Maker = Callable[[Path], Path]
