"""A vLLM server process: started, awaited, watched, restarted if it dies, and stopped."""

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
"""In a command, stands for the port."""
CHECK_S = 2.0  # between health checks of a server that is up
LOG_S = 10.0  # between log lines while it starts, even without progress
STOP_S = 10.0  # for a server to end by itself: one killed at once leaves shared memory behind
UNHEALTHY_S = 10.0  # of health checks that report an error
PYTHON_HINT = (
    "install it with pip install 'vidla[vllm]', or name an interpreter that has it, with --set "
    "captions.engine.vllm.python=… or summaries.engine.vllm.python=…"
)


@dataclass(frozen=True)
class Launch:
    """A server's command and environment, and how long to wait for it to start and to answer a health check."""

    command: tuple[str, ...]
    environment: Mapping[str, str]
    start_timeout_s: float
    hung_s: float
    restarts: int  # at most, after it was once up


class _Down(Exception):
    """The server has ended or did not start; the message says why."""


class ServerProcess:
    """A vLLM server on a free loopback port, from the first `ready` to `close`. Safe to call from several threads.

    It dies with this process, by whatever cause. A server that dies after it was up, or does not answer a health check
    for `hung_s`, is restarted unless it has died more than `restarts` times; `deaths` counts them. Its log is kept in
    `folder`. Descriptors in `held` stay open until all of its processes have ended.
    """

    def __init__(self, launch: Launch, folder: Path, deaths: int = 0, held: tuple[int, ...] = ()) -> None:
        self._launch = launch
        self._folder = folder
        self._held = held
        self._changed = threading.Condition()
        self._watcher: threading.Thread | None = None
        self._process: guard.Process | None = None
        self._base_urls: tuple[str, ...] = ()
        self._calls = 0  # calls of `ready` so far
        self._answered_calls = 0  # of these, how many came before the last health check that succeeded
        self.deaths = deaths
        self.over = ""  # why the server has ended for good

    def ready(self) -> tuple[str, ...]:
        """The base URL, once a health check made after this call succeeds. Raises EngineError if none ever will."""
        with self._changed:
            self._calls += 1
            mine = self._calls
            if self._watcher is None and not self.over:
                self._watcher = threading.Thread(target=self._run, name="vllm", daemon=True)
                self._watcher.start()
            self._changed.notify_all()
            self._changed.wait_for(lambda: self.over or self._answered_calls >= mine)
            if self.over:
                raise EngineError(self.over)
            return self._base_urls

    def close(self) -> None:
        """Stop the server. Every later `ready` raises EngineError."""
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
        begun = logged_at = time.monotonic()
        logged = ""
        while process.popen.poll() is None and not self.over:
            now, step = time.monotonic(), server_log.step
            if _health(port, 5.0) == 200:
                log.info("the vLLM server is up after %.0f s", now - begun)
                return
            if now - begun > self._launch.start_timeout_s:
                raise _Down(
                    f"it was not up after {self._launch.start_timeout_s:g} s (the setting "
                    f"vllm.start_timeout_s); its last output: {server_log.reason() or 'none'}"
                )
            if now - logged_at >= LOG_S or (step != logged and now - logged_at >= CHECK_S):
                log.info("the vLLM server is starting, %.0f s: %s", now - begun, step or "no output yet")
                logged, logged_at = step, now
            self._pause(0.5)

    def _watch(self, process: guard.Process, port: int) -> None:
        """Check the server's health regularly and whenever `ready` is called, until it ends."""
        well_at, hung_s = time.monotonic(), self._launch.hung_s
        while process.popen.poll() is None and not self.over:
            with self._changed:
                asked = self._calls
            status = _health(port, hung_s / 2)
            if status == 200:
                well_at = time.monotonic()
                with self._changed:
                    self._base_urls = (f"http://{HOST}:{port}/v1",)
                    self._answered_calls = asked
                    self._changed.notify_all()
                self._pause(CHECK_S, asked)
            elif status is not None and time.monotonic() - well_at > min(UNHEALTHY_S, hung_s):
                raise _Down(f"its health check kept answering {status}, as it does when its engine is dead")
            elif time.monotonic() - well_at > hung_s:
                raise _Down(f"it hangs: no answer to a health check for {hung_s:g} s")
            else:
                self._pause(0.5)

    def _remove_sockets(self) -> None:
        for path in self._folder.iterdir():
            if path.is_socket() and path.name != SOCKET:
                path.unlink(missing_ok=True)

    def _pause(self, seconds: float, asked: int | None = None) -> None:
        """Sleep; wake early at the end or, with `asked`, when `ready` has been called more often than that."""
        with self._changed:
            self._changed.wait_for(lambda: self.over or (asked is not None and self._calls > asked), seconds)


@contextlib.contextmanager
def _held_port() -> Iterator[int]:
    """A free port, reserved from other processes. A server that sets SO_REUSEADDR or SO_REUSEPORT, as vLLM and nearly
    all do, can still listen on it, since this socket does not."""
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind((HOST, 0))
        yield holder.getsockname()[1]


# --- health and causes of death --------------------------------------------------------------------------------------


def _health(port: int, timeout_s: float) -> int | None:
    """The HTTP status of the server's health check; None without an answer."""
    connection = http.client.HTTPConnection(HOST, port, timeout=timeout_s)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def _cause(code: int, last_output: str) -> str:
    """Why a server has ended, from its exit status (or minus its signal) and its last output."""
    if re.search(r"No module named '?vllm'?(?![\w.])", last_output) or last_output.startswith("cannot start "):
        return f"{last_output}; {PYTHON_HINT}"
    if code == -9:
        return "it was killed (SIGKILL), as happens when memory runs out"
    how = f"killed by signal {-code}" if code < 0 else f"exit status {code}"
    return f"{last_output} ({how})" if last_output else how


def died(deaths: int, reason: str, server_log: Path) -> str:
    """The message for a server that is not restarted again."""
    times = "once" if deaths == 1 else f"{deaths} times"
    return f"the vLLM server died {times}; the last time: {reason} (its log: {server_log})"
