"""The threads that work on items: one pool a process for each kind of work, whichever wave or bundle asks."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import partial
from queue import SimpleQueue
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Slots:
    """Room for so many things at a time. Who wants more than is left waits, and nobody else gets any meanwhile."""

    def __init__(self, size: int) -> None:
        self._size = self._left = size
        self._turn = threading.Lock()
        self._freed = threading.Condition()

    @contextlib.contextmanager
    def taken(self, wanted: int) -> Iterator[None]:
        """Holds room for `wanted` things, or all there is where they are more."""
        wanted = min(wanted, self._size)
        with self._turn, self._freed:
            self._freed.wait_for(lambda: self._left >= wanted)
            self._left -= wanted
        try:
            yield
        finally:
            with self._freed:
                self._left += wanted
                self._freed.notify()


class ThreadPool:
    """So many threads, which take what is submitted in its order; and room for what they have in memory at a time.

    They do not keep the process from ending, as those of Python's own executor would: what a worker process of a
    cluster has under way when its runner is gone, nobody waits for.
    """

    def __init__(self, threads: int, slots: int) -> None:
        self.threads = threads
        self.slots = Slots(slots)
        self._line: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._started = 0
        self._lock = threading.Lock()

    def submit(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: Future[T] = Future()
        with self._lock:
            if self._started < self.threads:
                self._started += 1
                threading.Thread(target=self._run, name=f"work {self._started}", daemon=True).start()
        self._line.put((future, partial(work, *args, **kwargs)))
        return future

    def close(self) -> None:
        """Let the threads end once they have done what they were given."""
        for _ in range(self._started):
            self._line.put(None)

    def _run(self) -> None:
        while job := self._line.get():
            future, call = job
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(call())
            except BaseException as error:
                future.set_exception(error)
