"""The overhead of Flink for the segment stage, for a wave, and on the network.

    python -m benchmarks.flink VIDEO [--videos 14]

Starts a standalone Flink with two slots and its worker pool, as the tests do. VIDEO is copied N times, each copy a
different video. The segment stage runs on two of them and on all of them, locally with two workers and on Flink with
two slots: the time per additional video is the steady state, the rest is the overhead of a job. Then a wave of two
small videos runs through all stages on both: the extra time on Flink is the overhead of a wave of any size. Flink
counts the bytes that its operators send. Ratios are of wall-clock time: use an idle machine.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import ffmpeg
from rich.console import Console
from rich.table import Table

from benchmarks.stages import copies, downloaded, timed
from curation.dataset.dataset import Dataset
from curation.dataset.writer import Writer
from curation.settings import resolve
from pipelines.driver.intake import add_requests
from pipelines.driver.pending_work import pending_work
from pipelines.driver.run import Run
from pipelines.runners.runner import runner_for
from pipelines.worker.text_engines import wanted_texts
from pipelines.worker.worker_process import this_process
from tests.support.flink_cluster import SLOTS, Cluster

FEW = 2
MOST_OF_A_WAVE = 0.05
SMALL_S = 7.0


@dataclass
class Measured:
    """Seconds of the segment stage on a few and on all videos, and of a small wave, by place; bytes sent per video."""

    few: dict[str, float]
    all: dict[str, float]
    wave: dict[str, float]
    sent: float


def main() -> None:
    parser = argparse.ArgumentParser(
        "python -m benchmarks.flink", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("video", type=Path)
    parser.add_argument("--videos", type=int, default=14)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="vidla-benchmark-") as folder, Cluster(Path(folder) / "flink") as cluster:
        videos = copies(arguments.video, Path(folder) / "videos", arguments.videos)
        show(measure(Path(folder), videos, cluster), arguments.videos)


def measure(folder: Path, videos: Path, cluster: Cluster) -> Measured:
    few = folder / "few"
    few.mkdir()
    for video in sorted(videos.iterdir())[:FEW]:
        (few / video.name).hardlink_to(video)
    seconds: dict[str, dict[str, float]] = {"few": {}, "all": {}}
    places: dict[str, Sequence[str]] = {"local": (), "flink": cluster.options}
    for name, inputs in (("few", few), ("all", videos)):
        for place, options in places.items():
            with downloaded(folder / f"{name}-{place}", inputs, SLOTS, options) as run:
                before = set(cluster.jobs())
                seconds[name][place] = timed(run.do)
    (job,) = set(cluster.jobs()) - before
    sent = sum(vertex["metrics"]["write-bytes"] for vertex in cluster.get(f"/jobs/{job}")["vertices"])
    wave = {place: small_wave(folder, few, place, options) for place, options in places.items()}
    return Measured(seconds["few"], seconds["all"], wave, sent / len(list(videos.iterdir())))


def small_wave(folder: Path, videos: Path, place: str, options: Sequence[str]) -> float:
    """The seconds of a wave of small videos, from the first download to the last text."""
    small = folder / f"small-{place}"
    small.mkdir()
    for video in sorted(videos.iterdir()):
        ffmpeg.input(str(video), t=SMALL_S).output(str(small / video.name), c="copy").run(quiet=True)
    settings = resolve()
    with this_process, Writer(Dataset(str(folder / f"wave-{place}")), "benchmark", {}) as writer:

        def wave() -> None:
            targets = add_requests(writer, settings, [str(small)])
            pending = pending_work(writer, settings, wanted_texts(settings), targets)
            Run(writer, *pending, runner=runner_for(options)).do()

        return timed(wave)


def show(measured: Measured, videos: int) -> None:
    each = {place: (measured.all[place] - measured.few[place]) / (videos - FEW) for place in measured.all}
    job = measured.few["flink"] - FEW * each["flink"]
    wave = measured.wave["flink"] - measured.wave["local"]
    enough = wave / MOST_OF_A_WAVE
    table = Table("figure", "measured", "ratio", "target")
    steady = f"{each['local']:.2f} / {each['flink']:.2f} s"
    ratio = f"{each['local'] / each['flink']:.2f}"
    table.add_row("segment: two slots ÷ two local workers", steady, ratio, "≥ 0.9")
    table.add_row("a run of one job adds", f"{job:.1f} s", "", "reported")
    table.add_row("a wave of all stages adds", f"{wave:.1f} s", "", "reported")
    table.add_row("a wave in which that is 5 % takes", f"{enough / 60:.0f} min", "", "reported")
    table.add_row("… segmenting this many of these", f"{enough / each['flink']:.0f} videos", "", "reported")
    table.add_row("bytes between operators, per video", f"{measured.sent:,.0f}", "", "≤ 10,000")
    Console().print(table)


if __name__ == "__main__":
    main()
