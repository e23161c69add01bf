"""What a stage is made of, before any runner: the work on one item, what it made, and where it is written."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from curation.config import ConfigError
from curation.engines import EngineError
from curation.guard import Stopped as ChildStopped
from curation.rejects import Kind, Rejected
from curation.tables import Dataset, DatasetError, Lineage, disk_is_full
from pipelines.logs import subject
from pipelines.plan import VideoItem

log = logging.getLogger(__name__)

stopping = threading.Event()  # set once when the run is to end: no item is begun after it


Replaced = tuple[str, tuple[str, ...], tuple[str, ...]]  # table, columns, values


class Stopped(Exception):
    """The run was asked to stop."""


class Interrupted(Exception):
    """The run was stopped by hand; one line that says how to go on."""


class Fatal:
    """The first error in this process that ends a run: Beam itself hands on no more than its text."""

    error: BaseException | None = None

    @classmethod
    @contextlib.contextmanager
    def kept(cls) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            cls.error = cls.error or error
            raise


@dataclass
class Made:
    """What one work item came to: rows by table, each with its digest, and the keys of rows that they replace."""

    rows: dict[str, list[tuple[Any, str]]] = field(default_factory=dict)
    replaced: list[Replaced] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)  # beside one "done" or "rejected" a work item

    def add(self, table: str, records: Iterable[Any], digest: str) -> None:
        rows = [(record, digest) for record in records]
        if rows:
            self.rows.setdefault(table, []).extend(rows)

    def replace(self, table: str, **key: str) -> None:
        """Rows of `table` with these values go when these come."""
        self.replaced.append((table, tuple(key), tuple(key.values())))

    def replace_old(self, item: VideoItem, table: str, **key: str) -> None:
        """`replace`, where the item has older rows in that table: a first run has nothing to look for."""
        if item.where.get(table):
            self.replace(table, **key)


class Work(Protocol):
    """What a stage does with one work item. Instances travel to workers: they hold settings, not connections."""

    @property
    def name(self) -> str: ...
    @property
    def label(self) -> str: ...

    def work(self, dataset: Dataset, item: Any) -> Made:
        """The rows of one item. Raises Rejected for one that cannot be done; anything else counts as our own fault."""

    def reject(self, dataset: Dataset, item: Any, why: Rejected) -> Made:
        """What is written for an item that cannot be done."""


@dataclass(frozen=True)
class Context:
    """Where a stage writes and as whom; behind which commit, and under which token, it commits; and which older parts
    it may replace rows of."""

    dataset: Dataset
    lineage: Lineage
    part_bytes: int
    seen: int
    token: str
    old_parts: Mapping[str, frozenset[str]]


def attempt(stage: Work, dataset: Dataset, item: Any) -> tuple[Made, str]:
    """The rows of one item, or its reject: no input is lost, and none stops the others.

    What would stop every other item as well is raised: a full disk, an engine that cannot work, the end of the run.
    """
    token = subject.set(str(item))
    try:
        return stage.work(dataset, item), "done"
    except (ConfigError, DatasetError, EngineError, Stopped):
        raise
    except Exception as error:
        if stopping.is_set() or isinstance(error, ChildStopped):
            raise Stopped from error
        if disk_is_full(error):
            raise
        why = error if isinstance(error, Rejected) else Rejected(Kind.INTERNAL, f"{type(error).__name__}: {error}")
        log.log(logging.INFO if why is error else logging.ERROR, "%s: %s", stage.name, why, exc_info=why is not error)
        return stage.reject(dataset, item, why), "rejected"
    finally:
        subject.reset(token)
