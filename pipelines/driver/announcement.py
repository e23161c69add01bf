"""What a run will do, said before it begins; and what costs dearly, agreed to.

It is told of the tables as the run will find them: with the commits that a dead run has left half applied, and with
what the run's inputs change. Nothing is written for it, and no lease is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

import typer

from curation.cost import expected, unit_costs
from curation.dataset.dataset import Dataset
from curation.dataset.last_settings import last_run
from curation.dataset.rehearsal import Rehearsal
from curation.errors import UsageError
from curation.prices import Prices
from curation.recipes import Step
from curation.rejects import Stage
from curation.settings import Settings
from curation.sources.requests import Inputs
from pipelines.driver.consent import agrees, is_at_terminal
from pipelines.driver.intake import read_in, settle, take_in
from pipelines.driver.known_rows import Retry
from pipelines.driver.outlook import work_of
from pipelines.driver.pending_work import pending_work
from pipelines.driver.plan import Plan, make_plan
from pipelines.driver.prune import prune as remove_unnamed
from pipelines.driver.prune import unnamed
from pipelines.driver.redone import Change, Redone, redone
from pipelines.driver.same_bytes import accept_duplicates
from pipelines.driver.state import State
from pipelines.worker.text_engines import text_digests, wanted_texts


def may_begin(
    dataset: Dataset, settings: Settings, read: Callable[[], Inputs], prices: Prices, *, agreed: bool
) -> bool:
    """Say on stderr what `settings`, and the inputs that `read` gives, make again, and whether the run may begin.

    What costs dearly must be `agreed` to, or is asked at a terminal: for all stages, whichever this run has, since the
    settings are those of the next run too. Takes no lease. Raises UsageError without a terminal, Interrupted,
    InputError, DatasetError, ConfigError.
    """
    last = last_run(dataset)
    if last is None:
        return True
    change, inputs = Change.between(last, settings, text_digests(settings)), read()
    if not change and not inputs.readers:
        return True
    rehearsal = Rehearsal(dataset)
    edited = take_in(rehearsal, settings, inputs).counts["changed"] if inputs.readers else 0
    if not change and not edited:
        return True
    state = State.load(rehearsal.dataset, settings, wanted_texts(settings))
    plan = make_plan(state, {})
    made = redone(state, plan, change)
    question = made.question()
    if edited and question:
        typer.echo(f"{edited:,} requests have changed in the inputs", err=True)
    for line in _lines(change, made, state, plan, prices):
        typer.echo(line, err=True)
    if question is None or agreed:
        return True
    if not is_at_terminal():
        raise UsageError(f"{question}: repeat it with --yes, or at a terminal; nothing has been done")
    return agrees(f"{question[0].upper()}{question[1:]}. Go on?", "nothing has been done")


def foretell(
    dataset: Dataset,
    settings: Settings,
    asked: Inputs,
    stages: Collection[Stage],
    retry: Retry | None,
    refresh: frozenset[Step],
    prices: Prices,
    *,
    keep_duplicates: bool = False,
    prune: bool = False,
) -> None:
    """Say on stdout what a run would do. Writes nothing, and takes no lease. Raises DatasetError, InputError, …"""
    last, rehearsal = last_run(dataset), Rehearsal(dataset)
    change = Change.between(last, settings, text_digests(settings)) if last else Change([])
    intake = read_in(rehearsal, settings, asked)
    gone = unnamed(rehearsal.dataset, intake.seen) if prune else None
    if gone and gone.requests:
        remove_unnamed(rehearsal, gone)
    settle(rehearsal, settings, intake)
    if keep_duplicates:
        accept_duplicates(rehearsal)
    state, plan = pending_work(rehearsal, settings, wanted_texts(settings), intake.targets, stages, retry, refresh)
    whole = make_plan(state, {})
    made = redone(state, whole, change)
    for line in _lines(change, made, state, whole, prices):
        typer.echo(line)
    if intake.counts:
        typer.echo(intake.line())
    if gone and gone.requests:
        typer.echo(f"--prune removes {gone.line()}")
    if (change or intake.counts["changed"]) and (question := made.question()):
        typer.echo(f"It needs --yes, or an answer at a terminal: {question}")
    typer.echo(f"{plan}; nothing was written")


def _lines(change: Change, made: Redone, state: State, plan: Plan, prices: Prices) -> Iterator[str]:
    if change.keys or change.hidden or made.question():
        yield from change.lines()
        yield made.line()
        work = work_of(state.dataset, plan, made)
        if cost := expected(work, unit_costs(state.dataset, state.settings), prices).line(prices):
            yield f"All that is to be done takes {cost}"
