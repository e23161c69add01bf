"""Everything that this process holds while it works on runs: one object, the only global that Beam forces on us.

Beam creates DoFns wherever and whenever it likes, so shared objects cannot be passed to them: they find them here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from contextlib import ExitStack
from typing import Any, Self, TypeVar, cast

from curation import guard
from curation.engines.load import load
from curation.engines.registry import close_engines
from curation.sources.site_limits import forget_sites
from pipelines.worker import job_key, memory
from pipelines.worker.logs import log_to, redacting
from pipelines.worker.reports import WorkerReporter
from pipelines.worker.shutdown import RunStopped
from pipelines.worker.tally import Tally
from pipelines.worker.thread_pools import ThreadPool
from pipelines.worker.work_items import Context

T = TypeVar("T")


class WorkerProcess:
    """The thread pools, text sources, engines, children, counts, log and reports of a process, and its stop flag.

    The driver holds them for a run (`with this_process:`), whichever stages it works on itself. In a worker of a
    cluster, each stage's DoFn joins and leaves. Everything is closed when the last of them has left.
    """

    def __init__(self) -> None:
        self.stopping = threading.Event()  # once set, no item is begun
        self.error: Exception | None = None  # the first that halted this process
        self.tally = Tally()
        self.committing = threading.Lock()  # commits take turns: the loser of a race would rewrite parts twice
        self._lock = threading.Lock()  # for the next two, and for opening and closing
        self._drivers = self._stages = 0
        self._reporter: WorkerReporter | None = None
        self._held = ExitStack()
        self._pools: dict[tuple[Hashable, int, int], ThreadPool] = {}
        self._made: dict[tuple[Callable[[Any], Any], Hashable], Any] = {}
        self._sharing = threading.RLock()  # for the last two

    # --- its users --------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        """Begin a run that this process drives, with a clean slate: no earlier stop, error or count remains."""
        with self._lock:
            self._drivers += 1
            if self._drivers == 1:
                memory.share()
                self.error = None
                self.stopping.clear()
                self.tally.clear()
                load.clear()
                guard.resume()
                forget_sites()
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._drivers -= 1
            self._close_unless_used()

    def join(self, context: Context) -> None:
        """Register a stage's DoFn. In a worker of a cluster, it is logged and reported on from now on."""
        with self._lock:
            self._stages += 1
            if self._drivers:
                return
            job_key.read_key(context.dataset, context.lineage.run_id)
            if self._reporter is None:
                memory.share()
                reporter = WorkerReporter(self.tally, self.halt)
                self._held.enter_context(log_to(context.dataset, f"{context.lineage.run_id}.{reporter.process}"))
                self._held.enter_context(redacting())
                self._reporter = self._held.enter_context(reporter)
            self._reporter.take_part(context)

    def leave(self) -> None:
        """Unregister a stage's DoFn."""
        with self._lock:
            self._stages -= 1
            self._close_unless_used()

    def _close_unless_used(self) -> None:
        if self._drivers or self._stages:
            return
        close_engines()
        with self._sharing:
            self._made.clear()
            while self._pools:
                self._pools.popitem()[1].close()
        guard.stop_all()
        guard.resume()
        self._reporter = None
        self._held.close()
        memory.give_back()

    # --- shared objects ---------------------------------------------------------------------------------------------

    def pool(self, kind: Hashable, threads: int, slots: int = 1) -> ThreadPool:
        """The pool for a kind of work, the same for every wave and bundle."""
        with self._sharing:
            key = (kind, threads, slots)
            if key not in self._pools:
                self._pools[key] = ThreadPool(threads, slots)
            return self._pools[key]

    def once(self, make: Callable[[Any], T], argument: Hashable) -> T:
        """`make(argument)`, made by the first thread that needs it and kept for the others."""
        with self._sharing:
            key = (make, argument)
            if key not in self._made:
                self._made[key] = make(argument)
            return cast(T, self._made[key])

    # --- its end ----------------------------------------------------------------------------------------------------

    def halt(self, error: BaseException | None = None) -> None:
        """End the work at once: no item is begun, children are killed, requests in flight are broken off.

        `error` is the reason, if there is one; RunStopped only follows from an earlier reason.
        """
        if isinstance(error, Exception) and not isinstance(error, RunStopped):
            self.error = self.error or error
        self.stopping.set()
        guard.stop_all()
        close_engines()

    def report_end(self, context: Context) -> None:
        """Report to the driver that a stage cannot continue, so that it is ended in other processes too."""
        if self._reporter is not None:
            self._reporter.ended(context)


this_process = WorkerProcess()
