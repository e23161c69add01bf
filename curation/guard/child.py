"""A child Python process that runs functions, reused while it is healthy."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import importlib
import json
import os
import resource
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

from curation import storable
from curation.errors import disk_is_full
from curation.guard.process import (
    Crashed,
    GuardError,
    Limits,
    OutOfMemory,
    Process,
    cause_of_death,
    prefixed,
    pump,
    running,
)
from curation.rejects import Kind, Rejected

CALLS_PER_CHILD = 100
RESIDENT_BYTES_PER_CHILD = 1 << 30  # a child that has grown beyond this is not reused
_answered = threading.local()  # .seconds: CPU time that children spent on answers to this thread


def processor_s() -> float:
    """CPU seconds of this thread so far, and of children while they answered it."""
    return time.thread_time() + getattr(_answered, "seconds", 0.0)


def _count(seconds: Any) -> None:
    """Add the CPU seconds that a child reports. Raises ValueError or TypeError if they are not a valid number."""
    if not 0 <= seconds < float("inf"):
        raise ValueError
    _answered.seconds = getattr(_answered, "seconds", 0.0) + seconds


class Child:
    """A Python process that runs one function at a time; restarted after it had to be killed.

    One thread at a time may use it; pool.py keeps several.
    """

    def __init__(self) -> None:
        self._process: Process | None = None
        self._requests = self._replies = -1
        self._calls = 0

    def call(self, function: str, argument: dict[str, Any], limits: Limits) -> dict[str, Any]:
        """Call `function` ("package.module:name") in the child. Its argument and its result travel as JSON.

        A function may return a dataclass, which arrives as a dict. Every text in a result is storable, every number is
        finite and within 64 bits, and nesting is bounded, whatever the child has sent.

        Raises Rejected as the function did, OSError for a full disk, OutOfMemory, TimedOut, Overflowed, Stopped, and
        Crashed for anything else.
        """
        request = {"function": function, "argument": argument, "memory_bytes": limits.memory_bytes}
        data = json.dumps(request, allow_nan=False).encode() + b"\n"
        process = self._process or self._start()
        self._calls += 1
        try:
            answer, tail = pump(process, self._replies, limits, self._requests, data)
        except GuardError as error:
            self._end()
            raise prefixed(error, function) from None
        except BaseException:
            self._end()
            raise
        if not answer.endswith(b"\n"):
            raise prefixed(cause_of_death(self._end(), tail), function)
        try:
            return self._result(answer, function)
        finally:
            if self._calls >= CALLS_PER_CHILD or self._resident_bytes() > RESIDENT_BYTES_PER_CHILD:
                self.close()

    def _result(self, answer: bytes, function: str) -> dict[str, Any]:
        try:
            reply = json.loads(answer)
            _count(reply["processor_s"])
            if isinstance(reply["result"], dict):
                return dict(storable.tree(reply["result"]))
            kind, message = str(reply["kind"]), str(reply["message"])[:2000]
            rejected = None if kind in ("memory", "disk", "error") else Rejected(Kind(kind), message)
        except (ValueError, LookupError, TypeError, RecursionError):
            self._end()
            raise Crashed(f"{function}: its answer makes no sense") from None
        if rejected:
            raise rejected
        self._end()  # after an unexpected error its state is unknown
        if kind == "disk":
            raise OSError(errno.ENOSPC, "No space left on device", function)
        raise (OutOfMemory if kind == "memory" else Crashed)(f"{function}: {message}")

    def _start(self) -> Process:
        request, self._requests = os.pipe()
        self._replies, reply = os.pipe()
        serve = f"import curation.guard.child; curation.guard.child._serve({request}, {reply})"
        try:
            # Libraries print to standard output: send that to standard error; replies have their own pipe.
            command = [sys.executable, "-c", f"import os; os.dup2(2, 1); {serve}"]
            self._process = running.start(command, 0, pass_fds=(request, reply), stdout=subprocess.DEVNULL)
        except BaseException:
            self._close_pipes()
            raise
        finally:
            os.close(request)
            os.close(reply)
        self._calls = 0
        return self._process

    def _close_pipes(self) -> None:
        for fd in (self._requests, self._replies):
            if fd >= 0:
                os.close(fd)
        self._requests = self._replies = -1

    def _end(self) -> int:
        """Kill the process, if any. Returns its exit code, or minus the signal that it had died of."""
        process, self._process = self._process, None
        if process is None:
            return 0
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.popen.wait(0.2)  # one that is dying already has a cause of death worth reading
        code = process.finish()
        self._close_pipes()
        return code

    def _resident_bytes(self) -> int:
        """Resident memory of the working process; 0 if unknown."""
        launcher = self._process.popen.pid if self._process else 0
        try:
            worker = Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()[0]
            return int(Path(f"/proc/{worker}/statm").read_text().split()[1]) * resource.getpagesize()
        except (OSError, IndexError, ValueError):
            return 0

    def close(self) -> None:
        """Let the process end; the next call starts a new one."""
        if self._requests >= 0:
            os.close(self._requests)
            self._requests = -1
        self._end()


def _serve(requests: int, replies: int) -> None:
    """Answer requests, one JSON object per line, until there are no more."""
    for fd in (requests, replies):
        os.set_inheritable(fd, False)
    with os.fdopen(requests, "rb") as lines, os.fdopen(replies, "wb", 0) as out:
        for line in lines:
            answer = _answer(json.loads(line)) + b"\n"
            while answer:
                answer = answer[out.write(answer) :]


def _answer(request: dict[str, Any]) -> bytes:
    begun = sum(os.times()[:4])
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    memory = request["memory_bytes"]
    try:
        resource.setrlimit(resource.RLIMIT_AS, (memory if hard == resource.RLIM_INFINITY else min(memory, hard), hard))
        module, _, name = request["function"].partition(":")
        result = getattr(importlib.import_module(module), name)(request["argument"])
        if dataclasses.is_dataclass(result) and not isinstance(result, type):
            result = dataclasses.asdict(result)
        return json.dumps({"result": result, "processor_s": sum(os.times()[:4]) - begun}, allow_nan=False).encode()
    except Rejected as error:
        reply = {"kind": error.kind.value, "message": error.message}
    except BaseException as error:
        number = getattr(error, "errno", None)
        short = isinstance(error, MemoryError) or number == errno.ENOMEM
        where = traceback.extract_tb(error.__traceback__)[-1:]
        place = f" ({Path(where[0].filename).name}:{where[0].lineno})" if where else ""
        kind = "memory" if short else "disk" if disk_is_full(error) else "error"
        reply = {"kind": kind, "message": f"{type(error).__name__}: {error}{place}"}
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
    return json.dumps({"result": None, "processor_s": sum(os.times()[:4]) - begun, **reply}).encode()
