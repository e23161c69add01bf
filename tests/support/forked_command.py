"""`python -m MODULE` in a fork of a process that has done its imports, which take 2 to 4 s of processor time.

It has arguments, an environment, a working directory and outputs of its own; only the imports are shared. For tests of
what the command does; those of how it starts use the real one.
"""

from __future__ import annotations

import array
import atexit
import contextlib
import gc
import importlib
import io
import json
import os
import random
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self

from tests.support.project import ROOT

IMPORTED = (
    "apache_beam",
    "efficientnet_lite_pytorch",
    "pipelines.driver.curate",
    "pipelines.stages.caption",
    "pipelines.stages.download",
    "pipelines.stages.segment",
    "pipelines.stages.summarize",
    "pyarrow.fs",
    "torch",
    "vidla.cli",
    "vidla.curate_commands",
    "vidla.dataset_commands",
    "vidla.inspect",
)
READ_AT_THE_START = ("HF_", "LANG", "LC_", "LD_", "MKL_", "OMP_", "PYTHON", "TORCH", "TRANSFORMERS_")
"""Prefixes of variables that Python and libraries read when they start or are imported."""


def _started_by(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(READ_AT_THE_START)}


class ForkedCommand:
    """Runs modules in forks of one process."""

    def __init__(self) -> None:
        self._environment = _started_by(os.environ)
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-m", "tests.support.forked_command", str(theirs.fileno())]
        self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()], cwd=ROOT, stdout=subprocess.DEVNULL)
        theirs.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ours.close()
        self._process.wait(600)

    def run(self, module: str, *arguments: str | Path, timeout: float = 240) -> subprocess.CompletedProcess[str]:
        """What subprocess.run returns, and raises if it takes longer than `timeout` seconds."""
        command = [sys.executable, "-m", module, *map(str, arguments)]
        if _started_by(os.environ) != self._environment:
            return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
        with contextlib.ExitStack() as opened:
            ends = [opened.enter_context(os.fdopen(os.memfd_create(name), "w+b")) for name in ("stdout", "stderr")]
            status, told = (opened.enter_context(end) for end in socket.socketpair(socket.AF_UNIX))
            request = json.dumps({"command": command, "environment": dict(os.environ), "folder": str(Path.cwd())})
            descriptors = array.array("i", [*(end.fileno() for end in ends), told.fileno()])
            ancillary: Any = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)]
            self._ours.sendmsg([len(request.encode()).to_bytes(8, "big")], ancillary)
            told.close()
            status.sendall(request.encode())
            process = int(_line(status, 600))  # the first one waits for the imports
            try:
                code = int(_line(status, timeout))
            except TimeoutError:
                os.kill(process, signal.SIGKILL)
                raise subprocess.TimeoutExpired(command, timeout) from None
            texts = []
            for end in ends:
                end.seek(0)
                texts.append(io.TextIOWrapper(end).read())
        return subprocess.CompletedProcess(command, code, *texts)


def _line(connection: socket.socket, timeout_s: float) -> str:
    deadline, data = time.monotonic() + timeout_s, b""
    while not data.endswith(b"\n"):
        connection.settimeout(max(0.001, deadline - time.monotonic()))
        read = connection.recv(1)
        assert read, "the process that runs commands has ended"
        data += read
    return data.decode()


def _serve(requests: socket.socket) -> None:
    """Fork for every request, until the other end is closed."""
    for name in IMPORTED:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # so that forks share the memory
    while True:
        while select.select([requests], [], [], 1.0)[0]:
            data, ancillary, _, _ = requests.recvmsg(8, 1024)
            if not data:
                return
            descriptors = array.array("i", ancillary[0][2])
            if os.fork() == 0:
                requests.close()
                _run(int.from_bytes(data, "big"), *descriptors)
            for descriptor in descriptors:
                os.close(descriptor)
            _reap()
        _reap()


def _reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _run(length: int, stdout: int, stderr: int, told: int) -> NoReturn:
    """Run one command in a child of this process, and tell its id and its exit code."""
    with socket.socket(fileno=told) as status:
        data = b""
        while len(data) < length:
            data += status.recv(length - len(data))
        request = json.loads(data)
        child = os.fork()
        if child == 0:
            status.close()
            os.dup2(stdout, 1)
            os.dup2(stderr, 2)
            os.closerange(3, 1024)
            _become(**request)
        status.sendall(f"{child}\n".encode())
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        with contextlib.suppress(OSError):  # a test that waits no longer
            status.sendall(f"{code}\n".encode())
    os._exit(0)


def _become(command: list[str], environment: dict[str, str], folder: str) -> NoReturn:
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    time.tzset()
    tempfile.tempdir = None
    random.seed()
    _, _, module, *arguments = command
    sys.argv = [module, *arguments]
    status = 1
    try:
        runpy.run_module(module, run_name="__main__")
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
    os._exit(0)  # an orderly end would unfreeze and free all that was imported
