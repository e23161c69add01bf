"""A run: waves of videos through download, segment, caption, summarize; texts while the next media is made."""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

from curation.dataset.commits import read_commits
from curation.dataset.dataset import Dataset
from curation.dataset.writer import Writer
from curation.engines.interface import Engine
from curation.rejects import Stage
from curation.settings import Settings
from pipelines.driver.background import BackgroundJobs
from pipelines.driver.budget import NO_LIMITS, Budget, RunLimits
from pipelines.driver.known_rows import Retry
from pipelines.driver.plan import Plan
from pipelines.driver.reuse import reusable
from pipelines.driver.same_bytes import SameBytes
from pipelines.driver.site_refusals import SiteRefusals
from pipelines.driver.sources import bytes_to_decode, delete_sources, sources_for, sources_of
from pipelines.driver.state import State
from pipelines.driver.waves import Wave, waves_of
from pipelines.runners.runner import LocalRunner, Runner
from pipelines.worker.shutdown import EarlyEnd, RunStopped
from pipelines.worker.stage_work import SPENT
from pipelines.worker.tally import TEXTS
from pipelines.worker.text_engines import is_served, served_engines, shared
from pipelines.worker.work_items import Context, DownloadItem, VideoItem
from pipelines.worker.worker_process import this_process

log = logging.getLogger(__name__)

TOLD = ("done", "rejected", "clips", "captions", *SPENT)
"""The counts of a stage that its event names, like Beam's counters."""


@dataclass
class Run:
    """Takes the waves of a plan through the stages, and keeps `state` up to date with what is committed."""

    writer: Writer
    state: State
    plan: Plan
    stages: Sequence[Stage] = tuple(Stage)
    runner: Runner = field(default_factory=lambda: LocalRunner(()))
    retry: Retry | None = None
    same_bytes: SameBytes | None = None  # finds them, unless both are wanted
    limits: RunLimits = NO_LIMITS
    tell: Callable[..., None] = field(default=lambda *_, **__: None)  # of an event, by its name and fields
    budget: Budget = field(init=False)
    sites: SiteRefusals = field(init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock)  # for the fields below, and for `state`
    _in_texts: set[str] = field(default_factory=set)  # videos whose texts are being made
    _outcomes: dict[str, Mapping[str, Any]] = field(default_factory=dict)  # of commits, by token, until taken

    def __post_init__(self) -> None:
        self.budget = Budget(self.limits, self.dataset, self.settings)
        self.sites = SiteRefusals(self.settings.run.wave_videos)

    @property
    def dataset(self) -> Dataset:
        return self.writer.dataset

    @property
    def settings(self) -> Settings:
        return self.state.settings

    def do(self) -> None:
        """Do every wave of the plan: while the texts of some are made, the next one is downloaded and segmented.

        Raises SiteError at the end if sites have refused requests for good; RunStopped, or the error of a stage.
        """
        plan = self.plan
        self.state.locate([*plan.segment, *plan.text, *plan.redone])
        if Stage.CAPTION in self.stages or Stage.SUMMARIZE in self.stages:
            self.state.reused = reusable(self.dataset, self.settings)
        waves = waves_of(plan, self.state, self.settings.run)
        this_process.tally.add("run", "waves", len(waves))
        if self.runner.is_local:
            self._start_engines()
        with self.runner, self.budget.watching(), BackgroundJobs(self._text_waves()) as background:
            for wave in self.sites.waves(waves):
                if self.budget.reached:
                    break
                this_process.tally.add("run", "wave")
                videos = self._media(wave)
                background.begin(functools.partial(self._texts, wave, videos, plan.redone))
        self.sites.check()

    # --- a wave -----------------------------------------------------------------------------------------------------

    def _media(self, wave: Wave) -> list[str]:
        """Download and segment a wave; returns the videos that then need texts."""
        downloads = self.located(self.sites.allowed(wave.downloads))
        with self._lock:
            former = sources_for(self.state, downloads)
        self._stage(wave, Stage.DOWNLOAD, downloads)
        tried = self.sites.tried(downloads)
        self._reject_same_bytes(wave, tried)
        with self._lock:
            new = self.state.fetched(tried)
            segment = [*wave.segment, *(v for v in new if self.state.can_be_cut(v, self.retry))]
        if Stage.SEGMENT in self.stages:
            self._stage(wave, Stage.SEGMENT, self._items(segment, Stage.SEGMENT))
            if not self.settings.run.keep_sources and not self.budget.reached:
                with self._lock:
                    replaced = former - sources_for(self.state, downloads)
                    done = sources_of(self.state, [*segment, *new]) | replaced
                    self.state.sources -= done
                delete_sources(self.dataset, done)
        with self._lock:
            self.state.measured.update(segment)
            fresh = [v for v in dict.fromkeys([*segment, *new]) if self.state.needs(v) == Stage.CAPTION]
            videos = [v for v in [*wave.text, *fresh] if v not in self._in_texts]  # once, even if requested twice
            self._in_texts.update(videos)
            return videos

    def _reject_same_bytes(self, wave: Wave, downloads: Sequence[DownloadItem]) -> None:
        if self.same_bytes is None:
            return
        with self._lock:
            fetched = self.state.downloaded(downloads)
        token = f"{self.writer.lineage.run_id}:{wave.number}:same bytes"
        if fetched and self.same_bytes.reject(fetched, token):
            self._take_in(token)

    def located(self, downloads: Iterable[DownloadItem]) -> list[DownloadItem]:
        """The downloads, each with the parts that hold the row which it changes."""
        with self._lock:
            parts = self.state.video_parts
            return [replace(item, parts=parts.of(item.kept)) if item.kept else item for item in downloads]

    def _texts(self, wave: Wave, videos: Sequence[str], redone: Collection[str]) -> None:
        """Caption and summarize a wave."""
        with this_process.tally.active(TEXTS):
            for stage in (Stage.CAPTION, Stage.SUMMARIZE):
                if stage in self.stages:
                    self._stage(wave, stage, self._items(videos, stage))
        with self._lock:
            self._in_texts.difference_update(videos)
            self.state.forget(set(videos).difference(redone))

    def _items(self, videos: Sequence[str], stage: Stage) -> list[VideoItem]:
        with self._lock:
            self.state.locate(videos)
            items = [self.state.item(v, stage, self.retry) for v in videos]
            if stage == Stage.SEGMENT:
                return [replace(item, source_bytes=bytes_to_decode(self.state, item.video_id)) for item in items]
            return items

    # --- a stage of a wave ------------------------------------------------------------------------------------------

    def _stage(self, wave: Wave, stage: Stage, items: Sequence[DownloadItem | VideoItem]) -> None:
        """Run one stage of a wave, as far as the budget goes. Raises RunStopped, or the error that ended it early."""
        token = f"{self.writer.lineage.run_id}:{wave.number}:{stage}"
        for round_ in count(1):
            if not items:
                return
            with self.budget.admitting(stage, items) as (admitted, later):
                if not admitted:
                    return
                self._run_stage(wave, stage, admitted, token if round_ == 1 else f"{token}:{round_}")
            items = later

    def _run_stage(self, wave: Wave, stage: Stage, items: Sequence[DownloadItem | VideoItem], token: str) -> None:
        about = {"stage": stage, "wave": wave.number, "waves": this_process.tally.get("run", "waves")}
        self.tell("stage_begun", **about, items=len(items))
        begun = time.monotonic()
        with this_process.tally.active(stage):
            ended = self._to_commit(stage, items, token)
        outcome, seconds = self._settle(stage, token), time.monotonic() - begun
        ended = _early_end(outcome) or ended
        counts = outcome.get("counts", {})
        told = {name: counts.get(name, 0) for name in TOLD}
        self.tell("stage_ended", **about, items=len(items), seconds=round(seconds, 3), **told)
        if ended:
            raise ended.error()

    def _to_commit(self, stage: Stage, items: Sequence[DownloadItem | VideoItem], token: str) -> EarlyEnd | None:
        """Work on these items, and commit; returns why that failed, if it did."""
        from pipelines.stages.stage import run_stage

        with self._lock:
            old_parts = self.state.old_parts(items)
        context = replace(self.context(token, old_parts), begun=time.time())
        ended = None
        try:
            ended = run_stage(stage, self.shared_settings(), items, context, self.runner)
        except RunStopped:
            if not self.budget.reached:
                raise
        if this_process.stopping.is_set() and not self.budget.reached:
            raise RunStopped
        self.writer.check()
        return ended

    def context(self, token: str, old_parts: Mapping[str, frozenset[str]] | None = None) -> Context:
        """What the work that commits under `token` needs to know of this run."""
        part_bytes, patient = self.settings.run.part_bytes, self.sites.patient
        return Context(self.dataset, self.writer.lineage, part_bytes, self.state.seen, token, old_parts, patient)

    def settle(self, stage: Stage, token: str) -> EarlyEnd | None:
        """Apply the commit with that token; returns why the stage ended early, if it did."""
        return _early_end(self._settle(stage, token))

    def _settle(self, stage: Stage, token: str) -> Mapping[str, Any]:
        """Apply the commit with that token; returns its outcome."""
        outcome = self._take_in(token)
        this_process.tally.settle(stage, token, outcome.get("counts", {}))
        self.sites.note(outcome)
        return outcome

    def _take_in(self, token: str) -> Mapping[str, Any]:
        """Apply all new commits to the state; returns the outcome of the one with that token."""
        with self._lock:
            for number, record in read_commits(self.dataset, self.state.seen):
                self.state.update(record["tables"])
                self.budget.take(record)
                self._outcomes[record["token"]] = record.get("outcome", {})
                self.state.seen = number
            return self._outcomes.pop(token, {})

    # --- engines ----------------------------------------------------------------------------------------------------

    def shared_settings(self) -> Settings:
        """The settings for one process: if several ask the same servers, with its share of the requests in flight."""
        if self.runner.is_local:
            return self.settings
        processes = self.settings.run.processes or self.runner.processes
        return shared(self.settings, processes * min(self.runner.jobs, self._text_waves()))

    def _text_waves(self) -> int:
        """The number of waves whose texts are made at once: one, unless servers make them."""
        engines = (self.settings.captions.engine, self.settings.summaries.engine)
        return self.settings.run.text_waves if any(map(is_served, engines)) else 1

    def _start_engines(self) -> None:
        """Start served engines while the first wave's media is made; one that fails ends the run at once."""

        def start(engine: Engine) -> None:
            try:
                engine.start()
            except Exception as error:
                log.exception("the engine %s does not start", engine.engine)
                this_process.halt(error)

        for engine in served_engines(self.settings, self.stages):
            threading.Thread(target=start, args=(engine,), name="engine", daemon=True).start()


def _early_end(outcome: Mapping[str, Any]) -> EarlyEnd | None:
    return EarlyEnd.from_record(outcome["ended"]) if outcome.get("ended") else None
