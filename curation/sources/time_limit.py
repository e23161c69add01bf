"""The end of the single job of this process, however it waits or computes."""

from __future__ import annotations

import faulthandler
import os
import signal
import time
from typing import Any

from curation.rejects import Kind, Rejected

_GRACE_S = 5.0  # for Python code to end the job, before the process is ended
_REPEAT_S = 1.0  # code may swallow the exception


def end_at(moment: float, message: str) -> None:
    """Raise Rejected in the main thread, whatever it does, when `time.monotonic()` is `moment`.

    If that is not possible, since no Python code runs, the process exits a little later. Replaces an earlier limit.
    """

    def end(*_: Any) -> None:
        raise Rejected(Kind.TIMEOUT, message)

    left = max(moment - time.monotonic(), 0.001)
    signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, left, _REPEAT_S)
    faulthandler.dump_traceback_later(left + _GRACE_S, exit=True, file=_nowhere)


def lift() -> None:
    """Remove the limit."""
    signal.setitimer(signal.ITIMER_REAL, 0)
    faulthandler.cancel_dump_traceback_later()


_nowhere = open(os.devnull, "w")  # noqa: SIM115, PTH123 - for the life of the process
