"""Start a command, and make sure that it ends when the process that started it does.

Run as `python -I -S launcher.py LIFELINE[,HELD...] MEMORY GRACE COMMAND...`, with the standard library alone, since it
stands between the guard and every child process. LIFELINE is the read end of a pipe whose other end the guard holds:
when that closes, whether the guard ends the command or is killed itself, the command's whole session is killed. So is
anything left behind by a command that ends by itself. HELD descriptors stay open while the session is watched; the
command does not get them. MEMORY limits the command's address space, in bytes (0: unchanged). GRACE is the number of
seconds that the session has to end after SIGTERM, before it is killed; if it is not 0, a second process watches this
one, so that the session ends even if this one is killed. The exit status is the command's.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import select
import signal
import sys
import threading
import time

PR_SET_PDEATHSIG = 1


def main(descriptors: list[int], memory: int, grace: float, command: list[str]) -> None:
    lifeline = descriptors[0]
    for fd in descriptors:
        os.set_inheritable(fd, False)
    launcher = os.getpid()
    libc = ctypes.CDLL(None)
    child = os.fork()
    if child == 0:
        _exec(command, memory, launcher, libc)
    watcher = _second_watcher(child, grace) if grace else -1
    threading.Thread(target=_watch, args=(lifeline, child, grace), daemon=True).start()
    # Reap the dead child only after its session is cleared, so that its pid cannot be reused before.
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    _end(child, grace)
    with contextlib.suppress(OSError):  # there is no second watcher, or it was killed
        os.write(watcher, b"done")
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), os.WTERMSIG(status))
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


def _exec(command: list[str], memory: int, launcher: int, libc: ctypes.CDLL) -> None:
    try:
        os.setsid()
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != launcher:
            os._exit(1)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if memory:
            resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        os.execvp(command[0], command)
    except BaseException as error:
        os.write(2, f"cannot start {command[0]}: {error}\n".encode())
    os._exit(127)


def _second_watcher(child: int, grace: float) -> int:
    """Fork a process that ends the session if this one is killed. Returns a descriptor: write to it when done."""
    watched, held = os.pipe()
    if os.fork() == 0:
        os.setsid()
        for fd in (0, 1, 2, held):
            os.close(fd)
        if not os.read(watched, 1):
            _end(child, grace)
        os._exit(0)
    os.close(watched)
    return held


def _watch(lifeline: int, child: int, grace: float) -> None:
    poll = select.poll()
    poll.register(lifeline, 0)  # hang-up is always reported
    poll.poll()
    _end(child, grace)


_ending = threading.Lock()


def _end(child: int, grace: float) -> None:
    with _ending:
        shared: set[str] = set()
        if grace:
            _signal(child, signal.SIGTERM)
            until = time.monotonic() + grace
            while time.monotonic() < until and _live_members(child):
                time.sleep(0.05)
            shared = {path for pid in _live_members(child) for path in _shared_memory(pid)}
        _signal(child, signal.SIGKILL)
        for path in shared:
            with contextlib.suppress(OSError):
                os.unlink(path)  # noqa: PTH108 - pathlib is slow to import


def _signal(child: int, number: signal.Signals) -> None:
    for kill in (os.killpg, os.kill):  # before its setsid it leads no group
        with contextlib.suppress(ProcessLookupError):
            kill(child, number)


def _live_members(group: int) -> list[int]:
    """The processes of the group that still run."""
    pids = []
    for pid in filter(str.isdigit, os.listdir("/proc")):  # noqa: PTH208
        with contextlib.suppress(OSError), open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123
            state, _, its_group = file.read().rpartition(b")")[2].split()[:3]
            if int(its_group) == group and state != b"Z":
                pids.append(int(pid))
    return pids


def _shared_memory(pid: int) -> list[str]:
    """Shared memory of Python's multiprocessing in process `pid`, which stays allocated unless it is unlinked."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/maps") as file:  # noqa: PTH123
        paths = [line.rstrip("\n").partition("/")[2] for line in file if " /dev/shm/psm_" in line]
        return [f"/{path}" for path in paths if not path.endswith("(deleted)")]
    return []


if __name__ == "__main__":
    main([int(fd) for fd in sys.argv[1].split(",")], int(sys.argv[2]), float(sys.argv[3]), sys.argv[4:])
