"""The JavaScript runtime that yt-dlp needs for YouTube: finding it, and running it confined and bounded.

A page's player is a stranger's program. deno runs it without any permission. node's permissions do not cover the
network before version 25, so node runs in an empty network namespace as well. Other runtimes read files at will, and
are used only when they are named.

V8 reserves far more address space than it uses, so a runtime is bounded by its resident memory, which is watched.
"""

from __future__ import annotations

import functools
import os
import resource
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yt_dlp.extractor.youtube.jsc._builtin import bun, deno, node, quickjs
from yt_dlp.utils import Popen
from yt_dlp.utils._jsruntime import BunJsRuntime, DenoJsRuntime, NodeJsRuntime, QuickJsRuntime

from curation.errors import UsageError
from curation.rejects import Kind, Rejected

MEMORY_BYTES = 2**30  # resident
WALL_S = 60.0
_WATCH_S = 0.05
_RUNTIMES = {"deno": DenoJsRuntime, "node": NodeJsRuntime, "quickjs": QuickJsRuntime, "bun": BunJsRuntime}
_MODULES = {"deno": deno, "node": node, "quickjs": quickjs, "bun": bun}
_NO_NETWORK = ("unshare", "--map-root-user", "--net", "--")
_HOW_TO_GET_ONE = "install one (pip install deno), or name one with download.js_runtime"


@dataclass(frozen=True)
class JsRuntime:
    """A JavaScript runtime of this machine."""

    name: str
    path: str
    version: str

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


def find_js_runtime(named: str | None) -> JsRuntime:
    """The runtime that `named` selects (see `choices`).

    Raises UsageError if there is none, or if it is too old for yt-dlp.
    """
    found = {name: _RUNTIMES[name](config.get("path")).info for name, config in choices(named).items()}
    for name, info in found.items():
        if info and info.supported:
            return JsRuntime(name, info.path, info.version)
    old = [f"{name} {info.version} is too old" for name, info in found.items() if info]
    reason = "; ".join(old) or f"{' and '.join(found) or 'any'} cannot be run here"
    raise UsageError(f"YouTube needs a JavaScript runtime: {reason}; {_HOW_TO_GET_ONE}")


def choices(named: str | None) -> dict[str, dict[str, str]]:
    """The runtimes that yt-dlp may use, as its parameter `js_runtimes`.

    `named` is NAME or NAME:PATH. Without it, those that can be confined here: deno, else node.

    >>> choices("node:/opt/node/bin/node")
    {'node': {'path': '/opt/node/bin/node'}}
    """
    if named is None:
        return {"deno": {}, "node": {}} if _can_close_network() else {"deno": {}}
    name, _, path = named.partition(":")
    return {name: {"path": path} if path else {}}


@functools.cache
def _can_close_network() -> bool:
    """Whether this machine lets us start a process without a network."""
    if shutil.which(_NO_NETWORK[0]) is None:
        return False
    return subprocess.run([*_NO_NETWORK, "true"], capture_output=True, check=False).returncode == 0


# --- in the guarded child -------------------------------------------------------------------------------------------

_overrun: Rejected | None = None


def take_overrun() -> Rejected | None:
    """The limit that a runtime has hit since the last call, if any: yt-dlp only warns that a challenge is unsolved."""
    global _overrun
    overrun, _overrun = _overrun, None
    return overrun


class _Bounded(Popen):  # type: ignore[misc]
    """A runtime without a limit of its address space, killed when it exceeds its resident memory or its time."""

    def __init__(self, command: Sequence[str], *, has_network: bool, **kwargs: Any) -> None:
        closed = () if has_network or not _can_close_network() else _NO_NETWORK
        with _unlimited_address_space():
            super().__init__([*closed, *command], env=_without_proxies(kwargs.pop("env", os.environ)), **kwargs)
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        global _overrun
        deadline = time.monotonic() + WALL_S
        while self.poll() is None:
            if _resident_bytes(self.pid) > MEMORY_BYTES:
                _overrun = Rejected(Kind.OUT_OF_MEMORY, f"the page's script needed more than {MEMORY_BYTES} bytes")
            elif time.monotonic() > deadline:
                _overrun = Rejected(Kind.TIMEOUT, f"the page's script had no end after {WALL_S:g} s")
            else:
                time.sleep(_WATCH_S)
                continue
            self.kill()
            return


def _without_proxies(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables but for proxies, whose URLs may hold passwords: scripts can read them, unless deno runs them."""
    return {name: value for name, value in environment.items() if not name.lower().endswith("_proxy")}


@contextmanager
def _unlimited_address_space() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _resident_bytes(pid: int) -> int:
    """Resident memory of a process; 0 if it has ended."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()
    except (OSError, IndexError):
        return 0


def _bound_runtimes(modules: Mapping[str, Any]) -> None:
    for name, module in modules.items():
        module.Popen = functools.partial(_Bounded, has_network=name == "deno")


_bound_runtimes(_MODULES)
