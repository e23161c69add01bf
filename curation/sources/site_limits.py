"""Politeness to sites: concurrent downloads of this process, and rests after a site has refused us repeatedly."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from curation.download_settings import DownloadSettings
from curation.rejects import Kind

log = logging.getLogger(__name__)

REFUSALS = 5  # bot checks and 429s in a row, over all workers, after which a site is left alone
RESTS = 4  # without a success in between, after which it is left alone for the rest of the run
FIRST_REST = 60.0  # in units of download.retry_wait_s; every further rest is twice as long
_REFUSED = frozenset({Kind.BOT_CHECK, Kind.RATE_LIMITED})
_SAYS_NOTHING = frozenset({Kind.CONNECTION, Kind.TIMEOUT, Kind.SERVER_ERROR, Kind.OUT_OF_MEMORY, Kind.CRASHED})


class SiteRests(Exception):
    """Nothing is asked of a site for another `seconds`; math.inf: in the rest of this run."""

    def __init__(self, site: str, seconds: float) -> None:
        super().__init__(site, seconds)
        self.site, self.seconds = site, seconds


@dataclass
class Site:
    """A site that is in use or has refused us. Times are those of time.monotonic()."""

    name: str
    free: threading.Semaphore
    first_rest_s: float
    longest_wait_s: float  # that a site may ask for; for more, it is left for another run
    users: int = 0
    refusals: int = 0  # in a row, since the last rest
    rests: int = 0  # so far
    rests_in_a_row: int = 0
    rests_until: float = -math.inf

    def check(self) -> None:
        """Raises SiteRests while the site is left alone."""
        with _lock:
            if _rests_elsewhere.get(self.name, 0) > self.rests:
                self._rest(0.0)
                self.rests = _rests_elsewhere[self.name]
            left = self.rests_until - time.monotonic()
        if left > 0:
            raise SiteRests(self.name, left)

    def record(self, kind: Kind | None, begun: float, retry_after: float | None = None) -> None:
        """Record the outcome of an attempt that began at `begun`: its kind of reject; None for a success.

        `retry_after`: the seconds that the site asked us to wait.
        """
        with _lock:
            if kind in _SAYS_NOTHING or begun < self.rests_until:
                return
            if kind not in _REFUSED:
                self.refusals = self.rests_in_a_row = 0
                return
            self.refusals += 1
            if self.rests_in_a_row or rests_due([(self.refusals, self.rests)]) > self.rests:
                self._rest(retry_after or 0.0)

    def _rest(self, at_least_s: float) -> None:
        seconds = max(self.first_rest_s * 2.0**self.rests_in_a_row, at_least_s)
        if self.rests_in_a_row >= RESTS or at_least_s > self.longest_wait_s:
            seconds = math.inf
        self.refusals = 0
        self.rests += 1
        self.rests_in_a_row += 1
        self.rests_until = time.monotonic() + seconds
        long = f"for {seconds:.0f} s" if seconds < math.inf else "in the rest of this run"
        log.warning("%s goes on refusing our requests; it is left alone %s", self.name, long)


def rests_due(workers: Iterable[tuple[int, int]]) -> int:
    """The number of rests that a site is due, from each worker's refusals in a row since its last rest, and its rests.

    >>> rests_due([(3, 0), (1, 0)]), rests_due([(3, 0), (2, 0)]), rests_due([(0, 1), (4, 0)])
    (0, 1, 1)
    """
    workers = list(workers)
    most = max((rests for _, rests in workers), default=0)
    return most + (sum(refusals for refusals, rests in workers if rests == most) >= REFUSALS)


# --- the sites of this process --------------------------------------------------------------------------------------

_sites: dict[str, Site] = {}
_rests_elsewhere: dict[str, int] = {}  # by site, the rests that all workers are to take
_lock = threading.Lock()


@contextmanager
def at_site(name: str, settings: DownloadSettings) -> Iterator[Site]:
    """Hold one of this process's `download.per_host` slots at the site `name`. Raises SiteRests."""
    with _lock:
        first_rest_s = FIRST_REST * settings.retry_wait_s
        new = Site(name, threading.Semaphore(settings.per_host), first_rest_s, settings.timeout_s)
        site = _sites.setdefault(name, new)
        site.users += 1
    try:
        with site.free:
            site.check()
            yield site
    finally:
        with _lock:
            site.users -= 1
            if not site.users and not site.refusals and not site.rests and _sites.get(name) is site:
                del _sites[name]


def refusals() -> dict[str, tuple[int, int]]:
    """By site, this process's refusals in a row since the last rest, and the rests so far."""
    with _lock:
        return {site.name: (site.refusals, site.rests) for site in _sites.values() if site.refusals or site.rests}


def rest_with_others(rests: Mapping[str, int]) -> None:
    """Leave each site alone as often as all workers together are due."""
    with _lock:
        _rests_elsewhere.update(rests)


def resting() -> dict[str, float]:
    """The sites that are left alone now, and for how many seconds more."""
    now = time.monotonic()
    with _lock:
        return {site.name: site.rests_until - now for site in _sites.values() if site.rests_until > now}


def forget_sites() -> None:
    """Forget all refusals and rests, as at the start of a run."""
    with _lock:
        _sites.clear()
        _rests_elsewhere.clear()
