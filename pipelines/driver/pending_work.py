"""The work that a dataset still needs when a run begins, once what its inputs say is in the tables."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from curation.dataset.commits import Committer
from curation.recipes import Step
from curation.rejects import Stage
from curation.settings import Settings
from curation.sources.targets import FetchTarget
from pipelines.driver.gated import reject_gated
from pipelines.driver.known_rows import Retry
from pipelines.driver.missing_subtitles import reopened_by
from pipelines.driver.plan import Plan, make_plan
from pipelines.driver.sources import delete_sources, unneeded_sources
from pipelines.driver.state import State
from pipelines.driver.void_rejects import drop_void_rejects
from pipelines.worker.text_engines import WantedTexts


class PendingWork(NamedTuple):
    """The plan of a run, and the state of the dataset that it follows from."""

    state: State
    plan: Plan


def pending_work(
    writer: Committer,
    settings: Settings,
    texts: WantedTexts,
    targets: Mapping[str, FetchTarget],
    stages: Collection[Stage] = tuple(Stage),
    retry: Retry | None = None,
    refresh: frozenset[Step] = frozenset(),
) -> PendingWork:
    """The work that is left for these stages; `targets` are those of the run's inputs.

    Requests outside the gate are rejected; rejects that nothing asks for, and sources that no video needs, are removed.
    """
    dataset = writer.dataset
    closed = reject_gated(writer, settings)
    seen = writer.seen
    state = State.load(dataset, settings, texts, refresh, reopened_by(retry, dataset), closed)
    state.seen = seen
    drop_void_rejects(writer, state)
    plan = make_plan(state, targets, retry).of(stages)
    if not settings.run.keep_sources:
        unneeded = unneeded_sources(state, retry)
        delete_sources(dataset, unneeded)
        state.sources -= unneeded
    return PendingWork(state, plan)
