"""A run: what is wanted, in waves; each wave through the stages; one wave's texts beside the next one's media."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeVar

from curation.commits import Writer
from curation.config import Settings
from curation.lineage import download_digest, download_reject_digest
from curation.records import Reject, VideoRequest, digest, from_row
from curation.requests import Asked, read_inputs
from curation.tables import Dataset, Part, PartWriter, rows_of
from pipelines.plan import (
    CAPTION,
    DOWNLOAD,
    SEGMENT,
    STAGES,
    SUMMARIZE,
    DownloadItem,
    Plan,
    Retry,
    State,
    make_plan,
    needs,
    no_retry,
)
from pipelines.progress import tally
from pipelines.work import Context

T = TypeVar("T")

REQUESTS_AT_A_TIME = 10_000


@dataclass
class Wave:
    """So many videos at most, on their way through the stages; a failure loses one wave."""

    number: int
    downloads: Sequence[DownloadItem] = ()
    segment: Sequence[str] = ()
    text: Sequence[str] = ()


@dataclass
class Run:
    """One writer's work on a dataset."""

    dataset: Dataset
    writer: Writer
    settings: Settings
    texts: str  # digest of all that makes the texts
    stages: Sequence[str] = STAGES
    beam_arguments: Sequence[str] = ()
    retry: Retry = no_retry
    state: State = field(init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    # --- what is wanted ---------------------------------------------------------------------------------------------

    def ask(self, inputs: Sequence[str]) -> dict[str, Asked]:
        """Put what is asked for into `requests`; what to fetch, by request_key, where the table lacks some of it."""
        secret: dict[str, Asked] = {}
        known = set(self.dataset.read("requests", ["request_key"])["request_key"].to_pylist())
        for number, answers in enumerate(_batches(read_inputs(inputs, self.settings.download), REQUESTS_AT_A_TIME)):
            writer = PartWriter(self.dataset, self.writer.lineage, self.settings.run.part_bytes)
            for answer in answers:
                request = answer.request if isinstance(answer, Asked) else _request_of(answer)
                if isinstance(answer, Asked) and (answer.url, answer.subtitles_url) != (request.uri, request.subtitles):
                    secret[request.request_key] = answer
                if request.request_key in known:
                    continue
                known.add(request.request_key)
                writer.add("requests", [request], [digest("request", request.request_key)])
                if isinstance(answer, Reject):
                    rejected = download_reject_digest(download_digest(request, self.settings), self.settings)
                    writer.add("rejects", [answer], [rejected])
            parts = writer.finish()
            if parts:
                self.writer.commit(f"{self.writer.lineage.run_id}:requests:{number}", parts)
        return secret

    def plan(self, asked: Mapping[str, Asked]) -> Plan:
        """What the dataset still needs, as far as this run's stages go."""
        self.state = State.load(self.dataset, self.settings, self.texts)
        requests = (from_row(VideoRequest, row) for row in rows_of(self.dataset.read("requests")))
        plan = make_plan(self.state, requests, asked, self.retry)
        if DOWNLOAD not in self.stages:
            plan.downloads = []
        if SEGMENT not in self.stages:
            plan.segment = []
        if CAPTION not in self.stages and SUMMARIZE not in self.stages:
            plan.text = []
        self._sweep_sources()
        return plan

    # --- doing it ---------------------------------------------------------------------------------------------------

    def do(self, plan: Plan) -> None:
        """Every wave of the plan: while the texts of one are made, the next is downloaded and segmented."""
        self.state.locate([*plan.segment, *plan.text, *self._redone(plan)])
        waves = list(self._waves(plan))
        tally.add("run", "waves", len(waves))
        with ThreadPoolExecutor(1, "texts") as beside:
            texts: Future[None] | None = None
            for wave in waves:
                tally.add("run", "wave")
                videos = self._media(wave)
                if texts is not None:
                    texts.result()
                texts = beside.submit(self._texts, wave, videos)
            if texts is not None:
                texts.result()

    def _waves(self, plan: Plan) -> Iterator[Wave]:
        """What was begun earlier first, then what is to be downloaded."""
        size = self.settings.run.wave_videos
        begun = [(video_id, SEGMENT) for video_id in plan.segment] + [(video_id, CAPTION) for video_id in plan.text]
        number = 0
        for number, some in enumerate(_batches(begun, size), 1):
            by_stage = {stage: [v for v, s in some if s == stage] for stage in (SEGMENT, CAPTION)}
            yield Wave(number, segment=by_stage[SEGMENT], text=by_stage[CAPTION])
        for further, downloads in enumerate(_batches(plan.downloads, size), number + 1):
            yield Wave(further, downloads=downloads)

    def _redone(self, plan: Plan) -> list[str]:
        """Videos that have rows already and are downloaded again."""
        keys = (item.request.request_key for item in plan.downloads if item.redo)
        return [self.state.downloads[key].video_id for key in keys if key in self.state.downloads]

    def _media(self, wave: Wave) -> list[str]:
        """Download and segment a wave; the videos whose texts are to be made."""
        added = self._stage(wave, DOWNLOAD, wave.downloads)
        new = self.state.videos_in(added.get("downloads", []))
        with self._lock:
            segment = [*wave.segment, *(v for v in new if needs(self.state, v, self.retry) == SEGMENT)]
            if SEGMENT not in self.stages:
                segment = []
            items = [self.state.item(v, SEGMENT, self.retry) for v in segment]
        self._stage(wave, SEGMENT, items)
        if SEGMENT in self.stages and not self.settings.run.keep_sources:
            self._drop_sources([*segment, *new])
        with self._lock:
            return [*wave.text, *(v for v in dict.fromkeys([*segment, *new]) if needs(self.state, v) == CAPTION)]

    def _texts(self, wave: Wave, videos: Sequence[str]) -> None:
        for stage in (CAPTION, SUMMARIZE):
            if stage in self.stages:
                with self._lock:
                    items = [self.state.item(v, stage, self.retry) for v in videos]
                self._stage(wave, stage, items)
        with self._lock:
            self.state.forget(videos)

    def _stage(self, wave: Wave, stage: str, items: Sequence[object]) -> dict[str, list[Part]]:
        """Run one stage of a wave and take in what it committed."""
        if not items:
            return {}
        from pipelines.stages import run_stage  # imports Beam, which takes seconds: not where there is nothing to do

        tally.add(stage, "wanted", len(items))
        token = f"{self.writer.lineage.run_id}:{wave.number}:{stage}"
        context = Context(
            self.dataset,
            self.writer.lineage,
            self.settings.run.part_bytes,
            self.writer.seen,
            token,
            self._old_parts(items),
        )
        run_stage(stage, self.settings, items, context, self.beam_arguments)
        added = self.writer.added(token)
        with self._lock:
            self.state.update(added)
        return added

    def _old_parts(self, items: Iterable[object]) -> dict[str, frozenset[str]]:
        """The parts that may hold rows which these items replace."""
        old: dict[str, set[str]] = {}
        for item in items:
            for table, parts in getattr(item, "where", {}).items():
                old.setdefault(table, set()).update(parts)
            if isinstance(item, DownloadItem) and item.redo:
                for table in ("downloads", "rejects"):
                    old.setdefault(table, set()).update(self.dataset.live_parts(table))
                for table, located in self.state.where.get(item.old_video or "", {}).items():
                    old.setdefault(table, set()).update(located)
        return {table: frozenset(parts) for table, parts in old.items()}

    def _drop_sources(self, videos: Iterable[str]) -> None:
        for video_id in videos:
            uris = {d.source_uri for d in self.state.by_video.get(video_id, {}).values()}
            self.dataset.delete(uri for uri in uris if uri.startswith("sources/"))
            self.state.sources -= uris

    def _sweep_sources(self) -> None:
        """Delete sources that a killed run left behind and that no video needs any more."""
        if self.settings.run.keep_sources:
            return
        pending = [videos for v, videos in self.state.by_video.items() if needs(self.state, v, self.retry) == SEGMENT]
        gone = self.state.sources - {d.source_uri for videos in pending for d in videos.values()}
        self.dataset.delete(uri for uri in gone if uri.startswith("sources/"))
        self.state.sources -= gone


def _request_of(reject: Reject) -> VideoRequest:
    """The request behind an input that cannot be one: it was asked for, and the books count it."""
    return VideoRequest(request_key=reject.key, uri=reject.uri)


def _batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
