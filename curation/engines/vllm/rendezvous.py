"""Where the processes of one user on one machine find the one that keeps what they share, and become it where there is
none."""

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
    """A folder for `name` that nobody else can look into, the same for every process of this user with this TMPDIR."""
    above = Path(tempfile.gettempdir(), f"vidla-vllm-{os.geteuid()}")
    try:
        for folder in (above, above / name):
            with contextlib.suppress(FileExistsError):
                folder.mkdir(0o700)
            found = folder.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
                raise EngineError(f"{folder} is not a folder of yours alone; remove it, or set TMPDIR to another place")
    except OSError as error:
        raise EngineError(f"cannot use {above}: {error.strerror}; set TMPDIR to another place") from None
    return above / name


def connect(folder: Path) -> socket.socket | None:
    """A connection to the process that keeps what belongs to `folder`; None where there is none."""
    link = new_socket()
    try:
        with _address(folder) as address:
            link.connect(address)
    except OSError:
        link.close()
        return None
    return link


def lock(folder: Path) -> IO[bytes] | None:
    """A file whose descriptor is the only one with the right to listen; None where another process has that.

    It can be handed to a child, and the right goes with the last copy.
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
    """Where others connect to; for the one who has the lock, since it takes the place of one that was left behind."""
    path = folder / SOCKET
    path.unlink(missing_ok=True)
    with new_socket() as listener:
        with _address(folder) as address:
            listener.bind(address)
        listener.listen(128)
        try:
            yield listener
        finally:
            path.unlink(missing_ok=True)


def new_socket() -> socket.socket:
    """A socket that keeps messages apart."""
    return socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)


@contextlib.contextmanager
def _address(folder: Path) -> Iterator[str]:
    """The socket's path, however long that of the folder is: a socket's has a narrow limit."""
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{opened}/{SOCKET}"
    finally:
        os.close(opened)
