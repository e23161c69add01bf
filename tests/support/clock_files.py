"""Media whose picture flashes white whenever its sound beeps: every 4 s from 2 s on, for 0.4 s, in 64x48 pixels."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from pathlib import Path

import av
import numpy as np

from tests.support.media_files import ffmpeg

_SIGNAL = "gte(t,2)*lt(mod(t-2,4),0.4)"
X264 = ("-c:v", "libx264", "-preset", "ultrafast", "-g", "20", "-threads", "1", "-pix_fmt", "yuv420p")
X264_B = ("-c:v", "libx264", "-bf", "3", "-g", "50", "-threads", "1", "-pix_fmt", "yuv420p")
AAC = ("-c:a", "aac")
MP4 = (*X264, *AAC)
WEBM = ("-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8", "-c:a", "libopus")
AVI = ("-c:v", "mpeg4", "-q:v", "5", "-c:a", "mp2")


def signals(until: float, start: float = 0.0) -> list[float]:
    """The times of flashes and beeps from `start` until `until`."""
    return [float(t) for t in range(2, int(until) + 4, 4) if start <= t < until]


def signal(path: Path, *arguments: str, seconds: float = 20, rate: int = 10, sound: bool = True) -> Path:
    """Flashes and beeps for `seconds`, encoded with `arguments` (for ffmpeg)."""
    picture = f"color=black:size=64x48:rate={rate}:duration={seconds},drawbox=color=white:t=fill:enable='{_SIGNAL}'"
    inputs = ["-f", "lavfi", "-i", picture]
    if sound:
        inputs += ["-f", "lavfi", "-i", f"aevalsrc='0.5*sin(2*PI*1000*t)*{_SIGNAL}':s=16000:d={seconds}"]
    ffmpeg(*inputs, *(arguments or MP4), path)
    return path


def still(
    path: Path,
    *arguments: str,
    gaps: Iterable[tuple[float, float]] = ((8, 28),),
    seconds: float = 40,
    sound: bool = True,
) -> Path:
    """Flashes and beeps; in each of `gaps` the picture stands still, since the file has no frames of it."""
    kept = "*".join(f"not(between(t,{start},{end - 0.01}))" for start, end in gaps)
    return signal(path, "-vf", f"select='{kept}'", "-vsync", "vfr", *(arguments or MP4), seconds=seconds, sound=sound)


def remuxed(source: Path, path: Path, moved: Callable[[str, float], float | None]) -> Path:
    """A copy of the packets of `source`, each at the time that `moved` gives for (type of the stream, time), if any."""
    with av.open(str(source)) as given, av.open(str(path), "w") as out:
        streams = [s for s in given.streams if s.type in ("video", "audio")]
        copies = {s.index: out.add_stream_from_template(s) for s in streams}
        for packet in given.demux(streams):
            if packet.dts is None or packet.pts is None:
                continue
            time = float(packet.dts * packet.time_base)
            new = moved(packet.stream.type, time)
            if new is not None:
                shift = round((new - time) / packet.time_base)
                packet.pts += shift
                packet.dts += shift
                packet.stream = copies[packet.stream_index]
                out.mux(packet)
    return path


def hushed(source: Path, path: Path, start: float, end: float) -> Path:
    """A copy of `source` without packets of sound from `start` to `end`."""
    return remuxed(source, path, lambda kind, time: None if kind == "audio" and start <= time < end else time)


def jumping(source: Path, path: Path, at: float, by: float) -> Path:
    """A copy of `source` whose clock jumps at `at` seconds, by `by` seconds."""
    return remuxed(source, path, lambda _, time: time + by if time >= at - 1e-6 else time)


def with_subtitle(source: Path, path: Path, start: float, end: float, codec: str) -> Path:
    """`source` with an embedded subtitle from `start` to `end` seconds, and an earlier one."""
    text = path.with_suffix(".srt")
    text.write_text(
        f"1\n00:00:01,000 --> 00:00:02,000\nHello.\n\n2\n00:00:{start:02},000 --> 00:00:{end:02},000\nBye.\n"
    )
    ffmpeg("-i", source, "-i", text, "-map", "0", "-map", "1", "-c", "copy", "-c:s", codec, path)
    return path


def shown_for(source: Path, path: Path, seconds: float) -> Path:
    """A copy of an mp4 whose edit lists show its first `seconds` alone."""
    data, at = bytearray(source.read_bytes()), 0
    while (at := data.find(b"elst", at)) >= 0:
        data[at + 12 : at + 16] = struct.pack(">I", int(seconds * 1000))
        at += 4
    path.write_bytes(data)
    return path


def emptied(source: Path, path: Path, frames: int) -> Path:
    """A copy of an AVI whose last `frames` chunks of video are empty: the frame before them is shown until the end."""
    data = bytearray(source.read_bytes())
    index = data.rfind(b"idx1")
    entries = [at for at in range(index + 8, len(data) - 15, 16) if data[at : at + 4] == b"00dc"]
    movi = data.find(b"movi")
    for at in entries[-frames:]:
        chunk = movi + struct.unpack_from("<I", data, at + 8)[0]
        size = struct.unpack_from("<I", data, chunk + 4)[0]
        data[chunk + 4 : chunk + 8] = bytes(4)
        data[chunk + 8 : chunk + 16] = b"JUNK" + struct.pack("<I", size - 8)
        data[at + 12 : at + 16] = bytes(4)
    path.write_bytes(data)
    return path


# --- measuring ------------------------------------------------------------------------------------------------------


def flashes(path: Path) -> list[float]:
    """The times at which the picture turns white."""
    with av.open(str(path)) as container:
        return _onsets(
            (frame.time, frame.to_ndarray(format="gray").mean() > 128) for frame in container.decode(video=0)
        )


def beeps(path: Path) -> list[float]:
    """The times at which the sound begins to beep, to within 5 ms."""
    with av.open(str(path)) as container:
        return _onsets(_loud(container)) if container.streams.audio else []


def _loud(container: av.container.InputContainer) -> Iterable[tuple[float, bool]]:
    for frame in container.decode(audio=0):
        assert frame.time is not None
        samples, step = np.abs(frame.to_ndarray()).max(0), frame.sample_rate // 200
        for at in range(0, len(samples), step):
            yield frame.time + at / frame.sample_rate, samples[at : at + step].max() > 0.1


def _onsets(levels: Iterable[tuple[float, bool]]) -> list[float]:
    """When something begins that lasts, or has been quiet for a second."""
    onsets, last = [], -1.0
    for time, is_on in levels:
        if is_on and time - last >= 1.0:
            onsets.append(time)
        last = time if is_on else last
    return onsets
