"""How near the time left comes that a run states, for three shapes of run.

    python -m benchmarks.time_left VIDEO [--short 40] [--only SHAPE] [--all]

VIDEO is cut into pieces without encoding them again: many short ones; or three long ones, of half of it, three quarters
and all; or short ones whose texts a server makes that needs a second for each and takes two at a time. Each shape is
run twice, on a new dataset and on one where an earlier run has made a few such videos. `vidla curate` runs with
--metrics-port, and vidla_time_left_seconds is read every second. From a quarter of the run on, the error is compared
with the whole run. On a new dataset it is at first only known what the run takes longer than: that counts as well,
and the share of the time for which it lasts is shown. Use a video of two minutes or more.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import ffmpeg
from aiohttp import web
from rich.console import Console
from rich.table import Table

from tests.support.scripted_server import Asked, ScriptedServer
from tests.support.segmented import texts
from tests.support.watching import free_port

SHORT_S = 6.0
ANSWER_S = 1.0
_LEFT = re.compile(r"^vidla_time_left_(\w+) (\S+)$", re.MULTILINE)


@dataclass(frozen=True)
class Stated:
    """The time left that a run stated, and how long it took."""

    by_time: Sequence[tuple[float, float, bool]]  # seconds since it began, seconds left, and whether they are a bound
    took: float

    @property
    def worst_error(self) -> float:
        """The largest error from a quarter on, as a share of the whole run."""
        return max(abs(left - (self.took - at)) for at, left, _ in self._late()) / self.took

    @property
    def bound(self) -> float:
        """The share of the time from a quarter on in which only a bound was stated."""
        late = self._late()
        return sum(is_bound for *_, is_bound in late) / len(late)

    @property
    def counting_up_s(self) -> float:
        """The longest time over which it rose from each look to the next."""
        longest, since = 0.0, 0.0
        for (before_at, before, _), (at, left, _) in pairwise(self.by_time):
            since = since or before_at
            if left > before:
                longest = max(longest, at - since)
            else:
                since = at
        return longest

    def _late(self) -> list[tuple[float, float, bool]]:
        return [stated for stated in self.by_time if stated[0] >= self.took / 4]


def main() -> None:
    parser = argparse.ArgumentParser(
        "python -m benchmarks.time_left", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("video", type=Path)
    parser.add_argument("--short", type=int, default=40)
    parser.add_argument("--only", choices=("short", "long", "texts"), action="append")
    parser.add_argument("--all", action="store_true", help="print all that each run stated")
    arguments = parser.parse_args()
    table = Table("shape", "earlier run", "seconds", "worst error", "only a bound", "counts up for")
    with tempfile.TemporaryDirectory(prefix="vidla-benchmark-") as folder, server() as url:
        for shape in arguments.only or ("short", "long", "texts"):
            home = Path(folder) / shape
            few, all_ = videos_of(shape, arguments.video, home, arguments.short)
            options = [*served(url)] if shape == "texts" else []
            for name, earlier in (("none", None), ("yes", few)):
                dataset = home / f"after-{name}"
                if earlier is not None:
                    curate(earlier, dataset, options)
                stated = curate(all_, dataset, options)
                figures = (f"{stated.took:.0f}", f"{stated.worst_error:.0%}", f"{stated.bound:.0%}")
                table.add_row(shape, name, *figures, f"{stated.counting_up_s:.0f} s")
                if arguments.all:
                    Console().print([(round(at), round(left), is_bound) for at, left, is_bound in stated.by_time])
    Console().print(table)


def videos_of(shape: str, video: Path, home: Path, short: int) -> tuple[Path, Path]:
    """Folders with a few videos for an earlier run, and with those of a shape."""
    length = float(ffmpeg.probe(str(video))["format"]["duration"])
    if shape == "long":
        pieces = [(0.0, length / 2), (length / 5, 3 * length / 4), (0.0, length)]
        first = [(number * length / 5, length / 10) for number in range(1, 4)]
    else:
        pieces = [((number * 7.0) % (length - SHORT_S), SHORT_S + number % 5) for number in range(short)]
        first = [((number * 11.0 + 3) % (length - SHORT_S), SHORT_S) for number in range(3)]
    return cut(video, home / "few", first), cut(video, home / "all", pieces)


def cut(video: Path, folder: Path, pieces: Sequence[tuple[float, float]]) -> Path:
    """Copies of pieces of a video, each by its start and length, and each with a comment that makes it another one."""
    folder.mkdir(parents=True)
    for number, (start, length) in enumerate(pieces):
        target = str(folder / f"{number:03}.mp4")
        marked = f"comment={folder.name} {number}"
        ffmpeg.input(str(video), ss=start, t=length).output(target, c="copy", metadata=marked).run(quiet=True)
    return folder


@contextlib.contextmanager
def server() -> Iterator[str]:
    """A server of texts that takes its time over each; yields its URL."""

    async def slowly(asked: Asked) -> web.StreamResponse:
        await asyncio.sleep(ANSWER_S)
        return await texts(asked)

    with ScriptedServer(slowly) as served_by:
        yield served_by.url


def served(url: str) -> Iterator[str]:
    """Options by which a server makes all texts, with many frames of each video."""
    engine = ("kind=openai", "model=m", f'base_urls=["{url}"]', "max_in_flight=2")
    for assignment in (*(f"{t}.engine.{e}" for t in ("captions", "summaries") for e in engine), "frames.every_s=1"):
        yield from ("--set", assignment)


def curate(videos: Path, dataset: Path, options: Sequence[str]) -> Stated:
    """Run `vidla curate` in waves of five videos, and read what it states."""
    port = free_port()
    command = [sys.executable, "-m", "vidla", "curate", str(videos), "--dataset", str(dataset), "-q", *options]
    command += ["--metrics-port", str(port), "--set", "run.wave_videos=5", "--set", "frames.keep_s=1"]
    found: list[tuple[float, float, bool]] = []
    begun = time.monotonic()
    with subprocess.Popen(command) as run:
        while run.poll() is None:
            time.sleep(1.0)
            with contextlib.suppress(OSError):  # before its work, and after it
                found.append((time.monotonic() - begun, *stated_at(port)))
    if run.returncode:
        raise SystemExit(run.returncode)
    return Stated(found, time.monotonic() - begun)


def stated_at(port: int) -> tuple[float, bool]:
    """The seconds left that a run states now, and whether they are a bound. Raises OSError unless it works."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        stated = dict(_LEFT.findall(answer.read().decode()))
    return float(stated["seconds"]), stated["is_bound"] == "1"


if __name__ == "__main__":
    main()
