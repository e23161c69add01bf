"""The cost of a million requests for the driver, the tables and the log.

    python -m benchmarks.scale [--requests 1000000] [--seconds 30] [--wave 5000] [--at FOLDER] [--leg SECONDS]

The real driver curates the requests (requests, plan, waves, commits, state of every video), while the work on a video
is replaced by the rows that it would write: two processes write them, in the paper's proportions for a video of the
given length, with texts of the paper's lengths, in parts as small as waves make them. There are no media, and no images
in `frames`. One request in ten is rejected at download, one video in a hundred at segment. Then, each in a separate
process: the same list is requested again; another prompt is planned for; small parts are merged.

Every figure is measured in the process that it describes. The driver's memory is the peak resident size. `--at` keeps
the dataset and the figures: the same command then continues where it stopped. `--leg` stops the run after SECONDS and
continues it in a new process. It takes 15 minutes on an idle machine, and 6 GB of disk.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from rich.console import Console
from rich.table import Table

from curation.dataset.books import balance
from curation.dataset.commits import Committer
from curation.dataset.compact import TARGET_BYTES, compact
from curation.dataset.dataset import Dataset
from curation.dataset.parts import Lineage, Part, PartWriter
from curation.dataset.vacuum import vacuum
from curation.dataset.writer import Writer
from curation.ids import digest, digests
from curation.rejects import Stage
from curation.row_digests import (
    clips_digests,
    download_digests,
    download_reject_digest,
    material_digests,
    media_digests,
    segment_reject_digest,
    tiling_digests,
    words_digest,
)
from curation.schema import TABLES
from curation.settings import Settings, resolve
from pipelines.driver.gated import refused_requests
from pipelines.driver.intake import REQUESTS_AT_A_TIME, add_requests
from pipelines.driver.pending_work import pending_work
from pipelines.driver.plan import make_plan
from pipelines.driver.run import Run
from pipelines.driver.state import State, as_column
from pipelines.driver.waves import waves_of
from pipelines.runners.runner import Runner
from pipelines.worker import memory
from pipelines.worker.shutdown import RunStopped
from pipelines.worker.text_engines import WantedTexts
from pipelines.worker.work_items import Context
from pipelines.worker.worker_process import this_process
from tests.support.memory import peak_bytes

MADE_BY = {"maker": digest("simulated"), "model": "simulated", "prompt_digest": "", "sampling": "{}"}
TEXTS = WantedTexts(digest("the texts of the first run"), MADE_BY)
OTHER_TEXTS = WantedTexts(digest("the texts of another prompt"), {**MADE_BY, "maker": digest("another")})
CLIP_S = {"short": 13.2, "medium": 30.4, "long": 60.3}  # means of the paper; below, the words in a clip's texts
SAID = {"short": 32, "medium": 72, "long": 142}
SEEN = {"short": 11, "medium": 25, "long": 49}
SUMMARY = {"medium": 20, "long": 22}
LETTERS = 6  # of a word, with the space after it
PHASES = ("intake", "run", "again", "prompt", "compact", "merged", "books")


def main() -> None:
    parser = argparse.ArgumentParser(
        "python -m benchmarks.scale", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--listed", type=int, default=100_000, help="how many of them are read from a list")
    parser.add_argument("--seconds", type=float, default=30.0, help="length of a video; the paper's mean is 327")
    parser.add_argument("--wave", type=int, default=5000)
    parser.add_argument("--at", type=Path, help="a folder for the dataset and the figures, kept")
    parser.add_argument(
        "--leg", type=float, default=3600.0, help="stop the run after SECONDS, and continue in a new process"
    )
    parser.add_argument("--phase", choices=PHASES, help="run only this phase, with the --at of the earlier ones")
    arguments = parser.parse_args()
    if arguments.phase:
        memory.share()  # as `vidla curate` does
        measured = globals()[f"phase_{arguments.phase}"](arguments)
        with (arguments.at / f"{arguments.phase}.jsonl").open("a") as figures:
            figures.write(json.dumps(measured | {"memory": peak_bytes()}) + "\n")
        return
    with tempfile.TemporaryDirectory(prefix="vidla-benchmark-") as folder:
        arguments.at = arguments.at or Path(folder)
        arguments.at.mkdir(exist_ok=True)
        for phase in PHASES:
            while not is_done(phase, arguments.at):
                in_a_process(phase, arguments)
        show(arguments)


def in_a_process(phase: str, arguments: argparse.Namespace) -> None:
    given = {name: value for name, value in vars(arguments).items() if name != "phase"}
    options = [str(text) for name, value in given.items() for text in (f"--{name}", value)]
    subprocess.run([sys.executable, "-m", "benchmarks.scale", "--phase", phase, *options], check=True)


def figures_of(phase: str, at: Path) -> list[dict[str, Any]]:
    """The figures of a phase, one dict per leg."""
    path = at / f"{phase}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def is_done(phase: str, at: Path) -> bool:
    legs = figures_of(phase, at)
    return bool(legs) and not (phase == "run" and legs[-1]["left"])


# --- the phases -----------------------------------------------------------------------------------------------------


def phase_intake(arguments: argparse.Namespace) -> dict[str, Any]:
    """Read the last requests from a list; write those before it as reading them would have."""
    before = arguments.requests - arguments.listed
    with (arguments.at / "list.txt").open("w") as urls:
        urls.writelines(f"{url_of(number)}\n" for number in range(before, arguments.requests))
    timer = Timer()
    with opened(arguments) as (writer, settings):
        for first in range(0, before, REQUESTS_AT_A_TIME):
            numbers = np.arange(first, min(before, first + REQUESTS_AT_A_TIME))
            parts = PartWriter(writer.dataset.store, writer.lineage, 1 << 30)
            parts.add_rows("requests", Rows(writer.lineage, settings, 1.0, numbers).requests())
            writer.commit(f"requests:{first}", parts.finish())
        with timer("intake"):
            add_requests(writer, settings, [str(arguments.at / "list.txt")])
    return timer.seconds


def phase_run(arguments: argparse.Namespace) -> dict[str, Any]:
    """The first run: everything is made."""
    import pipelines.stages.stage

    timer = Timer()
    with opened(arguments) as (writer, settings):
        with timer("plan"):
            pending = pending_work(writer, settings, TEXTS, {})
            run, plan = Run(writer, *pending), pending.plan
        workers = ProcessPoolExecutor(2, get_context("spawn"))
        pipelines.stages.stage.run_stage = functools.partial(simulated, workers, arguments.seconds)
        begun, cpu = writer.seen, time.process_time()
        end = threading.Timer(arguments.leg, this_process.stopping.set)
        end.start()
        with timer("do"), workers, contextlib.suppress(RunStopped):
            run.do()
        end.cancel()
        timer.seconds["processor"] = time.process_time() - cpu
        left = len(pending_work(writer, settings, TEXTS, {}).plan)
        made = {"planned": len(plan), "left": left, "commits": writer.seen - begun}
        return {**timer.seconds, **made, **files(writer.dataset)}


def phase_again(arguments: argparse.Namespace, intake: bool = True) -> dict[str, Any]:
    """The same list again: there is nothing to do."""
    timer = Timer()
    begun = time.perf_counter()
    with opened(arguments) as (writer, settings):
        timer.seconds["open"] = time.perf_counter() - begun
        with timer("intake"):
            add_requests(writer, settings, [str(arguments.at / "list.txt")] if intake else [])
        with timer("load"):
            state = State.load(writer.dataset, settings, TEXTS)
        with timer("plan"):
            plan = make_plan(state, {})
        with timer("anti-join"):
            state._compare(
                writer.dataset.read("downloads", ["request_key", "digest", "recipe"]), refused_requests(writer.dataset)
            )
        return {**timer.seconds, "left": len(plan), "settled": len(state.settled), **files(writer.dataset)}


def phase_merged(arguments: argparse.Namespace) -> dict[str, Any]:
    """The same after small parts were merged."""
    return phase_again(arguments, intake=False)


def phase_prompt(arguments: argparse.Namespace) -> dict[str, Any]:
    """Another prompt: every video needs new texts, and the driver has the state of every one."""
    timer = Timer()
    with opened(arguments) as (writer, settings):
        with timer("load"):
            state = State.load(writer.dataset, settings, OTHER_TEXTS)
        with timer("plan"):
            plan = make_plan(state, {})
        with timer("locate"):
            state.locate(plan.text)
        with timer("cut"):
            waves = waves_of(plan, state, settings.run)
        with timer("first wave's items"):
            items = [state.item(v, Stage.CAPTION) for v in waves[0].text]
        return {**timer.seconds, "texts": len(plan.text), "waves": len(waves), "items": len(items)}


def phase_compact(arguments: argparse.Namespace) -> dict[str, Any]:
    timer = Timer()
    with opened(arguments) as (writer, _):
        with timer("compact"):
            before, after = compact(writer).parts
        with timer("vacuum"):
            vacuum(writer)
        return {**timer.seconds, "merged": before, "into": after, **files(writer.dataset)}


def phase_books(arguments: argparse.Namespace) -> dict[str, Any]:
    """The last step of every run."""
    timer = Timer()
    with timer("books"):
        books = balance(Dataset(str(arguments.at / "dataset")))
    return {
        **timer.seconds,
        "wanted": sum(a.wanted for a in books.accounts),
        "pending": [a.pending for a in books.accounts],
    }


@contextmanager
def opened(arguments: argparse.Namespace) -> Iterator[tuple[Writer, Settings]]:
    settings: Settings = resolve(None, [f"run.wave_videos={arguments.wave}"])
    dataset = Dataset(str(arguments.at / "dataset"))
    with this_process, Writer(dataset, digest(time.time())[:8], {}) as writer:
        yield writer, settings


def files(dataset: Dataset) -> dict[str, Any]:
    """The files on disk: parts, the number of small ones in tables with several, and the logs."""
    live = {table: list(dataset.live_parts(table).values()) for table in TABLES}
    assert dataset.folder is not None
    logs = [path.stat().st_size for path in dataset.folder.glob("*/_delta_log/*")]
    return {
        "parts": sum(map(len, live.values())),
        "small parts": sum(p.size < TARGET_BYTES for parts in live.values() for p in parts if len(parts) > 1),
        "smallest of several": min((p.size for parts in live.values() for p in parts if len(parts) > 1), default=0),
        "bytes": sum(p.size for parts in live.values() for p in parts),
        "rows": sum(p.rows for parts in live.values() for p in parts),
        "log files": len(logs),
        "log bytes": sum(logs),
        "log bytes of usage": sum(p.stat().st_size for p in dataset.folder.glob("usage/_delta_log/*")),
    }


class Timer:
    """Seconds by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        begun = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - begun
        print(f"  {name}: {self.seconds[name]:.1f} s", file=sys.stderr)


# --- the work, replaced by its rows ---------------------------------------------------------------------------------


def simulated(
    workers: ProcessPoolExecutor,
    seconds: float,
    stage: Stage,
    settings: Settings,
    items: Sequence[Any],
    context: Context,
    runner: Runner,
) -> None:
    """Stands in for `run_stage`: other processes write the rows that the stage would, in one commit."""
    numbers = np.array([number_of(item) for item in items])
    write = functools.partial(written, context.dataset, context.lineage, context.part_bytes, stage, settings, seconds)
    parts = [part for some in workers.map(write, (numbers[::2], numbers[1::2])) for part in some]
    Committer(context.dataset, context.lineage, context.seen).commit(context.token, parts)


def number_of(item: Any) -> int:
    name = item.request.uri.rpartition("/")[2].removesuffix(".mp4") if hasattr(item, "request") else item.video_id[8:]
    return int(name)


def written(
    dataset: Dataset,
    lineage: Lineage,
    part_bytes: int,
    stage: Stage,
    settings: Settings,
    seconds: float,
    numbers: npt.NDArray[np.int64],
) -> list[Part]:
    """Write the rows that a stage would for the videos with these numbers."""
    refused = (
        numbers % 10 == 7 if stage == Stage.DOWNLOAD else numbers % 100 == 42 if stage == Stage.SEGMENT else numbers < 0
    )
    writer = PartWriter(dataset.store, lineage, part_bytes)
    made = Rows(lineage, settings, seconds, numbers[~refused])
    for table in TABLES_OF[stage]:
        writer.add_rows(table, getattr(made, table)())
    for rows in (made, Rows(lineage, settings, seconds, numbers[refused])):
        writer.add_rows("usage", rows.usage(stage))
        if rows is not made:
            writer.add_rows("rejects", rows.rejects(stage))
    return writer.finish()


TABLES_OF = {
    Stage.DOWNLOAD: ("downloads",),
    Stage.SEGMENT: ("videos", "frames", "segments"),
    Stage.CAPTION: ("captions",),
    Stage.SUMMARIZE: ("summaries", "clips"),
}


@functools.cache
def words() -> str:
    """The text from which others are cut."""
    random = np.random.default_rng(0)
    letters = random.choice(np.frombuffer(b"etaoinshrdlucmfw", np.uint8), (200_000, LETTERS), p=ODDS)
    letters[:, -1] = ord(" ")
    return letters.tobytes().decode()


def url_of(number: int) -> str:
    return f"https://videos.example/watch/{number}.mp4"


ODDS = np.linspace(2, 1, 16) / np.linspace(2, 1, 16).sum()


class Rows:
    """The rows of videos in each table, in columns. All videos are cut alike."""

    def __init__(self, lineage: Lineage, settings: Settings, seconds: float, numbers: npt.NDArray[np.int64]) -> None:
        self.lineage = lineage
        self.seconds = seconds
        self.random = np.random.default_rng(numbers)
        self.uris = [url_of(number) for number in numbers]
        self.ids = [f"generic-{number}" for number in numbers]
        self.keys = [digest("request", uri, None, None) for uri in self.uris]
        requests = pa.table({"request_key": pa.array(self.keys, pa.string())})
        for name in ("id", "subtitles"):
            requests = requests.append_column(name, pa.nulls(len(requests), pa.string()))
        self.fetched = download_digests(requests, settings)
        requests = requests.append_column("digest", self.fetched).append_column(
            "recipe", pa.nulls(len(requests), pa.int64())
        )
        self.material = material_digests(requests, settings)
        decoded = media_digests(requests.append_column("material", self.material), settings)
        words = [words_digest(())] * len(requests)
        tiled = tiling_digests(decoded, as_column(pa.array(words)), settings)
        self.decoded, self.tiled = decoded.combine_chunks(), tiled.combine_chunks()
        self.words = words
        self.texted = clips_digests(tiled, TEXTS.digest, 0)
        scales = [(s, i, length) for s, length in CLIP_S.items() for i in range(max(1, round(seconds / length)))]
        self.scales = [s for s, _, _ in scales]
        self.starts = np.array([i * length for _, i, length in scales])
        self.ends = np.array([(i + 1) * length for _, i, length in scales])
        self.kept = np.arange(1.5, seconds, 3.0)
        self.captioned = np.arange(4.5, seconds, 9.0)

    def requests(self) -> pa.Table:
        keys = as_column(pa.array(self.keys, pa.string()))
        return self._rows("requests", 1, digests("request", keys), request_key=self.keys, uri=self.uris)

    def downloads(self) -> pa.Table:
        track = [{"language": "en", "kind": "automatic", "format": "vtt"}]
        speech = self._texts(len(self.ids), round(self.seconds * 7))  # a rolling caption repeats every line, with times
        tracks = [[{**track[0], "text": text}] for text in speech]
        return self._rows(
            "downloads", 1, self.fetched, request_key=self.keys, uri=self.uris, subtitles=tracks, words=self.words,
            material=self.material,
            source_uri=[f"sources/{self._hex()}.mp4" for _ in self.ids], source_digest=self._digests(1),
            title=self._texts(len(self.ids), 8), description=self._texts(len(self.ids), 60),
        )  # fmt: skip

    def videos(self) -> pa.Table:
        times = np.arange(0.0, self.seconds, 6.3)
        said = [[{"start": t, "end": t + 6.3, "text": text} for t, text in zip(times, texts, strict=True)]
                for texts in (self._texts(len(times), 15) for _ in self.ids)]  # fmt: skip
        shots = [{"start": t, "end": t + 5.0} for t in np.arange(0.0, self.seconds, 5.0)]
        return self._rows(
            "videos", 1, self.decoded, uri=self.uris, media_uri=[f"media/00/{v}.00000000.mp4" for v in self.ids],
            media_digest=self._digests(1), sentences=said, shots=[shots] * len(self.ids),
            boundaries=[np.arange(0.0, self.seconds, 1.3)] * len(self.ids), title=self._texts(len(self.ids), 8),
        )  # fmt: skip

    def frames(self) -> pa.Table:
        frame_ids = [f"{v}.{t * 1_000_000:.0f}" for v in self.ids for t in self.kept]
        return self._rows(
            "frames", len(self.kept), self.decoded, frame_id=frame_ids, time=np.tile(self.kept, len(self.ids)),
            image_digest=self._digests(len(self.kept)), sharpness=self.random.random(len(frame_ids)),
        )  # fmt: skip

    def captions(self) -> pa.Table:
        n = len(self.captioned)
        texts = self._texts(n * len(self.ids), SEEN["short"])
        frame_ids = [f"{v}.{t * 1_000_000:.0f}" for v in self.ids for t in self.captioned]
        return self._rows(
            "captions", n, self._digests(n), frame_id=frame_ids, time=np.tile(self.captioned, len(self.ids)),
            text=texts, raw_text=texts, maker=[MADE_BY["maker"]] * len(frame_ids), **self._made_by(n),
        )  # fmt: skip

    def segments(self) -> pa.Table:
        return self._rows("segments", len(self.scales), self.tiled, **self._clips())

    def summaries(self) -> pa.Table:
        longer = [(at, kind) for at, s in enumerate(self.scales) if s in SUMMARY for kind in ("subtitles", "captions")]
        clip_ids = self._clip_ids()
        texts = self._texts(len(longer) * len(self.ids), SUMMARY["medium"])
        return self._rows(
            "summaries", len(longer), self._digests(len(longer)), text=texts, raw_text=texts,
            clip_id=[clip_ids[v * len(self.scales) + at] for v in range(len(self.ids)) for at, _ in longer],
            kind=[kind for _, kind in longer] * len(self.ids), **self._made_by(len(longer)),
        )  # fmt: skip

    def clips(self) -> pa.Table:
        texts: dict[str, Any] = {}
        for name, lengths in (("subtitle", SAID), ("caption", SEEN)):
            whole = self._each_clip(lengths)
            short = self._each_clip({**lengths, **SUMMARY})
            texts |= {f"{name}_original": whole, f"{name}_text": short, f"{name}_source": self._all("simulated", whole)}
            texts[f"{name}_status"] = self._all("ok", whole)
        media = [f"media/00/{v}.00000000.mp4" for v in self.ids for _ in self.scales]
        return self._rows("clips", len(self.scales), self.texted, media_uri=media, **texts, **self._clips())

    def usage(self, stage: str) -> pa.Table:
        keys = self.keys if stage == Stage.DOWNLOAD else self.ids
        spent = self.random.random(len(keys))
        return self._rows("usage", 1, self._digests(1), key=keys, stage=self._all(stage, keys), seconds=spent)

    def rejects(self, stage: str) -> pa.Table:
        keys, fetched = (self.keys if stage == Stage.DOWNLOAD else self.ids), self.fetched.to_pylist()
        settings = resolve()
        reject_digest = download_reject_digest if stage == Stage.DOWNLOAD else segment_reject_digest
        inputs = fetched if stage == Stage.DOWNLOAD else self.decoded.to_pylist()
        digests = [reject_digest("not_found", value, settings) for value in inputs]
        return self._rows(
            "rejects", 1, pa.array(digests, pa.string()), key=keys, uri=self.uris, stage=self._all(stage, keys),
            kind=self._all("not_found", keys), message=self._all("the server says 404", keys),
            **({"video_id": pa.nulls(len(keys), pa.string())} if stage == Stage.DOWNLOAD else {}),
        )  # fmt: skip

    def _clips(self) -> dict[str, Any]:
        n = len(self.ids)
        within = [self.captioned[(self.captioned >= a) & (self.captioned < b)]
                  for a, b in zip(self.starts, self.ends, strict=True)]  # fmt: skip
        return {
            "clip_id": self._clip_ids(),
            "scale": self.scales * n,
            "start": np.tile(self.starts, n),
            "end": np.tile(self.ends, n),
            "frame_ids": [[f"{v}.{t * 1_000_000:.0f}" for t in some] for v in self.ids for some in within],
        }

    def _clip_ids(self) -> list[str]:
        cut = [f"{s}.{a * 1e6:.0f}-{b * 1e6:.0f}" for s, a, b in zip(self.scales, self.starts, self.ends, strict=True)]
        return [f"{v}.{at}" for v in self.ids for at in cut]

    def _rows(self, table: str, each: int, digests: pa.Array, **columns: Any) -> pa.Table:
        """Rows of a table, `each` per video; columns that are not given are null, or empty if they cannot be."""
        n = each * len(self.ids)
        at = pa.array(np.repeat(np.arange(len(self.ids)), each))
        given: dict[str, Any] = {
            "video_id": pa.array(self.ids, pa.string()).take(at),
            "digest": digests if len(digests) == n else digests.take(at),
            **columns,
        }
        arrays = []
        for field in TABLES[table].schema:
            if field.name in given:
                arrays.append(pa.array(given[field.name], field.type))
            elif field.nullable:
                arrays.append(pa.nulls(n, field.type))
            else:
                arrays.append(pa.repeat(self._least(field), n))
        return pa.Table.from_arrays(arrays, schema=TABLES[table].schema)

    def _least(self, field: pa.Field) -> pa.Scalar:
        fixed = {"run_id": self.lineage.run_id, "code_version": "benchmark", "source_bytes": 10_000_000}
        least: tuple[tuple[Callable[[pa.DataType], bool], Any], ...] = (
            (pa.types.is_list, []),
            (pa.types.is_binary, b""),
            (pa.types.is_string, ""),
            (pa.types.is_boolean, False),
        )
        plain = next((value for holds, value in least if holds(field.type)), 0)
        return pa.scalar(fixed.get(field.name, plain), field.type)

    def _made_by(self, each: int) -> dict[str, Any]:
        made = {"status": "ok", "engine": "simulated", "model": "simulated", "revision": "1", "sampling": "{}"}
        return {name: [value] * (each * len(self.ids)) for name, value in made.items()}

    def _all(self, value: str, rows: Sequence[Any]) -> list[str]:
        return [value] * len(rows)

    def _digests(self, each: int) -> pa.Array:
        drawn = self.random.bytes(16 * each * len(self.ids)).hex()
        return pa.array([drawn[at : at + 32] for at in range(0, len(drawn), 32)], pa.string())

    def _hex(self) -> str:
        return self.random.bytes(16).hex()

    def _texts(self, count: int, length: int) -> list[str]:
        size, source = length * LETTERS, words()
        begins = self.random.integers(0, len(source) - size, count)
        return [source[at : at + size] for at in begins.tolist()]

    def _each_clip(self, lengths: Mapping[str, int]) -> list[str]:
        return [text for texts in zip(*(self._texts(len(self.ids), lengths[s]) for s in self.scales), strict=True)
                for text in texts]  # fmt: skip


# --- the results ----------------------------------------------------------------------------------------------------


def show(arguments: argparse.Namespace) -> None:
    legs = figures_of("run", arguments.at)
    (intake,), (again,), (prompt,), (merged,), (after,), (books,) = (
        figures_of(p, arguments.at) for p in PHASES if p != "run"
    )
    run = {name: sum(leg[name] for leg in legs) for name in ("commits", "processor", "do")}
    run["memory"] = max(leg["memory"] for leg in (intake, *legs))
    most = max(run["memory"], *(measured["memory"] for measured in (again, prompt, merged, after, books)))
    table = Table("figure", "measured", "target")
    table.add_row("driver's memory in the first run", f"{run['memory'] / 1e9:.2f} GB", "≤ 2 GB")
    table.add_row("… when all texts are to be redone", f"{prompt['memory'] / 1e9:.2f} GB", "≤ 2 GB")
    table.add_row("… the peak, with merging", f"{most / 1e9:.2f} GB", "≤ 2 GB")
    table.add_row(f"reading a list of {arguments.listed:,}", f"{intake['intake']:.1f} s", "")
    table.add_row("reading it again", f"{again['intake']:.1f} s", "")
    table.add_row("anti-join of requests and downloads", f"{again['anti-join']:.1f} s", "≤ 5 s")
    for name, measured in (("small parts", again), ("merged", after)):
        table.add_row(f"loading the state of all videos, {name}", f"{measured['load']:.1f} s", "")
        table.add_row(f"the plan, nothing to do, {name}", f"{measured['plan']:.1f} s", "")
        table.add_row(f"opening for writing, {name}", f"{measured['open']:.1f} s", "")
    table.add_row("loading the state, when all texts are to be redone", f"{prompt['load']:.1f} s", "")
    table.add_row("the plan for that", f"{prompt['plan'] + prompt['cut']:.1f} s", "")
    table.add_row("locating their rows", f"{prompt['locate']:.1f} s", "")
    table.add_row("balancing the books", f"{books['books']:.0f} s, {books['memory'] / 1e9:.2f} GB", "≤ 2 GB")
    table.add_row("rows", f"{after['rows']:,}", "")
    table.add_row("parts before and after merging", f"{again['parts']:,} → {after['parts']:,}", "")
    table.add_row("the smallest of a table with several", f"{after['smallest of several'] / 2**20:.0f} MiB", "≥ 64 MiB")
    table.add_row("merging", f"{merged['compact']:.0f} s, {after['bytes'] / 1e9:.1f} GB", "")
    table.add_row("commits of the first run, in legs", f"{run['commits']:,}, {len(legs)}", "")
    table.add_row("the plan of its first leg", f"{legs[0]['plan']:.1f} s", "")
    table.add_row("driver's CPU time per request", f"{1000 * run['processor'] / arguments.requests:.2f} ms", "")
    table.add_row("files, bytes of the Delta logs", f"{after['log files']:,}, {after['log bytes'] / 1e6:,.0f} MB", "")
    console = Console()
    console.print(f"{arguments.requests:,} requests of {arguments.seconds:g} s in waves of {arguments.wave:,}")
    console.print(table)


if __name__ == "__main__":
    main()
