"""A server's places: how many requests all processes of a user on this machine make to it at once."""

from __future__ import annotations

import fcntl
import functools
import hashlib
import ipaddress
import os
import socket
import struct
import tempfile
import time
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from curation.rejects import Kind, Rejected
from curation.sources.sites import site_of

_POLL_S = 0.05
_LARGEST = 1 << 14  # more places than this are not told apart


class HostPlaces:
    """This process's place at one server, of the `limit` that the server has on this machine.

    A place is a lock on a byte of a file that the user's processes share: it is free again when its holder leaves it,
    or dies. Whoever takes a place at another server leaves the one before, so that nobody waits for one who waits.
    """

    def __init__(self, limit: int) -> None:
        self._limit = min(limit, _LARGEST)
        self._file: IO[bytes] | None = None
        self.held: tuple[str, ...] = ()

    def take(self, server: tuple[str, ...], patience_s: float) -> float:
        """Hold a place under each name of `server`, and no other; returns the seconds waited, `patience_s` at most.

        Raises Rejected if there is none in that time.
        """
        if server == self.held:
            return 0.0
        self.leave()
        begun = time.monotonic()
        file = self._file = _open()
        for name in dict.fromkeys(server):  # the site before the address, as all do: no two wait for each other
            turn = int.from_bytes(hashlib.sha256(name.encode()).digest()[:6], "big") * (_LARGEST + 1)
            self._wait_for(file, range(turn, turn + 1), name, begun, patience_s)
            self._wait_for(file, range(turn + 1, turn + 1 + self._limit), name, begun, patience_s)
            _lock(file, turn, fcntl.F_UNLCK)
        self.held = server
        return time.monotonic() - begun

    def _wait_for(self, file: IO[bytes], locks: range, name: str, begun: float, patience_s: float) -> None:
        """Take one of these locks: the turn to wait at `name`, so that nobody is always overtaken, or a place."""
        while not any(_lock(file, byte) for byte in locks):
            if time.monotonic() - begun > patience_s:
                self.leave()
                raise Rejected(
                    Kind.TIMEOUT,
                    f"no request to {name} was possible for {patience_s:g} s: other downloads of this machine make as "
                    "many as download.per_host allows",
                )
            time.sleep(_POLL_S)

    def leave(self) -> None:
        """Free the place, if any."""
        self.held = ()
        if self._file is not None:
            self._file.close()  # which may be repeated, if a time limit strikes here


def _lock(file: IO[bytes], byte: int, kind: int = fcntl.F_WRLCK) -> bool:
    """Lock a byte of `file`, which need not exist, until this opening of it is closed; False if it is locked."""
    try:
        fcntl.fcntl(file, fcntl.F_OFD_SETLK, struct.pack("hhqqi4x", kind, os.SEEK_SET, byte, 1, 0))
    except (BlockingIOError, PermissionError):
        return False
    return True


def _open() -> IO[bytes]:
    """The file of places: the same for all of the user's processes with this TMPDIR, and nobody else's."""
    path = Path(tempfile.gettempdir(), f"vidla-places-{os.geteuid()}")
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Rejected(Kind.INTERNAL, f"cannot open {path}: {error.strerror}; set TMPDIR to another place") from None
    status = os.fstat(file)
    if status.st_uid != os.geteuid() or status.st_mode & 0o077:
        os.close(file)
        raise Rejected(Kind.INTERNAL, f"{path} is not private to you; remove it, or set TMPDIR to another place")
    return os.fdopen(file, "r+b", buffering=0)


def server_of(url: str, *, proxied: bool) -> tuple[str, ...]:
    """The names under which the server of `url` has places: its site, and its address, which may have other names.

    Behind a proxy its address is unknown.
    """
    site = site_of(url) or ""
    parts = urlsplit(url)
    address = None if proxied else _address(parts.hostname or "")
    if address is None:
        return (site,)
    if address.is_loopback:
        return (f"{address}:{parts.port or parts.scheme}",)
    return (site, str(address))


@functools.lru_cache(1024)
def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The first of its addresses in their own order, which is the same under every name."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return None  # connecting to it will report that
    addresses = [ipaddress.ip_address(str(info[4][0]).partition("%")[0]) for info in found]
    plain = [getattr(ip, "ipv4_mapped", None) or ip for ip in addresses]
    return min(plain, key=lambda ip: (ip.version, int(ip)), default=None)
