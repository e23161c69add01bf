"""Who is at fault when exchanges fail, the request or the servers, and what to do about it.

Plain arithmetic on outcomes and times (seconds, of one clock) that the caller passes in, so that it can be tested
without waiting.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from curation.engines.openai.pace import LONGEST_PAUSE_S, Trouble

TRIES = 8
"""Times that one request is sent to servers that fail on it. Busy servers do not count."""
SINGLED_OUT = 2
"""Times that a server fails on a request while serving others: then blame the request."""
REFUSALS = 20
"""After this many rejections and no success, send nothing new until those in flight are back."""
CRAMPED = 8
"""After this many in a row that do not fit into a server's context, send nothing new until those in flight are back."""
FIRST_PAUSE_S = 0.2
WARN_S = 10.0
"""Silence after which a warning is due."""


@dataclass(eq=False, slots=True)
class RequestHistory:
    """The failures of one request so far. `number` tells requests apart."""

    number: int
    reached_at: float | None = None  # when it first reached a server
    tries: int = 0  # exchanges that failed on it
    singled_out: int = 0  # of these, those during which another request was answered
    answers_before: int = 0  # answers to any request, at its first sending or last failure


@dataclass(frozen=True)
class Verdict:
    """What to do after a failed exchange.

    "repeat" the request in `pause_s`, "fail" it alone, or "give up" on every request: no server has answered for
    `silent_s`. Where `request_at_fault`, the failure says nothing about the server. `warn` is set once per silence.
    """

    action: Literal["repeat", "fail", "give up"]
    silent_s: float
    request_at_fault: bool = False
    warn: bool = False
    pause_s: float = 0.0


@dataclass
class Silence:
    """How long servers have been asked without any answer. It stands still while nothing is asked of them.

    >>> silence = Silence()
    >>> silence.asked(10.0)
    >>> silence.seconds(15.0)
    5.0
    >>> silence.idle(15.0)
    >>> silence.seconds(100.0)
    5.0
    >>> silence.broken(100.0)
    >>> silence.seconds(101.0)
    0.0
    """

    _summed: float = 0.0
    _since: float | None = None

    def asked(self, now: float) -> None:
        """Requests are waiting for an answer."""
        if self._since is None:
            self._since = now

    def broken(self, now: float) -> None:
        """A server answered."""
        self._summed = 0.0
        if self._since is not None:
            self._since = now

    def idle(self, now: float) -> None:
        """No request is waiting any more."""
        self._summed, self._since = self.seconds(now), None

    def seconds(self, now: float) -> float:
        return self._summed + (0.0 if self._since is None else now - self._since)


@dataclass
class Blame:
    """Decides after each failed exchange: repeat the request, fail it alone, or give up on all.

    A request fails alone after TRIES, or `patience_s` after it first reached a server. All are given up once no server
    has answered any request for `patience_s`, unless only this one request fails.
    """

    patience_s: float
    jitter: Callable[[], float] = random.random
    silence: Silence = field(default_factory=Silence)
    _answers: int = 0  # to any request
    _failed: set[int] = field(default_factory=set)  # numbers of requests that failed since the last answer, at most two
    _warned: bool = False
    _refusals: int = 0
    _cramped: int = 0  # requests that did not fit, since the last success
    _served: bool = False  # whether any request has succeeded

    def sent(self, request: RequestHistory, now: float) -> None:
        """`request` is sent to a server."""
        if request.reached_at is None:
            request.reached_at, request.answers_before = now, self._answers

    def succeeded(self, now: float) -> None:
        """A server gave a usable answer."""
        self.answered(now)
        self._served = True
        self._cramped = 0

    def refused(self, now: float) -> None:
        """A server rejected a request as bad."""
        self.answered(now)
        self._refusals += 1

    def cramped(self, now: float) -> None:
        """A server rejected a request that does not fit into its context."""
        self.answered(now)
        self._cramped += 1

    def answered(self, now: float) -> None:
        """A server answered, for better or worse."""
        self._answers += 1
        self.silence.broken(now)
        self._failed.clear()
        self._warned = False

    def failed(self, request: RequestHistory, trouble: Trouble, now: float) -> Verdict:
        """An exchange failed without an answer."""
        self._charge(request, trouble)
        request_at_fault = trouble in ("broken", "slow") and request.singled_out >= SINGLED_OUT
        down = not request_at_fault and self._is_down(request, trouble)
        silent_s = self.silence.seconds(now)
        warn = down and silent_s >= WARN_S and not self._warned
        self._warned = self._warned or warn
        if down and silent_s >= self.patience_s:
            return Verdict("give up", silent_s, request_at_fault, warn)
        if request.tries >= TRIES or self._is_out_of_time(request, now):
            return Verdict("fail", silent_s, request_at_fault, warn)
        return Verdict("repeat", silent_s, request_at_fault, warn, self._pause_s(request))

    def _charge(self, request: RequestHistory, trouble: Trouble) -> None:
        if trouble == "absent":
            request.reached_at = None  # it reached no server
        elif trouble != "busy":
            request.tries += 1
            request.singled_out += self._answers > request.answers_before
            request.answers_before = self._answers

    def _is_down(self, request: RequestHistory, trouble: Trouble) -> bool:
        """Whether servers seem to fail on every request: they say so, or two requests failed since the last answer."""
        if len(self._failed) < 2:
            self._failed.add(request.number)
        return trouble in ("busy", "absent") or len(self._failed) > 1

    def _is_out_of_time(self, request: RequestHistory, now: float) -> bool:
        return request.reached_at is not None and now - request.reached_at >= self.patience_s

    def _pause_s(self, request: RequestHistory) -> float:
        pause_s = min(FIRST_PAUSE_S * 2.0 ** (request.tries - 1), LONGEST_PAUSE_S) if request.tries else 0.0
        return pause_s * (0.5 + self.jitter() / 2)

    @property
    def suspicious(self) -> bool:
        """Whether servers have only rejected requests so far, or their context is too small for request after request.

        Send nothing new then until those in flight are back. If they have only been rejected too, the servers' settings
        are at fault, not the requests.
        """
        return (self._refusals >= REFUSALS and not self._served) or self._cramped >= CRAMPED

    def forget_refusals(self) -> None:
        """Count rejections from zero again."""
        self._refusals = self._cramped = 0
