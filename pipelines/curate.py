"""The `vidla curate` command's run, from its inputs to its account."""

from __future__ import annotations

import secrets
import signal
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import typer

from curation import guard
from curation.commits import Writer
from curation.config import Settings
from curation.engines import EngineError, close_engines
from curation.tables import Dataset, DatasetError
from pipelines.logs import log_to
from pipelines.plan import Plan, Rejection, Retry, no_retry
from pipelines.progress import View, tally
from pipelines.run import Run
from pipelines.texts import texts_digest
from pipelines.work import stopping

STOP_S = 10.0  # for the work under way to end after Ctrl-C


def curate(
    inputs: Sequence[str],
    location: str,
    settings: Settings,
    stages: Sequence[str],
    beam_arguments: Sequence[str],
    wait_s: float,
    max_reject_rate: float,
    *,
    retry: bool = False,
    retry_kind: str | None = None,
) -> int:
    """Do what `inputs` and the dataset still need; the process's exit status. Raises DatasetError, InputError."""
    dataset = Dataset(location)
    if not inputs and not dataset.exists():
        raise DatasetError(f"no vidla dataset at {dataset.uri}; `vidla curate INPUT... --dataset DIR` makes one")
    run_id = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(2)}"
    about = {"command": list(stages), "settings": settings.model_dump(mode="json")}
    with Writer(dataset, run_id, about, wait_s) as writer, log_to(dataset, run_id):
        run = Run(
            dataset, writer, settings, texts_digest(settings), stages, beam_arguments, _retries(retry, retry_kind)
        )
        plan = run.plan(run.ask(inputs))
        if not plan:
            typer.echo("Nothing to do: everything asked for is made or rejected already.")
        else:
            _announce(plan, settings)
            with_view(lambda: run.do(plan), stages, len(plan))
    return _account(dataset, stages, max_reject_rate)


def _retries(retry: bool, kind: str | None) -> Retry:
    if not retry:
        return no_retry

    def wanted(rejection: Rejection) -> bool:
        return rejection.retryable and kind in (None, rejection.kind)

    return wanted


def _announce(plan: Plan, settings: Settings) -> None:
    begun = len(plan.segment) + len(plan.text)
    waves = -(-begun // settings.run.wave_videos) + -(-len(plan.downloads) // settings.run.wave_videos)
    parts = [f"{len(plan.downloads)} to download", f"{len(plan.segment)} to segment", f"{len(plan.text)} to give texts"]
    typer.echo(f"{', '.join(parts)}; {waves} {'wave' if waves == 1 else 'waves'}", err=True)
    if plan.fetched_again:
        typer.echo(
            f"{plan.fetched_again} of them were downloaded before, but how media is stored has changed since and their "
            "sources are gone: they are downloaded again",
            err=True,
        )


def with_view(work: Callable[[], None], stages: Sequence[str], total: int) -> None:
    """Do `work` in a thread while this one shows how far it is and waits for Ctrl-C (SIGTERM likewise).

    Raises what `work` raises; Interrupted where it was stopped.
    """
    failed: list[BaseException] = []
    done = threading.Event()

    def attempt() -> None:
        try:
            work()
        except BaseException as error:
            failed.append(error)
        finally:
            done.set()

    tally.clear()
    thread = threading.Thread(target=attempt, name="run", daemon=True)
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        thread.start()
        View(stages, total).show_until(done)
    except KeyboardInterrupt:
        stopping.set()
        guard.stop_all()
        done.wait(STOP_S)
        raise Interrupted("stopped; what is committed is kept, and the same command goes on from there") from None
    finally:
        signal.signal(signal.SIGTERM, previous)
        close_engines()
    for error in failed:
        raise _cause(error)


class Interrupted(DatasetError):
    """The run was stopped by hand."""


def _cause(error: BaseException) -> BaseException:
    """Of an error that Beam wraps, the one that says what to do."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, (DatasetError, EngineError)):
            return seen
        seen = seen.__cause__ or seen.__context__
    return error


def _account(dataset: Dataset, stages: Sequence[str], max_reject_rate: float) -> int:
    """Say what the run came to; the exit status."""
    done = tally.get(stages[-1], "done")
    rejected = sum(tally.get(stage, "rejected") for stage in stages)
    typer.echo(f"{done} done, {rejected} rejected; `vidla inspect` shows the dataset")
    if rejected and rejected / (done + rejected) >= max_reject_rate:
        return 1
    return 0
