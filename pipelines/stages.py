"""The shape that every stage has on Beam: work items in, rows to parts in one fused DoFn, one commit for all tables."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.windowed_value import WindowedValue

from curation.commits import Committer, Replacement
from curation.config import Settings
from curation.engines import EngineError
from curation.tables import Part, PartWriter
from pipelines.caption import CaptionFrames
from pipelines.download import DownloadVideos
from pipelines.ending import Fatal, Stopped
from pipelines.items import CAPTION, DOWNLOAD, SEGMENT
from pipelines.progress import tally
from pipelines.segment import SegmentVideos
from pipelines.summarize import SummarizeClips
from pipelines.work import Context, Made, Replaced, Work, attempt

_committing = threading.Lock()  # stages of several waves end at once: none has to rewrite parts for another's sake


@dataclass(frozen=True)
class Written:
    """What a bundle sends on: names of parts and keys of replaced rows, never rows; and why it ended early, if so."""

    parts: tuple[Part, ...]
    replaced: tuple[Replaced, ...]
    given_up: str | None


@dataclass
class Stage(beam.PTransform):  # type: ignore[misc]
    """Work items in; the number of the commit that holds their rows out."""

    work: Work
    context: Context

    def expand(self, items: beam.PCollection[Any]) -> beam.PCollection[int]:
        return (
            items
            | "Spread the work" >> beam.Reshuffle()
            | self.work.label >> beam.ParDo(WorkToParts(self.work, self.context))
            | "One commit for all" >> beam.WithKeys(None)
            | "Gather the parts" >> beam.GroupByKey()
            | "Commit" >> beam.ParDo(CommitParts(self.context))
        )


class WorkToParts(beam.DoFn):  # type: ignore[misc]
    """Work items → Written, once a bundle.

    A bundle's items are worked on by the process's workers, many at once: a slow one holds up none of the others.
    Where an engine gives up, or the run is to end, no more are begun; what was made of the others is written.
    """

    def __init__(self, work: Work, context: Context) -> None:
        self.work = work
        self.context = context

    def start_bundle(self) -> None:
        self.writer = PartWriter(self.context.dataset, self.context.lineage, self.context.part_bytes)
        self.replaced: list[Replaced] = []
        self.running: set[Future[tuple[Made, str]]] = set()
        self.ended = False
        self.given_up: str | None = None

    def process(self, item: Any) -> None:
        if self.ended:
            return
        workers = self.work.workers
        self.running.add(workers.submit(attempt, self.work, self.context.dataset, item))
        self._collect(most=workers.threads)  # one more is ready when a thread is

    def finish_bundle(self) -> Iterator[WindowedValue]:
        self._collect(most=0)
        with Fatal.kept():
            parts = tuple(self.writer.finish())
        if parts or self.replaced or self.given_up:
            window = GlobalWindow()
            written = Written(parts, tuple(self.replaced), self.given_up)
            yield WindowedValue(written, window.max_timestamp(), [window])

    def _collect(self, most: int) -> None:
        """Take what is done, until `most` items at most are under way."""
        while self.running:
            done, self.running = wait(self.running, 0 if len(self.running) <= most else None, FIRST_COMPLETED)
            for future in done:
                self._take(future)
            if not done:
                return

    def _take(self, future: Future[tuple[Made, str]]) -> None:
        try:
            with Fatal.kept():
                made, outcome = future.result()
                for table, rows in made.rows.items():
                    records, digests = zip(*rows, strict=True)
                    self.writer.add(table, records, digests)
        except (EngineError, Stopped) as error:
            self._end()
            if isinstance(error, EngineError):
                self.given_up = self.given_up or str(error)
            return
        except Exception:
            self._end()
            raise
        self.replaced += made.replaced
        for name, count in {outcome: 1, **made.counts}.items():
            Metrics.counter(self.work.name, name).inc(count)
            tally.add(self.work.name, name, count)

    def _end(self) -> None:
        self.ended = True
        self.running = {future for future in self.running if not future.cancel()}


class CommitParts(beam.DoFn):  # type: ignore[misc]
    """All that a stage wrote → one commit. Raises EngineError after it, where an engine gave up in mid-stage."""

    def __init__(self, context: Context) -> None:
        self.context = context

    def process(self, gathered: tuple[None, Iterable[Written]]) -> Iterator[int]:
        written = list(gathered[1])
        values: dict[tuple[str, tuple[str, ...]], set[tuple[str, ...]]] = {}
        for table, columns, value in (key for w in written for key in w.replaced):
            values.setdefault((table, columns), set()).add(value)
        replacements = [
            Replacement(table, columns, frozenset(v), self.context.old_parts.get(table, frozenset()))
            for (table, columns), v in values.items()
        ]
        parts = [part for w in written for part in w.parts]
        given_up = next((w.given_up for w in written if w.given_up), None)
        if parts or replacements:
            with Fatal.kept(), _committing:
                committer = Committer(self.context.dataset, self.context.lineage, self.context.seen)
                number = committer.commit(self.context.token, parts, replacements)
            yield number
        if given_up:
            raise EngineError(given_up)


# --- running one ----------------------------------------------------------------------------------------------------


def run_stage(stage: str, settings: Settings, items: Sequence[Any], context: Context, arguments: Sequence[str]) -> None:
    """Run one stage over `items` to its commit. `arguments` are Beam's options."""
    options = PipelineOptions([*LOCAL, *arguments])
    with beam.Pipeline(options=options) as pipeline:
        work = _work(stage, settings)
        _ = pipeline | "What is to be done" >> beam.Create(items) | f"Stage {stage}" >> Stage(work, context)


LOCAL = ("--runner=FnApiRunner", "--direct_running_mode=multi_threading", "--direct_num_workers=1")
"""Beam's local runner in this process, and one bundle a stage: its items are spread over threads by our own workers."""


def _work(stage: str, settings: Settings) -> Work:
    """What a stage does."""
    if stage == DOWNLOAD:
        return DownloadVideos(settings)
    if stage == SEGMENT:
        return SegmentVideos(settings)
    if stage == CAPTION:
        return CaptionFrames(settings)
    return SummarizeClips(settings)
