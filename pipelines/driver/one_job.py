"""One wave as one Beam pipeline, for a runner that takes a job and is not waited for: what a template's launch is.

Elsewhere the driver works out from a stage's commit what the next one has to do. Here a worker does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import apache_beam as beam

from curation.dataset.commits import read_commits
from curation.rejects import Stage
from curation.settings import Settings
from pipelines.driver.reuse import OtherDataset
from pipelines.driver.sources import delete_sources, sources_of
from pipelines.driver.state import State
from pipelines.driver.waves import Wave
from pipelines.runners.runner import Runner
from pipelines.stages.stage import stage_of
from pipelines.worker.reports import ReportReader
from pipelines.worker.shutdown import EarlyEnd
from pipelines.worker.stage_work import Work
from pipelines.worker.work_items import Context, VideoItem
from pipelines.worker.worker_process import this_process


@dataclass(frozen=True)
class WaveInOneJob:
    """A wave of a run: `context` is that of its stages, each of which commits under a token of its own."""

    wave: Wave
    context: Context
    settings: Settings
    texts: str  # digest of all that makes the texts

    def run(self, runner: Runner) -> EarlyEnd | None:
        """Hand it to the runner, which may wait for its end or not; why a commit could not be made, if so."""
        stages = tuple(Stage)[self._first() :]

        def build(pipeline: beam.Pipeline) -> None:
            committed = None
            for stage in stages:
                part = stage_of(stage, self.settings, self._context(stage), runner)
                if stage == Stage.DOWNLOAD:
                    items = pipeline | "What is to be downloaded" >> beam.Create(part.work.lanes(self.wave.downloads))
                else:
                    waited: list[Any] = [beam.pvalue.AsList(committed)] if committed is not None else []
                    items = (
                        pipeline
                        | f"The wave, for {stage}" >> beam.Create([self])
                        | f"What is to be done by {stage}" >> beam.ParDo(NextItems(stage, part.work), *waited)
                        | f"All over the cluster, for {stage}" >> beam.Reshuffle()
                    )
                committed = items | f"Stage {stage}" >> part

        tokens = {stage: self._context(stage).token for stage in stages}
        return runner.run(build, self.context.job_name, ReportReader(self.context.dataset, tokens, this_process.tally))

    def _first(self) -> int:
        """The first stage that has anything to do."""
        if self.wave.downloads:
            return tuple(Stage).index(Stage.DOWNLOAD)
        return tuple(Stage).index(Stage.SEGMENT if self.wave.segment else Stage.CAPTION)

    def _context(self, stage: Stage) -> Context:
        return replace(self.context, token=f"{self.context.token}:{stage}")

    def items(self, stage: Stage) -> list[VideoItem]:
        """What a stage has to do, as the tables stand. Sources that are segmented go, where they are not to be kept."""
        dataset = self.context.dataset
        if self._has_ended():
            return []
        state = State.load(dataset, self.settings, self.texts)
        videos = list(dict.fromkeys([*self.wave.segment, *self.wave.text, *state.fetched(self.wave.downloads)]))
        if stage == Stage.SEGMENT:
            wanted = [v for v in videos if state.needs(v) == Stage.SEGMENT]
        else:
            wanted = [v for v in videos if state.needs(v) == Stage.CAPTION]
            state.elsewhere = [OtherDataset.locate(location) for location in self.settings.run.reuse]
            if not self.settings.run.keep_sources:
                segmented = [v for v in videos if state.needs(v) != Stage.SEGMENT]
                delete_sources(dataset, sources_of(state, segmented))
        state.locate(wanted)
        return [state.item(v, stage) for v in wanted]

    def _has_ended(self) -> bool:
        """Whether a stage has ended early: those behind it are for another run."""
        records = read_commits(self.context.dataset, self.context.seen)
        return any(record.get("outcome", {}).get("ended") for _, record in records)


@dataclass
class NextItems(beam.DoFn):  # type: ignore[misc]
    """A wave → lists of what a stage of it has to do, when the stage before has committed."""

    stage: Stage
    work: Work

    def process(self, job: WaveInOneJob, committed: Any = ()) -> Iterator[list[Any]]:
        yield from self.work.lanes(job.items(self.stage))
