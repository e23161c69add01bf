"""How busy the servers are: requests sent, answers received, and how many requests were in flight."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from curation.engines.interface import Completion, Failure


@dataclass(frozen=True)
class Snapshot:
    """Totals since the first request was sent. Times are seconds."""

    requests: int = 0  # answered
    failures: int = 0  # refused or given up
    retries: int = 0  # times that a request was sent again
    input_tokens: int = 0
    output_tokens: int = 0
    in_flight: int = 0  # now, at all servers
    pending: int = 0  # asked for and not answered yet, in flight or not
    busy_s: float = 0.0  # time with any request in flight
    in_flight_s: float = 0.0  # summed over requests: divided by busy_s, the mean number in flight
    elapsed_s: float = 0.0


Counts = Mapping[str, int]
COUNTED = ("requests", "failures", "retries", "input_tokens", "output_tokens", "in_flight", "pending")
"""The totals of a snapshot that can be summed over processes."""


class Load:
    """Counts exchanges with servers as they begin and end; safe to use from several threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._total = Snapshot()
        self._since: float | None = None
        self._updated_at = 0.0  # when the total was last brought up to date
        self._others: dict[str, Counts] = {}

    def asked(self, count: int) -> None:
        """Count requests that are asked for, or, by a negative number, those that are answered or given up."""
        with self._lock:
            self._add(pending=count)

    def sent(self) -> int:
        """Count a request that is sent. Returns how many are in flight now, itself included."""
        with self._lock:
            return self._add(in_flight=1).in_flight

    def ended(self, answer: Completion | Failure | None) -> None:
        """Count the end of a request: with its answer, or None if it was dropped."""
        with self._lock:
            if isinstance(answer, Completion):
                tokens = {"input_tokens": answer.input_tokens, "output_tokens": answer.output_tokens}
                self._add(in_flight=-1, requests=1, **tokens)
            else:
                self._add(in_flight=-1, failures=int(answer is not None))

    def repeated(self) -> None:
        """Count the end of an exchange whose request will be sent again."""
        with self._lock:
            self._add(in_flight=-1, retries=1)

    def merge(self, process: str, counts: Counts) -> None:
        """Add the counts of another process, which has a unique name, since its first request."""
        with self._lock:
            before = self._others.get(process, {})
            self._others[process] = counts
            if counts != before:
                self._add(**{name: counts.get(name, 0) - before.get(name, 0) for name in COUNTED})

    def counts(self) -> Counts:
        """The counts of this process, for `merge` in another one."""
        now = self.snapshot()
        return {name: getattr(now, name) for name in COUNTED}

    def snapshot(self) -> Snapshot:
        """The totals up to now."""
        with self._lock:
            return self._total if self._since is None else self._add()

    def clear(self) -> None:
        """Start counting from zero; requests in flight or pending stay counted as such."""
        with self._lock:
            self._total = Snapshot(in_flight=self._total.in_flight, pending=self._total.pending)
            self._others.clear()
            self._since = self._updated_at = self._clock()
            if not self._total.in_flight:
                self._since = None

    def _add(self, **more: int) -> Snapshot:
        now, total = self._clock(), self._total
        if self._since is None:
            self._since = self._updated_at = now
        elapsed_s, self._updated_at = now - self._updated_at, now
        self._total = replace(
            total,
            busy_s=total.busy_s + (elapsed_s if total.in_flight else 0.0),
            in_flight_s=total.in_flight_s + elapsed_s * total.in_flight,
            elapsed_s=now - self._since,
            **{name: getattr(total, name) + count for name, count in more.items()},
        )
        return self._total


load = Load()
"""The load on all servers that this process asks; in the driver, also on those that its remote workers ask."""
