"""The counts of a run, kept where the work is done: what has ended, by stage, and what is worked on now."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from curation.work_done import WorkDone, watched

TEXTS = "texts"  # what the stages that make them are together, where it is counted how long waves are in them
Counts = Mapping[str, int]  # by name: "done" or "rejected", "clips", "captions"


@dataclass
class ItemAtWork:
    """An item that is worked on. `begun` is in seconds since 1970, by which processes can be compared."""

    name: str
    begun: float
    source_bytes: int
    done: WorkDone


@dataclass(frozen=True)
class UnderWay:
    """The items of a stage that are worked on now: their number; what is done of them, which is a share of each that is
    decoded, and answers to those that get texts; the same share in bytes of their sources; and the one that was begun
    first, with the time (seconds since 1970)."""

    items: int = 0
    done: float = 0.0
    source_bytes: float = 0.0
    longest: str = ""
    since: float = 0.0

    def __add__(self, other: UnderWay) -> UnderWay:
        first = min((each for each in (self, other) if each.items), key=lambda each: each.since, default=self)
        return UnderWay(
            self.items + other.items,
            self.done + other.done,
            self.source_bytes + other.source_bytes,
            first.longest,
            first.since,
        )


@dataclass(frozen=True)
class LastReject:
    """The latest reject of a stage: the item, why, and when (seconds since 1970)."""

    name: str = ""
    why: str = ""
    at: float = 0.0


class Tally:
    """Counts by stage and name, kept in this process; safe to use from several threads.

    While a stage runs, outcomes are kept by the keys of its items, so that an item done twice counts once. `token`
    names the stage of a wave; its commit settles the counts.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self.clear()

    def clear(self) -> None:
        with self._lock:
            self._counts: Counter[tuple[str, str]] = Counter()
            self._outcomes: defaultdict[str, dict[str, Counts]] = defaultdict(dict)  # by token, then key
            self._at_work: defaultdict[str, dict[int, ItemAtWork]] = defaultdict(dict)  # by stage, then id
            self._elsewhere: dict[tuple[str, str], UnderWay] = {}  # by process and stage
            self._rejects: dict[str, LastReject] = {}  # by stage
            self._active: Counter[str] = Counter()  # how many waves are in a stage
            self._busy: defaultdict[str, float] = defaultdict(float)  # seconds, up to `_since`
            self._since: dict[str, float] = {}

    # --- what has ended ---------------------------------------------------------------------------------------------

    def add(self, stage: str, name: str, count: int = 1) -> None:
        with self._lock:
            self._counts[stage, name] += count

    def get(self, stage: str, name: str) -> int:
        with self._lock:
            return self._counts[stage, name]

    def record(self, stage: str, token: str, outcomes: Mapping[str, Counts]) -> None:
        """Count the outcomes of items, by key, in place of their earlier ones."""
        with self._lock:
            known = self._outcomes[token]
            for key, counts in outcomes.items():
                self._add(stage, known.get(key, {}), -1)
                self._add(stage, counts)
                known[key] = counts

    def outcomes(self, token: str) -> dict[str, Counts]:
        with self._lock:
            return dict(self._outcomes.get(token, {}))

    def settle(self, stage: str, token: str, counts: Counts) -> None:
        """Replace the outcomes of a stage's items by the counts that were committed."""
        with self._lock:
            for before in self._outcomes.pop(token, {}).values():
                self._add(stage, before, -1)
            self._add(stage, counts)

    def _add(self, stage: str, counts: Counts, sign: int = 1) -> None:
        for name, count in counts.items():
            self._counts[stage, name] += sign * count

    def counts(self) -> dict[tuple[str, str], int]:
        """All counts, by stage and name."""
        with self._lock:
            return dict(self._counts)

    def rejected(self, stage: str, reject: LastReject) -> None:
        """Note a reject, unless a later one is known."""
        with self._lock:
            self._rejects[stage] = max(self._rejects.get(stage, reject), reject, key=lambda each: each.at)

    def last_reject(self, stage: str) -> LastReject | None:
        with self._lock:
            return self._rejects.get(stage)

    # --- what is worked on ------------------------------------------------------------------------------------------

    @contextmanager
    def working(self, stage: str, name: str, source_bytes: int) -> Iterator[None]:
        """Within this context, this thread works on an item of a stage."""
        with watched() as done:
            item = ItemAtWork(name, time.time(), source_bytes, done)
            with self._lock:
                self._at_work[stage][id(item)] = item
            try:
                yield
            finally:
                with self._lock:
                    del self._at_work[stage][id(item)]

    def under_way(self, stage: str) -> UnderWay:
        """The items of a stage that are worked on now, here and in the processes that report here."""
        with self._lock:
            elsewhere = [each for (_, of), each in self._elsewhere.items() if of == stage]
        return sum(elsewhere, self._here(stage))

    def _here(self, stage: str) -> UnderWay:
        with self._lock:
            items = list(self._at_work[stage].values())
        total = UnderWay()
        for item in items:
            done = item.done()
            total += UnderWay(1, done, done * item.source_bytes, item.name, item.begun)
        return total

    def report(self, stage: str) -> dict[str, Any]:
        """What this process does and last rejected in a stage, for `take_report` in another one."""
        reject = self.last_reject(stage)
        return {"under_way": asdict(self._here(stage)), "reject": reject and asdict(reject)}

    def take_report(self, process: str, stage: str, report: Mapping[str, Any]) -> None:
        """Take in what another process has reported, in place of its earlier report."""
        with self._lock:
            self._elsewhere[process, stage] = UnderWay(**report.get("under_way", {}))
        if reject := report.get("reject"):
            self.rejected(stage, LastReject(**reject))

    def forget_process(self, process: str) -> None:
        """Nothing is worked on by that process any more."""
        with self._lock:
            for key in [key for key in self._elsewhere if key[0] == process]:
                del self._elsewhere[key]

    @contextmanager
    def active(self, stage: str) -> Iterator[None]:
        """Within this context, a wave is in this stage."""
        self._count_wave(stage, 1)
        try:
            yield
        finally:
            self._count_wave(stage, -1)

    def _count_wave(self, stage: str, change: int) -> None:
        with self._lock:
            now = self._clock()
            if self._active[stage]:
                self._busy[stage] += now - self._since[stage]
            self._since[stage] = now
            self._active[stage] += change

    def busy_s(self, stage: str) -> float:
        """The seconds of this run in which any wave was in this stage."""
        with self._lock:
            running = self._clock() - self._since[stage] if self._active[stage] else 0.0
            return self._busy[stage] + running
