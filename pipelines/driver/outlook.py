"""The work that a dataset still needs, and what it can be expected to cost by what was spent on it so far."""

from __future__ import annotations

from collections.abc import Collection

from curation.cost import Expected, Workload, expected, unit_costs
from curation.dataset.dataset import Dataset
from curation.dataset.last_settings import last_run
from curation.dataset.rehearsal import RehearsedDataset
from curation.prices import Prices
from curation.recipes import Step
from curation.settings import Settings, resolve_to_compare
from pipelines.driver.known_rows import Retry
from pipelines.driver.plan import Plan, make_plan
from pipelines.driver.redone import Change, Redone, redone
from pipelines.driver.state import State
from pipelines.worker.text_engines import text_digests, wanted_texts
from pipelines.worker.worker_process import this_process

_TEXTS_PER_VIDEO = """
    select
        (select count(*) / nullif(count(distinct video_id), 0) from captions) as captions,
        (select count(*) / nullif((select count(distinct video_id) from clips), 0) from summaries) as summaries
    """


def work_of(dataset: Dataset, plan: Plan, made: Redone) -> Workload:
    """The work of `plan`, which makes this again. Videos without texts are taken to get as many as others have.

    Texts that exist already, in earlier versions of the tables or in other datasets, are no work.
    """
    (mean,) = dataset.sql(_TEXTS_PER_VIDEO).to_pylist()
    decoded = len(plan.downloads) + len(plan.segment) - made.tilings
    videos = len(plan)
    return Workload(
        downloads=len(plan.downloads),
        segmentations=decoded,
        captions=made.captions - made.captions_back + (videos - made.captioned) * (mean["captions"] or 0.0),
        summaries=made.summaries - made.summaries_back + (videos - made.summarized) * (mean["summaries"] or 0.0),
    )


def pending(dataset: Dataset, prices: Prices) -> tuple[Plan, Expected] | None:
    """The work that `dataset` still needs with the settings of its last run, and its cost; None before a run.

    Takes no lease. Raises DatasetError, ConfigError.
    """
    if (found := _with_last_settings(dataset)) is None:
        return None
    state, plan, made = found
    work = work_of(state.dataset, plan, made)
    return plan, expected(work, unit_costs(state.dataset, state.settings), prices)


def made_again(dataset: Dataset) -> str | None:
    """The rows that the settings of the last run would make again, in one line; None if there are none.

    Takes no lease. Raises DatasetError, ConfigError.
    """
    found = _with_last_settings(dataset)
    parts = found[2].parts() if found else []
    if not parts:
        return None
    return f"With the last run's settings, `vidla curate` makes again: {', '.join(parts)}"


def _with_last_settings(dataset: Dataset) -> tuple[State, Plan, Redone] | None:
    last = last_run(dataset)
    if last is None:
        return None
    settings = resolve_to_compare(None, (), last.settings)
    with this_process:
        rehearsed = RehearsedDataset(dataset.uri, patient=dataset.patient, real=dataset)
        state = State.load(rehearsed, settings, wanted_texts(settings))
        plan = make_plan(state, {})
        return state, plan, redone(state, plan, Change.between(last, settings, text_digests(settings)))


def left_by(
    dataset: Dataset, settings: Settings, stages: Collection[str], retry: Retry | None, refresh: frozenset[Step]
) -> str:
    """What a run that a limit has ended leaves to the next one, in one line. Raises DatasetError."""
    state = State.load(dataset, settings, wanted_texts(settings), refresh)
    plan = make_plan(state, {}, retry).of(stages)
    again = redone(state, plan, Change([])).parts()
    return f"Left: {plan}" + (f"; of what is there, {', '.join(again)} are made again" if again else "")
