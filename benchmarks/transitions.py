"""Videos with known transitions, made of real footage by ffmpeg.

A film is a row of pieces, each a range of one shot of the footage, joined by cuts and by xfade's dissolves, fades and
wipes. Pieces may hold what is often taken for a transition: a flash, a whip pan, a shaking camera, a fast zoom.
"""

from __future__ import annotations

import itertools
import json
import random
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import av
import cv2
import numpy as np

RATE, WIDTH, HEIGHT = 25, 640, 360
TIMEOUT_S = 600.0

Kind = Literal["cut", "dissolve", "fade", "wipe"]
KINDS: tuple[Kind, ...] = ("cut", "dissolve", "fade", "wipe")
DISTRACTORS = ("flash", "whip", "shake", "zoom")
_XFADES: dict[Kind, tuple[str, ...]] = {
    "dissolve": ("fade",),
    "fade": ("fadeblack", "fadeblack", "fadeblack", "fadewhite"),
    "wipe": ("wipeleft", "wiperight", "wipeup", "wipedown", "smoothleft", "smoothdown", "circleopen", "radial"),
}
_SHORTEST: dict[Kind, int] = {"cut": 0, "dissolve": 6, "fade": 10, "wipe": 6}  # frames
_LONGEST = 50
_ALONE = 30  # frames of a piece that it has to itself
_PIECE = (70, 130)  # frames, transitions included
_BORDER = 3  # frames at each end of a shot that no piece takes, since the truth may be a frame off


@dataclass(frozen=True)
class Range:
    """Frames [start, end) of the footage, all of one shot, and what was filmed: two shots of it may look alike."""

    shot: int
    scene: str
    start: int
    end: int


@dataclass(frozen=True)
class Transition:
    """From the last frame of the old shot alone to the first of the new one alone; a cut has no frame between."""

    kind: Kind
    last: int
    first: int


@dataclass(frozen=True)
class Film:
    name: str
    path: Path
    frames: int
    transitions: tuple[Transition, ...]


def footage(folder: Path, scratch: Path) -> tuple[Path, list[Range]]:
    """The footage with every frame a key frame, and its shots without what they fade into.

    `folder` holds sample.mp4 and truth.json: {"shots": [{"start", "end", "dissolve", "src"}, …]} in frames, where
    "dissolve" is the number of frames that a shot shares with the one before it, and "src" the file that it is from:
    a camera's, all shots of which look alike, unless it is a trailer.
    """
    whole = scratch / "footage.mkv"
    scale = f"fps={RATE},scale={WIDTH}:{HEIGHT}:force_original_aspect_ratio=increase,crop={WIDTH}:{HEIGHT},setsar=1"
    codec = ("-c:v", "libx264", "-g", "1", "-crf", "8", "-preset", "ultrafast", "-pix_fmt", "yuv420p")
    _ffmpeg("-i", folder / "sample.mp4", "-an", "-vf", scale, *codec, whole)
    brightness = [float(picture.mean()) for picture in _grays(whole)]
    shots = json.loads((folder / "truth.json").read_text())["shots"]
    ranges = []
    for i, shot in enumerate(shots):
        shared = shots[i + 1]["dissolve"] if i + 1 < len(shots) else 0
        start, end = shot["start"] + shot["dissolve"] + _BORDER, shot["end"] - shared - _BORDER
        usual = 0.7 * np.percentile(brightness[start:end], 80) if end > start else 0.0
        while start < end and brightness[start] < usual:
            start += 1
        while start < end and brightness[end - 1] < usual:
            end -= 1
        edited = shot.get("src", "").startswith("trailer")
        ranges.append(Range(i, str(i) if edited else shot.get("src", str(i)), start, end))
    return whole, ranges


def make(
    name: str,
    kinds: Sequence[Kind],
    whole: Path,
    shots: Sequence[Range],
    scratch: Path,
    *,
    pieces: int,
    distracted: float = 0.0,
) -> Film:
    """A film of that many pieces, joined by `kinds` at random, with distractors in a share of its pieces."""
    chance = random.Random(name)
    longest = min(_LONGEST, (sorted(s.end - s.start for s in shots)[-2] - _ALONE) // 2)
    joints: list[tuple[Kind, int]] = []
    for _ in range(pieces - 1):
        kind = chance.choice(kinds)
        joints.append((kind, chance.randint(_SHORTEST[kind], longest) if kind != "cut" else 0))
    inputs: list[str] = []
    chains: list[str] = []
    lengths: list[int] = []
    scene = ""
    for i, (before, after) in enumerate(itertools.pairwise([("cut", 0), *joints, ("cut", 0)])):
        needed = before[1] + after[1] + _ALONE
        fitting = [s for s in shots if s.end - s.start >= needed and s.scene != scene]
        chosen = chance.choice(fitting)
        scene = chosen.scene
        length = min(chosen.end - chosen.start, max(needed, chance.randint(*_PIECE)))
        start = chance.randint(chosen.start, chosen.end - length)
        lengths.append(length)
        inputs += ["-ss", f"{(start - 0.25) / RATE:.4f}", "-t", f"{(length + 2) / RATE:.4f}", "-i", str(whole)]
        filters = ["hflip"] if chance.random() < 0.5 else []
        if chance.random() < distracted:
            filters.append(_distractor(chance, before[1], length - after[1]))
        even = f"trim=end_frame={length},setpts=N/{RATE}/TB,fps={RATE},settb=1/{RATE},format=yuv420p,setsar=1"
        chains.append(",".join([f"[{i}:v]setpts=PTS-STARTPTS", *filters, even]) + f"[p{i}]")
    transitions: list[Transition] = []
    total, label = lengths[0], "p0"
    for i, (kind, length) in enumerate(joints, start=1):
        if kind == "cut":
            chains.append(f"[{label}][p{i}]concat=n=2:v=1:a=0,settb=1/{RATE},fps={RATE}[j{i}]")
            transitions.append(Transition(kind, total - 1, total))
        else:
            offset = total - length
            name_ = chance.choice(_XFADES[kind])
            seconds = f"duration={length / RATE}:offset={offset / RATE}"
            chains.append(f"[{label}][p{i}]xfade=transition={name_}:{seconds}[j{i}]")
            transitions.append(Transition(kind, offset, offset + length + 1))
            total += 1  # xfade begins the second input one frame late
        total, label = total + lengths[i] - length, f"j{i}"
    path = scratch / f"{name}.mp4"
    codec = ("-c:v", "libx264", "-preset", "superfast", "-crf", "23", "-pix_fmt", "yuv420p")
    _ffmpeg(*inputs, "-filter_complex", ";".join(chains), "-map", f"[{label}]", "-an", *codec, path)
    return Film(name, path, total, tuple(transitions))


def _distractor(chance: random.Random, start: int, end: int) -> str:
    """A filter that makes a piece look as if it had a transition in its frames from `start` to `end`."""
    kind = chance.choice(DISTRACTORS)
    at = chance.randint(start + 10, end - 16)
    enlarged = f"scale={2 * WIDTH}:{2 * HEIGHT}"
    window = f"{WIDTH}:{HEIGHT}"
    if kind == "flash":
        light = round(chance.uniform(0.5, 0.95), 2)
        last = at + chance.randint(0, 3)
        return f"drawbox=color=white@{light}:t=fill:enable='between(n,{at},{last})'"
    if kind == "whip":  # the whole width of the picture in 5 to 12 frames
        return f"{enlarged},crop={window}:'iw/2*clip((n-{at})/{chance.randint(5, 12)},0,1)':ih/4"
    if kind == "shake":
        amplitude = chance.uniform(0.005, 0.025) * WIDTH
        x = f"(iw-{WIDTH})/2+{amplitude:.1f}*(sin(n*0.9)+0.6*sin(n*2.1+1))"
        y = f"(ih-{HEIGHT})/2+{amplitude:.1f}*(sin(n*1.1+2)+0.6*sin(n*1.7))"
        return f"scale={WIDTH * 5 // 4}:{HEIGHT * 5 // 4},crop={window}:'{x}':'{y}'"
    speed = chance.uniform(0.02, 0.06)  # a zoom of up to 2 in half a second
    return f"scale=w='{WIDTH}*(1+clip((n-{at})*{speed:.3f},0,1))':h=-2:eval=frame,crop={window}"


def _grays(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [cv2.resize(f.to_ndarray(format="gray"), (64, 36)) for f in container.decode(video=0)]


def _ffmpeg(*arguments: str | Path) -> None:
    command = ["ffmpeg", "-nostdin", "-v", "error", "-y", *map(str, arguments)]
    subprocess.run(command, check=True, timeout=TIMEOUT_S)
