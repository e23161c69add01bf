"""How much of a thread's present work is done: said by those who do it, for those who show it."""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class WorkDone:
    """What a thread has done of its present work: a share of 1, or a number of answers."""

    def __init__(self) -> None:
        self._before = 0.0
        self._now: Callable[[], float] | None = None

    def __call__(self) -> float:
        now = self._now
        return self._before + (now() if now else 0.0)

    @contextmanager
    def of(self, now: Callable[[], float]) -> Iterator[None]:
        """Within this context, `now` says what is done of a further part of the work."""
        self._now = now
        try:
            yield
        finally:
            self._before, self._now = self._before + now(), None


_present: contextvars.ContextVar[WorkDone | None] = contextvars.ContextVar("work_done", default=None)


@contextmanager
def watched() -> Iterator[WorkDone]:
    """Yields what this thread has done of its work within this context."""
    done = WorkDone()
    token = _present.set(done)
    try:
        yield done
    finally:
        _present.reset(token)


@contextmanager
def measured_by(now: Callable[[], float]) -> Iterator[None]:
    """Within this context, `now` says what this thread has done of it, to whoever watches the thread.

    >>> with watched() as done, measured_by(lambda: 0.5):
    ...     print(done())
    0.5
    """
    done = _present.get()
    if done is None:
        yield
        return
    with done.of(now):
        yield
