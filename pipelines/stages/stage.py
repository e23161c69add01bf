"""The shape of every stage on Beam: work items in, rows to parts in one fused DoFn, one commit for all tables."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.windowed_value import WindowedValue

from curation.dataset.commits import Committer, Replacement
from curation.dataset.parts import Part, PartWriter, UnwritableRow
from curation.rejects import Stage
from curation.settings import Settings
from pipelines.runners.dataflow import resource_hints
from pipelines.runners.runner import Runner
from pipelines.stages.caption import CaptionFrames
from pipelines.stages.download import DownloadVideos
from pipelines.stages.segment import SegmentVideos
from pipelines.stages.summarize import SummarizeClips
from pipelines.worker.lanes import Lanes
from pipelines.worker.reports import ReportReader
from pipelines.worker.shutdown import EarlyEnd, RunStopped
from pipelines.worker.stage_work import ItemResult, Replaced, Work, reject_unwritable, run_item
from pipelines.worker.work_items import Context, Item
from pipelines.worker.worker_process import this_process

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BundleResult:
    """The output of a bundle: names of parts and keys of replaced rows, never rows; the counts of its items; how many
    were left, by site; the keys of those put off; and why it ended early, if it did."""

    parts: tuple[Part, ...]
    replaced: tuple[Replaced, ...]
    counts: Mapping[str, int]
    left: Mapping[str, int]
    put_off: tuple[str, ...]
    ended: EarlyEnd | None


@dataclass
class StageTransform(beam.PTransform):  # type: ignore[misc]
    """Lists of work items in; the number of the commit with their rows out."""

    work: Work
    context: Context
    hints: Mapping[str, str] = field(default_factory=dict)  # Beam's resource hints for the workers

    def expand(self, items: beam.PCollection[list[Any]]) -> beam.PCollection[int]:
        return (
            items
            | self.work.label >> beam.ParDo(WorkToParts(self.work, self.context)).with_resource_hints(**self.hints)
            | "Gather the parts" >> beam.GroupByKey()
            | "Commit" >> beam.ParDo(CommitParts(self.work, self.context))
        )


class WorkToParts(beam.DoFn):  # type: ignore[misc]
    """Lists of work items, each done in order → one BundleResult per bundle, all under one key.

    A bundle's items are done by the threads of the process, many at once: a slow one delays only those after it in its
    list. If an engine gives up, the disk is full, or the run ends, no more are begun, and the output of the others is
    written. Nothing is raised, since a runner would then repeat all of the work.
    """

    def __init__(self, work: Work, context: Context) -> None:
        self.work = work
        self.context = context

    def setup(self) -> None:
        this_process.join(self.context)

    def teardown(self) -> None:
        this_process.leave()

    def start_bundle(self) -> None:
        self.replaced: list[Replaced] = []
        self.counts: Counter[str] = Counter()
        run = partial(run_item, self.work, self.context.dataset)
        self.lanes = Lanes(self.work.pool, run, self._take, patient=self.context.patient)
        self.ended: EarlyEnd | None = None
        self.unwritable = False
        try:
            self.writer = PartWriter(self.context.dataset.store, self.context.lineage, self.context.part_bytes)
        except Exception as error:  # the store cannot be reached
            self._end(error)
            self.unwritable = True

    def process(self, items: Sequence[Any]) -> None:
        self.lanes.begin(iter(items))
        self.lanes.collect(allowed=self.work.pool.threads)  # so that an item is ready when a thread is

    def finish_bundle(self) -> Iterator[WindowedValue]:
        self.lanes.collect(allowed=0)
        written = self._written()
        if any((written.parts, written.replaced, written.left, written.put_off, written.ended)):
            window = GlobalWindow()
            yield WindowedValue((None, written), window.max_timestamp(), [window])

    def _written(self) -> BundleResult:
        try:
            if not self.unwritable:
                parts = tuple(self.writer.finish())
                left, put_off = dict(self.lanes.left), tuple(self.lanes.put_off)
                return BundleResult(parts, tuple(self.replaced), dict(self.counts), left, put_off, self.ended)
        except Exception as error:
            self._end(error)
        return BundleResult((), (), {}, {}, (), self.ended)

    def _take(self, item: Item, future: Future[ItemResult]) -> None:
        try:
            made, counts, usage = future.result()
        except RunStopped:
            self._end()
            return
        except Exception as error:
            self._end(error)
            return
        try:
            try:
                self.writer.add(made.rows)
            except UnwritableRow as error:  # the fault of this item alone
                made, counts, usage = reject_unwritable(self.work, self.context.dataset, item, str(error), usage)
                self.writer.add(made.rows)
        except Exception as error:  # half an item is in the writer: nothing of this bundle may count
            self._end(error)
            self.unwritable = True
            return
        self.replaced += made.replaced
        self.counts.update(counts)
        this_process.tally.record(self.work.name, self.context.token, {item.key: counts})
        for name, count in counts.items():
            Metrics.counter(self.work.name, name).inc(count)
        Metrics.distribution(self.work.name, "milliseconds").update(round(1000 * usage.seconds))
        if usage.in_flight is not None:
            Metrics.distribution(self.work.name, "in_flight").update(round(usage.in_flight))

    def _end(self, error: Exception | None = None) -> None:
        self.lanes.stop()
        if error is not None and self.ended is None:
            log.error("%s ends early: %s", self.work.name, error, exc_info=error)
            self.ended = EarlyEnd.from_error(error)
            this_process.report_end(self.context)


class CommitParts(beam.DoFn):  # type: ignore[misc]
    """The results of all bundles of a stage → the number of their one commit.

    If that fails, the metric `ended` says why: an error would make the runner repeat the work of the stage.
    """

    def __init__(self, work: Work, context: Context) -> None:
        self.work = work
        self.context = context

    def process(self, gathered: tuple[None, Iterable[BundleResult]]) -> Iterator[int]:
        results = list(gathered[1])
        values: dict[tuple[str, tuple[str, ...]], set[tuple[str, ...]]] = {}
        for table, columns, value in (key for result in results for key in result.replaced):
            values.setdefault((table, columns), set()).add(value)
        replacements = [
            Replacement(table, columns, frozenset(v), self.context.parts_to_replace_in(table))
            for (table, columns), v in values.items()
        ]
        parts = [part for result in results for part in result.parts]
        counts = sum((Counter(result.counts) for result in results), Counter[str]())
        left = sum((Counter(result.left) for result in results), Counter[str]())
        ended = next((result.ended for result in results if result.ended), None)
        put_off = [key for result in results for key in result.put_off]
        begun = self.context.begun
        seconds = None if begun is None else round(max(0.0, time.time() - begun), 3)
        outcome = {
            "counts": counts,
            "seconds": seconds,
            "left": left,
            "put_off": put_off,
            "ended": ended and vars(ended),
        }
        try:
            with this_process.committing:
                committer = Committer(self.context.dataset, self.context.lineage, self.context.seen)
                number = committer.commit(self.context.token, parts, replacements, outcome=outcome)
        except Exception as error:
            log.error("%s could not be committed: %s", self.work.name, error, exc_info=error)
            why = ended or EarlyEnd.from_error(error)
            Metrics.string_set(self.work.name, "ended").add(f"{why.kind}: {why.message}")
        else:
            yield number


# --- running one ----------------------------------------------------------------------------------------------------


def run_stage(
    stage: Stage, settings: Settings, items: Sequence[Any], context: Context, runner: Runner
) -> EarlyEnd | None:
    """Run one stage over `items`, to its commit; returns why that failed, if it did. Raises RunStopped, RunnerError."""
    transform = stage_of(stage, settings, context, runner)

    def build(pipeline: beam.Pipeline) -> Any:
        lists = beam.Create(transform.work.lanes(items), reshuffle=not runner.is_local)  # over all of a cluster
        return pipeline | "Work items" >> lists | f"Stage {stage}" >> transform

    return runner.run(
        build, context.job_name, ReportReader(context.dataset, {stage: context.token}, this_process.tally)
    )


def stage_of(stage: Stage, settings: Settings, context: Context, runner: Runner) -> StageTransform:
    """A stage as a part of a pipeline for `runner`."""
    hints = resource_hints(stage, settings) if runner.takes_hints else {}
    return StageTransform(_work(stage, settings), context, hints)


def _work(stage: Stage, settings: Settings) -> Work:
    if stage == Stage.DOWNLOAD:
        return DownloadVideos(settings)
    if stage == Stage.SEGMENT:
        return SegmentVideos(settings)
    if stage == Stage.CAPTION:
        return CaptionFrames(settings)
    return SummarizeClips(settings)
