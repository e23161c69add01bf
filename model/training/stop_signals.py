"""SIGTERM and SIGUSR1, by which schedulers announce that a run has to end."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Self

from model.settings import TrainingError

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class TrainingStopped(TrainingError):
    """A run that has written a checkpoint and ends, because a signal asked it to."""

    exit_status = 75  # EX_TEMPFAIL of sysexits.h: try again later


class StopSignals:
    """While it is open, a signal is only noted, in `received`. Does nothing in another thread than the main one."""

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._raises = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = signal.Signals(number)
        if self._raises:
            self.check()

    def check(self) -> None:
        """Raises TrainingStopped if a signal was received."""
        if self.received is not None:
            raise TrainingStopped(f"stopped by {self.received.name}")

    @contextmanager
    def raising(self) -> Iterator[None]:
        """While this is open, a signal raises TrainingStopped at once: only for what may be left off anywhere."""
        self.check()
        self._raises = True
        try:
            yield
        finally:
            self._raises = False
