"""Where a model is served: which servers there are, and which of them has room."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from yarl import URL

from curation.engines.openai.pace import Pace
from curation.settings import EngineSettings
from curation.uris import redact

Bases = tuple[str, ...]


class Server(Protocol):
    """Where a model is served. Safe to call from several threads."""

    def ready(self) -> Bases:
        """The base URLs (…/v1), one at least, once they can be asked; asked for again when none of them answers.

        Blocks while the server comes up, until `close` at the latest. Raises EngineError where it will not.
        """
        ...

    def asking(self, now: bool) -> None:
        """Whether this process has requests for it, from now on."""

    @property
    def askers(self) -> int:
        """How many processes have requests for it, this one included, and share what it may have in flight."""

    def close(self) -> None: ...


class Endpoint:
    """One server, by its base URL."""

    def __init__(self, base: str, settings: EngineSettings) -> None:
        self.base = base
        self.url = URL(f"{base}/chat/completions")
        self.name = redact(base)
        self.pace = Pace(settings.max_in_flight, settings.patience_s)


class Servers:
    """The servers of one model. None is known before `find`.

    `ready` gives their base URLs, one at least; it may block, and raises EngineError where there will never be any.
    """

    def __init__(self, settings: EngineSettings, ready: Callable[[], Bases]) -> None:
        self._settings = settings
        self._ready = ready
        self._all: list[Endpoint] = []

    async def find(self) -> None:
        """Learn which servers can be asked, however long that takes. Raises what `ready` raises."""
        bases = await _in_thread(self._ready)
        known = {place.base: place for place in self._all}
        wanted = dict.fromkeys(base.rstrip("/") for base in bases)
        self._all = [known.get(base) or Endpoint(base, self._settings) for base in wanted]

    def share_among(self, askers: int) -> None:
        """So many processes ask them now, each its share of what may be in flight."""
        for place in self._all:
            place.pace.most = max(1, self._settings.max_in_flight // askers)

    def have_room(self, now: float) -> bool:
        return any(place.pace.room(now) for place in self._all)

    def roomiest(self, now: float, last: Endpoint | None) -> Endpoint:
        """Where a request goes, of those that have room: rather not to `last`, where it failed."""
        free = (place for place in self._all if place.pace.room(now))
        return max(free, key=lambda place: (place is not last, place.pace.room(now)))

    def opening(self, now: float) -> list[float]:
        """When those that want to be left alone now may be asked again."""
        return [place.pace.opens_at for place in self._all if place.pace.opens_at > now]

    @property
    def known(self) -> bool:
        return bool(self._all)

    @property
    def away(self) -> bool:
        """Whether none of them answers any more."""
        return all(place.pace.away for place in self._all)

    @property
    def names(self) -> str:
        return ", ".join(place.name for place in self._all)


async def _in_thread(call: Callable[[], Bases]) -> Bases:
    """What `call` returns or raises, in a thread of its own that nobody waits for at the end of the process."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Bases] = loop.create_future()

    def settle(outcome: Bases | BaseException) -> None:
        if done.done():
            return  # broken off
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
