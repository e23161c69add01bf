"""The `vidla curate` command's run, from its inputs to its account."""

from __future__ import annotations

import contextlib
import logging
import secrets
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import typer

from curation import __version__
from curation.dataset.books import balance
from curation.dataset.dataset import Dataset
from curation.dataset.writer import Writer
from curation.errors import DatasetError
from curation.rejects import Stage
from curation.settings import Settings
from pipelines.driver.plan import Plan
from pipelines.driver.run import Run
from pipelines.driver.state import Rejection, Retry, no_retry
from pipelines.runners import dataflow
from pipelines.runners.runner import LocalRunner, runner_for
from pipelines.worker import text_engines
from pipelines.worker.logs import StderrToLog, log_to
from pipelines.worker.progress import ProgressView, spent_on_texts
from pipelines.worker.shutdown import Interrupted, explained
from pipelines.worker.worker_process import this_process

log = logging.getLogger(__name__)


def curate(
    inputs: Sequence[str],
    location: str,
    settings: Settings,
    stages: Sequence[Stage],
    beam_arguments: Sequence[str],
    wait_s: float,
    max_reject_rate: float,
    *,
    retry: bool = False,
    retry_kind: str | None = None,
    one_job: bool = False,
) -> int:
    """Do what `inputs` and the dataset still need; with `one_job`, only the first wave of it, as a single job.

    The process's exit status. Raises DatasetError, InputError, RunnerError.
    """
    runner = runner_for(beam_arguments)
    dataset = Dataset(location)
    dataflow.check(beam_arguments, dataset, one_job)
    if not inputs and not dataset.exists():
        raise DatasetError(f"no vidla dataset at {dataset.uri}; `vidla curate INPUT... --dataset DIR` makes one")
    run_id = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(2)}"
    command = "retry" if retry else "curate" if len(stages) > 1 else stages[0]
    about = {"command": command, "settings": settings.model_dump(mode="json")}
    with this_process, Writer(dataset, run_id, about, wait_s) as writer, log_to(dataset, run_id):
        log.info("vidla %s begins to %s", __version__, command)
        retried = _retries(retry, retry_kind)
        run = Run(dataset, writer, settings, text_engines.texts_digest(settings), stages, runner, retried)
        plan = run.plan(run.ask(inputs))
        if not plan:
            typer.echo("Nothing to do: everything asked for is made or rejected already.")
        else:
            _announce(plan)
            with_view(lambda: run.do_one_job(plan) if one_job else run.do(plan), stages, len(plan), runner.stop_s)
            if one_job and dataflow.DataflowOptions.of(beam_arguments).is_described:
                typer.echo("The job is described, and does its wave when it is started; nothing is made yet.")
                return 0
    return _account(dataset, () if retry or one_job else stages, len(plan), max_reject_rate)


def _retries(retry: bool, kind: str | None) -> Retry:
    if not retry:
        return no_retry

    def wanted(rejection: Rejection) -> bool:
        return rejection.retryable and kind in (None, rejection.kind)

    return wanted


def _announce(plan: Plan) -> None:
    begun = f"{len(plan.segment)} to segment, {len(plan.text)} to give texts"
    typer.echo(f"{len(plan.downloads)} videos to download, {begun}", err=True)
    if plan.fetched_again:
        typer.echo(
            f"{plan.fetched_again} of them were downloaded before, but how media is stored has changed since and their "
            "sources are gone: they are downloaded again",
            err=True,
        )


def with_view(
    work: Callable[[], None], stages: Sequence[Stage], total: int, stop_s: float = LocalRunner.stop_s
) -> None:
    """Do `work` in a thread while this one shows how far it is and waits for Ctrl-C (SIGTERM likewise).

    What is under way then has `stop_s` seconds to end.

    Raises what ended it, as an error of one line; Interrupted where it was stopped.
    """
    failed: list[BaseException] = []
    done = threading.Event()

    def attempt() -> None:
        try:
            work()
        except BaseException as error:
            log.exception("the run failed")
            failed.append(error)
        finally:
            done.set()

    view = ProgressView(this_process.tally, stages, total, sys.stderr)
    thread = threading.Thread(target=attempt, name="run", daemon=True)
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.redirect_stderr(StderrToLog()):
        try:
            thread.start()
            view.show_until(done)
        except KeyboardInterrupt:
            this_process.halt()
            done.wait(stop_s)
            how = "stopped; what is committed is kept, and the same command goes on from there"
            raise Interrupted(how) from None
        finally:
            signal.signal(signal.SIGTERM, previous)
    for error in failed:
        raise explained(this_process.error or error) from error


def _account(dataset: Dataset, stages: Sequence[Stage], worked_on: int, max_reject_rate: float) -> int:
    """Say what the run came to and whether the books balance; the exit status."""
    rejected = sum(this_process.tally.get(stage, "rejected") for stage in stages)
    books = balance(dataset)
    for line in books.lines():
        typer.echo(line)
    if spent := spent_on_texts():
        typer.echo(spent)
    imbalances = books.imbalances(stages)
    for line in imbalances:
        typer.echo(f"vidla: the books do not balance: {line}", err=True)
    if rejected:
        typer.echo(
            f"{rejected} of {worked_on} rejected in this run; `vidla inspect {dataset.uri} rejects` says why", err=True
        )
    return 1 if imbalances or (rejected and rejected >= max_reject_rate * worked_on) else 0
