"""How fast the trainer loads clips, compared with just decoding them, and with loading from the source video.

    python -m benchmarks.loading VIDEO [--workers N] [--clips N] [--repeat N]

Makes two files from VIDEO: stored media, by the single pass, and a source like those on the web (720 lines, H.264 with
the encoder's defaults, a key frame every 250 frames). From both, N processes read the same random clips of all three
scales, 12 frames of each:
- loading: as in training, with texts and crops, into the process that would train;
- decoding: the same frames with torchcodec (PyAV if it is absent), and nothing else.
Prints clips per second of wall-clock time, and CPU seconds per clip of the N processes, which also hold on a busy
machine. Start-up is not counted. The best of several rounds counts.

Then the trainer itself trains a small model (4 layers of width 192 per tower, patches of 32 pixels) on the stored media
with N workers. Prints the share of time that it waits for clips, without the start-up of the workers.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from pathlib import Path
from random import Random
from typing import Any

import psutil
import torch
from transformers import CLIPConfig, CLIPModel

from curation.dataset.dataset import Dataset
from curation.dataset.parts import PartWriter
from curation.dataset.writer import Writer
from curation.ids import content_digest
from curation.media import single_pass
from curation.records import Clip, Row
from curation.segments.tilings import tile
from curation.settings import Settings
from model.data.clips import Clips, pin_version, select_clips
from model.data.frame_reader import VideoDecoder, read_frames, sample_times
from model.data.loader import Augmentation, ClipDataset, load_batches
from model.data.media_cache import media_store
from model.data.sampler import Draw, EpochSampler, TrainBatchSampler
from model.distributed import World
from model.settings import DataSettings, resolve_training
from model.training import run_folder
from model.training.trainer import Trainer

FRAMES, SIZE, BATCH = 12, 224, 8
STEPS = 20  # of training
SETTINGS = Settings()
TEXT = "A person in a red jacket walks along the river and tells how the old bridge was built, stone by stone."


def make_dataset(video: Path, folder: Path) -> Dataset:
    """A dataset with the clips of two videos: stored media and source."""
    dataset, spool = Dataset(str(folder)), folder / "spool"
    spool.mkdir(parents=True)
    (folder / "media" / "00").mkdir(parents=True)
    stored, source = (folder / "media" / "00" / f"{name}.mp4" for name in ("stored", "source"))
    found = single_pass.decode_once(video, (), None, None, SETTINGS, stored, spool)
    encode = ["-vf", "scale=-2:720", "-c:v", "libx264", "-g", "250", "-pix_fmt", "yuv420p", "-c:a", "copy"]
    command = ["ffmpeg", "-v", "error", "-nostdin", "-i", video, *encode, "-movflags", "+faststart", source]
    subprocess.run(command, check=True)
    with Writer(dataset, "benchmark", {}) as writer:
        parts = PartWriter(dataset.store, writer.lineage, part_bytes=1 << 30)
        for path in (stored, source):
            segments = tile(path.stem, found.duration, found.boundaries, (), found.shots, SETTINGS.tilings)
            rows = [
                Clip(
                    **vars(segment),
                    media_uri=f"media/00/{path.name}",
                    subtitle_text=TEXT,
                    caption_text=TEXT,
                    subtitle_original=None,
                    caption_original=None,
                    subtitle_source=None,
                    caption_source=None,
                    subtitle_status=None,
                    caption_status=None,
                    language=None,
                )
                for segment in segments
            ]
            parts.add(Row(record, content_digest(b"")) for record in rows)
        writer.commit("clips", parts.finish())
    return dataset


def samples_of(dataset: Dataset, name: str, folder: Path) -> ClipDataset:
    settings = DataSettings(where=f"video_id = '{name}'", held_out=0)
    clips = select_clips(dataset, pin_version(dataset, name), settings, "train", folder / f"{name}.arrow")
    augmentation = Augmentation(settings.crops, settings.flip)
    return ClipDataset(clips, media_store(dataset, None, 1), FRAMES, SIZE, augmentation=augmentation)


def draws_of(clips: Clips, count: int) -> list[list[Draw]]:
    """At least `count` random draws, in batches."""
    order = EpochSampler(clips.counts, BATCH, seed=0)
    return list(TrainBatchSampler(order, 0, -(-count // BATCH), BATCH))


@dataclass(frozen=True)
class Cost:
    """Seconds per clip: of wall-clock time, and of CPU time of the reading processes."""

    wall: float = float("inf")
    cpu: float = float("inf")

    def or_less(self, other: Cost) -> Cost:
        return Cost(min(self.wall, other.wall), min(self.cpu, other.cpu))


def loading(samples: ClipDataset, draws: Sequence[list[Draw]], workers: int) -> Cost:
    """The cost of loading clips into this process, from when every worker has delivered its first batch."""
    begun, busy, clips = 0.0, 0.0, 0
    for number, batch in enumerate(load_batches(samples, draws, workers), start=1):
        if number > workers:
            clips += len(batch)
        elif number == workers:
            begun, busy = time.perf_counter(), children_busy()
        if number == len(draws):
            return Cost((time.perf_counter() - begun) / clips, (children_busy() - busy) / clips)
    raise AssertionError


def children_busy() -> float:
    """CPU seconds used by the living children of this process."""
    return sum(sum(child.cpu_times()[:2]) for child in psutil.Process().children())


def decoding(samples: ClipDataset, draws: Sequence[list[Draw]], workers: int) -> Cost:
    """The cost of only decoding the same clips, in `workers` processes."""
    flat = [draw for batch in draws for draw in batch]
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(workers), context.Queue()
    shares = [flat[worker::workers] for worker in range(workers)]
    processes = [context.Process(target=decode, args=(samples, share, barrier, answers)) for share in shares]
    for process in processes:
        process.start()
    begun, ended, busy = zip(*(answers.get(timeout=600) for _ in processes), strict=True)
    for process in processes:
        process.join()
    return Cost((max(ended) - min(begun)) / len(flat), sum(busy) / len(flat))


def decode(samples: ClipDataset, draws: Sequence[Draw], barrier: Barrier, answers: Any) -> None:
    torch.set_num_threads(1)
    clips = [(samples.clips[index], Random(seed)) for index, seed in draws]
    wanted = [(samples.media.open(c.media_uri), sample_times(c.start, c.end, FRAMES, random)) for c, random in clips]
    read_frames(*wanted[0])
    barrier.wait(timeout=600)
    begun, busy = time.perf_counter(), time.process_time()
    for path, times in wanted:
        if VideoDecoder is None:
            read_frames(path, times)
        else:
            decoder = VideoDecoder(str(path), seek_mode="approximate", num_ffmpeg_threads=1)
            decoder.get_frames_played_at(times)
    answers.put((begun, time.perf_counter(), time.process_time() - busy))


def waiting(samples: ClipDataset, folder: Path, workers: int) -> tuple[float, float]:
    """Train a small model on the clips of `samples`: the share of time that it waits for clips, and clips per second.

    Both are from the trainer's log.
    """
    sizes = {"hidden_size": 192, "intermediate_size": 768, "num_attention_heads": 3, "num_hidden_layers": 4}
    text = {**sizes, "vocab_size": 49408, "eos_token_id": 49407}
    CLIPModel(CLIPConfig(vision_config={**sizes, "patch_size": 32}, text_config=text)).save_pretrained(folder / "clip")
    first = 2 * workers  # steps of warm-up, until the workers are ahead
    values = {
        "model.weights": folder / "clip",
        "data.where": f"video_id = '{samples.clips[0].video_id}'",
        "data.held_out": 0,
        "data.workers": workers,
        "batch": BATCH,
        "micro_batch": BATCH,
        "epochs": (first + STEPS + 0.5) / (len(samples) // BATCH),
    }
    settings = resolve_training(None, [f"{key}={value}" for key, value in values.items()])
    alone = World(0, 1, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    run = run_folder.open_run(folder / "run", samples.media.dataset, settings, alone)
    Trainer(run, alone).train(sys.stderr)
    log = [json.loads(line) for line in run.log.read_text(encoding="utf-8").splitlines()][first:]
    seconds = sum(line["seconds"] for line in log)
    return sum(line["waiting"] for line in log) / seconds, BATCH * len(log) / seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    spare = max(1, (os.cpu_count() or 2) - 1)
    parser.add_argument("--workers", type=int, default=spare, help="default: all CPUs but one, for the trainer")
    parser.add_argument("--clips", type=int, default=320, help="with more, it matters less when each worker finishes")
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    best = dict.fromkeys(("decoding", "loading", "source"), Cost())
    with tempfile.TemporaryDirectory() as folder:
        dataset = make_dataset(arguments.video, Path(folder) / "dataset")
        stored, source = (samples_of(dataset, name, Path(folder)) for name in ("stored", "source"))
        draws = draws_of(stored.clips, arguments.clips)
        few = draws[: max(len(draws) // 16, 2 * arguments.workers)]
        for _ in range(arguments.repeat):
            for name, cost in (
                ("decoding", decoding(stored, draws, arguments.workers)),
                ("loading", loading(stored, draws, arguments.workers)),
                ("source", loading(source, few, arguments.workers)),
            ):
                best[name] = best[name].or_less(cost)
        share, speed = waiting(stored, Path(folder), arguments.workers)
    report(best["decoding"], best["loading"], best["source"])
    print(f"\na small model in training waits {share:.0%} of the time, at {speed:.1f} clips/s")


def report(decoding: Cost, loading: Cost, source: Cost) -> None:
    for name, cost in (
        ("stored media, decoding alone", decoding),
        ("stored media, into the trainer", loading),
        ("the source, into the trainer", source),
    ):
        print(f"{name:<36}{1 / cost.wall:8.1f} clips/s{1000 * cost.cpu:8.0f} CPU ms per clip")
    print(f"\n{'':<36}{'wall':>8}{'CPU':>8}")
    shares = decoding.wall / loading.wall, decoding.cpu / loading.cpu
    print(f"{'into the trainer / decoding alone':<36}{shares[0]:8.2f}{shares[1]:8.2f}  (at least 0.9)")
    times = source.wall / loading.wall, source.cpu / loading.cpu
    print(f"{'stored media / the source':<36}{times[0]:8.1f}{times[1]:8.1f}  (at least 8)")


if __name__ == "__main__":
    main()
