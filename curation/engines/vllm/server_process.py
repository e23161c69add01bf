"""A model server of our own: started, waited for, watched, started again where it dies, and stopped."""

from __future__ import annotations

import contextlib
import http.client
import logging
import re
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from curation import guard
from curation.engines.vllm.rendezvous import SOCKET
from curation.engines.vllm.server_log import ServerLog
from curation.errors import EngineError

log = logging.getLogger(__name__)

HOST = "127.0.0.1"
LOG = "server.log"
PORT = "{port}"
"""In a command, what its port takes the place of."""
LOOK_S = 2.0  # from one look at a server that is up to the next
SAY_S = 10.0  # of waiting before something is said, whether or not there is news
STOP_S = 10.0  # for a server to end by itself: one that is killed at once leaves shared memory behind
SICK_S = 10.0  # with answers to health checks that say it is not well
PYTHON_HINT = (
    "install it with pip install 'vidla[vllm]', or name an interpreter that has it, with --set "
    "captions.engine.vllm.python=… or summaries.engine.vllm.python=…"
)


@dataclass(frozen=True)
class Launch:
    """What a server is started with, and how long it is waited for: to come up, and for an answer to a health check."""

    command: tuple[str, ...]
    environment: Mapping[str, str]
    start_timeout_s: float
    hung_s: float
    restarts: int  # of one that has been up


class _Down(Exception):
    """The server does not run any more, or never will; why."""


class ServerProcess:
    """A vLLM on a free port of loopback, from the first `ready` to `close`. Safe to call from several threads.

    It dies with this process, whatever that dies of. A server that has been up and dies, or does not answer a health
    check for `hung_s`, is started again, as long as it has not died more than `restarts` times. `deaths` are those so
    far. What it says is kept in `folder`. Descriptors in `held` stay open until nothing is left of it.
    """

    def __init__(self, launch: Launch, folder: Path, deaths: int = 0, held: tuple[int, ...] = ()) -> None:
        self._launch = launch
        self._folder = folder
        self._held = held
        self._changed = threading.Condition()
        self._watcher: threading.Thread | None = None
        self._process: guard.Process | None = None
        self._base_urls: tuple[str, ...] = ()
        self._asked = 0  # calls of `ready` so far
        self._answered = 0  # of these, the ones that came before the last look which found the server well
        self.deaths = deaths
        self.over = ""  # why there will be no server any more

    def ready(self) -> tuple[str, ...]:
        """The base URL, of a server that was found well after the call. Raises EngineError where none will be."""
        with self._changed:
            self._asked += 1
            mine = self._asked
            if self._watcher is None and not self.over:
                self._watcher = threading.Thread(target=self._run, name="vllm", daemon=True)
                self._watcher.start()
            self._changed.notify_all()
            self._changed.wait_for(lambda: self.over or self._answered >= mine)
            if self.over:
                raise EngineError(self.over)
            return self._base_urls

    def close(self) -> None:
        """Stop the server; every `ready` from now on raises EngineError."""
        self._end("the vLLM server was stopped")
        with self._changed:
            process, watcher = self._process, self._watcher
        if process is not None:
            process.kill()
        if watcher is not None:
            watcher.join(2 * STOP_S)

    def _end(self, why: str) -> None:
        with self._changed:
            self.over = self.over or why
            self._changed.notify_all()

    # --- in the watcher's thread ------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._keep_up(ServerLog(self._folder / LOG))
        except EngineError as error:
            self._end(str(error))
        except Exception as error:
            log.exception("the vLLM server cannot be watched")
            self._end(f"the vLLM server cannot be watched: {error}")

    def _keep_up(self, server_log: ServerLog) -> None:
        log.info("the vLLM server's log is kept in %s", server_log.path)
        while True:
            try:
                self._live(server_log)
            except _Down as down:
                reason = str(down)
            if self.over:
                return
            if not self._base_urls and not self.deaths:
                raise EngineError(f"the vLLM server did not come up: {reason} (all of its log: {server_log.path})")
            self.deaths += 1
            log.warning("the vLLM server died: %s", reason)
            if self.deaths > self._launch.restarts:
                raise EngineError(died(self.deaths, reason, server_log.path))
            self._pause(min(2.0 ** (self.deaths - 1), 60.0))

    def _live(self, server_log: ServerLog) -> None:
        """One life of the server, from its start to its end. Raises _Down with the reason for that."""
        with _held_port() as port:
            command = [str(port) if part == PORT else part for part in self._launch.command]
            with self._changed:
                if self.over:
                    return
                process = guard.start_server(command, self._launch.environment, STOP_S, self._held)
                self._process = process
            output = process.popen.stdout
            reader = server_log.follow(output.fileno() if output else -1)
            try:
                self._wait_until_up(process, port, server_log)
                self._watch(process, port)
            finally:
                code = process.finish()
                reader.join(2.0)
                self._remove_sockets()
        raise _Down(_cause(code, server_log.reason()))

    def _wait_until_up(self, process: guard.Process, port: int, server_log: ServerLog) -> None:
        begun = said_at = time.monotonic()
        said = ""
        while process.popen.poll() is None and not self.over:
            now, step = time.monotonic(), server_log.step
            if _health(port, 5.0) == 200:
                log.info("the vLLM server is up after %.0f s", now - begun)
                return
            if now - begun > self._launch.start_timeout_s:
                raise _Down(
                    f"it was not there after {self._launch.start_timeout_s:g} s (the setting "
                    f"vllm.start_timeout_s); it said last: {server_log.reason() or 'nothing'}"
                )
            if now - said_at >= SAY_S or (step != said and now - said_at >= LOOK_S):
                log.info("the vLLM server is starting, %.0f s: %s", now - begun, step or "no word yet")
                said, said_at = step, now
            self._pause(0.5)

    def _watch(self, process: guard.Process, port: int) -> None:
        """Look at the server, now and then and whenever `ready` asks for it, until it ends."""
        well_at, hung_s = time.monotonic(), self._launch.hung_s
        while process.popen.poll() is None and not self.over:
            with self._changed:
                asked = self._asked
            status = _health(port, hung_s / 2)
            if status == 200:
                well_at = time.monotonic()
                with self._changed:
                    self._base_urls = (f"http://{HOST}:{port}/v1",)
                    self._answered = asked
                    self._changed.notify_all()
                self._pause(LOOK_S, asked)
            elif status is not None and time.monotonic() - well_at > min(SICK_S, hung_s):
                raise _Down(f"its health check answered {status} for a while, as it does when its engine is dead")
            elif time.monotonic() - well_at > hung_s:
                raise _Down(f"it hangs: no answer to a health check for {hung_s:g} s")
            else:
                self._pause(0.5)

    def _remove_sockets(self) -> None:
        for path in self._folder.iterdir():
            if path.is_socket() and path.name != SOCKET:
                path.unlink(missing_ok=True)

    def _pause(self, seconds: float, asked: int | None = None) -> None:
        """Sleep, but not on when all is over or, where `asked` is given, `ready` is called beyond that number."""
        with self._changed:
            self._changed.wait_for(lambda: self.over or (asked is not None and self._asked > asked), seconds)


@contextlib.contextmanager
def _held_port() -> Iterator[int]:
    """A free port, kept from being given to anybody else; a server that sets SO_REUSEADDR or SO_REUSEPORT, as vLLM and
    nearly all do, can listen on it all the same, since this socket does not."""
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind((HOST, 0))
        yield holder.getsockname()[1]


# --- what it says of itself -----------------------------------------------------------------------------------------


def _health(port: int, timeout_s: float) -> int | None:
    """The HTTP status of the server's health; None where there is no answer."""
    connection = http.client.HTTPConnection(HOST, port, timeout=timeout_s)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def _cause(code: int, said: str) -> str:
    """Why a server has ended, from its exit status or minus its signal, and what it said last."""
    if re.search(r"No module named '?vllm'?(?![\w.])", said) or said.startswith("cannot start "):
        return f"{said}; {PYTHON_HINT}"
    if code == -9:
        return "it was killed (SIGKILL), as happens where memory runs out"
    how = f"killed by signal {-code}" if code < 0 else f"exit status {code}"
    return f"{said} ({how})" if said else how


def died(deaths: int, reason: str, server_log: Path) -> str:
    """That it is not started again any more."""
    times = "once" if deaths == 1 else f"{deaths} times"
    return f"the vLLM server died {times}; at last: {reason} (its log: {server_log})"
