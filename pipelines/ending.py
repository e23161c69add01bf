"""How a run ends before its time: stopped by hand, or by an error that would meet everything else as well."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from curation import guard
from curation.engines import close_engines

stopping = threading.Event()  # set when the run is to end: no item is begun after it


class Stopped(Exception):
    """The run is to end."""


class Interrupted(Exception):
    """The run was stopped by hand; one line that says how to go on."""


class Fatal:
    """The first error in this process that ends a run: Beam itself hands on no more than its text."""

    error: BaseException | None = None

    @classmethod
    @contextlib.contextmanager
    def kept(cls) -> Iterator[None]:
        try:
            yield
        except Stopped:
            raise  # it follows from another one, or from Ctrl-C
        except Exception as error:
            cls.error = cls.error or error
            raise


def begin() -> None:
    """Make this process ready for a run, whatever became of an earlier one."""
    Fatal.error = None
    stopping.clear()
    guard.resume()


def halt() -> None:
    """End what this process does for a run: nothing more is begun, children die, requests in flight are broken off."""
    stopping.set()
    guard.stop_all()
    close_engines()
