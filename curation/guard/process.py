"""A child process under the launcher: bounded in time, memory and output."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

STDERR_TAIL = 4096
_LAUNCHER = str(Path(__file__).with_name("launcher.py"))
_KEPT_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR")


class GuardError(Exception):
    """A child process failed; the kinds below say how."""


class TimedOut(GuardError):
    """It took longer than its wall time."""


class OutOfMemory(GuardError):
    """It hit its memory limit."""


class Crashed(GuardError):
    """It died, failed, or answered nonsense; the message has the exit code or signal and its last output.

    `code` is the exit code, or minus the signal; None if it did not end by itself.
    """

    code: int | None = None


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
        self.end_s = 5 + grace_s  # within which it ends after `kill`
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
        with running.lock:
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
        with running.lock:
            running.processes.discard(self)
        return code


class Running:
    """The child processes that run now. After `stop_all`, no more are started."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.processes: set[Process] = set()
        self.stopped = False

    def start(self, *args: Any, **kwargs: Any) -> Process:
        """`Process(*args, **kwargs)`. Raises Stopped."""
        with self.lock:
            if self.stopped:
                raise Stopped("stopped; nothing more is started")
            process = Process(*args, **kwargs)
            self.processes.add(process)
        return process

    def forget(self) -> None:
        """In a fork: the parent's children are not ours."""
        self.lock, self.stopped = threading.RLock(), False  # the parent may have held the lock
        for process in self.processes:
            if process.lifeline >= 0:
                os.close(process.lifeline)
        self.processes.clear()


running = Running()


def start_server(
    command: Sequence[str], environment: Mapping[str, str], grace_s: float, held: Sequence[int] = ()
) -> Process:
    """Start a command that runs until it is killed, with `grace_s` seconds to end by itself.

    Both of its outputs arrive in `popen.stdout`. The descriptors in `held` stay open until all of its processes have
    ended, whichever is killed; the command does not get them. Raises Stopped.
    """
    return running.start(command, 0, stderr=subprocess.STDOUT, environment=environment, grace_s=grace_s, held=held)


def start_detached(code: str, argument: bytes, log_file: IO[bytes], pass_fds: Sequence[int]) -> subprocess.Popen[bytes]:
    """Start a Python process that may outlive this one; `stop_all` does not end it.

    `argument` is its standard input; its output goes to `log_file`. Its environment is as small as any child's.
    """
    with tempfile.TemporaryFile() as file:
        file.write(argument)
        file.seek(0)
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=file,
            stdout=log_file,
            stderr=log_file,
            pass_fds=pass_fds,
            start_new_session=True,
            env=_environment(),
        )
    threading.Thread(target=process.wait, name="reaper", daemon=True).start()  # so that it does not stay a zombie
    return process


def _environment() -> dict[str, str]:
    """A child's environment: no keys or tokens, the same import path as here, and single-threaded libraries."""
    kept = {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}
    return kept | _import_path() | {"MALLOC_ARENA_MAX": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def _import_path() -> dict[str, str]:
    paths = os.pathsep.join(str(Path(p).absolute()) for p in sys.path)
    return {"PYTHONPATH": paths, "PYTHONSAFEPATH": "1"}


def pump(process: Process, reading: int, limits: Limits, writing: int = -1, data: bytes = b"") -> tuple[bytes, bytes]:
    """Write `data` to `writing`; read `reading` to its end or, if there is a `writing`, to the end of a line.

    Returns the bytes read and the tail of standard error. Raises TimedOut, Overflowed.
    """
    deadline = time.monotonic() + limits.wall_s
    stderr = process.popen.stderr.fileno() if process.popen.stderr else -1
    answer, tail, one_line = bytearray(), b"", writing >= 0
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
                if one_line and (chunk.endswith(b"\n") or (not chunk and key.fd == reading)):
                    return bytes(answer), tail
    return bytes(answer), tail


def _write(fd: int, data: bytes) -> int:
    try:
        return os.write(fd, data[: 1 << 16])
    except BrokenPipeError:
        return len(data)  # it has died, which the end of its output shows


def run(command: Sequence[str], limits: Limits) -> bytes:
    """Run `command` and return its standard output. It has no standard input and a minimal environment.

    Raises TimedOut, OutOfMemory, Overflowed, Crashed (not started, non-zero exit, signal) and Stopped.
    """
    process = running.start(command, limits.memory_bytes)
    begun = time.monotonic()
    try:
        stdout = process.popen.stdout
        output, tail = pump(process, stdout.fileno() if stdout else -1, limits)
        try:
            process.popen.wait(max(0.0, limits.wall_s - (time.monotonic() - begun)))
        except subprocess.TimeoutExpired:
            raise TimedOut(f"no end after {limits.wall_s:g} s") from None
    except GuardError as error:
        process.finish()
        raise prefixed(error, command[0]) from None
    except BaseException:
        process.finish()
        raise
    code = process.finish()
    if code:
        raise prefixed(cause_of_death(code, tail), command[0])
    return output


def prefixed(error: GuardError, name: str) -> GuardError:
    """`error` with the name of the command or function in front; Stopped if `stop_all` caused it."""
    if running.stopped:
        return Stopped(f"{name}: stopped")
    named = type(error)(f"{Path(name).name}: {error}")
    vars(named).update(vars(error))
    return named


def cause_of_death(code: int, tail: bytes) -> GuardError:
    last_output = " ".join(tail.decode(errors="replace").split())[-500:]
    how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    short = any(text in tail for text in (b"Cannot allocate memory", b"MemoryError", b"bad_alloc", b"ut of memory"))
    error = (OutOfMemory if short else Crashed)(f"{how}: {last_output}" if last_output else how)
    if isinstance(error, Crashed):
        error.code = code
    return error
