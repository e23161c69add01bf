"""Runs that are planned and not done yet, for tests of what is said about them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from curation.dataset.dataset import Dataset
from curation.dataset.writer import Writer
from curation.rejects import Stage
from curation.settings import Settings
from pipelines.driver.pending_work import pending_work
from pipelines.driver.run import Run
from pipelines.worker.text_engines import wanted_texts
from pipelines.worker.worker_process import this_process


@contextmanager
def begun_run(dataset: Dataset, settings: Settings, stages: Sequence[Stage] = tuple(Stage)) -> Iterator[Run]:
    """A run with what `dataset` needs, which this process drives."""
    with this_process, Writer(dataset, "begun", {"settings": settings.shown()}) as writer:
        yield Run(writer, *pending_work(writer, settings, wanted_texts(settings), {}, stages), stages)
