"""The threads that work on items: one pool a process for each kind of work, whichever wave or bundle asks."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Room:
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


class Workers:
    """So many threads, which take what is submitted in its order; and room for what they have in memory at a time."""

    def __init__(self, threads: int, room: int) -> None:
        self.threads = threads
        self.room = Room(room)
        self._pool = ThreadPoolExecutor(threads, "work")

    def close(self) -> None:
        """Let the threads end once they have done what they were given."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def submit(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        return self._pool.submit(work, *args, **kwargs)


_workers: dict[tuple[Hashable, int, int], Workers] = {}
_lock = threading.Lock()


def workers(kind: Hashable, threads: int, room: int = 1) -> Workers:
    """This process's workers for a kind of work, the same for whoever asks."""
    with _lock:
        if (kind, threads, room) not in _workers:
            _workers[kind, threads, room] = Workers(threads, room)
        return _workers[kind, threads, room]


def close() -> None:
    """Close all of this process's workers; who asks next gets new ones."""
    with _lock:
        while _workers:
            _workers.popitem()[1].close()
