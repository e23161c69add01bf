"""What a stage is made of, before any runner: the work on one item, what it made, and where it is written."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from curation.dataset.dataset import Dataset
from curation.dataset.object_store import disk_is_full
from curation.engines.usage import UsageMeter
from curation.errors import DatasetError, EngineError, UsageError
from curation.guard import Stopped as ChildStopped
from curation.guard import processor_s
from curation.ids import digest
from curation.records import Row, Usage
from curation.rejects import Kind, Rejected, Stage
from pipelines.worker.logs import subject
from pipelines.worker.shutdown import RunStopped
from pipelines.worker.thread_pools import ThreadPool
from pipelines.worker.work_items import Item, VideoItem
from pipelines.worker.worker_process import this_process

log = logging.getLogger(__name__)

Replaced = tuple[str, tuple[str, ...], tuple[str, ...]]  # table, columns, values


@dataclass
class StageOutput:
    """What one work item came to: rows by table, each with its digest, the keys of rows that they replace, and what
    was spent on it. `video_id` is told where the item itself does not know it."""

    rows: list[Row[Any]] = field(default_factory=list)
    replaced: list[Replaced] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)  # beside one "done" or "rejected" a work item
    spent: UsageMeter = field(default_factory=UsageMeter)
    video_id: str | None = None

    def add(self, records: Iterable[Any], digest: str) -> None:
        """Rows of these records, which share a digest; their types say of which tables."""
        self.rows += [Row(record, digest) for record in records]

    def replace(self, table: str, **key: str) -> None:
        """Rows of `table` with these values go when these come."""
        self.replaced.append((table, tuple(key), tuple(key.values())))

    def replace_old(self, item: VideoItem, table: str, **key: str) -> None:
        """`replace`, where the item has older rows in that table: a first run has nothing to look for."""
        if item.where.get(table):
            self.replace(table, **key)


class AnyLane:
    """Work on items that need not wait for one another."""

    def lanes(self, items: Sequence[Any]) -> list[list[Any]]:
        return [[item] for item in items]


class Work(Protocol):
    """What a stage does with one work item. Instances travel to workers: they hold settings, not connections."""

    @property
    def name(self) -> Stage: ...
    @property
    def label(self) -> str: ...
    @property
    def pool(self) -> ThreadPool:
        """The threads of this process that do it."""

    def lanes(self, items: Sequence[Any]) -> list[list[Any]]:
        """The items in lists, each of which is worked on in its order, anywhere."""

    def work(self, dataset: Dataset, item: Any) -> StageOutput:
        """The rows of one item. Raises Rejected for one that cannot be done; anything else counts as our own fault."""

    def reject(self, dataset: Dataset, item: Any, why: Rejected) -> StageOutput:
        """What is written for an item that cannot be done."""


ItemResult = tuple[StageOutput, Mapping[str, int], Usage]


def run_item(stage: Work, dataset: Dataset, item: Item) -> ItemResult:
    """The rows of one item, or its reject; what it came to, by name ("done" or "rejected", and what was made of it);
    and what it took: no input is lost, and none stops the others.

    What would stop every other item as well is raised: a full disk, an engine that cannot work, the end of the run.
    """
    token = subject.set(str(item))
    begun, processor = time.perf_counter(), processor_s()
    try:
        made, outcome = _run_item(stage, dataset, item)
    finally:
        subject.reset(token)
    took = (time.perf_counter() - begun, processor_s() - processor)
    usage = made.spent.row(stage.name, item.key, made.video_id or item.video_id, *took)
    made.add([usage], digest("usage"))
    return made, {outcome: 1, **made.counts}, usage


def _run_item(stage: Work, dataset: Dataset, item: Item) -> tuple[StageOutput, str]:
    if this_process.stopping.is_set():
        raise RunStopped
    try:
        return stage.work(dataset, item), "done"
    except (UsageError, DatasetError, RunStopped):
        raise
    except Exception as error:
        if this_process.stopping.is_set() or isinstance(error, ChildStopped):
            raise RunStopped from error
        if isinstance(error, EngineError) or disk_is_full(error):
            raise
        why = error if isinstance(error, Rejected) else Rejected(Kind.INTERNAL, f"{type(error).__name__}: {error}")
        log.log(logging.INFO if why is error else logging.ERROR, "%s: %s", stage.name, why, exc_info=why is not error)
        return stage.reject(dataset, item, why), "rejected"
