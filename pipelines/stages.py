"""The shape that every stage has on Beam: work items in, rows to parts in one fused DoFn, one commit for all tables."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.windowed_value import WindowedValue

from curation.commits import Committer, Replacement
from curation.config import Settings
from curation.tables import Part, PartWriter
from pipelines.caption import CaptionFrames
from pipelines.download import DownloadVideos
from pipelines.plan import CAPTION, DOWNLOAD, SEGMENT
from pipelines.progress import tally
from pipelines.segment import SegmentVideos
from pipelines.summarize import SummarizeClips
from pipelines.work import Context, Fatal, Replaced, Stopped, Work, attempt, stopping

TEXT_WORKERS = 2  # one reads and writes while the other waits for the engine


@dataclass(frozen=True)
class Written:
    """What a bundle sends on: names of parts and keys of replaced rows, never rows."""

    parts: tuple[Part, ...]
    replaced: tuple[Replaced, ...]


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
    """Work items → Written, once a bundle."""

    def __init__(self, work: Work, context: Context) -> None:
        self.work = work
        self.context = context

    def start_bundle(self) -> None:
        self.writer = PartWriter(self.context.dataset, self.context.lineage, self.context.part_bytes)
        self.replaced: list[Replaced] = []

    def process(self, item: Any) -> None:
        if stopping.is_set():
            raise Stopped
        with Fatal.kept():
            made, outcome = attempt(self.work, self.context.dataset, item)
            for table, rows in made.rows.items():
                records, digests = zip(*rows, strict=True)
                self.writer.add(table, records, digests)
        self.replaced += made.replaced
        for name, count in {outcome: 1, **made.counts}.items():
            Metrics.counter(self.work.name, name).inc(count)
            tally.add(self.work.name, name, count)

    def finish_bundle(self) -> Iterator[WindowedValue]:
        with Fatal.kept():
            written = Written(tuple(self.writer.finish()), tuple(self.replaced))
        if written.parts or written.replaced:
            window = GlobalWindow()
            yield WindowedValue(written, window.max_timestamp(), [window])


class CommitParts(beam.DoFn):  # type: ignore[misc]
    """All that a stage wrote → one commit."""

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
        with Fatal.kept():
            committer = Committer(self.context.dataset, self.context.lineage, self.context.seen)
            number = committer.commit(self.context.token, parts, replacements)
        yield number


# --- running one ----------------------------------------------------------------------------------------------------


def run_stage(stage: str, settings: Settings, items: Sequence[Any], context: Context, arguments: Sequence[str]) -> None:
    """Run one stage over `items` to its commit. `arguments` are Beam's options."""
    work, workers = _work(stage, settings)
    options = PipelineOptions([*_local(min(workers, len(items))), *arguments])
    with beam.Pipeline(options=options) as pipeline:
        _ = pipeline | "What is to be done" >> beam.Create(items) | f"Stage {stage}" >> Stage(work, context)


def _work(stage: str, settings: Settings) -> tuple[Work, int]:
    """What a stage does, and how many items it does at a time on this machine."""
    if stage == DOWNLOAD:
        return DownloadVideos(settings), settings.download.workers
    if stage == SEGMENT:
        return SegmentVideos(settings), settings.run.workers or os.cpu_count() or 1
    if stage == CAPTION:
        return CaptionFrames(settings), TEXT_WORKERS
    return SummarizeClips(settings), TEXT_WORKERS


def _local(workers: int) -> list[str]:
    """Beam's local runner in this process: the work proper is done by guarded children, so threads suffice."""
    return ["--runner=FnApiRunner", "--direct_running_mode=multi_threading", f"--direct_num_workers={workers}"]
