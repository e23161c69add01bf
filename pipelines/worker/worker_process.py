"""What a process holds for the stages that it works on: made on first use, closed when the last of them has left.

On a cluster that is a worker process, with its engines, threads, children, log and reports; locally it is the driver.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from curation import guard
from pipelines.worker import memory, text_engines, thread_pools
from pipelines.worker.logs import log_to, redacting
from pipelines.worker.reports import WorkerReporter
from pipelines.worker.stage_work import Context

_lock = threading.Lock()
_users = 0
_driving = 0
_held = ExitStack()
_reporter: WorkerReporter | None = None


def join(context: Context) -> None:
    """A stage's DoFn is set up in this process."""
    global _users, _reporter
    with _lock:
        _users += 1
        if _driving:
            return
        if _reporter is None:
            memory.share()
            reporter = WorkerReporter()
            _held.enter_context(log_to(context.dataset, f"{context.lineage.run_id}.{reporter.process}"))
            _held.enter_context(redacting())
            _reporter = _held.enter_context(reporter)
        _reporter.take_part(context)


def leave() -> None:
    """It is torn down."""
    global _users
    with _lock:
        _users -= 1
        if not _users and not _driving:
            _close()


@contextmanager
def driving() -> Iterator[None]:
    """This process drives a run, and holds everything until its end, whichever stages it works on itself."""
    global _driving
    with _lock:
        _driving += 1
    try:
        yield
    finally:
        with _lock:
            _driving -= 1
            if not _users and not _driving:
                _close()


def ended(context: Context) -> None:
    """A stage cannot go on, here or elsewhere."""
    if _reporter is not None:
        _reporter.ended(context)


def _close() -> None:
    global _reporter
    text_engines.close()
    thread_pools.close()
    guard.stop_all()
    guard.resume()
    _reporter = None
    _held.close()
