"""The work of a run as pure functions: what one item becomes depends on its input and the settings alone.

In place of yt-dlp, the subtitle parser, the single pass, the models and Beam; they need no process of their own and
take no time, so that a test can do hundreds of runs. Everything around them is real: the driver, the four works, the
tilings, the tables, their logs and the commits.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset
import pytest

import pipelines.stages.stage as stages
from curation.dataset.dataset import Dataset
from curation.download_settings import DownloadSettings
from curation.engines.interface import Completion, Failure, TextRequest
from curation.ids import digest, file_digest, video_id_of
from curation.media.single_pass import Candidate, PassResult
from curation.records import Download, Page, Sentence, Shot, SubtitleTrack, VideoRequest
from curation.rejects import Kind, Rejected, Stage
from curation.settings import EngineSettings, Settings, SubtitleSettings
from curation.sources.fetch import Fetched, Subtitles
from curation.sources.requests import Inputs
from curation.sources.targets import FetchTarget
from curation.subtitles.cascade import Spoken
from pipelines.driver.one_job import WaveInOneJob
from pipelines.runners.runner import Runner
from pipelines.worker.shutdown import EarlyEnd
from pipelines.worker.work_items import Context
from tests.support.dataset_files import plain_timeline

SPOKEN_S = 4.0  # a sentence
WORDS = ["river", "bridge", "train", "garden", "window", "mountain", "kitchen", "market", "engine", "flower"]


@dataclass
class World:
    """What is outside of the dataset: the videos, by number, and what the list says of them and models answer now."""

    listed: list[int] = field(default_factory=list)
    seconds: dict[int, float] = field(default_factory=dict)
    metadata: dict[int, str] = field(default_factory=dict)  # JSON objects
    ids: dict[int, str] = field(default_factory=dict)  # other ids than "v1" and so on
    copies: dict[int, int] = field(default_factory=dict)  # videos that have the bytes and subtitles of another one
    subtitles: dict[int, str] = field(default_factory=dict)  # that the list names
    mistyped: set[int] = field(default_factory=set)  # videos whose URLs in the list lead nowhere
    gone: set[int] = field(default_factory=set)  # videos whose site answers with an error
    mute: bool = False  # the models answer nothing
    picky: bool = False  # they refuse every other request for good, whenever it comes
    fetches: int = 0
    passes: int = 0
    asked: int = 0  # requests to models

    def inputs(self, names: Sequence[str], *_: object, **__: object) -> Inputs:
        """In place of read_inputs: the list, if one is named."""
        return Inputs([map(self._target, self.listed)] if names else [])

    def _target(self, number: int) -> FetchTarget:
        uri = f"https://videos.example/{'mistyped' if number in self.mistyped else 'watch'}/{number}"
        request = VideoRequest(
            request_key=digest("request", uri, None, None),
            uri=uri,
            id=self.ids.get(number, f"v{number}"),
            subtitles=self.subtitles.get(number),
            metadata=self.metadata.get(number),
        )
        return replace(FetchTarget.of(request, uri), states=True)

    def fetch(self, target: FetchTarget, settings: DownloadSettings, folder: Path) -> Fetched:
        """In place of fetch: a file that says what it is."""
        self.fetches += 1
        request = target.request
        number = int(request.uri.rpartition("/")[2])
        if "mistyped" in request.uri:
            raise Rejected(Kind.NOT_FOUND, "there is nothing")
        if number in self.gone:
            raise Rejected(Kind.CONNECTION, "no answer")
        seconds = self.seconds[number]
        if seconds > settings.max_duration_s:
            raise Rejected(Kind.TOO_LONG, f"{seconds:g} s; download.max_duration_s allows {settings.max_duration_s:g}")
        media = folder / "media.mp4"
        content = self.copies.get(number, number)
        media.write_text(json.dumps({"number": content, "seconds": seconds, "format": settings.format}))
        download = Download(
            request_key=request.request_key,
            video_id=video_id_of("list", f"{request.id}"),
            uri=request.uri,
            source_uri="",
            source_bytes=media.stat().st_size,
            source_digest=file_digest(media),
            subtitles=_subtitles(content, settings).tracks,
            metadata=request.metadata,
        )
        return Fetched(media, download, Page(request_key=request.request_key, uri=request.uri, duration=seconds))

    def fetch_subtitles(self, target: FetchTarget, settings: DownloadSettings, folder: Path) -> Subtitles:
        """In place of fetch_subtitles."""
        number = int(target.request.uri.rpartition("/")[2])
        if number in self.gone:
            raise Rejected(Kind.CONNECTION, "no answer")
        return _subtitles(number, settings)

    def decode(
        self,
        source: Path,
        boundaries: Sequence[float],
        start: float | None,
        end: float | None,
        settings: Settings,
        stored: Path,
        spool: Path,
    ) -> PassResult:
        """In place of decode_once. The same source and settings give the same bytes and frames.

        Clips begin and end on the grid alone, whatever is said: a video that is cut again from its stored media has no
        key frames where its new sentences end.
        """
        self.passes += 1
        found, media = json.loads(source.read_text()), settings.media
        seconds = float(found["seconds"])
        if seconds > media.max_duration_s:
            raise Rejected(Kind.TOO_LONG, f"{seconds:g} s; media.max_duration_s allows {media.max_duration_s:g}")
        stored.write_text(json.dumps([found, media.crf, media.lines]))
        frames = []
        for time in np.arange(settings.frames.keep_s / 2, seconds, settings.frames.keep_s).tolist():
            path = spool / f"{time}.jpg"
            path.write_text(json.dumps([found["number"], found["format"], time, settings.frames.quality]))
            frames.append(Candidate(time, float(time * 7 % 5), str(path)))
        grid = {round(time, 3) for time in np.arange(0.0, seconds, media.stride_s).tolist()}
        shots = tuple(Shot(at, min(at + 5.0, seconds)) for at in np.arange(0.0, seconds, 5.0).tolist())
        return PassResult(
            duration=seconds,
            width=64,
            height=media.lines,
            frame_rate=10.0,
            frame_count=round(10 * seconds),
            has_audio=False,
            source_width=64,
            source_height=720,
            shots=shots,
            boundaries=tuple(sorted({0.0, seconds, *grid})),
            candidates=tuple(frames),
            damage=None,
            timeline=replace(plain_timeline("", seconds), luminance=(found["number"] / 10,)),
            source_start=start or 0.0,
        )

    def engine(self, settings: EngineSettings, _: str) -> PureEngine:
        """In place of open_engine."""
        return PureEngine(self, str(settings.model), settings.revision or "")


def _subtitles(number: int, settings: DownloadSettings) -> Subtitles:
    return Subtitles(tuple(SubtitleTrack(t, "manual", "vtt", f"{number} {t}") for t in settings.subtitle_languages))


def spoken(
    tracks: Sequence[SubtitleTrack], wanted: Sequence[str], settings: SubtitleSettings, hint: str | None = None
) -> Spoken:
    """In place of sentences_of."""
    if not tracks:
        return Spoken()
    every = SPOKEN_S + settings.pause_s
    sentences = tuple(Sentence(n * every, n * every + SPOKEN_S, _sentence(tracks[0].text, n)) for n in range(20))
    return Spoken(sentences, "en", tracks[0].kind, "punctuation")


def _sentence(*about: object) -> str:
    chosen = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).digest()
    first, second = (WORDS[number % len(WORDS)] for number in chosen[:2])
    return f"A {first} stands behind the {second} number {chosen[2]} of {chosen[3]}."


@dataclass
class PureEngine:
    """A model whose answer depends on the request and its own name alone."""

    world: World
    model: str
    revision: str
    engine = "pure"
    languages = None

    @property
    def identity(self) -> str:
        return f"{self.model}@{self.revision}"

    def complete(self, requests: Sequence[TextRequest]) -> list[Completion | Failure]:
        self.world.asked += len(requests)
        return [self._outcome(request) for request in requests]

    def _outcome(self, request: TextRequest) -> Completion | Failure:
        answer = self._answer(request)
        if self.world.mute or (self.world.picky and int(digest(answer), 16) % 2):
            return Failure(request.id, "no answer", retryable=True)
        return Completion(request.id, answer)

    def _answer(self, request: TextRequest) -> str:
        source = (self.identity, request.prompt.digest, request.sampling.max_tokens)
        if request.images:
            return _sentence(*source, request.images[0].decode())
        said = request.variables.get("text") or " ".join(request.variables["captions"])
        sentences = str(said).split(". ")
        return sentences[int(digest(*source), 16) % len(sentences)].rstrip(".") + "."

    def start(self) -> None:
        pass

    def close(self) -> None:
        pass


def run_stage(
    stage: Any, settings: Settings, items: Sequence[Any], context: Context, runner: Runner
) -> EarlyEnd | None:
    """In place of Beam: the same functions, called one after the other, in one bundle."""
    transform = stages.stage_of(stage, settings, context, runner)
    work = stages.WorkToParts(transform.work, context)
    work.setup()
    try:
        work.start_bundle()
        for lane in transform.work.lanes(items):
            work.process(lane)
        results = [written.value[1] for written in work.finish_bundle()]
    finally:
        work.teardown()
    if results:
        list(stages.CommitParts(transform.work, context).process((None, results)))
    return None


def run_in_one_job(job: WaveInOneJob, runner: Runner) -> EarlyEnd | None:
    """In place of one Beam pipeline for all stages: one after the other, each with the items that it would have."""
    for stage in Stage:
        items = job.wave.downloads if stage == Stage.DOWNLOAD else job.items(stage)
        run_stage(stage, job.settings, items, replace(job.context, token=f"{job.context.token}:{stage}"), runner)
    return None


def _arrow(dataset: Dataset, table: str, version: int | None = None) -> pa.dataset.Dataset:
    """In place of Dataset.arrow: a table's rows are read once for each state of its log, and kept in memory."""
    assert dataset.folder is not None
    with os.scandir(dataset.folder / table / "_delta_log") as entries:
        stats = ((entry.name, entry.stat()) for entry in entries)
        log = frozenset((name, stat.st_ino, stat.st_size, stat.st_mtime_ns) for name, stat in stats)
    return pa.dataset.dataset(_rows(dataset, table, version, log))


_read_table = Dataset.arrow


@functools.lru_cache(200)
def _rows(dataset: Dataset, table: str, version: int | None, log: frozenset[tuple[Any, ...]]) -> pa.Table:
    return _read_table(dataset, table, version).to_table()


@contextmanager
def pure_work(world: World) -> Iterator[None]:
    """Work by these functions, in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda _: None)
        patch.setattr(Dataset, "arrow", _arrow)
        patch.setattr("pipelines.driver.curate.read_inputs", world.inputs)
        patch.setattr("pipelines.stages.download.fetch", world.fetch)
        patch.setattr("pipelines.stages.download.fetch_subtitles", world.fetch_subtitles)
        patch.setattr("curation.segments.segmentation.decode_once", world.decode)
        patch.setattr("curation.segments.segmentation.sentences_of", spoken)
        patch.setattr("curation.engines.text_source.open_engine", world.engine)
        patch.setattr("pipelines.stages.stage.run_stage", run_stage)
        patch.setattr(WaveInOneJob, "run", run_in_one_job)
        yield
