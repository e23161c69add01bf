"""A vLLM of our own, which the processes of a machine share: what it is started with, and how they come by it."""

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

from curation.engines.openai.engine import OpenAIEngine
from curation.engines.vllm import keeper, rendezvous
from curation.engines.vllm.keeper import KeeperConfig, tell
from curation.engines.vllm.model_identity import UNRESOLVED, identity, model_name, model_path, resolved_revision
from curation.engines.vllm.server_process import HOST, LOG, PORT, STOP_S, Launch, died
from curation.errors import EngineError
from curation.ids import digest
from curation.settings import EngineSettings

log = logging.getLogger(__name__)

HUNG_S = 120.0  # without an answer to a health check
DEAF_S = 60.0  # without a word from the keeper
MEET_S = 120.0  # for a keeper that says something, or else is gone
OURS = ("--model", "--served-model-name", "--revision", "--host", "--port", "--uds", "--root-path", "--api-key")
TELLING = ("CUDA", "HF_", "HIP_", "NCCL_", "NVIDIA_", "ROCR_", "TORCH", "VLLM_")
"""How those environment variables begin that set servers apart: other cards, other settings."""


def open_vllm(settings: EngineSettings) -> OpenAIEngine:
    """The engine of a model that a vLLM of our own serves; the server starts on first use."""
    revision = functools.cache(lambda: resolved_revision(settings))
    server = VllmServer(settings, revision)
    return OpenAIEngine("vllm", settings, model_name(settings), identity(settings), revision, server)


class VllmServer:
    """A vLLM on a free port of loopback, used from the first `ready` to `close`. Safe to call from several threads.

    All processes of this user on this machine that want one with the same settings share it: a process of its own
    (keeper.py), which the first of them starts, keeps it for them. When the last of them closes it or dies, whatever
    that dies of, and `settings.vllm.linger_s` are over, it is stopped. A server that has been up and dies, or does not
    answer a health check for `hung_s`, is started again, `settings.vllm.restarts` times at most; so is one whose keeper
    is killed.
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
        self._keeper: subprocess.Popen[bytes] | None = None  # where this process has started it
        self._since = 0.0  # when the keeper was last heard
        self._base_urls: tuple[str, ...] = ()
        self._asked = 0  # calls of `ready` so far
        self._answered = 0  # of these, the ones that the keeper has answered
        self._asking = False
        self._active_processes = 0
        self._deaths: int | None = None  # of the server; None before a keeper has said anything
        self._over = ""  # why there will be no server any more

    def ready(self) -> tuple[str, ...]:
        """The base URL, of a server that was found well after the call. Raises EngineError where none will be."""
        with self._changed:
            self._asked += 1
            mine = self._asked
            if self._thread is None and not self._over:
                self._thread = threading.Thread(target=self._run, name="vllm", daemon=True)
                self._thread.start()
            if self._link is not None:
                tell(self._link, ready=mine)
            self._changed.wait_for(lambda: self._over or self._answered >= mine)
            if self._over:
                raise EngineError(self._over)
            return self._base_urls

    def set_active(self, active: bool) -> None:
        """Report whether this process has requests for it, from now on."""
        with self._changed:
            self._asking = active
            if self._link is not None:
                tell(self._link, asking=active)

    @property
    def active_processes(self) -> int:
        """How many processes have requests for it, this one included."""
        return max(1, self._active_processes)

    def close(self) -> None:
        """Leave the server, which goes where nobody else uses it; every `ready` from now on raises EngineError."""
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
            self._over = self._over or why
            self._changed.notify_all()

    # --- in a thread of its own, until all is over ------------------------------------------------------------------

    def _run(self) -> None:
        try:
            kept = self._kept()
            self._since = time.monotonic()
            while (link := self._meet(kept)) is not None:
                self._use(link, Path(kept.folder))
        except EngineError as error:
            self._end(str(error))
        except Exception as error:
            log.exception("the vLLM server cannot be used")
            self._end(f"the vLLM server cannot be used: {error}")

    def _kept(self) -> KeeperConfig:
        vllm, command = self._settings.vllm, _command(self._settings, self._revision())
        telling = sorted((name, value) for name, value in os.environ.items() if name.startswith(TELLING))
        telling.append(("", str(Path.cwd())))  # arguments may name files
        bounds = (vllm.start_timeout_s, self._hung_s, vllm.restarts, vllm.linger_s)
        folder = rendezvous.private_folder(digest(command, telling, bounds)[:12])
        launch = Launch(tuple(command), _environment(folder), vllm.start_timeout_s, self._hung_s, vllm.restarts)
        return KeeperConfig(launch, str(folder), vllm.linger_s)

    def _meet(self, kept: KeeperConfig) -> socket.socket | None:
        """A connection to the keeper, which is started where there is none; None when all is over."""
        folder = Path(kept.folder)
        while not self._over:
            if time.monotonic() - self._since > MEET_S:
                why = "a vLLM server that is there already neither answers nor ends"
                raise EngineError(f"{why} (its log: {folder / LOG})")
            link = rendezvous.connect(folder) or self._start(kept, folder)
            if link is not None:
                return link
            with self._changed:
                self._changed.wait_for(lambda: self._over, 0.1)
        return None

    def _start(self, kept: KeeperConfig, folder: Path) -> socket.socket | None:
        """A connection to a keeper that is started here; None where another is there already, or about to end."""
        lock = rendezvous.lock(folder)
        if lock is None:
            return None
        with lock:
            if self._deaths is not None:  # the one before has not ended by itself
                deaths, why = self._deaths + 1, "the process that kept it was killed"
                log.warning("the vLLM server died: %s", why)
                if deaths > kept.launch.restarts:
                    raise EngineError(died(deaths, why, folder / LOG))
                kept = replace(kept, deaths=deaths)
            link, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with other:
                self._keeper = keeper.start(kept, lock.fileno(), other)
            return link

    def _use(self, link: socket.socket, folder: Path) -> None:
        """Hear what the keeper says, until it ends or, after `close`, has heard of that."""
        heard = False
        with link:
            with self._changed:
                if self._over:
                    return
                self._link = link
                _links.add(link)
                tell(link, ready=self._asked, asking=self._asking)
            link.settimeout(DEAF_S)
            try:
                while message := link.recv(keeper.MESSAGE_BYTES):
                    heard, self._since = True, time.monotonic()
                    self._hear(json.loads(message))
            except OSError:  # it was silent for too long
                pass
            with self._changed:
                self._link = None
        started, self._keeper = self._keeper, None
        if started is not None and not heard:
            raise EngineError(f"the vLLM server cannot be kept: {_last_words(started, folder)}")

    def _hear(self, news: dict[str, Any]) -> None:
        if "log" in news:
            log.log(news["level"], "%s", news["log"])
        with self._changed:
            if "asking" in news:
                self._active_processes, self._deaths = news["asking"], news["deaths"]
            if news.get("well", 0) > self._answered:
                self._answered, self._base_urls = news["well"], tuple(news["urls"])
            if news.get("over"):
                self._end(news["over"])
            self._changed.notify_all()


def _last_words(process: subprocess.Popen[bytes], folder: Path) -> str:
    """Of a keeper that did not get as far as to listen."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(5.0)
    lines = (folder / keeper.SAID).read_text(errors="replace").split("\n")
    said = next((line for line in reversed(lines) if line.strip()), "nothing was said")
    return f"{said[:500]} (exit status {process.returncode})"


_links: weakref.WeakSet[socket.socket] = weakref.WeakSet()


def _forget() -> None:
    """In a forked copy of this process: a connection tells that the process lives that opened it."""
    for link in list(_links):
        link.close()


os.register_at_fork(after_in_child=_forget)


# --- what is started ------------------------------------------------------------------------------------------------


def _command(settings: EngineSettings, revision: str) -> list[str]:
    vllm, path = settings.vllm, model_path(settings)
    options = {argument.partition("=")[0].replace("_", "-") for argument in vllm.extra_args}
    if clash := sorted(options.intersection(OURS)):
        raise EngineError(f"vllm.extra_args must not have {clash[0]}, which vidla chooses; leave it out")
    arguments = {
        "--model": str(path or settings.model),
        "--served-model-name": model_name(settings),
        "--host": HOST,
        "--port": PORT,
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
