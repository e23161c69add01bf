"""A run's work, in a thread of its own, while people and scrapers see how far it is."""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
from collections.abc import Callable, Iterator

from curation.dataset.books import Books, balance
from pipelines.driver.metrics_endpoint import metrics_at
from pipelines.driver.progress_view import LogToView, ProgressView
from pipelines.driver.run import Run
from pipelines.driver.run_output import RunOutput
from pipelines.driver.stage_progress import RunProgress
from pipelines.worker.logs import StderrToLog
from pipelines.worker.shutdown import explained
from pipelines.worker.worker_process import this_process

log = logging.getLogger(__name__)

_LOOK_S = 0.5  # between two looks whether the run that may lose its lease has ended


def work_in_view(run: Run, work: Callable[[], None], output: RunOutput) -> Books:
    """Do the `work` of a run while its progress is shown; returns the books after it.

    Ctrl-C, SIGTERM and the loss of the lease end it, with the time that its runner needs for that. Raises
    KeyboardInterrupt after a signal; if the work fails, its error as a VidlaError.
    """
    books: list[Books] = []
    progress = RunProgress(run, this_process.tally)

    def do() -> None:
        work()
        books.append(balance(run.dataset))
        progress.end(books[0].accounts)

    view = ProgressView(progress, sys.stderr)
    with (
        metrics_at(output.metrics or run.settings.run.metrics, progress),
        _only_the_view(StderrToLog()),
        _log_shown(view, output),
    ):
        _do(do, _wait if output.quiet else view.show_until, run.runner.stop_s, run.writer.lost)
    return books[0]


def _do(
    work: Callable[[], None], show_until: Callable[[threading.Event], None], stop_s: float, lost: threading.Event
) -> None:
    """Do `work` in a thread, while this one shows its progress and waits for Ctrl-C or SIGTERM."""
    failures: list[BaseException] = []
    done = threading.Event()

    def attempt() -> None:
        try:
            work()
        except BaseException as error:
            log.exception("the run failed")
            failures.append(error)
        finally:
            done.set()

    def end_after_loss() -> None:
        while not lost.wait(_LOOK_S):
            if done.is_set():
                return
        done.wait(stop_s)
        done.set()

    threading.Thread(target=end_after_loss, name="loss", daemon=True).start()
    try:
        threading.Thread(target=attempt, name="run", daemon=True).start()
        show_until(done)
    except KeyboardInterrupt:
        this_process.halt()
        done.wait(stop_s)
        raise
    if lost.is_set() and this_process.error:
        raise this_process.error
    for failure in failures:
        raise explained(this_process.error or failure) from failure


def _wait(done: threading.Event) -> None:
    while not done.wait(_LOOK_S):  # so that signals are heard
        pass


@contextlib.contextmanager
def _only_the_view(file: StderrToLog) -> Iterator[None]:
    """What libraries print goes to `file`, and never between the lines of the view."""
    with contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
        yield


@contextlib.contextmanager
def _log_shown(view: ProgressView, output: RunOutput) -> Iterator[None]:
    """Print what is logged, if that is wanted."""
    handler = LogToView(view.console)
    if output.verbose:
        logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
