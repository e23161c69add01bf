"""The object that a process shares: how it begins, what it keeps, and how it ends."""

from __future__ import annotations

import threading

import pytest

from curation import guard
from curation.guard import Limits, Stopped
from pipelines.worker.shutdown import RunStopped
from pipelines.worker.worker_process import WorkerProcess


def test_a_halt_keeps_the_first_reason_until_the_next_run_begins() -> None:
    process = WorkerProcess()
    with process:
        process.halt(RunStopped())
        assert process.stopping.is_set() and process.error is None
        for error in (KeyError("first"), ValueError("second"), None):
            process.halt(error)
        assert isinstance(process.error, KeyError)
        with pytest.raises(Stopped):
            guard.run(["true"], Limits(5, 1 << 30))
    assert isinstance(process.error, KeyError)
    with process:
        assert not process.stopping.is_set() and process.error is None
        assert guard.run(["echo", "again"], Limits(5, 1 << 30)) == b"again\n"


def test_things_are_made_once_and_kept_until_the_last_user_has_gone() -> None:
    process = WorkerProcess()
    made: list[int] = []

    def make(number: int) -> int:
        made.append(number)
        return number + 1

    with process:
        with process:
            assert [process.once(make, number) for number in (3, 3, 4)] == [4, 4, 5]
            pool = process.pool("work", 2)
        assert process.pool("work", 2) is pool and process.once(make, 3) == 4
        assert made == [3, 4]
        assert pool.submit(threading.get_ident).result(5) != threading.get_ident()
    with process:
        assert process.pool("work", 2) is not pool and process.once(make, 3) == 4
    assert made == [3, 4, 3]
