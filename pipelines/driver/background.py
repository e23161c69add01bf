"""Jobs in the background, a bounded number at once; the failure of one ends the others."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from types import TracebackType
from typing import Self

from pipelines.worker.worker_process import this_process


class BackgroundJobs:
    """Runs up to `limit` jobs at once, each in a thread. Leaving it waits for all of them."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._pool = ThreadPoolExecutor(limit, "background")
        self._jobs: set[Future[None]] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            this_process.halt(error)
        self._pool.shutdown()
        if error is None:
            for job in self._jobs:
                job.result()

    def begin(self, job: Callable[[], None]) -> None:
        """Start `job` as soon as fewer than `limit` are under way. Raises the error of one that has failed."""
        while len(self._jobs) == self._limit:
            done, self._jobs = wait(self._jobs, return_when=FIRST_COMPLETED)
            for ended in done:
                ended.result()
        self._jobs.add(self._pool.submit(_halting_on_error, job))


def _halting_on_error(job: Callable[[], None]) -> None:
    try:
        job()
    except BaseException as error:
        this_process.halt(error)
        raise
