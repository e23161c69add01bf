"""How fast one server is sent requests: as many in flight as it takes, none while it asks for a pause.

Plain arithmetic on times (seconds, of one clock) that the caller passes in, so that it can be tested without waiting.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

Trouble = Literal["busy", "slow", "broken", "absent"]
"""Why an exchange failed: the server reported too much load; it did not answer in time; it broke off or returned
nonsense; there was no connection."""

DECREASE = 0.8  # the factor by which a server that is busy or slow lowers its limit
FIRST_PAUSE_S = 0.025
LONGEST_PAUSE_S = 5.0
MISHAPS = 5
"""Exchanges that fail in a row before a server counts as away."""


@dataclass(frozen=True)
class Ticket:
    """A request in flight: when it was sent, and how many were in flight (itself included) and answered by then."""

    at: float
    in_flight: int
    answered: int


@dataclass
class Pace:
    """The limit on requests in flight at one server: additive increase, multiplicative decrease.

    It begins at `max_in_flight`, since a model server queues well itself, and follows when that is changed. A server
    that is away gets one request at a time, after pauses that grow until it answers. No pause exceeds `patience_s`.

    >>> pace = Pace(max_in_flight=10, patience_s=60.0, jitter=lambda: 1.0)
    >>> tickets = [pace.sent(now=0.0) for _ in range(10)]
    >>> for ticket in tickets:
    ...     pace.failed(ticket, 1.0, "busy")
    >>> pace.limit, pace.room(now=1.0), pace.room(now=pace.opens_at)
    (8.0, 0, 8)
    """

    max_in_flight: int
    patience_s: float
    jitter: Callable[[], float] = random.random
    in_flight: int = 0
    limit: float = field(init=False)
    away: bool = False
    opens_at: float = 0.0  # no request is sent before
    _answered: int = 0
    _goal: float = field(init=False)  # up to here the limit doubles in a round, above it grows by one
    _struck_at: float = float("-inf")
    _strikes: int = 0  # since the last answer
    _mishaps: int = 0  # since the last answer

    def __post_init__(self) -> None:
        self.limit = self._goal = float(self.max_in_flight)

    def room(self, now: float) -> int:
        """How many more requests may be sent now."""
        if now < self.opens_at:
            return 0
        return max(0, (1 if self.away else int(min(self.limit, self.max_in_flight))) - self.in_flight)

    def sent(self, now: float) -> Ticket:
        """Count a request that is sent."""
        self.in_flight += 1
        return Ticket(now, self.in_flight, self._answered)

    def dropped(self) -> None:
        """Count the end of an exchange that says nothing about the server."""
        self.in_flight -= 1

    def answered(self) -> None:
        """Count an answer, even one that rejects the request as bad."""
        self.in_flight -= 1
        self._answered += 1
        self._strikes = self._mishaps = 0
        self.away = False
        self.limit = min(self.max_in_flight, self.limit + (1.0 if self.limit < self._goal else 1.0 / self.limit))

    def failed(self, sent: Ticket, now: float, trouble: Trouble, retry_after: float | None = None) -> None:
        """Count a failed exchange. Requests in flight together fail together, and slow the pace down once."""
        self.in_flight -= 1
        if retry_after is not None:
            self.opens_at = max(self.opens_at, now + min(retry_after, self.patience_s))
        if trouble == "slow" and self._answered - sent.answered >= self.limit:
            return  # all others were served meanwhile: this request is slow, not the server
        self._mishaps += trouble != "busy"
        self.away = self.away or trouble == "absent" or self._mishaps >= MISHAPS
        if sent.at <= self._struck_at or (trouble == "broken" and not self.away):
            return
        if trouble in ("busy", "slow"):
            self._slow_down(max(sent.in_flight, self.in_flight + 1))
        self._struck_at = now
        self._strikes += 1
        self.opens_at = max(self.opens_at, now + self._pause())

    def _slow_down(self, too_many: int) -> None:
        if self._strikes == 0:  # repeated refusals do not show how much the server takes
            self._goal = max(1.0, self.limit * DECREASE)
        self.limit = max(1.0, min(self.limit, too_many) * DECREASE)

    def _pause(self) -> float:
        longest = min(LONGEST_PAUSE_S, self.patience_s / 4)
        return min(FIRST_PAUSE_S * 2.0 ** min(self._strikes - 1, 16), longest) * (0.5 + self.jitter() / 2)
