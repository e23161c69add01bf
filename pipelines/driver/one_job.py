"""One wave as one Beam pipeline, for a driver that does not wait for it, such as a template's launch.

Otherwise the driver derives the items of a stage from the commit of the previous one. Here a worker does.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import apache_beam as beam

from curation.dataset.commits import read_commits
from curation.rejects import Stage
from curation.settings import Settings
from pipelines.driver.reuse import reusable
from pipelines.driver.run import Run
from pipelines.driver.sources import delete_sources, replaced_sources, sources_of
from pipelines.driver.state import State
from pipelines.driver.waves import Wave, waves_of
from pipelines.runners.runner import Runner
from pipelines.stages.stage import stage_of
from pipelines.worker.reports import ReportReader
from pipelines.worker.shutdown import EarlyEnd, RunStopped
from pipelines.worker.stage_work import Work
from pipelines.worker.tally import TEXTS
from pipelines.worker.text_engines import WantedTexts
from pipelines.worker.work_items import Context, VideoItem
from pipelines.worker.worker_process import this_process


def do_one_job(run: Run) -> None:
    """Do the first wave of a run's plan as a single job, which some runners only start or describe."""
    first = waves_of(run.plan, run.state, run.settings.run)[0]
    run.state.locate(run.plan.redone)
    wave = replace(first, downloads=run.located(first.downloads))
    this_process.tally.add("run", "waves")
    this_process.tally.add("run", "wave")
    token = f"{run.writer.lineage.run_id}:{wave.number}"
    with run.runner, ExitStack() as stages:
        job = WaveInOneJob(wave, run.context(token), run.shared_settings(), run.state.texts)
        for stage in (*run.stages, TEXTS):
            stages.enter_context(this_process.tally.active(stage))
        ended = job.run(run.runner)
    if this_process.stopping.is_set():
        raise RunStopped
    run.writer.check()
    for stage in Stage:
        ended = run.settle(stage, f"{token}:{stage}") or ended
    if ended:
        raise ended.error()
    run.sites.check()


@dataclass(frozen=True)
class WaveInOneJob:
    """A wave of a run. Its stages share `context`, but each commits under its own token."""

    wave: Wave
    context: Context
    settings: Settings
    texts: WantedTexts

    def run(self, runner: Runner) -> EarlyEnd | None:
        """Pass it to the runner, which may or may not wait for it; returns why a commit failed, if one did."""
        stages = tuple(Stage)[self._first() :]
        fetched = [replace(item, target=None) for item in self.wave.downloads]
        after = replace(self, wave=replace(self.wave, downloads=fetched))  # only the downloads need the URLs

        def build(pipeline: beam.Pipeline) -> None:
            committed = None
            for stage in stages:
                transform = stage_of(stage, self.settings, self._context(stage), runner)
                if stage == Stage.DOWNLOAD:
                    items = pipeline | "Requests to download" >> beam.Create(transform.work.lanes(self.wave.downloads))
                else:
                    before: list[Any] = [beam.pvalue.AsList(committed)] if committed is not None else []
                    items = (
                        pipeline
                        | f"The wave, for {stage}" >> beam.Create([after])
                        | f"Items of {stage}" >> beam.ParDo(NextItems(stage, transform.work), *before)
                        | f"Spread the items of {stage}" >> beam.Reshuffle()
                    )
                committed = items | f"Stage {stage}" >> transform

        tokens = {stage: self._context(stage).token for stage in stages}
        return runner.run(build, self.context.job_name, ReportReader(self.context.dataset, tokens, this_process.tally))

    def _first(self) -> int:
        """The index of the first stage with work."""
        if self.wave.downloads:
            return tuple(Stage).index(Stage.DOWNLOAD)
        return tuple(Stage).index(Stage.SEGMENT if self.wave.segment else Stage.CAPTION)

    def _context(self, stage: Stage) -> Context:
        return replace(self.context, token=f"{self.context.token}:{stage}")

    def items(self, stage: Stage) -> list[VideoItem]:
        """The items of a stage, from the tables as they are now. Deletes segmented sources, unless they are kept."""
        dataset = self.context.dataset
        if self._has_ended():
            return []
        state = State.load(dataset, self.settings, self.texts)
        videos = list(dict.fromkeys([*self.wave.segment, *self.wave.text, *state.fetched(self.wave.downloads)]))
        if stage == Stage.SEGMENT:
            needing = [v for v in videos if state.can_be_cut(v)]
        else:
            needing = [v for v in videos if state.needs(v) == Stage.CAPTION]
            state.reused = reusable(dataset, self.settings)
            if not self.settings.run.keep_sources:
                segmented = [v for v in videos if state.needs(v) != Stage.SEGMENT]
                delete_sources(dataset, sources_of(state, segmented) | replaced_sources(state))
        state.locate(needing)
        return [state.item(v, stage) for v in needing]

    def _has_ended(self) -> bool:
        """Whether a stage has ended early; later ones are then left to the next run."""
        records = read_commits(self.context.dataset, self.context.seen)
        return any(record.get("outcome", {}).get("ended") for _, record in records)


@dataclass
class NextItems(beam.DoFn):  # type: ignore[misc]
    """A wave → lists of the items of one of its stages, once the previous stage has committed."""

    stage: Stage
    work: Work

    def process(self, job: WaveInOneJob, committed: Any = ()) -> Iterator[list[Any]]:
        yield from self.work.lanes(job.items(self.stage))
