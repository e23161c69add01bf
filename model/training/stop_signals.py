"""SIGTERM and SIGUSR1, by which schedulers announce that a run has to end."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, NoReturn, Self, TypeVar, cast

from model.distributed import World
from model.settings import TrainingError

T = TypeVar("T")

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class TrainingStopped(TrainingError):
    """A run that ends because a signal asked it to, after a checkpoint if it has taken a step."""

    exit_status = 75  # EX_TEMPFAIL of sysexits.h: try again later


class _Signalled(BaseException):
    """Raised by a handler. Not an Exception: no code that is left off may take it for an error of its own."""


class StopSignals:
    """While it is open, a signal is only noted, in `received`. Does nothing in another thread than the main one.

    It may be opened again while it is open.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._raises = False
        self._before: list[dict[signal.Signals, Any]] = []

    def __enter__(self) -> Self:
        in_main = threading.current_thread() is threading.main_thread()
        self._before.append({number: signal.signal(number, self._note) for number in SIGNALS} if in_main else {})
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.pop().items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = signal.Signals(number)
        if self._raises:
            self._raises = False  # once: a second signal must not break off what the first one's end tidies up
            raise _Signalled

    def stop(self) -> NoReturn:
        """Raises TrainingStopped."""
        by = "a signal that another process has received" if self.received is None else self.received.name
        raise TrainingStopped(f"stopped by {by}") from None

    def check(self) -> None:
        """Raises TrainingStopped if a signal was received."""
        if self.received is not None:
            self.stop()

    def agree(self, world: World) -> None:
        """Raises TrainingStopped in all processes if any of them has received a signal. Call it in all."""
        if world.sum([self.received is not None])[0]:
            self.stop()

    @contextmanager
    def raising(self) -> Iterator[None]:
        """While this is open, a signal raises TrainingStopped at once: only for what may be left off anywhere."""
        self._raises = True
        try:
            self.check()
            yield
        except (_Signalled, Exception):
            self.check()  # whatever became of it on the way
            raise
        finally:
            self._raises = False

    def run(self, work: Callable[[], T], world: World) -> T:
        """What `work` makes, called in all processes, unless one receives a signal: then all raise TrainingStopped.

        A signal leaves it off at once, so `work` must not wait for other processes.
        """
        made: T | None = None
        with suppress(TrainingStopped), self.raising():
            made = work()
        self.agree(world)
        return cast(T, made)

    def run_on_main(self, work: Callable[[], T], world: World) -> T:
        """Like `run`, but `work` is called in the main process, and all return what it makes."""

        def run() -> T:
            with self.raising():
                return work()

        made = world.run_on_main(run)
        self.agree(world)
        return made
