"""The one way to run a child process: bounded in time, memory and output, and never left behind.

Media from strangers is decoded by C code that may crash, hang or be subverted. It runs in children: `run` for a
command, `call` for a function of ours in a Python child that is kept while it is healthy. What comes back from a child
is plain JSON, never a pickle.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import importlib
import json
import os
import resource
import selectors
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from curation.rejects import Kind, Rejected

CALLS_PER_CHILD = 100
RESIDENT_BYTES_PER_CHILD = 1 << 30  # a child that has grown beyond this is not used again
STDERR_TAIL = 4096
_LAUNCHER = str(Path(__file__).with_name("launcher.py"))
_KEPT_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR")


class GuardError(Exception):
    """A child process that did not do what it was asked for."""


class TimedOut(GuardError):
    """It took longer than its wall time."""


class OutOfMemory(GuardError):
    """It ran into its memory limit."""


class Crashed(GuardError):
    """It died, failed, or answered nonsense; the message has the exit code or signal and what it said last."""


class Overflowed(GuardError):
    """It wrote more than its output limit."""


class Stopped(GuardError):
    """`stop_all` ended it."""


@dataclass(frozen=True)
class Limits:
    """The bounds of one command or call: wall time in seconds, address space and output in bytes."""

    wall_s: float
    memory_bytes: int
    output_bytes: int = 1 << 20


# --- processes ------------------------------------------------------------------------------------------------------


class Process:
    """A command under the launcher (launcher.py), with pipes to it. Closing the lifeline kills its session."""

    def __init__(
        self,
        command: Sequence[str],
        memory_bytes: int,
        pass_fds: Sequence[int] = (),
        stdout: int = subprocess.PIPE,
        stderr: int = subprocess.PIPE,
        environment: Mapping[str, str] | None = None,
        grace_s: float = 0.0,
        held: Sequence[int] = (),
    ) -> None:
        watched, self.lifeline = os.pipe()
        launcher, descriptors = (sys.executable, "-I", "-S", _LAUNCHER), (watched, *held)
        self.end_s = 5 + grace_s  # by when it has ended after `kill`
        try:
            self.popen = subprocess.Popen(
                [*launcher, ",".join(map(str, descriptors)), str(memory_bytes), str(grace_s), *command],
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                pass_fds=(*descriptors, *pass_fds),
                start_new_session=True,
                env=_environment() if environment is None else environment,
            )
        except BaseException:
            os.close(self.lifeline)
            raise
        finally:
            os.close(watched)

    def kill(self) -> None:
        """Kill everything in the session. May be called from any thread, and more than once."""
        with _lock:
            lifeline, self.lifeline = self.lifeline, -1
        if lifeline >= 0:
            os.close(lifeline)

    def finish(self) -> int:
        """Kill what still runs and return the exit code, or minus the signal."""
        self.kill()
        try:
            self.popen.wait(self.end_s)
        except subprocess.TimeoutExpired:  # only if the launcher itself is stopped
            self.popen.kill()
        code = self.popen.wait()
        for pipe in (self.popen.stdout, self.popen.stderr):
            if pipe is not None:
                pipe.close()
        with _lock:
            _running.discard(self)
        return code


_answered = threading.local()  # seconds: what children have spent on answers to a thread
_lock = threading.RLock()
_running: set[Process] = set()
_idle: list[Child] = []
_stopped = False


def processor_s() -> float:
    """Processor seconds that this thread has taken so far, and children for the answers that they gave it."""
    return time.thread_time() + getattr(_answered, "seconds", 0.0)


def _count(seconds: Any) -> None:
    """Take a child's word for what its answer has taken. Raises ValueError, TypeError where it makes no sense."""
    if not 0 <= seconds < float("inf"):
        raise ValueError
    _answered.seconds = getattr(_answered, "seconds", 0.0) + seconds


def _start(*args: Any, **kwargs: Any) -> Process:
    with _lock:
        if _stopped:
            raise Stopped("stopped; nothing is started any more")
        process = Process(*args, **kwargs)
        _running.add(process)
    return process


def start_server(
    command: Sequence[str], environment: Mapping[str, str], grace_s: float, held: Sequence[int] = ()
) -> Process:
    """Start a command that goes on until it is told to end, and has `grace_s` seconds to do so.

    What it says on either output is in `popen.stdout`. The descriptors in `held` stay open until nothing is left of it,
    whatever is killed; it does not get them itself. Raises Stopped.
    """
    return _start(command, 0, stderr=subprocess.STDOUT, environment=environment, grace_s=grace_s, held=held)


def start_apart(code: str, argument: bytes, said: IO[bytes], pass_fds: Sequence[int]) -> subprocess.Popen[bytes]:
    """Start a Python process of ours that may outlive this one: when to end is its own affair, and none of `stop_all`.

    `argument` is its standard input; what it says goes to the file `said`.
    """
    with tempfile.TemporaryFile() as file:
        file.write(argument)
        file.seek(0)
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=file,
            stdout=said,
            stderr=said,
            pass_fds=pass_fds,
            start_new_session=True,
            env={**os.environ, **_modules()},
        )
    threading.Thread(target=process.wait, name="reaper", daemon=True).start()  # so that it leaves no zombie
    return process


def _environment() -> dict[str, str]:
    """What a child gets to see: no keys, no tokens; the same modules as here; no threads that it did not ask for."""
    kept = {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}
    return kept | _modules() | {"MALLOC_ARENA_MAX": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def _modules() -> dict[str, str]:
    paths = os.pathsep.join(str(Path(p).absolute()) for p in sys.path)
    return {"PYTHONPATH": paths, "PYTHONSAFEPATH": "1"}


def _pump(process: Process, reading: int, limits: Limits, writing: int = -1, data: bytes = b"") -> tuple[bytes, bytes]:
    """Write `data` to `writing`, and read `reading` to its end or, where something was written, to the end of a line.

    Returns what was read and the tail of standard error. Raises TimedOut, Overflowed.
    """
    deadline = time.monotonic() + limits.wall_s
    stderr = process.popen.stderr.fileno() if process.popen.stderr else -1
    answer, tail, line_wanted = bytearray(), b"", writing >= 0
    with selectors.DefaultSelector() as selector:
        for fd in (reading, stderr, writing):
            if fd >= 0:
                os.set_blocking(fd, False)
                selector.register(fd, selectors.EVENT_WRITE if fd == writing else selectors.EVENT_READ)
        while any(key.fd != writing for key in selector.get_map().values()):
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimedOut(f"no end after {limits.wall_s:g} s")
            for key, _ in selector.select(left):
                if key.fd == writing:
                    data = data[_write(writing, data) :]
                    if not data:
                        selector.unregister(writing)
                    continue
                chunk = os.read(key.fd, 1 << 16)
                if not chunk:
                    selector.unregister(key.fd)
                elif key.fd == stderr:
                    tail = (tail + chunk)[-STDERR_TAIL:]
                    continue
                answer += chunk
                if len(answer) > limits.output_bytes:
                    raise Overflowed(f"more than {limits.output_bytes} bytes of output")
                if line_wanted and (chunk.endswith(b"\n") or (not chunk and key.fd == reading)):
                    return bytes(answer), tail
    return bytes(answer), tail


def _write(fd: int, data: bytes) -> int:
    try:
        return os.write(fd, data[: 1 << 16])
    except BrokenPipeError:
        return len(data)  # it has died; the end of its answer says so


def run(command: Sequence[str], limits: Limits) -> bytes:
    """Run `command` and return what it wrote to standard output. It has no standard input and a bare environment.

    Raises TimedOut, OutOfMemory, Overflowed, Crashed (not started, non-zero exit, signal) and Stopped.
    """
    process = _start(command, limits.memory_bytes)
    begun = time.monotonic()
    try:
        stdout = process.popen.stdout
        output, tail = _pump(process, stdout.fileno() if stdout else -1, limits)
        try:
            process.popen.wait(max(0.0, limits.wall_s - (time.monotonic() - begun)))
        except subprocess.TimeoutExpired:
            raise TimedOut(f"no end after {limits.wall_s:g} s") from None
    except GuardError as error:
        process.finish()
        raise _named(error, command[0]) from None
    except BaseException:
        process.finish()
        raise
    code = process.finish()
    if code:
        raise _named(_death(code, tail), command[0])
    return output


def _named(error: GuardError, name: str) -> GuardError:
    return Stopped(f"{name}: stopped") if _stopped else type(error)(f"{Path(name).name}: {error}")


def _death(code: int, tail: bytes) -> GuardError:
    said = " ".join(tail.decode(errors="replace").split())[-500:]
    how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    short = any(text in tail for text in (b"Cannot allocate memory", b"MemoryError", b"bad_alloc", b"ut of memory"))
    return (OutOfMemory if short else Crashed)(f"{how}: {said}" if said else how)


# --- functions in a child -------------------------------------------------------------------------------------------


class Child:
    """A Python process that calls functions for us, one at a time, and is started anew after it had to be killed.

    One thread at a time may use it; `call` below has a pool of them.
    """

    def __init__(self) -> None:
        self._process: Process | None = None
        self._requests = self._replies = -1
        self._calls = 0

    def call(self, function: str, argument: dict[str, Any], limits: Limits) -> dict[str, Any]:
        """`function` ("package.module:name") called with `argument` in the child; both ways JSON.

        Raises Rejected as the function did, OSError for a full disk, OutOfMemory, TimedOut, Overflowed, Stopped, and
        Crashed for all else.
        """
        request = {"function": function, "argument": argument, "memory_bytes": limits.memory_bytes}
        data = json.dumps(request, allow_nan=False).encode() + b"\n"
        process = self._process or self._start()
        self._calls += 1
        try:
            answer, tail = _pump(process, self._replies, limits, self._requests, data)
        except GuardError as error:
            self._end()
            raise _named(error, function) from None
        except BaseException:
            self._end()
            raise
        if not answer.endswith(b"\n"):
            raise _named(_death(self._end(), tail), function)
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
                return dict(reply["result"])
            kind, message = str(reply["kind"]), str(reply["message"])[:2000]
            rejected = None if kind in ("memory", "disk", "error") else Rejected(Kind(kind), message)
        except (ValueError, LookupError, TypeError, RecursionError):
            self._end()
            raise Crashed(f"{function}: its answer makes no sense") from None
        if rejected:
            raise rejected
        self._end()  # after an error that nobody foresaw, nothing is known of its state
        if kind == "disk":
            raise OSError(errno.ENOSPC, "No space left on device", function)
        raise (OutOfMemory if kind == "memory" else Crashed)(f"{function}: {message}")

    def _start(self) -> Process:
        request, self._requests = os.pipe()
        self._replies, reply = os.pipe()
        serve = f"import curation.guard.pool; curation.guard.pool._serve({request}, {reply})"
        try:
            # Libraries print to standard output: it goes where standard error goes, and replies have their own pipe.
            command = [sys.executable, "-c", f"import os; os.dup2(2, 1); {serve}"]
            self._process = _start(command, 0, pass_fds=(request, reply), stdout=subprocess.DEVNULL)
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
        """Kill the process, if any; its exit code, or minus the signal that it had died of."""
        process, self._process = self._process, None
        if process is None:
            return 0
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.popen.wait(0.2)  # one that is dying already has a cause of death worth reading
        code = process.finish()
        self._close_pipes()
        return code

    def _resident_bytes(self) -> int:
        """Of the process that does the work; 0 where it cannot be known."""
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


def call(function: str, argument: dict[str, Any], limits: Limits) -> dict[str, Any]:
    """`Child.call` on a child of a pool that grows with the threads that use it. Raises as `Child.call` does."""
    with _lock:
        if _stopped:
            raise Stopped(f"{function}: stopped")
        child = _idle.pop() if _idle else Child()
    try:
        return child.call(function, argument, limits)
    finally:
        with _lock:
            _idle.append(child)


def stop_all() -> None:
    """Kill every child and command at once. Calls under way in other threads raise Stopped, and so do later ones."""
    global _stopped
    with _lock:
        _stopped = True
        idle, running = list(_idle), list(_running)
        _idle.clear()
    for process in running:
        process.kill()
    for child in idle:
        child.close()
    for process in running:
        try:
            process.popen.wait(process.end_s)
        except subprocess.TimeoutExpired:
            process.popen.kill()


def resume() -> None:
    """Allow calls again after `stop_all`."""
    global _stopped
    with _lock:
        _stopped = False


def _forget() -> None:
    """In a forked copy of this process: its parent's children are not its own."""
    global _lock, _stopped
    _lock, _stopped = threading.RLock(), False
    for process in _running:
        if process.lifeline >= 0:
            os.close(process.lifeline)
    _running.clear()
    _idle.clear()


atexit.register(stop_all)
os.register_at_fork(after_in_child=_forget)


# --- inside the child -----------------------------------------------------------------------------------------------


def _serve(requests: int, replies: int) -> None:
    """Answer requests, a JSON object a line, until there are no more."""
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
        return json.dumps({"result": result, "processor_s": sum(os.times()[:4]) - begun}, allow_nan=False).encode()
    except Rejected as error:
        reply = {"kind": error.kind.value, "message": error.message}
    except BaseException as error:
        number = getattr(error, "errno", None)
        short = isinstance(error, MemoryError) or number == errno.ENOMEM
        where = traceback.extract_tb(error.__traceback__)[-1:]
        place = f" ({Path(where[0].filename).name}:{where[0].lineno})" if where else ""
        kind = "memory" if short else "disk" if number == errno.ENOSPC else "error"
        reply = {"kind": kind, "message": f"{type(error).__name__}: {error}{place}"}
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
    return json.dumps({"result": None, "processor_s": sum(os.times()[:4]) - begun, **reply}).encode()
