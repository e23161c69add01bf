"""A stage without any runner: the work on one item, and its output."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from curation.dataset.dataset import Dataset
from curation.engines.usage import UsageMeter
from curation.errors import DatasetError, EngineError, UsageError, disk_is_full
from curation.guard import Stopped as ChildStopped
from curation.guard import processor_s
from curation.ids import digest
from curation.records import Row, Usage
from curation.rejects import Kind, Rejected, Stage
from curation.sources.site_limits import SiteRests
from pipelines.worker.logs import subject
from pipelines.worker.shutdown import RunStopped
from pipelines.worker.tally import LastReject
from pipelines.worker.thread_pools import ThreadPool
from pipelines.worker.work_items import Item, VideoItem
from pipelines.worker.worker_process import this_process

log = logging.getLogger(__name__)

SPENT = ("requests", "failures", "retries", "reused", "input_tokens", "output_tokens", "bytes")
"""The columns of `usage` that are counted too."""

Replaced = tuple[str, tuple[str, ...], tuple[str, ...]]  # table, columns, values


@dataclass
class StageOutput:
    """The output of one work item: rows, the keys of the rows that they replace, counts, and resources used.

    `video_id` is set where the item itself does not know it.
    """

    rows: list[Row[Any]] = field(default_factory=list)
    replaced: list[Replaced] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)  # besides the item's own "done" or "rejected"
    spent: UsageMeter = field(default_factory=UsageMeter)
    video_id: str | None = None

    def add(self, records: Iterable[Any], digest: str, recipe: int | None = None) -> None:
        """Add records that share a digest; each is a row of the table of its type. `recipe`: if not the current one."""
        self.rows += [Row(record, digest, recipe) for record in records]

    def replace(self, table: str, **key: str) -> None:
        """Mark the rows of `table` with these values to be removed by the commit that adds the new ones."""
        self.replaced.append((table, tuple(key), tuple(key.values())))

    def replace_old(self, item: VideoItem, table: str, **key: str) -> None:
        """`replace`, if the item may have older rows in that table; on a first run it has none."""
        if item.parts.get(table):
            self.replace(table, **key)


class AnyLane:
    """A mixin for work on independent items."""

    def lanes(self, items: Sequence[Any]) -> list[list[Any]]:
        return [[item] for item in items]


class Work(Protocol):
    """The work of a stage on one item. Instances are sent to workers: they hold settings, not connections."""

    @property
    def name(self) -> Stage: ...
    @property
    def label(self) -> str: ...
    @property
    def pool(self) -> ThreadPool:
        """The threads of this process that do it."""

    def lanes(self, items: Sequence[Any]) -> list[list[Any]]:
        """The items in lists: those of one list are worked on in order, different lists anywhere at once."""

    def work(self, dataset: Dataset, item: Any) -> StageOutput:
        """The rows of one item. Raises Rejected if it cannot be done; other errors count as internal."""

    def reject(self, dataset: Dataset, item: Any, why: Rejected) -> StageOutput:
        """The rows for an item that cannot be done."""


ItemResult = tuple[StageOutput, Mapping[str, int], Usage]


def run_item(stage: Work, dataset: Dataset, item: Item) -> ItemResult:
    """The rows of one item, or its reject; its counts ("done" or "rejected", "clips", …); and its usage.

    No input is lost, and none stops the others: only errors that every other item would meet are raised, such as a
    full disk, an engine that cannot work, or RunStopped; and SiteRests, after which it is to be tried again.
    """
    token = subject.set(str(item))
    begun, processor = time.perf_counter(), processor_s()
    try:
        with this_process.tally.working(stage.name, item.shown, item.source_bytes):
            made, outcome = _run_item(stage, dataset, item)
    finally:
        subject.reset(token)
    took = (time.perf_counter() - begun, processor_s() - processor)
    usage = made.spent.row(stage.name, item.key, made.video_id or item.video_id, *took)
    return _result(made, outcome, usage, item)


def reject_unwritable(stage: Work, dataset: Dataset, item: Item, why: str, usage: Usage) -> ItemResult:
    """The result of an item whose rows cannot be written: its reject."""
    log.error("%s: %s: %s", stage.name, item, why)
    made = _rejected(stage, dataset, item, Rejected(Kind.UNWRITABLE, why))
    return _result(made, "rejected", dataclasses.replace(usage, video_id=item.video_id), item)


def _rejected(stage: Work, dataset: Dataset, item: Item, why: Rejected) -> StageOutput:
    this_process.tally.rejected(stage.name, LastReject(item.shown, str(why), time.time()))
    return stage.reject(dataset, item, why)


def _result(made: StageOutput, outcome: str, usage: Usage, item: Item) -> ItemResult:
    made.add([usage], digest("usage"))
    counts = {outcome: 1, **{name: getattr(usage, name) for name in SPENT}, **made.counts}
    counts["source_bytes" if outcome == "done" else "rejected_bytes"] = item.source_bytes
    return made, {name: count for name, count in counts.items() if count}, usage


def _run_item(stage: Work, dataset: Dataset, item: Item) -> tuple[StageOutput, str]:
    if this_process.stopping.is_set():
        raise RunStopped
    try:
        return stage.work(dataset, item), "done"
    except (UsageError, DatasetError, RunStopped, SiteRests):
        raise
    except Exception as error:
        if this_process.stopping.is_set() or isinstance(error, ChildStopped):
            raise RunStopped from error
        if isinstance(error, EngineError) or disk_is_full(error):
            raise
        why = error if isinstance(error, Rejected) else Rejected(Kind.INTERNAL, f"{type(error).__name__}: {error}")
        log.log(logging.INFO if why is error else logging.ERROR, "%s: %s", stage.name, why, exc_info=why is not error)
        return _rejected(stage, dataset, item, why), "rejected"
