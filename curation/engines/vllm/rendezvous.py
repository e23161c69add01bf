"""How the processes of one user on one machine find their keeper, or take the right to become it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from curation.errors import EngineError

SOCKET, LOCK = "socket", "lock"


def private_folder(name: str) -> Path:
    """A folder for `name` that only this user can read, the same for all of the user's processes with this TMPDIR."""
    above = Path(tempfile.gettempdir(), f"vidla-vllm-{os.geteuid()}")
    try:
        for folder in (above, above / name):
            with contextlib.suppress(FileExistsError):
                folder.mkdir(0o700)
            status = folder.lstat()
            if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
                raise EngineError(f"{folder} is not private to you; remove it, or set TMPDIR to another place")
    except OSError as error:
        raise EngineError(f"cannot use {above}: {error.strerror}; set TMPDIR to another place") from None
    return above / name


def connect(folder: Path) -> socket.socket | None:
    """A connection to the keeper of `folder`; None if there is none."""
    link = new_socket()
    try:
        with reachable(folder) as address:
            link.connect(f"{address}/{SOCKET}")
    except OSError:
        link.close()
        return None
    return link


def lock(folder: Path) -> IO[bytes] | None:
    """The exclusive right to listen in `folder`, as an open file; None if another process holds it.

    A child can inherit the descriptor; the right ends when the last copy is closed.
    """
    held = (folder / LOCK).open("ab")
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        held.close()
        return None
    return held


@contextlib.contextmanager
def listening(folder: Path) -> Iterator[socket.socket]:
    """The socket that others connect to. Needs the lock: it replaces a socket left by a dead keeper."""
    path = folder / SOCKET
    path.unlink(missing_ok=True)
    with new_socket() as listener:
        with reachable(folder) as address:
            listener.bind(f"{address}/{SOCKET}")
        listener.listen(128)
        try:
            yield listener
        finally:
            path.unlink(missing_ok=True)


def new_socket() -> socket.socket:
    """A socket that preserves message boundaries."""
    return socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)


@contextlib.contextmanager
def reachable(folder: Path) -> Iterator[str]:
    """A short path to `folder`, however long its own: the paths of sockets have a tight limit.

    It works in all of the user's processes, as long as the context is open.
    """
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/{os.getpid()}/fd/{opened}"
    finally:
        os.close(opened)
