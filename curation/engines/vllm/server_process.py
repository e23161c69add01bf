"""A vLLM server process: started, awaited, watched, restarted if it dies, and stopped."""

from __future__ import annotations

import http.client
import json
import logging
import re
import secrets
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curation import guard
from curation.engines.openai.servers import Access
from curation.engines.vllm.rendezvous import SOCKET, reachable
from curation.engines.vllm.server_log import ServerLog
from curation.errors import EngineError

log = logging.getLogger(__name__)

LOG = "server.log"
ADDRESS = "{address}"
"""In a command, stands for the path of the server's socket."""
CHECK_S = 2.0  # between health checks of a server that is up
LOG_S = 10.0  # between log lines while it starts, even without progress
STOP_S = 10.0  # for a server to end by itself: one killed at once leaves shared memory behind
ANSWER_BYTES = 1 << 20
UNHEALTHY_S = 10.0  # of health checks that report an error
PYTHON_HINT = (
    "install it with pip install 'vidla[vllm]', or name an interpreter that has it, with --set "
    "captions.engine.vllm.python=… or summaries.engine.vllm.python=…"
)


@dataclass(frozen=True)
class Launch:
    """A server's command and environment, and how long to wait for it to start and to answer a health check.

    `model` is the name of the model that it serves.
    """

    command: tuple[str, ...]
    model: str
    environment: Mapping[str, str]
    start_timeout_s: float
    hung_s: float
    restarts: int  # at most, after it was once up


class _Down(Exception):
    """The server has ended or did not start; the message says why."""


class ServerProcess:
    """A vLLM server, from the first `ready` to `close`. Safe to call from several threads.

    It listens on a Unix socket in `folder`, which only this user can enter, and answers those who know its key. Each
    life of the server has another socket and another key. It dies with this process, by whatever cause. A server that
    dies after it was up, or does not answer a health check for `hung_s`, is restarted unless it has died more than
    `restarts` times; `deaths` counts them. Its log is kept in `folder`. Descriptors in `held` stay open until all of
    its processes have ended.
    """

    def __init__(self, launch: Launch, folder: Path, deaths: int = 0, held: tuple[int, ...] = ()) -> None:
        self._launch = launch
        self._folder = folder
        self._held = held
        self._changed = threading.Condition()
        self._watcher: threading.Thread | None = None
        self._process: guard.Process | None = None
        self._access: Access | None = None  # its socket is the name in `folder`
        self._calls = 0  # calls of `ready` so far
        self._answered_calls = 0  # of these, how many came before the last health check that succeeded
        self.deaths = deaths
        self.over = ""  # why the server has ended for good

    def ready(self) -> Access:
        """The access to it, its socket by the name in `folder`, once a health check made after this call succeeds.

        Raises EngineError if none ever will.
        """
        with self._changed:
            self._calls += 1
            mine = self._calls
            if self._watcher is None and not self.over:
                self._watcher = threading.Thread(target=self._run, name="vllm", daemon=True)
                self._watcher.start()
            self._changed.notify_all()
            self._changed.wait_for(lambda: self.over or self._answered_calls >= mine)
            if self.over or self._access is None:
                raise EngineError(self.over)
            return self._access

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
            if not self._access and not self.deaths:
                raise EngineError(f"the vLLM server did not come up: {reason} (all of its log: {server_log.path})")
            self.deaths += 1
            log.warning("the vLLM server died: %s", reason)
            if self.deaths > self._launch.restarts:
                raise EngineError(died(self.deaths, reason, server_log.path))
            self._pause(min(2.0 ** (self.deaths - 1), 60.0))

    def _live(self, server_log: ServerLog) -> None:
        """One life of the server, from its start to its end. Raises _Down with the reason for that."""
        self._remove_sockets()
        access = Access(f"vllm-{secrets.token_hex(4)}", secrets.token_urlsafe(32))
        environment = {**self._launch.environment, "VLLM_API_KEY": access.key}
        with reachable(self._folder) as folder:
            address = f"{folder}/{access.socket}"
            command = [address if part == ADDRESS else part for part in self._launch.command]
            with self._changed:
                if self.over:
                    return
                process = guard.start_server(command, environment, STOP_S, self._held)
                self._process = process
            output = process.popen.stdout
            reader = server_log.follow(output.fileno() if output else -1)
            try:
                self._wait_until_up(process, Access(address, access.key), server_log)
                self._watch(process, Access(address, access.key), access)
            finally:
                code = process.finish()
                reader.join(2.0)
                self._remove_sockets()
        raise _Down(_cause(code, server_log.reason()))

    def _wait_until_up(self, process: guard.Process, access: Access, server_log: ServerLog) -> None:
        begun = logged_at = time.monotonic()
        logged = ""
        while process.popen.poll() is None and not self.over:
            now, step = time.monotonic(), server_log.step
            if _health(access, self._launch.model, 5.0) == 200:
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

    def _watch(self, process: guard.Process, access: Access, named: Access) -> None:
        """Check the server's health regularly and whenever `ready` is called, until it ends."""
        well_at, hung_s = time.monotonic(), self._launch.hung_s
        while process.popen.poll() is None and not self.over:
            with self._changed:
                asked = self._calls
            status = _health(access, self._launch.model, hung_s / 2)
            if status == 200:
                well_at = time.monotonic()
                with self._changed:
                    self._access = named
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


# --- health and causes of death --------------------------------------------------------------------------------------


class _Connection(http.client.HTTPConnection):
    """A connection to a server of this user behind a Unix socket."""

    def __init__(self, access: Access, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._access = access

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._access.socket)

    def get(self, path: str) -> tuple[int, bytes]:
        """Status and body."""
        self.request("GET", path, headers={"Authorization": f"Bearer {self._access.key}"})
        answer = self.getresponse()
        return answer.status, answer.read(ANSWER_BYTES)


def _health(access: Access, model: str, timeout_s: float) -> int | None:
    """The HTTP status of the server's health check; None without an answer.

    Raises _Down if what answers is not the server that we started: it does not know the key, or has another model.
    """
    connection = _Connection(access, timeout_s)
    try:
        status, _ = connection.get("/health")
        if status != 200:
            return status
        status, body = connection.get("/v1/models")
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    if status != 200:
        if status >= 500:
            return status
        raise _Down(f"what answers at its socket does not know its key (status {status})")
    if model not in (served := served_models(body)):
        names = "".join(c if c.isprintable() else " " for c in ", ".join(served)[:200])
        raise _Down(f"what answers at its socket serves {names or 'no model'}, and not {model}")
    return status


def served_models(body: bytes) -> list[str]:
    """The names in a server's list of models; none if it is not such a list."""
    try:
        cards: Any = json.loads(body)["data"]
        return [card["id"] for card in cards if isinstance(card["id"], str)]
    except (ValueError, LookupError, TypeError, RecursionError):
        return []


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
