"""Lists of work items under way: of each list one item at a time, in order, and many lists at once."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from itertools import chain

from curation.sources.site_limits import SiteRests
from pipelines.worker.stage_work import ItemResult
from pipelines.worker.thread_pools import ThreadPool
from pipelines.worker.work_items import Item
from pipelines.worker.worker_process import this_process

_LOOK_S = 2.0  # between looks at whether the run is stopped, while lists rest


class Lanes:
    """Does the items of lists with `run` in the threads of `pool`, and passes each finished one to `take`.

    While a site is left alone, lists with its items rest. Once only resting ones remain, they are waited for if
    `patient`; else the keys of their items are in `put_off`. If a site is left alone for the whole run, its items are
    counted in `left`.
    """

    def __init__(
        self,
        pool: ThreadPool,
        run: Callable[[Item], ItemResult],
        take: Callable[[Item, Future[ItemResult]], None],
        *,
        patient: bool,
    ) -> None:
        self.left: Counter[str] = Counter()  # by site
        self.put_off: list[str] = []
        self._pool, self._run, self._take, self._patient = pool, run, take, patient
        self._running: dict[Future[ItemResult], tuple[Item, Iterator[Item]]] = {}  # with those after it in its list
        self._resting: list[tuple[float, Iterator[Item]]] = []  # lists, and when they go on
        self._stopped = False

    def begin(self, items: Iterator[Item]) -> None:
        """Submit the next of these items."""
        item = None if self._stopped else next(items, None)
        if item is not None:
            self._running[self._pool.submit(self._run, item)] = item, items

    def collect(self, allowed: int) -> None:
        """Take finished items, until no more than `allowed` are under way; with 0, no list is waited for either."""
        while self._running or (self._resting and self._patient and not allowed):
            enough = 0 < len(self._running) <= allowed
            done = self._finished(0.0 if enough else self._patience())
            for future in done:
                item, rest = self._running.pop(future, (None, iter(())))
                if item is None:
                    continue
                if isinstance(why := future.exception(), SiteRests):
                    self._put_off(why, chain([item], rest))
                else:
                    self._take(item, future)
                    self.begin(rest)
            self._wake()
            if enough and not done:
                return
        if not allowed:
            self.put_off += [item.key for _, items in self._resting for item in items]
            self._resting.clear()

    def stop(self) -> None:
        """Begin no more items."""
        self._stopped = True
        self._resting.clear()
        for future in [future for future in self._running if future.cancel()]:
            del self._running[future]

    def _finished(self, patience: float | None) -> Iterable[Future[ItemResult]]:
        if not self._running:
            this_process.stopping.wait(patience)
            return ()
        return wait(self._running, patience, FIRST_COMPLETED).done

    def _patience(self) -> float | None:
        """The seconds until the first resting list goes on, or the next look; None if no list rests."""
        dues = [due - time.monotonic() for due, _ in self._resting]
        return min(max(0.0, min(dues)), _LOOK_S) if dues else None

    def _put_off(self, why: SiteRests, items: Iterator[Item]) -> None:
        if why.seconds == math.inf:
            self.left[why.site] += sum(1 for _ in items)
        elif not self._stopped:
            self._resting.append((time.monotonic() + why.seconds, items))

    def _wake(self) -> None:
        """Go on with the lists that have rested."""
        if self._resting and this_process.stopping.is_set():
            self.stop()
        now = time.monotonic()
        due = [items for at, items in self._resting if at <= now]
        self._resting = [(at, items) for at, items in self._resting if at > now]
        for items in due:
            self.begin(items)
