"""Start a command and see to it that it ends when whoever asked for it does.

Run as `python -I -S launch.py LIFELINE MEMORY COMMAND...`, with the standard library alone, since it stands between the
guard and every child process. LIFELINE is the read end of a pipe whose other end the guard holds: when that closes, be
it that the guard wants the command gone or that it was killed itself, the command's whole session is killed. MEMORY is
the command's address space in bytes (0 = as it is). Its exit status becomes this process's own.
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

PR_SET_PDEATHSIG = 1


def main(lifeline: int, memory: int, command: list[str]) -> None:
    os.set_inheritable(lifeline, False)
    launcher = os.getpid()
    libc = ctypes.CDLL(None)
    child = os.fork()
    if child == 0:
        _become(command, memory, launcher, libc)
    threading.Thread(target=_watch, args=(lifeline, child), daemon=True).start()
    # The dead child is left unreaped until its session is cleared, so that its number cannot mean anyone else by then.
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    _kill(child)
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


def _watch(lifeline: int, child: int) -> None:
    poll = select.poll()
    poll.register(lifeline, 0)  # hang-up is always reported
    poll.poll()
    _kill(child)


def _kill(child: int) -> None:
    for kill in (os.killpg, os.kill):  # it leads no group before its setsid
        with contextlib.suppress(ProcessLookupError):
            kill(child, signal.SIGKILL)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
