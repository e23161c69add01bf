"""The servers of a model: their addresses, and which of them has room."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

from yarl import URL

from curation.engines.openai.pace import Pace
from curation.settings import EngineSettings
from curation.uris import redact

Bases = tuple[str, ...]


@dataclass(frozen=True)
class Access:
    """How a server of our own is reached: the path of its Unix socket, and its key."""

    socket: str
    key: str = field(repr=False)


class Server(Protocol):
    """A model server, or several alike. Safe to call from several threads."""

    @property
    def reread_s(self) -> float | None:
        """After how many seconds `named` may have others; None if it never has."""
        ...

    def named(self) -> Bases:
        """The base URLs as of now, without waiting; maybe none."""
        ...

    def ready(self) -> Bases:
        """The base URLs (…/v1), at least one, once they accept requests; called again when none of them answers.

        Blocks while the server comes up, until `close` at the latest. Raises EngineError if it will not come up.
        """
        ...

    def access(self, host: str) -> Access | None:
        """The access to the server of this name in a base URL; None if it is reached by that name."""

    def set_active(self, active: bool) -> None:
        """Report whether this process has requests for it, from now on."""

    @property
    def active_processes(self) -> int:
        """How many processes have requests for it, this one included; they share its bound on requests in flight."""

    def close(self) -> None: ...


class Endpoint:
    """One server, by its base URL."""

    def __init__(self, base: str, settings: EngineSettings) -> None:
        self.base = base
        self.url = URL(f"{base}/chat/completions")
        self.name = redact(base)
        self.pace = Pace(settings.max_in_flight, settings.patience_s)


class Endpoints:
    """The servers of one model. None is known before `discover`.

    `ready` returns their base URLs, at least one; it may block, and raises EngineError if there will never be any.
    """

    def __init__(self, settings: EngineSettings, ready: Callable[[], Bases]) -> None:
        self._settings = settings
        self._ready = ready
        self._all: list[Endpoint] = []

    async def discover(self) -> None:
        """Get the servers from `ready`, however long that takes. Raises as `ready` does."""
        self._take(await _in_thread(self._ready))

    async def reread(self, named: Callable[[], Bases]) -> None:
        """Use the servers that are `named` now; those in use if none is. Raises as `named` does."""
        if bases := await _in_thread(named):
            self._take(bases)

    def _take(self, bases: Bases) -> None:
        known = {endpoint.base: endpoint for endpoint in self._all}
        current = dict.fromkeys(base.rstrip("/") for base in bases)
        self._all = [known.get(base) or Endpoint(base, self._settings) for base in current]

    def share_among(self, active_processes: int) -> None:
        """Give this process its share of the requests that may be in flight, among `active_processes`."""
        for endpoint in self._all:
            endpoint.pace.max_in_flight = max(1, self._settings.max_in_flight // active_processes)

    def have_room(self, now: float) -> bool:
        return any(endpoint.pace.room(now) for endpoint in self._all)

    def roomiest(self, now: float, last: Endpoint | None) -> Endpoint:
        """The server with the most room for a request; `last`, which failed on it, only if no other has any."""
        free = (endpoint for endpoint in self._all if endpoint.pace.room(now))
        return max(free, key=lambda endpoint: (endpoint is not last, endpoint.pace.room(now)))

    def opening(self, now: float) -> list[float]:
        """When the servers that are pausing may be asked again."""
        return [endpoint.pace.opens_at for endpoint in self._all if endpoint.pace.opens_at > now]

    @property
    def known(self) -> bool:
        return bool(self._all)

    @property
    def away(self) -> bool:
        """Whether all of them are away."""
        return all(endpoint.pace.away for endpoint in self._all)

    @property
    def names(self) -> str:
        return ", ".join(endpoint.name for endpoint in self._all)


async def _in_thread(call: Callable[[], Bases]) -> Bases:
    """The result of `call`, run in a daemon thread, so that it never delays the end of the process."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Bases] = loop.create_future()

    def settle(outcome: Bases | BaseException) -> None:
        if done.done():
            return  # cancelled
        if isinstance(outcome, BaseException):
            done.set_exception(outcome)
        else:
            done.set_result(outcome)

    def work() -> None:
        outcome: Bases | BaseException
        try:
            outcome = call()
        except BaseException as error:
            outcome = error
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(settle, outcome)

    threading.Thread(target=work, name="ready", daemon=True).start()
    return await done
