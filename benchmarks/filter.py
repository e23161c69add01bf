"""How long `vidla score` and `vidla filter` take on many clips, and how much memory.

    python -m benchmarks.filter [--clips N] [--at FOLDER]

Makes a dataset of made-up rows (a million clips take two minutes and 0.5 GB of disk), or uses that in FOLDER, and runs
each command in a process of its own: wall and processor seconds, and the peak of its memory.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from curation.dataset.dataset import Dataset
from curation.dataset.parts import PartWriter, with_origin
from curation.dataset.writer import Writer
from curation.media.timelines import LIGHT, MOTION

SCALES = {"short": 13, "medium": 30, "long": 60}
SECONDS = 327  # of a video: 40 clips
CHUNK = 500  # videos
LANGUAGES = ["en", "de", "es", "hi", None]
_MEASURED = """
import json, resource, sys, time
from pathlib import Path
import vidla.cli
began = time.perf_counter()
sys.argv = ["vidla", *sys.argv[1:]]
status = vidla.cli.run()
spent = resource.getrusage(resource.RUSAGE_SELF)
peak = int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 1e6
taken = time.perf_counter() - began
print(json.dumps([status, taken, spent.ru_utime + spent.ru_stime, peak]), file=sys.stderr)
"""


def make(dataset: Dataset, clips: int) -> None:
    """Write the rows of videos that have `clips` clips together."""
    random = np.random.default_rng(0)
    of_video = sum(SECONDS // length for length in SCALES.values())
    with Writer(dataset, "benchmark", {}) as writer:
        parts = PartWriter(dataset.store, writer.lineage, 64 * 2**20)
        for first in range(0, clips // of_video, CHUNK):
            numbers = range(first, min(first + CHUNK, clips // of_video))
            for table, columns in _rows(numbers, random).items():
                rows = pa.table({**columns, "digest": ["d"] * len(next(iter(columns.values())))})
                parts.add_rows(table, with_origin(table, rows, writer.lineage))
        writer.commit("made up", parts.finish())


def _rows(videos: range, random: np.random.Generator) -> dict[str, dict[str, list[object]]]:
    ids = [f"youtube-{number:011d}" for number in videos]
    ranges = [
        (video, scale, float(start), float(start + length))
        for video in ids
        for scale, length in SCALES.items()
        for start in range(0, SECONDS - length + 1, length)
    ]
    texts = [_text(random) for _ in range(2 * len(ranges))]
    language = {video: LANGUAGES[int(n)] for video, n in zip(ids, random.integers(0, 5, len(ids)), strict=True)}
    boxes = [{"left": 0.0, "top": 0.125, "right": 1.0, "bottom": 0.875}]
    spoken = texts[: len(ranges)]
    return {
        "videos": {
            "video_id": ids,
            "uri": [f"https://videos.example/{video}" for video in ids],
            "media_uri": [f"media/{video}.mp4" for video in ids],
            "media_digest": [f"{number:032x}" for number in videos],
            "duration": [float(SECONDS)] * len(ids),
            "channel": [f"Channel {n}" for n in random.integers(0, 1000, len(ids))],
            "channel_id": [f"UC{n}" for n in random.integers(0, 1000, len(ids))],
            "language": list(language.values()),
            "language_confidence": random.random(len(ids)).tolist(),
            **dict.fromkeys(("media_bytes", "width", "height", "frame_count"), [1] * len(ids)),
            **dict.fromkeys(("source_width", "source_height"), [1] * len(ids)),
            "frame_rate": [25.0] * len(ids),
            "has_audio": [True] * len(ids),
            **dict.fromkeys(("sentences", "shots", "boundaries"), [[]] * len(ids)),
        },
        "timelines": {
            "video_id": ids,
            **{name: list(np.round(random.random((len(ids), SECONDS)), 4)) for name in (*LIGHT, *MOTION)},
            "picture_box": boxes * len(ids),
            "picture_boxes": [boxes * SECONDS] * len(ids),
            "fingerprints": [[]] * len(ids),
        },
        "clips": {
            "clip_id": [f"{video}.{scale}.{start * 1e6:.0f}-{end * 1e6:.0f}" for video, scale, start, end in ranges],
            "video_id": [each[0] for each in ranges],
            "scale": [each[1] for each in ranges],
            "start": [each[2] for each in ranges],
            "end": [each[3] for each in ranges],
            "frame_ids": [[f"{each[0]}.{each[2]:.0f}"] for each in ranges],
            "sentence_count": [1] * len(ranges),
            "media_uri": [f"media/{each[0]}.mp4" for each in ranges],
            "subtitle_text": spoken,
            "caption_text": texts[len(ranges) :],
            "subtitle_original": spoken,
            "caption_original": texts[len(ranges) :],
            "subtitle_source": ["manual"] * len(ranges),
            "caption_source": ["vllm/some-model"] * len(ranges),
            "subtitle_status": ["ok"] * len(ranges),
            "caption_status": ["ok"] * len(ranges),
            "language": [language[each[0]] for each in ranges],
            "metadata": ['{"topic": "bees"}'] * len(ranges),
        },
    }


_VOCABULARY = ["".join(map(chr, 97 + row)) for row in np.random.default_rng(1).integers(0, 26, (4000, 6))]


def _text(random: np.random.Generator) -> str:
    """Twelve words; every tenth text is one of a few."""
    seed = random.integers(0, 50, 1) if random.random() < 0.1 else random.integers(0, 4000, 12)
    return " ".join(_VOCABULARY[int(n)] for n in seed).capitalize() + "."


def measured(*arguments: str) -> tuple[float, float, float]:
    """Wall and processor seconds of a command, and its peak in GB."""
    run = subprocess.run([sys.executable, "-c", _MEASURED, *arguments], capture_output=True, text=True, check=True)
    status, *figures = json.loads(run.stderr.strip().splitlines()[-1])
    assert status == 0, run.stderr
    print(run.stdout.strip().splitlines()[-1])
    return figures[0], figures[1], figures[2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=1_000_000)
    parser.add_argument("--at", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.at or Path(scratch, "dataset")
        if not folder.exists():
            began = time.perf_counter()
            make(Dataset(str(folder)), arguments.clips)
            print(f"made in {time.perf_counter() - began:.0f} s")
        for what, command in (
            ("score", ["score", str(folder)]),
            ("score, nothing to do", ["score", str(folder)]),
            ("filter", ["filter", str(folder), "--policy", "default"]),
            ("filter --dry-run", ["filter", str(folder), "--policy", "default", "--dry-run"]),
        ):
            wall, processor, peak = measured(*command)
            print(f"{what:22} {wall:6.1f} s, {processor:6.1f} s of processor, {peak:.2f} GB")


if __name__ == "__main__":
    main()
