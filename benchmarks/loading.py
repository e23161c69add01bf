"""How fast the trainer loads clips, compared with just decoding them, and with loading from the source video.

    python -m benchmarks.loading VIDEO [--workers N] [--clips N] [--repeat N]

Makes two files from VIDEO: stored media, by the single pass, and a source like those on the web (720 lines, H.264 with
the encoder's defaults, a key frame every 250 frames). From both, N processes read the same random clips of all three
scales, 12 frames of each:
- loading: as in training, with texts and crops, into the process that would train;
- decoding: the same frames with torchcodec, which notices no damage, and nothing else.
Prints clips per second of wall-clock time, and CPU seconds per clip of the N processes, which also hold on a busy
machine. Start-up is not counted. The best of several rounds counts.

Then the trainer itself trains a small model (4 layers of width 192 per tower, patches of 32 pixels) on the stored media
with N workers, in steps of 12 pieces of 2 clips, without a gradient cache and with one. Prints seconds per step: of
reading alone, of computing alone, and of training, which does both at once; and the last over the larger of the
others, the ideal. Start-up is not counted. torch computes with one thread, so N + 1 CPUs have to be idle.
"""

from __future__ import annotations

import argparse
import itertools
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
from torchcodec.decoders import VideoDecoder
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
from model.data.frame_reader import read_frames, sample_times
from model.data.loader import Augmentation, ClipDataset, StoredBatch, load_batches, store_batches
from model.data.media_cache import MediaStore, media_store
from model.data.sampler import Draw, EpochSampler, TrainBatchSampler
from model.distributed import World
from model.settings import DataSettings, resolve_training
from model.training import run_folder
from model.training.pieces import Pieces
from model.training.trainer import Trainer

FRAMES, SIZE, BATCH = 12, 224, 8
STEPS, PIECES, PIECE = 6, 12, 2  # of training
COPIES = 8  # of a video's clips, so that they are enough for a batch
WARM_UP = 2  # steps, until the workers are ahead
SETTINGS = Settings()
TEXT = "A person in a red jacket walks along the river and tells how the old bridge was built, stone by stone."


def make_dataset(video: Path, folder: Path, with_source: bool) -> Dataset:
    """A dataset with the clips of two videos: stored media and source."""
    dataset, spool = Dataset(str(folder)), folder / "spool"
    spool.mkdir(parents=True)
    (folder / "media" / "00").mkdir(parents=True)
    stored, source = (folder / "media" / "00" / f"{name}.mp4" for name in ("stored", "source"))
    found = single_pass.decode_once(video, (), None, None, SETTINGS, stored, spool)
    encode = ["-vf", "scale=-2:720", "-c:v", "libx264", "-g", "250", "-pix_fmt", "yuv420p", "-c:a", "copy"]
    command = ["ffmpeg", "-v", "error", "-nostdin", "-i", str(video), *encode, "-movflags", "+faststart", str(source)]
    if with_source:
        subprocess.run(command, check=True)
    with Writer(dataset, "benchmark", {}) as writer:
        parts = PartWriter(dataset.store, writer.lineage, part_bytes=1 << 30)
        for path, number in itertools.product((stored, source) if with_source else (stored,), range(COPIES)):
            segments = tile(
                f"{path.stem}-{number}", found.duration, found.boundaries, (), found.shots, SETTINGS.tilings
            )
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
    settings = DataSettings(where=f"starts_with(video_id, '{name}-')", held_out=0)
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
    media, clips = samples.media, [(samples.clips[index], Random(seed)) for index, seed in draws]
    assert isinstance(media, MediaStore)
    wanted = [(media.open(c.media_uri), sample_times(c.start, c.end, FRAMES, random)) for c, random in clips]
    read_frames(*wanted[0])
    barrier.wait(timeout=600)
    begun, busy = time.perf_counter(), time.process_time()
    for path, times in wanted:
        VideoDecoder(str(path), seek_mode="approximate", num_ffmpeg_threads=1).get_frames_played_at(times)
    answers.put((begun, time.perf_counter(), time.process_time() - busy))


@dataclass(frozen=True)
class Overlap:
    """Seconds per step of training: of reading alone, of computing alone, of both at once; and the share of waiting."""

    reading: float
    computing: float
    both: float
    waiting: float

    def __str__(self) -> str:
        ideal = max(self.reading, self.computing)
        return f"{self.reading:9.2f}{self.computing:11.2f}{self.both:9.2f}{self.both / ideal:9.2f}{self.waiting:9.0%}"


def overlap(samples: ClipDataset, clip: Path, folder: Path, workers: int, cached: bool) -> Overlap:
    """Train a small model on the clips of `samples`, and measure what it takes to read and to compute the same."""
    values = {
        "model.weights": clip,
        "data.where": "starts_with(video_id, 'stored-')",
        "data.held_out": 0,
        "data.workers": workers,
        "batch": PIECE * PIECES,
        "micro_batch": PIECE,
        "gradient_cache": str(cached).lower(),
        "epochs": (WARM_UP + STEPS + 0.5) / (len(samples) // (PIECE * PIECES)),
    }
    settings = resolve_training(None, [f"{key}={value}" for key, value in values.items()])
    assert isinstance(samples.media, MediaStore)
    alone = World(0, 1, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    trainer = Trainer(run_folder.open_run(folder, samples.media.dataset, settings, alone), alone)
    batches = TrainBatchSampler(trainer.sampler, 0, WARM_UP + STEPS, PIECE)
    begun = {}
    stream = store_batches(samples, batches, workers, PIECES if cached else 0)
    loaded: list[StoredBatch] = []
    for number, stored in enumerate(stream):
        if number % PIECES == 0:
            begun[number // PIECES] = time.perf_counter()
        loaded = [*loaded[1 - PIECES :], StoredBatch(stored.load(), (), None, 0, False)]
    reading = (time.perf_counter() - begun[WARM_UP]) / STEPS
    trainer.train_step(Pieces(iter(loaded), PIECES))
    began = time.perf_counter()
    for _ in range(STEPS // 2):
        trainer.train_step(Pieces(iter(loaded), PIECES))
    computing = (time.perf_counter() - began) / (STEPS // 2)
    trainer.train(sys.stderr)
    log = [json.loads(line) for line in trainer.run.log.read_text(encoding="utf-8").splitlines()]
    steps = [line for line in log if "seconds" in line][WARM_UP:]
    seconds = sum(line["seconds"] for line in steps)
    return Overlap(reading, computing, seconds / STEPS, sum(line["waiting"] for line in steps) / seconds)


def small_towers(folder: Path) -> Path:
    sizes = {"hidden_size": 192, "intermediate_size": 768, "num_attention_heads": 3, "num_hidden_layers": 4}
    text = {**sizes, "vocab_size": 49408, "eos_token_id": 49407}
    CLIPModel(CLIPConfig(vision_config={**sizes, "patch_size": 32}, text_config=text)).save_pretrained(folder)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    spare = max(1, (os.cpu_count() or 2) - 1)
    parser.add_argument("--workers", type=int, default=spare, help="default: all CPUs but one, for the trainer")
    parser.add_argument("--clips", type=int, default=320, help="with more, it matters less when each worker finishes")
    parser.add_argument("--repeat", type=int, default=3, help="0: only training")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        dataset = make_dataset(arguments.video, Path(folder) / "dataset", arguments.repeat > 0)
        stored = samples_of(dataset, "stored", Path(folder))
        if arguments.repeat:
            source = samples_of(dataset, "source", Path(folder))
            compare(stored, source, draws_of(stored.clips, arguments.clips), arguments.workers, arguments.repeat)
        torch.set_num_threads(1)  # the other CPUs read
        clip = small_towers(Path(folder) / "clip")
        print(f"\n{'seconds per step':<18}{'reading':>9}{'computing':>11}{'both':>9}{'/ ideal':>9}{'waiting':>9}")
        for name, cached in (("plain", False), ("cached", True)):
            found = overlap(stored, clip, Path(folder) / name, arguments.workers, cached)
            print(f"{name:<18}{found}  (at most 1.1)", flush=True)


def compare(stored: ClipDataset, source: ClipDataset, draws: Sequence[list[Draw]], workers: int, repeat: int) -> None:
    best = dict.fromkeys(("decoding", "loading", "source"), Cost())
    few = draws[: max(len(draws) // 16, 2 * workers)]
    for _ in range(repeat):
        for name, cost in (
            ("decoding", decoding(stored, draws, workers)),
            ("loading", loading(stored, draws, workers)),
            ("source", loading(source, few, workers)),
        ):
            best[name] = best[name].or_less(cost)
    report(best["decoding"], best["loading"], best["source"])


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
