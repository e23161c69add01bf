"""A run of `vidla curate` (or of one stage, or `vidla retry`), from its inputs to its account."""

from __future__ import annotations

import contextlib
import functools
import logging
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import typer

from curation import __version__
from curation.dataset.dataset import Dataset
from curation.dataset.gate import gate_of
from curation.dataset.last_settings import not_begun
from curation.dataset.writer import Writer
from curation.errors import Interrupted, UsageError, VidlaError
from curation.ids import new_run_id
from curation.recipes import Step
from curation.rejects import Stage
from curation.settings import Settings
from curation.sources.requests import Inputs, read_inputs
from curation.sources.targets import FetchTarget
from pipelines.driver.account import account
from pipelines.driver.announcement import foretell, may_begin
from pipelines.driver.budget import NO_LIMITS, RunLimits
from pipelines.driver.consent import agrees, is_at_terminal
from pipelines.driver.intake import Intake, read_in, settle
from pipelines.driver.known_rows import Retry
from pipelines.driver.missing_subtitles import lacking_subtitles
from pipelines.driver.outlook import left_by
from pipelines.driver.pending_work import pending_work
from pipelines.driver.plan import Plan
from pipelines.driver.preflight import check_needs
from pipelines.driver.prune import all_named, unnamed
from pipelines.driver.prune import prune as remove_unnamed
from pipelines.driver.run import Run
from pipelines.driver.run_output import RunOutput
from pipelines.driver.same_bytes import SameBytes, accept_duplicates
from pipelines.driver.work_in_view import work_in_view
from pipelines.runners import dataflow
from pipelines.runners.runner import runner_for
from pipelines.worker import job_key
from pipelines.worker.logs import log_to
from pipelines.worker.text_engines import text_digests, wanted_texts
from pipelines.worker.worker_process import this_process

log = logging.getLogger(__name__)

_LOOK_S = 0.5  # between two looks whether the run that may lose its lease has ended


def curate(
    inputs: Sequence[str],
    location: str,
    settings: Settings,
    stages: Sequence[Stage],
    beam_arguments: Sequence[str],
    wait_s: float,
    max_reject_rate: float,
    *,
    retry: Retry | None = None,
    one_job: bool = False,
    refresh: frozenset[Step] = frozenset(),
    files_under: Path | None = None,
    keep_duplicates: bool = False,
    prune: bool = False,
    yes: bool = False,
    dry: bool = False,
    limits: RunLimits = NO_LIMITS,
    output: RunOutput | None = None,
) -> int:
    """Do the work that `inputs` and the dataset still need; with `one_job`, only its first wave, as a single job.

    Rows of older recipes of the steps in `refresh` are made again. Lists may name files below `files_under`. The same
    bytes under two ids are made once, unless `keep_duplicates`; with `prune`, what `inputs` do not name is removed.
    `yes`: do that, replace texts of served models and download again without asking. `dry`: only say what would be
    done. `output`, which is open, is where a run says what it does. Returns the exit status of the process. Raises
    Interrupted, DatasetError, InputError, UsageError, RunnerError.
    """
    runner = runner_for(beam_arguments)
    if settings.download.only_where is not None:
        gate_of(settings.download.only_where)
    dataset = Dataset(location)
    dataflow.check(beam_arguments, dataset, one_job)
    if refresh and one_job:
        raise UsageError("--refresh does not work with --one-job: leave out one of them")
    if limits and one_job:
        raise UsageError("--max-cost, --max-tokens and --max-hours do not work with --one-job: leave out one of them")
    if prune and not inputs:
        raise UsageError("--prune removes what the inputs do not name: give INPUT")
    if not inputs and not dataset.exists():
        raise dataset.missing()
    output, books = output or RunOutput(), None
    with _explaining_stops(), this_process:
        asked = read_inputs(inputs, settings.download, files_under)  # makes no dataset
        if prune:
            asked = all_named(asked)
        if dry:
            what = {"keep_duplicates": keep_duplicates, "prune": prune}
            foretell(dataset, settings, asked, stages, retry, refresh, limits.prices, **what)
            for name in asked.refused:
                typer.echo(f"vidla: every row of {name} would be refused", err=True)
            return 1 if asked.refused else 0
        again = functools.partial(read_inputs, inputs, settings.download, files_under, offline=True)
        if not may_begin(dataset, settings, again, limits.prices, agreed=yes):
            typer.echo("Nothing has been done.", err=True)
            output.event("run_ended", status=1, error="nothing has been done", books=[], rejects=[])
            return 1
        run_id = output.run_id = new_run_id()
        command = "retry" if retry is not None else "curate" if len(stages) > 1 else stages[0]
        about = {"command": command, "settings": settings.shown(), "texts": text_digests(settings)}
        is_described = dataflow.DataflowOptions.of(beam_arguments).is_described
        key = contextlib.nullcontext() if runner.is_local else job_key.published(dataset, run_id, keep=is_described)
        with (
            Writer(dataset, run_id, about, wait_s, this_process.halt) as writer,
            log_to(dataset, run_id),
            key,
            _explaining_loss(writer),
        ):
            log.info("vidla %s begins to %s", __version__, command)
            output.event("run_begun", command=command, dataset=dataset.uri, version=__version__, stages=list(stages))
            targets = _take_in(writer, settings, asked, output, keep_duplicates=keep_duplicates, prune=prune, yes=yes)
            pending = pending_work(writer, settings, wanted_texts(settings), targets, stages, retry, refresh)
            same_bytes = None if keep_duplicates else SameBytes(writer, settings)
            run = Run(writer, *pending, stages, runner, retry, same_bytes, limits, output.event)
            counts = {"downloads": run.plan.downloads, "segment": run.plan.segment, "texts": run.plan.text}
            output.event("planned", **{what: len(items) for what, items in counts.items()})
            if not run.plan:
                output.say("Nothing to do: everything requested is either made or rejected.")
            else:
                _announce(run.plan, output)
                _check_needs(run)
                work = _in_one_job(run) if one_job else run.do
                books = work_in_view(run, work, output)
                if one_job and is_described:
                    output.say("The job is described. It does its wave when it is started; nothing is made yet.")
                    output.event("run_ended", status=0, books=[], rejects=[])
                    return 0
            if retry is not None and retry.subtitles:
                output.note(_subtitles_line(run))
        if run.budget.reached:
            output.say(run.budget.line())
            output.say(left_by(dataset, settings, stages, retry, refresh))
        is_partial = retry is not None or one_job or run.budget.reached
        due = () if is_partial else stages
        return account(dataset, due, len(run.plan), max_reject_rate, output, books, asked.refused)


def _check_needs(run: Run) -> None:
    try:
        check_needs(run)
    except VidlaError:
        not_begun(run.writer)
        raise


def _in_one_job(run: Run) -> Callable[[], None]:
    from pipelines.driver.one_job import do_one_job  # Beam is slow to import

    return functools.partial(do_one_job, run)


def _take_in(
    writer: Writer,
    settings: Settings,
    inputs: Inputs,
    output: RunOutput,
    *,
    keep_duplicates: bool,
    prune: bool,
    yes: bool,
) -> Mapping[str, FetchTarget]:
    """Take the inputs into the dataset, and say what they brought; returns the targets to fetch from."""
    intake = read_in(writer, settings, inputs)
    if prune:  # what is removed has no id any more
        _prune(writer, intake, output, yes)
    settle(writer, settings, intake)
    if intake.counts:
        output.note(intake.line())
    if keep_duplicates:
        accept_duplicates(writer)
    return intake.targets


def _subtitles_line(run: Run) -> str:
    """What came of a retry of missing subtitles."""
    asked = run.state.reopened
    missing = asked & lacking_subtitles(run.dataset, None)
    return f"missing subtitles of {len(asked)} downloads asked for again: {len(missing)} still lack some"


def _prune(writer: Writer, intake: Intake, output: RunOutput, yes: bool) -> None:
    """Say what the inputs do not name, and remove it if that is wanted."""
    gone = unnamed(writer.dataset, intake.seen)
    if not gone.requests:
        return
    typer.echo(gone.line(), err=True)
    if yes or (is_at_terminal() and agrees("Remove them?", "nothing is removed")):
        remove_unnamed(writer, gone)
        output.note("They are removed, and come back if an input names them.")
    else:
        output.note("They stay: --prune --yes removes them.")


def _announce(plan: Plan, output: RunOutput) -> None:
    output.note(str(plan))
    if plan.fetched_again:
        output.note(
            f"{plan.fetched_again} of them have been downloaded before, but the way media is stored has changed since, "
            "and their sources are gone: they are downloaded again"
        )
    if plan.reconsidered:
        output.note(
            f"{plan.reconsidered} of them have been downloaded before, and were rejected under settings that have "
            "changed since; their sources are gone: they are downloaded again"
        )


@contextlib.contextmanager
def _explaining_loss(writer: Writer) -> Iterator[None]:
    """Once the lease is lost, everything is halted: raise that, rather than an error that follows from it."""
    try:
        yield
    except Exception as error:
        raise (this_process.error if writer.lost.is_set() and this_process.error else error) from error


@contextlib.contextmanager
def _explaining_stops() -> Iterator[None]:
    """Ctrl-C or SIGTERM, whether it comes before the work, in it or after it, becomes an Interrupted that says so."""
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted("stopped; all commits are kept, and the same command goes on from there") from None
    finally:
        signal.signal(signal.SIGTERM, previous)
