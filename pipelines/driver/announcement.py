"""What a run will do, said before it begins; and what costs dearly, agreed to."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Iterator

import typer

from curation.cost import expected, unit_costs
from curation.dataset.dataset import Dataset
from curation.dataset.last_settings import last_run
from curation.errors import UsageError
from curation.prices import Prices
from curation.recipes import Step
from curation.settings import Settings
from curation.sources.requests import Answer
from curation.sources.targets import FetchTarget
from pipelines.driver.known_rows import Retry
from pipelines.driver.missing_subtitles import reopened_by
from pipelines.driver.outlook import work_of
from pipelines.driver.plan import Plan, make_plan
from pipelines.driver.prune import unnamed
from pipelines.driver.redone import Change, Redone, redone
from pipelines.driver.state import State
from pipelines.worker.text_engines import text_digests, wanted_texts


def may_begin(dataset: Dataset, settings: Settings, prices: Prices, *, agreed: bool) -> bool:
    """Say on stderr how `settings` differ from the last run's and what that makes again, and whether it may begin.

    What costs dearly must be `agreed` to, or is asked at a terminal: for all stages, whichever this run has, since the
    settings are those of the next run too. Takes no lease. Raises UsageError without a terminal, DatasetError,
    ConfigError.
    """
    change = _change(dataset, settings)
    if not change:
        return True
    state = State.load(dataset, settings, wanted_texts(settings))
    plan = make_plan(state, {})
    made = redone(state, plan, change)
    question = made.question()
    for line in _lines(change, made, state, plan, prices):
        typer.echo(line, err=True)
    if question is None or agreed:
        return True
    if not sys.stdin.isatty():
        raise UsageError(f"{question}: repeat it with --yes, or at a terminal; nothing has been done")
    return typer.confirm(f"{question[0].upper()}{question[1:]}. Go on?")


def foretell(
    dataset: Dataset,
    settings: Settings,
    asked: Iterable[Answer],
    stages: Collection[str],
    retry: Retry | None,
    refresh: frozenset[Step],
    prices: Prices,
    *,
    prune: bool = False,
) -> None:
    """Say on stdout what a run would do. Writes nothing, and takes no lease. Raises DatasetError, InputError, …"""
    known: set[str] = set()
    plan = Plan()
    named = _keys_of(asked)
    if dataset.exists():
        known = set(dataset.read("requests", ["request_key"])["request_key"].to_pylist())
        change = _change(dataset, settings) or Change([])
        state = State.load(dataset, settings, wanted_texts(settings), refresh, reopened_by(retry, dataset))
        plan = make_plan(state, {})
        made = redone(state, plan, change)
        for line in _lines(change, made, state, plan, prices):
            typer.echo(line)
        if prune and (gone := unnamed(dataset, named)).requests:
            typer.echo(f"--prune removes {gone.line()}")
        if change and (question := made.question()):
            typer.echo(f"It needs --yes, or an answer at a terminal: {question}")
        plan = make_plan(state, {}, retry).of(stages)
    if new := named - known:
        typer.echo(f"{len(new):,} new requests")
    typer.echo(f"{plan}; nothing was written")


def _change(dataset: Dataset, settings: Settings) -> Change | None:
    last = last_run(dataset)
    return Change.between(last, settings, text_digests(settings)) if last else None


def _lines(change: Change, made: Redone, state: State, plan: Plan, prices: Prices) -> Iterator[str]:
    if change.keys or change.hidden or made.question():
        yield from change.lines()
        yield made.line()
        work = work_of(state.dataset, plan, made)
        if cost := expected(work, unit_costs(state.dataset, state.settings), prices).line(prices):
            yield f"All that is to be done takes {cost}"


def _keys_of(asked: Iterable[Answer]) -> set[str]:
    """The keys of the requests that are asked for; those that would be rejected at once included."""
    return {answer.request.request_key if isinstance(answer, FetchTarget) else answer.key for answer in asked}
