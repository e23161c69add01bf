"""The share of a text server's speed that the pipeline reaches.

    python -m benchmarks.texts --python VLLM_PYTHON [--videos 48] [--rounds 2]

Starts a vLLM with the interpreter VLLM_PYTHON and the small model of the tests, which takes text and images, without a
prefix cache, so that repeating a request is not cheaper. The pipeline makes captions and summaries of videos that await
their texts; a plain client then sends the same requests in N closed loops, for several N. Every text is requested once
(attempts = 1), so that both send the same requests. Ratios are of alternating rounds.

    python -m benchmarks.texts --pending

compares memory with 1,000 and with 100,000 requests pending, and prints the pipeline's CPU time per request, with a
scripted server in a separate process that answers at once. The videos are short and take eight requests each, so a wave
has twice as many videos as by default, and still fewer requests than one of longer videos.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import aiohttp
import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from curation.dataset.dataset import Dataset, rows_of
from curation.engines.interface import Completion, Failure, TextRequest
from curation.engines.load import load
from curation.engines.openai.chat import request_body
from curation.engines.registry import open_engine
from curation.ids import content_digest
from curation.records import Caption, Frame, Segment, Sentence, Video
from curation.rejects import Stage
from curation.schema import from_row
from curation.settings import EngineSettings, Settings, VllmSettings, resolve
from curation.texts.captions import caption_frames
from curation.texts.summaries import summarize_video
from pipelines.worker.text_engines import captioner, summariser
from pipelines.worker.worker_process import this_process
from tests.support.checkpoints import image_text_model
from tests.support.memory import peak_bytes
from tests.support.own_servers import served_on_loopback
from tests.support.segmented import CAPTIONS, SUMMARIES, Rows, run, segment_videos

CONCURRENCIES = (8, 16, 32, 64)
SMALL_WAVES = "run.wave_videos=16"  # for several waves
OF_SHORT_VIDEOS = "run.wave_videos=125"  # a thousand requests
TOPICS = """river stone market evening teacher garden bridge engine winter letter orange harbour window bread music
mountain paper doctor silver forest train pocket summer island copper lantern valley coffee blanket ladder"""


def main() -> None:
    parser = argparse.ArgumentParser(
        "python -m benchmarks.texts", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--python", help="interpreter with vLLM installed")
    parser.add_argument("--videos", type=int, default=48, help="each has four frames and four summaries")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--pending", action="store_true")
    parser.add_argument("--one", nargs=2, metavar=("URL", "DATASET"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        one_run(*arguments.one)
    elif arguments.pending:
        pending()
    else:
        throughput(arguments.python, arguments.videos, arguments.rounds)


# --- the requests ---------------------------------------------------------------------------------------------------


def settings_for(url: str, model: str, in_flight: int, *assignments: str) -> Settings:
    engine = ("kind=openai", f"model={model}", f'base_urls=["{url}"]', f"max_in_flight={in_flight}")
    given = [f"{texts}.engine.{setting}" for texts in ("captions", "summaries") for setting in engine]
    once = [f"{texts}.attempts=1" for texts in ("captions", "summaries.subtitles", "summaries.captions")]
    return resolve(None, [*given, *once, *assignments])


def varied(rows: Rows) -> Rows:
    """The video with unique pictures and sentences."""
    video: Video = rows["videos"][0]
    random = np.random.default_rng(int(video.video_id.encode().hex(), 16) % 2**32)
    sentences = tuple(
        Sentence(s.start, s.end, f"{' '.join(random.choice(TOPICS.split(), 24)).capitalize()}.")
        for s in video.sentences
    )
    rows["videos"][0] = dataclasses.replace(video, sentences=sentences)
    rows["frames"] = [_pictured(frame, random) for frame in rows["frames"]]
    return rows


def _pictured(frame: Frame, random: np.random.Generator) -> Frame:
    pixels = cv2.resize(random.integers(0, 256, (9, 16, 3), np.uint8), (512, 288), interpolation=cv2.INTER_CUBIC)
    image = cv2.imencode(".jpg", pixels)[1].tobytes()
    return dataclasses.replace(frame, image=image, image_digest=content_digest(image))


class Recorder:
    """An engine that records its requests and answers none."""

    engine, model, revision, identity, languages = "recorder", "recorder", "", "", None

    def __init__(self) -> None:
        self.asked: list[TextRequest] = []

    def complete(self, requests: Sequence[TextRequest]) -> list[Completion | Failure]:
        self.asked += requests
        return [Failure(request.id, "not asked", retryable=False) for request in requests]

    def start(self) -> None:
        pass

    def close(self) -> None:
        pass


def requests_of(dataset: Dataset, settings: Settings) -> tuple[list[TextRequest], list[TextRequest]]:
    """The requests that the text stages send for all of `dataset`: for captions, and for summaries."""
    captioning, summing = Recorder(), Recorder()
    caption_frames(
        [from_row(Frame, row) for row in rows_of(dataset.read("frames"))],
        dataclasses.replace(captioner(settings), engine=captioning),
    )
    plan = summariser(settings)
    plan = dataclasses.replace(
        plan,
        subtitles=dataclasses.replace(plan.subtitles, engine=summing),
        captions=dataclasses.replace(plan.captions, engine=summing),
    )
    segments: dict[str, list[Segment]] = {}
    for row in rows_of(dataset.read("segments")):
        segments.setdefault(str(row["video_id"]), []).append(from_row(Segment, row))
    captions = {str(row["frame_id"]): from_row(Caption, row) for row in rows_of(dataset.read("captions"))}
    for row in rows_of(dataset.read("videos")):
        summarize_video(from_row(Video, row), segments[str(row["video_id"])], captions, plan)
    return captioning.asked, summing.asked


# --- the clients ----------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Measured:
    """Requests answered, the tokens of their answers, and the seconds from the first request to the last answer."""

    requests: int
    tokens: int
    seconds: float
    filled: float = 0.0  # mean of requests in flight while any were left to send ÷ their limit
    cpu_s: float = 0.0  # CPU time of this process

    @property
    def rate(self) -> float:
        return self.tokens / self.seconds


async def closed_loops(url: str, bodies: Sequence[bytes], loops: int) -> Measured:
    """A plain client: each loop sends a request, waits for its answer, and takes the next."""
    waiting = iter(bodies)
    tokens = 0

    async def one(session: aiohttp.ClientSession) -> None:
        nonlocal tokens
        for data in waiting:
            async with session.post(f"{url}/chat/completions", data=data) as response:
                tokens += (await response.json())["usage"]["completion_tokens"]

    begun = time.perf_counter()
    connector = aiohttp.TCPConnector(limit=0)
    headers = {"Content-Type": "application/json"}
    async with aiohttp.ClientSession(
        connector=connector, headers=headers, timeout=aiohttp.ClientTimeout(total=600)
    ) as session:
        await asyncio.gather(*(one(session) for _ in range(loops)))
    return Measured(len(bodies), tokens, time.perf_counter() - begun)


def pipeline(folder: Path, settings: Settings, videos: int, stages: Sequence[Stage], wanted: int = 0) -> Measured:
    """The text stages on videos that await their texts; `wanted` is the number of requests, if known."""
    dataset = segment_videos(folder, settings, range(videos), varied)
    load.clear()
    filled: list[int] = []
    busy: list[float] = []
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.05):
            now = load.snapshot()
            if now.in_flight:
                busy.append(time.perf_counter())
            if busy and now.requests + now.in_flight < wanted:
                filled.append(now.in_flight)

    watcher = threading.Thread(target=watch)
    watcher.start()
    cpu = time.process_time()
    with contextlib.redirect_stdout(sys.stderr):
        code = run(dataset, settings, stages)
    cpu = time.process_time() - cpu
    done.set()
    watcher.join()
    if code:
        raise SystemExit("the pipeline failed")
    total = load.snapshot()
    most = settings.captions.engine.max_in_flight
    share = statistics.mean(filled) / most if filled else 0.0
    return Measured(total.requests, total.output_tokens, busy[-1] - busy[0], share, cpu)


def engine_alone(settings: Settings, requests: Sequence[TextRequest]) -> Measured:
    """The engine, called with all requests at once."""
    with this_process:
        engine = open_engine(settings.captions.engine, "caption")
        begun = time.perf_counter()
        answers = engine.complete(requests)
        seconds = time.perf_counter() - begun
    return Measured(len(answers), sum(a.output_tokens for a in answers if isinstance(a, Completion)), seconds)


# --- throughput -----------------------------------------------------------------------------------------------------


def throughput(python: str | None, videos: int, rounds: int) -> None:
    with served(python) as (url, model), tempfile.TemporaryDirectory(prefix="vidla-benchmark-") as folder:
        at = Path(folder)
        first = settings_for(url, model, 32, SMALL_WAVES)
        pipeline(at / "first", first, videos, tuple(Stage))
        captioning, summing = requests_of(Dataset(str(at / "first")), first)
        bodies = [request_body(request, model, streamed=False) for request in (*captioning, *summing)]
        some = bodies[:: -(-len(bodies) // 128)]
        loops = {n: asyncio.run(closed_loops(url, some, n)) for n in CONCURRENCIES}
        best = max(loops, key=lambda n: loops[n].rate)
        settings = settings_for(url, model, best, SMALL_WAVES)
        pairs = []
        for number in range(rounds):
            plain = asyncio.run(closed_loops(url, bodies, best))
            ours = pipeline(at / f"{number}", settings, videos, tuple(Stage), len(bodies))
            alone = engine_alone(settings, captioning)
            beam = pipeline(at / f"captions-{number}", settings, videos, (Stage.CAPTION,), len(captioning))
            pairs.append((plain, ours, alone, beam))
    table = Table("figure", *(f"round {n}" for n in range(1, rounds + 1)), "target")
    for n, measured in loops.items():
        table.add_row(f"plain client, {n} in flight: tokens/s", f"{measured.rate:.0f}")
    table.add_row("plain client at its best: tokens/s", *(f"{p.rate:.1f}" for p, _, _, _ in pairs))
    table.add_row("text stages: tokens/s", *(f"{o.rate:.1f} ({o.requests})" for _, o, _, _ in pairs))
    table.add_row("text stages ÷ plain client", *(f"{o.rate / p.rate:.3f}" for p, o, _, _ in pairs), "≥ 0.95")
    table.add_row("captions, engine alone: tokens/s", *(f"{a.rate:.1f}" for _, _, a, _ in pairs))
    table.add_row("captions through Beam ÷ engine alone", *(f"{b.rate / a.rate:.3f}" for _, _, a, b in pairs), "≥ 0.97")
    table.add_row("in flight ÷ limit, without the tail", *(f"{o.filled:.3f}" for _, o, _, _ in pairs), "≥ 0.8")
    table.add_row("CPU ms per request", *(f"{1e3 * o.cpu_s / o.requests:.2f}" for _, o, _, _ in pairs), "≤ 3")
    Console().print(table)


@contextlib.contextmanager
def served(python: str | None) -> Iterator[tuple[str, str]]:
    """The base URL and name of a small model, served by a vLLM of our own."""
    # GiB: on a CPU, vLLM would otherwise take most of the machine's memory
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    extra = ("--enforce-eager", "--no-enable-prefix-caching")
    vllm = VllmSettings(python=python, dtype="bfloat16", max_model_len=2048, extra_args=extra)
    model = image_text_model()
    settings = EngineSettings(kind="vllm", model=str(model), vllm=vllm)
    with (
        tempfile.TemporaryDirectory(prefix="vidla-benchmark-") as folder,
        served_on_loopback(settings, Path(folder) / "server.log") as url,
    ):
        yield url, model.name


# --- pending requests -----------------------------------------------------------------------------------------------


def pending() -> None:
    found: dict[int, dict[str, float]] = {}
    command = [sys.executable, "-m", "tests.support.segmented"]
    with (
        tempfile.TemporaryDirectory(prefix="vidla-benchmark-") as folder,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server,
    ):
        url = server.stdout.readline().strip()  # type: ignore[union-attr]
        for requests in (1_000, 100_000):
            dataset = Path(folder) / f"{requests}"
            segment_videos(dataset, settings_for(url, "m", 32), range(requests // (CAPTIONS + SUMMARIES)))
            one = [sys.executable, "-m", "benchmarks.texts", "--one", url, str(dataset)]
            found[requests] = json.loads(subprocess.run(one, check=True, stdout=subprocess.PIPE, text=True).stdout)
        server.kill()
    few, many = found.values()
    table = Table("figure", *(f"{int(f['requests'])} requests" for f in (few, many)), "ratio", "target")
    peaks = few["peak_bytes"], many["peak_bytes"]
    table.add_row("peak memory, MB", *(f"{p / 1e6:.0f}" for p in peaks), f"{peaks[1] / peaks[0]:.2f}", "≤ 1.2")
    table.add_row("CPU ms per request", *(f"{1e3 * f['cpu_s'] / f['requests']:.2f}" for f in (few, many)), "", "≤ 3")
    Console().print(table)


def one_run(url: str, dataset: str) -> None:
    """Run the text stages on `dataset` in this process, and print the cost as JSON."""
    cpu = time.process_time()
    with contextlib.redirect_stdout(sys.stderr):
        code = run(Dataset(dataset), settings_for(url, "m", 32, OF_SHORT_VIDEOS))
    cpu = time.process_time() - cpu
    if code:
        raise SystemExit("the pipeline failed")
    print(json.dumps({"requests": load.snapshot().requests, "peak_bytes": peak_bytes(), "cpu_s": cpu}))


if __name__ == "__main__":
    main()
