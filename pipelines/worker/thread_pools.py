"""The threads that work on items, and the bound on what they hold in memory."""

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
    """A fair counting semaphore: a request that does not fit yet blocks those behind it."""

    def __init__(self, size: int) -> None:
        self._size = self._left = size
        self._turn = threading.Lock()
        self._freed = threading.Condition()

    @contextlib.contextmanager
    def taken(self, count: int) -> Iterator[None]:
        """Hold `count` slots, or all of them if `count` is more."""
        count = min(count, self._size)
        with self._turn, self._freed:
            self._freed.wait_for(lambda: self._left >= count)
            self._left -= count
        try:
            yield
        finally:
            with self._freed:
                self._left += count
                self._freed.notify()


class ThreadPool:
    """Threads that do the submitted calls in order, and slots for the things that they hold in memory at once.

    Unlike those of Python's own executor, they do not keep the process alive: once its runner is gone, a worker process
    does not wait for the work that it still has under way.
    """

    def __init__(self, threads: int, slots: int) -> None:
        self.threads = threads
        self.slots = Slots(slots)
        self._queue: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._started = 0
        self._lock = threading.Lock()

    def submit(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: Future[T] = Future()
        with self._lock:
            if self._started < self.threads:
                self._started += 1
                threading.Thread(target=self._run, name=f"work {self._started}", daemon=True).start()
        self._queue.put((future, partial(work, *args, **kwargs)))
        return future

    def close(self) -> None:
        """Let the threads end once they have done everything that was submitted."""
        for _ in range(self._started):
            self._queue.put(None)

    def _run(self) -> None:
        while job := self._queue.get():
            future, call = job
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(call())
            except BaseException as error:
                future.set_exception(error)
