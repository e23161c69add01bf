"""Start a command and see to it that it ends when whoever asked for it does.

Run as `python -I -S launcher.py LIFELINE[,HELD...] MEMORY GRACE COMMAND...`, with the standard library alone, since it
stands between the guard and every child process. LIFELINE is the read end of a pipe whose other end the guard holds:
when that closes, be it that the guard wants the command gone or that it was killed itself, the command's whole session
is killed. So is what a command leaves behind that ends by itself. HELD descriptors stay open as long as anybody watches
over the session; the command does not get them. MEMORY is the command's address space in bytes (0 = as it is). GRACE is
how many seconds the session gets to end, asked to by SIGTERM, before it is killed; with any, a second process watches
this one, so that the session ends even where this one is killed. The exit status is the command's own.
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
        _become(command, memory, launcher, libc)
    watcher = _second_watcher(child, grace) if grace else -1
    threading.Thread(target=_watch, args=(lifeline, child, grace), daemon=True).start()
    # The dead child is left unreaped until its session is cleared, so that its number cannot mean anyone else by then.
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    _end(child, grace)
    with contextlib.suppress(OSError):  # there is no second watcher, or it was killed
        os.write(watcher, b"done")
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), os.WTERMSIG(status))
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


def _become(command: list[str], memory: int, launcher: int, libc: ctypes.CDLL) -> None:
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
    """A process that ends the session when this one is killed; where to write to when there is nothing left to end."""
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
            while time.monotonic() < until and _members(child):
                time.sleep(0.05)
            shared = {path for pid in _members(child) for path in _shared_memory(pid)}
        _signal(child, signal.SIGKILL)
        for path in shared:
            with contextlib.suppress(OSError):
                os.unlink(path)  # noqa: PTH108 - pathlib is slow to import


def _signal(child: int, number: signal.Signals) -> None:
    for kill in (os.killpg, os.kill):  # it leads no group before its setsid
        with contextlib.suppress(ProcessLookupError):
            kill(child, number)


def _members(group: int) -> list[int]:
    """The processes of the group that have still to end."""
    members = []
    for pid in filter(str.isdigit, os.listdir("/proc")):  # noqa: PTH208
        with contextlib.suppress(OSError), open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123
            state, _, its_group = file.read().rpartition(b")")[2].split()[:3]
            if int(its_group) == group and state != b"Z":
                members.append(int(pid))
    return members


def _shared_memory(pid: int) -> list[str]:
    """What Python's multiprocessing in that process shares with others: it stays in memory where nobody unlinks it."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/maps") as file:  # noqa: PTH123
        paths = [line.rstrip("\n").partition("/")[2] for line in file if " /dev/shm/psm_" in line]
        return [f"/{path}" for path in paths if not path.endswith("(deleted)")]
    return []


if __name__ == "__main__":
    main([int(fd) for fd in sys.argv[1].split(",")], int(sys.argv[2]), float(sys.argv[3]), sys.argv[4:])
