"""A run: waves of videos through download, segment, caption, summarize; texts while the next media is made."""

from __future__ import annotations

import functools
import logging
import threading
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

from curation.dataset.commits import read_commits
from curation.dataset.dataset import Dataset
from curation.dataset.writer import Writer
from curation.engines.interface import Engine
from curation.errors import SiteError
from curation.recipes import Step
from curation.rejects import Stage
from curation.settings import Settings
from curation.sources.site_limits import RESTS
from curation.sources.sites import site_of
from curation.sources.targets import FetchTarget
from pipelines.driver.background import BackgroundJobs
from pipelines.driver.budget import NO_LIMITS, Budget, RunLimits
from pipelines.driver.known_rows import Retry
from pipelines.driver.missing_subtitles import reopened_by
from pipelines.driver.plan import Plan, make_plan
from pipelines.driver.reuse import reusable
from pipelines.driver.same_bytes import SameBytes
from pipelines.driver.sources import delete_sources, sources_of, unneeded_sources
from pipelines.driver.state import State
from pipelines.driver.void_rejects import drop_void_rejects
from pipelines.driver.waves import Wave, waves_of
from pipelines.runners.runner import LocalRunner, Runner
from pipelines.worker.shutdown import EarlyEnd, RunStopped
from pipelines.worker.text_engines import WantedTexts, is_served, served_engines, shared
from pipelines.worker.work_items import Context, DownloadItem, VideoItem
from pipelines.worker.worker_process import this_process

log = logging.getLogger(__name__)

_SITES = 5  # that an error names
PUT_OFF_WAVES = 10  # as many downloads as this many waves have are put off before sites are waited for


@dataclass
class Run:
    """The work of one writer on a dataset."""

    dataset: Dataset
    writer: Writer
    settings: Settings
    texts: WantedTexts
    stages: Sequence[Stage] = tuple(Stage)
    runner: Runner = field(default_factory=lambda: LocalRunner(()))
    retry: Retry | None = None
    refresh: frozenset[Step] = frozenset()
    same_bytes: SameBytes | None = None  # finds them, unless both are wanted
    limits: RunLimits = NO_LIMITS
    budget: Budget = field(init=False)
    state: State = field(init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock)  # for the fields below, and for `state`
    _seen: int = 0  # the last commit that the state knows of
    _left: Counter[str] = field(default_factory=Counter)  # by site, requests that it refused for good
    _put_off: list[DownloadItem] = field(default_factory=list)  # while their sites are left alone
    _put_off_keys: frozenset[str] = frozenset()  # of the wave that is downloaded
    _patient: bool = True  # whether the stages wait for such sites
    _in_texts: set[str] = field(default_factory=set)  # videos whose texts are being made
    _outcomes: dict[str, Mapping[str, Any]] = field(default_factory=dict)  # of commits, by token, until taken

    def __post_init__(self) -> None:
        self.budget = Budget(self.limits, self.dataset, self.settings)

    def plan(self, targets: Mapping[str, FetchTarget]) -> Plan:
        """The work that the dataset still needs from this run's stages; `targets` are those of `take_in`."""
        self._seen = self.writer.seen
        reopened = reopened_by(self.retry, self.dataset)
        self.state = State.load(self.dataset, self.settings, self.texts, self.refresh, reopened)
        drop_void_rejects(self.writer, self.state)
        plan = make_plan(self.state, targets, self.retry).of(self.stages)
        if not self.settings.run.keep_sources:
            unneeded = unneeded_sources(self.state, self.retry)
            delete_sources(self.dataset, unneeded)
            self.state.sources -= unneeded
        return plan

    # --- doing it ---------------------------------------------------------------------------------------------------

    def do(self, plan: Plan) -> None:
        """Do every wave of the plan: while the texts of some are made, the next one is downloaded and segmented."""
        self.state.locate([*plan.segment, *plan.text, *plan.redone])
        if Stage.CAPTION in self.stages or Stage.SUMMARIZE in self.stages:
            again = bool(plan.segment or plan.text or plan.redone)
            self.state.reused = reusable(self.dataset, self.settings, again=again)
        waves = waves_of(plan, self.state, self.settings.run)
        this_process.tally.add("run", "waves", len(waves))
        if self.runner.is_local:
            self._start_engines()
        with self.runner, self.budget.watching(), BackgroundJobs(self._text_waves()) as background:
            for wave in self._with_put_off(waves):
                if self.budget.reached:
                    break
                this_process.tally.add("run", "wave")
                videos = self._media(wave)
                background.begin(functools.partial(self._texts, wave, videos, plan.redone))
        self._check_sites()

    def _with_put_off(self, waves: Sequence[Wave]) -> Iterator[Wave]:
        """The waves, and after them those of the downloads that were put off meanwhile, until none is."""
        self._patient = False
        for wave in waves:
            self._patient = len(self._put_off) >= PUT_OFF_WAVES * self.settings.run.wave_videos
            yield wave
        self._patient = True
        number = len(waves)
        while self._put_off:
            number += 1
            this_process.tally.add("run", "waves")
            size = self.settings.run.wave_videos
            downloads, self._put_off = self._put_off[:size], self._put_off[size:]
            yield Wave(number, downloads=downloads)

    def do_one_job(self, plan: Plan) -> None:
        """Do the first wave of the plan as a single job, which some runners only start or describe."""
        from pipelines.driver.one_job import WaveInOneJob

        first = waves_of(plan, self.state, self.settings.run)[0]
        self.state.locate(plan.redone)
        wave = replace(first, downloads=self._located(first.downloads))
        this_process.tally.add("run", "waves")
        this_process.tally.add("run", "wave")
        token = f"{self.writer.lineage.run_id}:{wave.number}"
        part_bytes = self.settings.run.part_bytes
        context = Context(self.dataset, self.writer.lineage, part_bytes, self._seen, token, old_parts=None)
        with self.runner:
            job = WaveInOneJob(wave, context, self._shared_settings(), self.texts)
            ended = job.run(self.runner)
        if this_process.stopping.is_set():
            raise RunStopped
        self.writer.check()
        for stage in Stage:
            ended = self._settle(stage, f"{token}:{stage}") or ended
        if ended:
            raise ended.error()
        self._check_sites()

    def _check_sites(self) -> None:
        """Raises SiteError if requests were left, since their sites refuse us."""
        if not self._left:
            return
        most = sorted(self._left.items(), key=lambda each: (-each[1], each[0]))
        named = [f"{site} ({count} videos left)" for site, count in most[:_SITES]]
        sites = " and ".join(named + [f"{len(most) - _SITES} other sites"] * (len(most) > _SITES))
        raise SiteError(
            f"refused again and again, even after {RESTS} pauses, or told to wait longer than download.timeout_s, by "
            f"{sites}; the same command goes on with them: wait some hours, and set download.preset=careful, cookies "
            "or another address (docs/youtube.md)"
        )

    def _media(self, wave: Wave) -> list[str]:
        """Download and segment a wave; returns the videos that then need texts."""
        downloads = self._located(self._allowed(wave.downloads))
        self._stage(wave, Stage.DOWNLOAD, downloads)
        put_off, self._put_off_keys = self._put_off_keys, frozenset()
        self._put_off += [item for item in downloads if item.key in put_off]
        downloads = [item for item in downloads if item.key not in put_off]
        this_process.tally.add(Stage.DOWNLOAD, "wanted", -len(put_off))
        self._reject_same_bytes(wave, downloads)
        with self._lock:
            new = self.state.fetched(downloads)
            segment = [*wave.segment, *(v for v in new if self.state.can_be_cut(v, self.retry))]
        if Stage.SEGMENT in self.stages:
            self._stage(wave, Stage.SEGMENT, self._items(segment, Stage.SEGMENT))
            if not self.settings.run.keep_sources and not self.budget.reached:
                with self._lock:
                    done = sources_of(self.state, [*segment, *new])
                    self.state.sources -= done
                delete_sources(self.dataset, done)
        with self._lock:
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

    def _allowed(self, downloads: Sequence[DownloadItem]) -> list[DownloadItem]:
        """Those whose sites have not refused us for good."""
        if not self._left:
            return list(downloads)
        sites = [site_of(item.request.uri) for item in downloads]
        self._left.update(site for site in sites if site is not None and site in self._left)
        return [item for item, site in zip(downloads, sites, strict=True) if site not in self._left]

    def _located(self, downloads: Iterable[DownloadItem]) -> list[DownloadItem]:
        """The downloads, each with the parts that hold the row which it changes."""
        with self._lock:
            parts = self.state.video_parts
            return [replace(item, parts=parts.of(item.kept)) if item.kept else item for item in downloads]

    def _texts(self, wave: Wave, videos: Sequence[str], redone: Collection[str]) -> None:
        """Caption and summarize a wave."""
        for stage in (Stage.CAPTION, Stage.SUMMARIZE):
            if stage in self.stages:
                self._stage(wave, stage, self._items(videos, stage))
        with self._lock:
            self._in_texts.difference_update(videos)
            self.state.forget(set(videos).difference(redone))

    def _items(self, videos: Sequence[str], stage: Stage) -> list[VideoItem]:
        with self._lock:
            self.state.locate(videos)
            return [self.state.item(v, stage, self.retry) for v in videos]

    def _stage(self, wave: Wave, stage: Stage, items: Sequence[DownloadItem | VideoItem]) -> None:
        """Run one stage of a wave, as far as the budget goes. Raises RunStopped, or the error that ended it early."""
        token = f"{self.writer.lineage.run_id}:{wave.number}:{stage}"
        for round_ in count(1):
            if not items:
                return
            with self.budget.admitting(stage, items) as admitted:
                if not admitted:
                    return
                self._run_stage(stage, items[:admitted], token if round_ == 1 else f"{token}:{round_}")
            items = items[admitted:]

    def _run_stage(self, stage: Stage, items: Sequence[DownloadItem | VideoItem], token: str) -> None:
        from pipelines.stages.stage import run_stage

        this_process.tally.add(stage, "wanted", len(items))
        with self._lock:
            old_parts = self.state.old_parts(items)
        part_bytes = self.settings.run.part_bytes
        context = Context(self.dataset, self.writer.lineage, part_bytes, self._seen, token, old_parts, self._patient)
        ended = None
        try:
            ended = run_stage(stage, self._shared_settings(), items, context, self.runner)
        except RunStopped:
            if not self.budget.reached:
                raise
        if this_process.stopping.is_set() and not self.budget.reached:
            raise RunStopped
        self.writer.check()
        ended = self._settle(stage, token) or ended
        if ended:
            raise ended.error()

    def _settle(self, stage: Stage, token: str) -> EarlyEnd | None:
        """Apply the commit with that token; returns why the stage ended early, if it did."""
        outcome = self._take_in(token)
        this_process.tally.settle(stage, token, outcome.get("counts", {}))
        self._left.update(outcome.get("left", {}))
        if stage == Stage.DOWNLOAD:
            self._put_off_keys |= frozenset(outcome.get("put_off", ()))
        return EarlyEnd.from_record(outcome["ended"]) if outcome.get("ended") else None

    def _take_in(self, token: str) -> Mapping[str, Any]:
        """Apply all new commits to the state; returns the outcome of the one with that token."""
        with self._lock:
            for number, record in read_commits(self.dataset, self._seen):
                self.state.update(record["tables"])
                self.budget.take(record)
                self._outcomes[record["token"]] = record.get("outcome", {})
                self._seen = number
            return self._outcomes.pop(token, {})

    def _shared_settings(self) -> Settings:
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
