"""The vLLM server that the command starts, waits for, watches, starts again where it dies, and stops."""

from __future__ import annotations

import contextlib
import functools
import http.client
import logging
import os
import re
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from curation import guard
from curation.config import EngineSettings
from curation.engines import EngineError
from curation.engines.revisions import UNRESOLVED, identity, model_name, model_path, resolved_revision
from curation.engines.served import Served
from curation.engines.server_log import ServerLog

log = logging.getLogger(__name__)

HOST = "127.0.0.1"
LOOK_S = 2.0  # from one look at a server that is up to the next
SAY_S = 10.0  # of waiting before something is said, whether or not there is news
STOP_S = 10.0  # for a server to end by itself: one that is killed at once leaves shared memory behind
SICK_S = 10.0  # with answers to health checks that say it is not well
HUNG_S = 120.0  # without an answer to a health check
OURS = ("--model", "--served-model-name", "--revision", "--host", "--port", "--uds", "--root-path", "--api-key")
PYTHON_HINT = (
    "install it with pip install 'vidla[vllm]', or name an interpreter that has it, with --set "
    "captions.engine.vllm.python=… or summaries.engine.vllm.python=…"
)


def open_vllm(settings: EngineSettings) -> Served:
    """The engine of a model that a vLLM of our own serves; the server starts on first use."""
    revision = functools.cache(lambda: resolved_revision(settings))
    server = VllmServer(settings, revision)
    return Served("vllm", settings, model_name(settings), identity(settings), revision, server)


class _Down(Exception):
    """The server does not run any more, or never will; why."""


class VllmServer:
    """A vLLM on a free port of loopback, from the first `ready` to `close`. Safe to call from several threads.

    It dies with this process, whatever that dies of. A server that has been up and dies, or does not answer a health
    check for `hung_s`, is started again, `settings.vllm.restarts` times at most.
    """

    def __init__(
        self, settings: EngineSettings, revision: Callable[[], str] = lambda: UNRESOLVED, hung_s: float = HUNG_S
    ) -> None:
        self._settings = settings
        self._revision = revision
        self._hung_s = hung_s
        self._changed = threading.Condition()
        self._watcher: threading.Thread | None = None
        self._process: guard.Process | None = None
        self._base_urls: tuple[str, ...] = ()
        self._asked = 0  # calls of `ready` so far
        self._answered = 0  # of these, the ones that came before the last look which found the server well
        self._over = ""  # why there will be no server any more

    def ready(self) -> tuple[str, ...]:
        """The base URL, of a server that was found well after the call. Raises EngineError where none will be."""
        with self._changed:
            self._asked += 1
            mine = self._asked
            if self._watcher is None and not self._over:
                self._watcher = threading.Thread(target=self._run, name="vllm", daemon=True)
                self._watcher.start()
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._over or self._answered >= mine)
            if self._over:
                raise EngineError(self._over)
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
            self._over = self._over or why
            self._changed.notify_all()

    # --- in the watcher's thread ------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            folder = Path(tempfile.mkdtemp(prefix="vidla-vllm-"))
            self._keep_up(folder, ServerLog(folder / "server.log"))
        except guard.Stopped:
            self._end("the vLLM server was stopped")
        except EngineError as error:
            self._end(str(error))
        except Exception as error:
            log.exception("the vLLM server cannot be watched")
            self._end(f"the vLLM server cannot be watched: {error}")

    def _keep_up(self, folder: Path, server_log: ServerLog) -> None:
        log.info("the vLLM server's log is kept in %s", server_log.path)
        restarts = self._settings.vllm.restarts
        for deaths in range(1, restarts + 2):
            try:
                self._live(folder, server_log)
            except _Down as down:
                reason = str(down)
            if self._over:
                return
            if not self._base_urls:
                raise EngineError(f"the vLLM server did not come up: {reason} (all of its log: {server_log.path})")
            log.warning("the vLLM server died: %s", reason)
            if deaths <= restarts:
                self._pause(min(2.0 ** (deaths - 1), 60.0))
        times = "once" if restarts == 0 else f"{restarts + 1} times"
        raise EngineError(f"the vLLM server died {times}; at last: {reason} (its log: {server_log.path})")

    def _live(self, folder: Path, server_log: ServerLog) -> None:
        """One life of the server, from its start to its end. Raises _Down with the reason for that."""
        with _held_port() as port:
            command, environment = _command(self._settings, self._revision(), port), _environment(folder)
            with self._changed:
                if self._over:
                    return
                process = self._process = guard.start_server(command, environment, STOP_S)
            output = process.popen.stdout
            reader = server_log.follow(output.fileno() if output else -1)
            try:
                self._wait_until_up(process, port, server_log)
                self._watch(process, port)
            finally:
                code = process.finish()
                reader.join(2.0)
                _remove_sockets(folder)
        raise _Down(_cause(code, server_log.reason()))

    def _wait_until_up(self, process: guard.Process, port: int, server_log: ServerLog) -> None:
        begun = said_at = time.monotonic()
        said = ""
        while process.popen.poll() is None and not self._over:
            now, step = time.monotonic(), server_log.step
            if _health(port, 5.0) == 200:
                log.info("the vLLM server is up after %.0f s", now - begun)
                return
            if now - begun > self._settings.vllm.start_timeout_s:
                raise _Down(
                    f"it was not there after {self._settings.vllm.start_timeout_s:g} s (the setting "
                    f"vllm.start_timeout_s); it said last: {server_log.reason() or 'nothing'}"
                )
            if now - said_at >= SAY_S or (step != said and now - said_at >= LOOK_S):
                log.info("the vLLM server is starting, %.0f s: %s", now - begun, step or "no word yet")
                said, said_at = step, now
            self._pause(0.5)

    def _watch(self, process: guard.Process, port: int) -> None:
        """Look at the server, now and then and whenever `ready` asks for it, until it ends."""
        well_at = time.monotonic()
        while process.popen.poll() is None and not self._over:
            with self._changed:
                asked = self._asked
            status = _health(port, self._hung_s / 2)
            if status == 200:
                well_at = time.monotonic()
                with self._changed:
                    self._base_urls = (f"http://{HOST}:{port}/v1",)
                    self._answered = asked
                    self._changed.notify_all()
                self._pause(LOOK_S, asked)
            elif status is not None and time.monotonic() - well_at > min(SICK_S, self._hung_s):
                raise _Down(f"its health check answered {status} for a while, as it does when its engine is dead")
            elif time.monotonic() - well_at > self._hung_s:
                raise _Down(f"it hangs: no answer to a health check for {self._hung_s:g} s")
            else:
                self._pause(0.5)

    def _pause(self, seconds: float, asked: int | None = None) -> None:
        """Sleep, but not on when all is over or, where `asked` is given, `ready` is called beyond that number."""
        with self._changed:
            self._changed.wait_for(lambda: self._over or (asked is not None and self._asked > asked), seconds)


# --- what is started ------------------------------------------------------------------------------------------------


def _command(settings: EngineSettings, revision: str, port: int) -> list[str]:
    vllm, path = settings.vllm, model_path(settings)
    options = {argument.partition("=")[0].replace("_", "-") for argument in vllm.extra_args}
    if clash := sorted(options.intersection(OURS)):
        raise EngineError(f"vllm.extra_args must not have {clash[0]}, which vidla chooses; leave it out")
    arguments = {
        "--model": str(path or settings.model),
        "--served-model-name": model_name(settings),
        "--host": HOST,
        "--port": str(port),
        "--dtype": vllm.dtype,
    }
    if path is None and (pinned := settings.revision if revision == UNRESOLVED else revision):
        arguments["--revision"] = pinned  # so that a restart in mid-run cannot bring other weights
    if vllm.max_model_len is not None:
        arguments["--max-model-len"] = str(vllm.max_model_len)
    if vllm.tensor_parallel_size > 1:
        arguments["--tensor-parallel-size"] = str(vllm.tensor_parallel_size)
    if vllm.data_parallel_size > 1:
        arguments["--data-parallel-size"] = str(vllm.data_parallel_size)
    if not any(option.startswith("--structured-outputs-config") for option in options):
        # Weak models write white space for ever where a schema allows it.
        arguments["--structured-outputs-config"] = '{"backend": "xgrammar", "disable_any_whitespace": true}'
    flat = [part for pair in arguments.items() for part in pair]
    # As a module: the command `vllm` is missing or broken in some builds.
    module = ["-m", "vllm.entrypoints.openai.api_server", "--disable-uvicorn-access-log"]
    return [str(Path(vllm.python or sys.executable).expanduser()), *module, *flat, *vllm.extra_args]


def _environment(folder: Path) -> dict[str, str]:
    """This process's own, where CUDA_*, HF_*, VLLM_* and the like are the user's to set; but nobody is told of the use,
    no key is asked for, and the working directory's modules are not taken for vLLM's."""
    fixed = {"VLLM_NO_USAGE_STATS": "1", "PYTHONUNBUFFERED": "1", "PYTHONSAFEPATH": "1"}
    if len(str(folder)) < 64:  # a socket's path has a narrow limit
        fixed["VLLM_RPC_BASE_PATH"] = str(folder)
    return {name: value for name, value in os.environ.items() if name != "VLLM_API_KEY"} | fixed


@contextlib.contextmanager
def _held_port() -> Iterator[int]:
    """A free port, kept from being given to anybody else; a server that sets SO_REUSEADDR or SO_REUSEPORT, as vLLM and
    nearly all do, can listen on it all the same, since this socket does not."""
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind((HOST, 0))
        yield holder.getsockname()[1]


def _remove_sockets(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_socket():
            path.unlink(missing_ok=True)


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
