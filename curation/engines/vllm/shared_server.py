"""A vLLM server that the processes of a machine share: its command, and how each process finds or starts it."""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from curation import guard
from curation.engines.openai.engine import OpenAIEngine
from curation.engines.openai.servers import Access
from curation.engines.vllm import keeper, rendezvous
from curation.engines.vllm.keeper import KeeperConfig, send
from curation.engines.vllm.model_identity import UNRESOLVED, identity, model_name, model_path, resolved_revision
from curation.engines.vllm.server_process import ADDRESS, LOG, STOP_S, Launch, died
from curation.errors import EngineError
from curation.ids import digest
from curation.settings import EngineSettings

log = logging.getLogger(__name__)

HUNG_S = 120.0  # without an answer to a health check
SILENT_S = 60.0  # without a message from the keeper
CONNECT_S = 120.0  # within which a keeper either answers or ends
RESERVED_OPTIONS = (
    "--model",
    "--served-model-name",
    "--revision",
    "--host",
    "--port",
    "--uds",
    "--root-path",
    "--api-key",
)
RELEVANT_VARIABLES = ("CUDA", "HF_", "HIP_", "NCCL_", "NVIDIA_", "ROCR_", "TORCH", "VLLM_")
"""Prefixes of environment variables that tell servers apart: other GPUs, other settings."""


def open_vllm(settings: EngineSettings) -> OpenAIEngine:
    """The engine of a model on a shared vLLM server, which starts on first use."""
    revision = functools.cache(lambda: resolved_revision(settings))
    server = VllmServer(settings, revision)
    return OpenAIEngine("vllm", settings, model_name(settings), identity(settings), revision, server)


class VllmServer:
    """A vLLM server of this user, used from the first `ready` to `close`. Safe to call from several threads.

    It listens on a Unix socket in a private folder, so that no other user can reach it or take its place, and answers
    those who know its key, which the keeper passes on and nobody writes down.

    All processes of this user on this machine that need one with the same settings share it. The first of them starts
    a keeper (keeper.py), which runs the server. It is stopped `settings.vllm.linger_s` after the last of them has
    closed it or died, by whatever cause. A server that dies after it was up, or does not answer a health check for
    `hung_s`, is restarted, at most `settings.vllm.restarts` times; so is one whose keeper is killed.
    """

    def __init__(
        self, settings: EngineSettings, revision: Callable[[], str] = lambda: UNRESOLVED, hung_s: float = HUNG_S
    ) -> None:
        self._settings = settings
        self._revision = revision
        self._hung_s = hung_s
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._link: socket.socket | None = None
        self._keeper: subprocess.Popen[bytes] | None = None  # if this process started it
        self._heard_at = 0.0  # when the keeper last sent something
        self._access: Access | None = None  # by the name of its socket in the folder
        self._address = ""  # a short path to the folder
        self._calls = 0  # calls of `ready` so far
        self._answered_calls = 0  # of these, how many the keeper has answered
        self._active = False
        self._active_processes = 0
        self._deaths: int | None = None  # of the server; None before the first message of a keeper
        self._end_reason = ""  # why the server has ended for good

    reread_s: float | None = None

    def named(self) -> tuple[str, ...]:
        return self.ready()

    def ready(self) -> tuple[str, ...]:
        """The base URL, whose host is the name of its socket, once a health check made after this call succeeds.

        Raises EngineError if none ever will.
        """
        with self._changed:
            self._calls += 1
            mine = self._calls
            if self._thread is None and not self._end_reason:
                self._thread = threading.Thread(target=self._run, name="vllm", daemon=True)
                self._thread.start()
            if self._link is not None:
                send(self._link, ready=mine)
            self._changed.wait_for(lambda: self._end_reason or self._answered_calls >= mine)
            if self._end_reason or self._access is None:
                raise EngineError(self._end_reason)
            return (f"http://{self._access.socket}/v1",)

    def access(self, host: str) -> Access:
        """How to reach the server of this name. One that has ended is not reached: its name is never looked up."""
        with self._changed:
            key = self._access.key if self._access else ""
            return Access(f"{self._address}/{host}", key)

    def set_active(self, active: bool) -> None:
        """Report whether this process has requests for it, from now on."""
        with self._changed:
            self._active = active
            if self._link is not None:
                send(self._link, asking=active)

    @property
    def active_processes(self) -> int:
        """How many processes have requests for it, this one included."""
        return max(1, self._active_processes)

    def close(self) -> None:
        """Leave the server, which ends if no other process uses it. Every later `ready` raises EngineError."""
        self._end("the vLLM server was stopped")
        with self._changed:
            thread = self._thread
            if self._link is not None:
                with contextlib.suppress(OSError):  # it is gone
                    self._link.shutdown(socket.SHUT_WR)
        if thread is not None:
            thread.join(2 * STOP_S)

    def _end(self, why: str) -> None:
        with self._changed:
            self._end_reason = self._end_reason or why
            self._changed.notify_all()

    # --- in its thread, until the end ------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            config = self._keeper_config()
            folder = Path(config.folder)
            self._heard_at = time.monotonic()
            with rendezvous.reachable(folder) as self._address:
                while (link := self._connect(config)) is not None:
                    self._follow(link, folder)
        except EngineError as error:
            self._end(str(error))
        except Exception as error:
            log.exception("the vLLM server cannot be used")
            self._end(f"the vLLM server cannot be used: {error}")

    def _keeper_config(self) -> KeeperConfig:
        vllm, command = self._settings.vllm, server_command(self._settings, self._revision())
        variables = sorted((name, os.environ[name]) for name in os.environ if _is_relevant(name))
        variables.append(("", str(Path.cwd())))  # arguments may name files
        bounds = (vllm.start_timeout_s, self._hung_s, vllm.restarts, vllm.linger_s)
        folder = rendezvous.private_folder(digest(command, variables, bounds)[:12])
        model, environment = model_name(self._settings), server_environment(folder)
        launch = Launch(tuple(command), model, environment, vllm.start_timeout_s, self._hung_s, vllm.restarts)
        return KeeperConfig(launch, str(folder), vllm.linger_s)

    def _connect(self, config: KeeperConfig) -> socket.socket | None:
        """A connection to the keeper, which is started if there is none; None after `close`."""
        folder = Path(config.folder)
        while not self._end_reason:
            if time.monotonic() - self._heard_at > CONNECT_S:
                why = "a vLLM server that is already running neither answers nor ends"
                raise EngineError(f"{why} (its log: {folder / LOG})")
            link = rendezvous.connect(folder) or self._start(config, folder)
            if link is not None:
                return link
            with self._changed:
                self._changed.wait_for(lambda: self._end_reason, 0.1)
        return None

    def _start(self, config: KeeperConfig, folder: Path) -> socket.socket | None:
        """A connection to a keeper started here; None if another one is running, or about to end."""
        lock = rendezvous.lock(folder)
        if lock is None:
            return None
        with lock:
            if self._deaths is not None:  # the previous keeper did not end by itself
                deaths, why = self._deaths + 1, "its keeper was killed"
                log.warning("the vLLM server died: %s", why)
                if deaths > config.launch.restarts:
                    raise EngineError(died(deaths, why, folder / LOG))
                config = replace(config, deaths=deaths)
            link, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with other:
                self._keeper = keeper.start(config, lock.fileno(), other)
            return link

    def _follow(self, link: socket.socket, folder: Path) -> None:
        """Receive the keeper's messages until it ends, or notices that we have closed."""
        received = False
        with link:
            with self._changed:
                if self._end_reason:
                    return
                self._link = link
                _connections.add(link)
                send(link, ready=self._calls, asking=self._active)
            link.settimeout(SILENT_S)
            try:
                while message := link.recv(keeper.MESSAGE_BYTES):
                    received, self._heard_at = True, time.monotonic()
                    self._receive(json.loads(message))
            except OSError:  # it was silent for too long
                pass
            with self._changed:
                self._link = None
        started, self._keeper = self._keeper, None
        if started is not None and not received:
            raise EngineError(f"the keeper of the vLLM server did not start: {_last_words(started, folder)}")

    def _receive(self, news: dict[str, Any]) -> None:
        if "log" in news:
            log.log(news["level"], "%s", news["log"])
        with self._changed:
            if "asking" in news:
                self._active_processes, self._deaths = news["asking"], news["deaths"]
            if news.get("well", 0) > self._answered_calls:
                self._answered_calls, self._access = news["well"], Access(news["socket"], news["key"])
            if news.get("over"):
                self._end(news["over"])
            self._changed.notify_all()


def _is_relevant(name: str) -> bool:
    return name.startswith(RELEVANT_VARIABLES) and name != "VLLM_API_KEY"


def _last_words(process: subprocess.Popen[bytes], folder: Path) -> str:
    """The last output of a keeper that ended before it listened."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(5.0)
    lines = (folder / keeper.KEEPER_LOG).read_text(errors="replace").split("\n")
    last_line = next((line for line in reversed(lines) if line.strip()), "no output")
    return f"{last_line[:500]} (exit status {process.returncode})"


_connections: weakref.WeakSet[socket.socket] = weakref.WeakSet()


def _forget() -> None:
    """In a fork: close the connections, each of which shows that the process that opened it is alive."""
    for link in list(_connections):
        link.close()


os.register_at_fork(after_in_child=_forget)


# --- the command ----------------------------------------------------------------------------------------------------


def server_command(settings: EngineSettings, revision: str) -> list[str]:
    """The command of the server. Raises EngineError for arguments that the user must not give."""
    vllm, path = settings.vllm, model_path(settings)
    extra_args = [argument.reveal() for argument in vllm.extra_args]
    options = {argument.partition("=")[0].replace("_", "-") for argument in extra_args}
    if clash := sorted(options.intersection(RESERVED_OPTIONS)):
        raise EngineError(f"vllm.extra_args must not have {clash[0]}, which vidla chooses; leave it out")
    model = str(path or settings.model)
    arguments = {
        "--served-model-name": model_name(settings),
        "--uds": ADDRESS,
        "--dtype": vllm.dtype,
    }
    if path is None and (pinned := settings.revision if revision == UNRESOLVED else revision):
        arguments["--revision"] = pinned  # so that a restart during a run cannot load other weights
    if vllm.max_model_len is not None:
        arguments["--max-model-len"] = str(vllm.max_model_len)
    if vllm.tensor_parallel_size > 1:
        arguments["--tensor-parallel-size"] = str(vllm.tensor_parallel_size)
    if vllm.data_parallel_size > 1:
        arguments["--data-parallel-size"] = str(vllm.data_parallel_size)
    if not any(option.startswith("--structured-outputs-config") for option in options):
        # Weak models emit white space without end where a schema allows it.
        arguments["--structured-outputs-config"] = '{"backend": "xgrammar", "disable_any_whitespace": true}'
    # As a module: the command `vllm` is missing or broken in some builds. Only the command has several front ends.
    quiet = "--disable-uvicorn-access-log"
    module = ["-m", "vllm.entrypoints.openai.api_server", quiet, "--model", model]
    if vllm.api_servers > 1:
        module = ["-m", "vllm.entrypoints.cli.main", "serve", model, quiet]
        arguments["--api-server-count"] = str(vllm.api_servers)
    flat = [part for pair in arguments.items() for part in pair]
    python = str(Path(vllm.python or sys.executable).expanduser())
    return [python, *module, *flat, *extra_args]


def server_environment(folder: Path) -> dict[str, str]:
    """What a server may need of this process's environment, by list: no keys of clouds or other services, though the
    hub's token. Also without usage statistics, and without importing modules from the working directory."""
    fixed = {"VLLM_NO_USAGE_STATS": "1", "PYTHONUNBUFFERED": "1", "PYTHONSAFEPATH": "1"}
    if len(str(folder)) < 64:  # a socket's path has a narrow limit
        fixed["VLLM_RPC_BASE_PATH"] = str(folder)
    return guard.environment(*guard.SYSTEM, *guard.MODELS) | fixed
