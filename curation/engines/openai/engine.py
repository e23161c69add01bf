"""A model behind an OpenAI-compatible server: one that runs elsewhere, or one that the command starts."""

from __future__ import annotations

import asyncio
import os
import re
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress

from curation import storable
from curation.engines.interface import Completion, Failure, TextRequest
from curation.engines.openai.remote_servers import RemoteServers
from curation.engines.openai.scheduler import RequestBatch, Scheduler
from curation.engines.openai.servers import Server
from curation.errors import EngineError
from curation.settings import EngineSettings
from curation.work_done import measured_by

REVISION_CHARS = 200
CLOSE_S = 10.0
"""How long closing waits for connections to end."""


def open_openai(settings: EngineSettings) -> OpenAIEngine:
    """The engine of a model that settings of the kind "openai" name.

    Raises EngineError if another machine would get a key by plain http, unless that is allowed.
    """
    model = settings.model or ""
    identity = f"{model}@{settings.revision or ''}{'+thoughts' if settings.thoughts else ''}"
    servers = RemoteServers(settings)
    servers.check_keys()
    return OpenAIEngine("openai", settings, model, identity, settings.revision, servers)


class OpenAIEngine:
    """An engine that sends all callers' requests to the /chat/completions of its servers.

    Rows record `revision`. If None, the server is asked for it; it is "unstated" if the server does not report it.
    """

    languages = None

    def __init__(
        self,
        engine: str,
        settings: EngineSettings,
        model: str,
        identity: str,
        revision: str | Callable[[], str] | None,
        server: Server,
    ) -> None:
        self.engine = engine
        self.model = model
        self.identity = identity
        self._settings = settings
        self._revision = revision
        self._revision_lock = threading.Lock()
        self._server = server
        self._lock = threading.Lock()
        self._running: tuple[asyncio.AbstractEventLoop, Scheduler] | None = None
        self._closed = False

    @property
    def revision(self) -> str:
        with self._revision_lock:
            if self._revision is None:
                self._revision = self._stated_revision()
            return self._revision() if callable(self._revision) else self._revision

    def _stated_revision(self) -> str:
        bases = self._server.ready()
        with self._lock:
            loop, scheduler = self._open()
            cards = asyncio.run_coroutine_threadsafe(scheduler.model_cards(bases), loop)
        card = next((card for card in cards.result() if card["id"] == self.model), {})
        # vLLM reports its folder in the hub's cache, which is named by the commit.
        root, revision = card.get("root"), card.get("revision")
        snapshot = re.search(r"/snapshots/([0-9a-f]{40})\b", root) if isinstance(root, str) else None
        if revision and isinstance(revision, str | int):
            return storable.text(str(revision), REVISION_CHARS)
        return snapshot[1] if snapshot else "unstated"

    def start(self) -> None:
        """Wait until the server accepts requests."""
        self._server.ready()

    def check(self) -> None:
        """Raises EngineError if none of its servers answers, or if one of them would refuse every request."""
        if not (bases := self._server.named()):
            return  # they come when there is work
        with self._lock:
            loop, scheduler = self._open()
            checked = asyncio.run_coroutine_threadsafe(scheduler.check(bases), loop)
        checked.result()

    def complete(self, requests: Sequence[TextRequest]) -> list[Completion | Failure]:
        """An answer to each request, in order.

        Raises EngineError if there can be none: a wrong key, model or URL; servers that stay silent for longer than
        `patience_s`; an engine that is closed meanwhile.
        """
        if not requests:
            return []
        batch = RequestBatch(requests)
        with self._lock:
            loop, scheduler = self._open()
            loop.call_soon_threadsafe(scheduler.submit, batch)
        try:
            with measured_by(lambda: len(batch.answers)):
                return batch.done.result()
        finally:
            if not batch.done.done():  # interrupted
                with suppress(RuntimeError):  # closed meanwhile
                    loop.call_soon_threadsafe(scheduler.withdraw, batch)

    def _open(self) -> tuple[asyncio.AbstractEventLoop, Scheduler]:
        if self._closed:
            raise EngineError(f"the engine of {self.model} is closed")
        if self._running is None:
            # The key is for servers elsewhere; one that we start has its own.
            key = os.environ.get(self._settings.api_key_env, "").strip() if self._settings.kind == "openai" else ""
            if not key.isprintable() or not key.isascii():
                raise EngineError(f"the key in {self._settings.api_key_env} contains characters that no key can have")
            loop = _loop_thread.borrow()
            scheduler = Scheduler(self.model, self._settings, key, self._server)
            asyncio.run_coroutine_threadsafe(scheduler.open(), loop).result()
            self._running = loop, scheduler
        return self._running

    def close(self) -> None:
        """Cancel what is in flight. Waiting calls raise EngineError, and so does every later call."""
        with self._lock:
            self._closed = True
            opened, self._running = self._running, None
        try:
            if opened is not None:
                loop, scheduler = opened
                with suppress(TimeoutError):
                    asyncio.run_coroutine_threadsafe(scheduler.close(), loop).result(CLOSE_S)
                _loop_thread.release()
        finally:
            self._server.close()


class _LoopThread:
    """The event loop that all engines of this process share; its thread runs while any of them is open."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0

    def borrow(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._users == 0:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._run, args=(self._loop,), name="served models", daemon=True)
                self._thread.start()
            self._users += 1
            return self._loop

    @staticmethod
    def _run(loop: asyncio.AbstractEventLoop) -> None:
        loop.run_forever()
        loop.close()

    def release(self) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0:
                self._loop.call_soon_threadsafe(self._loop.stop)
                self._thread.join(CLOSE_S)


_loop_thread = _LoopThread()
