"""Politeness within one process: concurrent downloads by site, and a pause after repeated refusals."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from curation.rejects import Kind, Rejected

REFUSALS = 5  # consecutive bot checks and 429s after which a host is left alone for a while
PAUSE_S = 120.0
_SHUT_OUT = frozenset({Kind.BOT_CHECK, Kind.RATE_LIMITED})


@dataclass
class HostState:
    """A site that is in use or has refused us: its free slots and its recent refusals."""

    free: threading.Semaphore
    users: int = 0
    refusals: int = 0
    last: Kind | None = None
    closed_until: float = field(default=0.0)

    def record(self, kind: Kind | None, retry_after: float | None = None) -> None:
        """Record the outcome of an attempt: a reject's kind and the wait that the host asked for; None for success."""
        with _lock:
            self.refusals = self.refusals + 1 if kind in _SHUT_OUT else 0
            self.last = kind
            if self.refusals >= REFUSALS:
                self.closed_until = time.monotonic() + max(PAUSE_S, retry_after or 0.0)

    def check(self) -> None:
        """Raises Rejected while the host is left alone."""
        left = self.closed_until - time.monotonic()
        if left > 0:
            raise Rejected(
                self.last or Kind.RATE_LIMITED,
                f"the host refused us {self.refusals} times in a row; left alone for another {left:.0f} s",
            )


_hosts: dict[str, HostState] = {}
_lock = threading.Lock()


@contextmanager
def at_site(name: str, limit: int) -> Iterator[HostState]:
    """Hold one of this process's `limit` slots at the site `name`. Raises Rejected as `HostState.check` does."""
    with _lock:
        host = _hosts.setdefault(name, HostState(threading.Semaphore(limit)))
        host.users += 1
    try:
        with host.free:
            host.check()
            yield host
    finally:
        with _lock:
            host.users -= 1
            if not host.users and not host.refusals:
                del _hosts[name]
