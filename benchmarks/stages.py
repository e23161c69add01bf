"""The overhead of Beam, waves and commits, and the cost of a second run.

    python -m benchmarks.stages VIDEO [--videos 14]

VIDEO is copied N times, each copy with a different comment and so a different video. The segment stage runs on them in
a plain loop, by Beam with one worker, and by Beam with two, each on a separate dataset; then `vidla curate` runs twice.
Give enough videos for 300 s of work in the loop. Ratios are of wall-clock time: use an idle machine.
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import ffmpeg
from rich.console import Console
from rich.table import Table

from curation.dataset.dataset import Dataset
from curation.dataset.parts import PartWriter
from curation.dataset.writer import Writer
from curation.rejects import Stage
from curation.settings import Settings, resolve
from pipelines.driver.intake import add_requests
from pipelines.driver.pending_work import pending_work
from pipelines.driver.run import Run
from pipelines.runners.runner import runner_for
from pipelines.stages.segment import SegmentVideos
from pipelines.worker.stage_work import run_item
from pipelines.worker.text_engines import wanted_texts
from pipelines.worker.worker_process import this_process


def main() -> None:
    parser = argparse.ArgumentParser(
        "python -m benchmarks.stages", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("video", type=Path)
    parser.add_argument("--videos", type=int, default=14)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="vidla-benchmark-") as folder:
        show(measure(Path(folder), copies(arguments.video, Path(folder) / "videos", arguments.videos)))


def copies(video: Path, folder: Path, count: int) -> Path:
    """Make `count` copies of a video in a new folder, each with a different comment and so a different video."""
    folder.mkdir()
    for number in range(count):
        target = str(folder / f"{number:03}.mp4")
        ffmpeg.input(str(video)).output(target, c="copy", metadata=f"comment={number}").run(quiet=True)
    return folder


def measure(folder: Path, videos: Path) -> dict[str, float]:
    """Seconds by method."""
    seconds: dict[str, float] = {}
    with downloaded(folder / "loop", videos, 1) as run:
        seconds["loop"] = timed(lambda: in_a_loop(run))
    for workers in (1, 2):
        with downloaded(folder / f"beam-{workers}", videos, workers) as run:
            seconds[f"beam-{workers}"] = timed(run.do)
    vidla = str(Path(sys.executable).parent / "vidla")
    command = [vidla, "curate", str(videos), "--dataset", str(folder / "curated")]
    for name in ("first", "second"):
        seconds[name] = timed(lambda: subprocess.run(command, check=True, capture_output=True))
    return seconds


@contextlib.contextmanager
def downloaded(location: Path, videos: Path, workers: int, beam_arguments: Sequence[str] = ()) -> Iterator[Run]:
    """A run that has downloaded everything and will segment it, on the runner that Beam's options name."""
    settings: Settings = resolve(None, [f"run.workers={workers}", "media.codec_threads=1", "run.wave_videos=1000"])
    dataset = Dataset(str(location))
    with this_process, Writer(dataset, "benchmark", {}) as writer:
        texts, targets = wanted_texts(settings), add_requests(writer, settings, [str(videos)])
        download, segment = (Stage.DOWNLOAD,), (Stage.SEGMENT,)
        Run(writer, *pending_work(writer, settings, texts, targets, download), download).do()
        yield Run(writer, *pending_work(writer, settings, texts, {}, segment), segment, runner_for(beam_arguments))


def in_a_loop(run: Run) -> None:
    """The same functions, the same rows, one commit, and no Beam."""
    plan = run.plan
    run.state.locate(plan.segment)
    work = SegmentVideos(run.settings)
    parts = PartWriter(run.dataset.store, run.writer.lineage, run.settings.run.part_bytes)
    for video_id in plan.segment:
        made, _, _ = run_item(work, run.dataset, run.state.item(video_id, Stage.SEGMENT))
        parts.add(made.rows)
    run.writer.commit("loop", parts.finish())


def timed(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def show(seconds: dict[str, float]) -> None:
    table = Table("figure", "seconds", "ratio", "target")
    loop, one, two, first, second = (seconds[name] for name in ("loop", "beam-1", "beam-2", "first", "second"))
    table.add_row("Beam with one worker ÷ a loop", f"{one:.1f} / {loop:.1f}", f"{one / loop:.3f}", "≤ 1.05")
    table.add_row("two workers ÷ one (throughput)", f"{one:.1f} / {two:.1f}", f"{one / two:.2f}", "≥ 1.8")
    table.add_row("second run ÷ first", f"{second:.1f} / {first:.1f}", f"{second / first:.4f}", "≤ 0.02")
    Console().print(table)
    if loop < 300:
        Console().print(f"Only {loop:.0f} s of work in the loop: give more --videos.")


if __name__ == "__main__":
    main()
