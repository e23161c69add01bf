"""The work that a dataset still needs, and what it can be expected to cost by what was spent on it so far."""

from __future__ import annotations

from curation.cost import Expected, Workload, expected, unit_costs
from curation.dataset.dataset import Dataset
from curation.dataset.last_settings import last_run
from curation.dataset.rehearsal import RehearsedDataset
from curation.prices import Prices
from curation.settings import resolve_to_compare
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
    """The work of `plan`, which makes this again. Videos without texts are taken to get as many as others have."""
    (mean,) = dataset.sql(_TEXTS_PER_VIDEO).to_pylist()
    decoded = len(plan.downloads) + len(plan.segment) - made.tilings
    videos = len(plan)
    return Workload(
        downloads=len(plan.downloads),
        segmentations=decoded,
        captions=made.captions + (videos - made.captioned) * (mean["captions"] or 0.0),
        summaries=made.summaries + (videos - made.summarized) * (mean["summaries"] or 0.0),
    )


def pending(dataset: Dataset, prices: Prices) -> tuple[Plan, Expected] | None:
    """The work that `dataset` still needs with the settings of its last run, and its cost; None before a run.

    Takes no lease. Raises DatasetError, ConfigError.
    """
    last = last_run(dataset)
    if last is None:
        return None
    settings = resolve_to_compare(None, (), last.settings)
    dataset = RehearsedDataset(dataset.uri, patient=dataset.patient)
    with this_process:
        state = State.load(dataset, settings, wanted_texts(settings))
        plan = make_plan(state, {})
        made = redone(state, plan, Change.between(last, settings, text_digests(settings)))
    work = work_of(dataset, plan, made)
    return plan, expected(work, unit_costs(dataset, settings), prices)
