"""The users who own the TCP sockets of this machine, as the kernel lists them."""

from __future__ import annotations

import ipaddress
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_ESTABLISHED, _LISTENING = "01", "0A"


class _Socket(NamedTuple):
    address: Address
    port: int
    state: str
    uid: int


def connector(address: Address, port: int) -> int | None:
    """The user whose process holds the end `address`:`port` of an open connection; None if there is none."""
    # A socket that its process has closed would count as root's; it is not in this state any more.
    return next((s.uid for s in _sockets(_ESTABLISHED) if (s.address, s.port) == (address, port)), None)


def listeners(address: Address, port: int) -> set[int]:
    """The users whose processes listen on `port` at this address, or at all of the machine's."""
    return {s.uid for s in _sockets(_LISTENING) if s.port == port and (s.address == address or _is_any(s.address))}


def is_ours(address: Address) -> bool:
    """Whether it is an address of this machine."""
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    with socket.socket(family) as probe:
        try:
            probe.bind((str(address), 0))
        except OSError:
            return False
    return True


def plain(address: str) -> Address:
    """The address that a text stands for. IPv4 within IPv6 becomes IPv4. Raises ValueError."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    return (parsed.ipv4_mapped or parsed) if parsed.version == 6 else parsed


def _is_any(address: Address) -> bool:
    return address.is_unspecified


def _sockets(state: str) -> Iterator[_Socket]:
    for table in _TABLES:
        if not table.exists():  # a machine without IPv6
            continue
        for line in table.read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == state and fields[9] != "0":
                address, _, port = fields[1].partition(":")
                yield _Socket(_decode(address), int(port, 16), state, int(fields[7]))


def _decode(words: str) -> Address:
    """An address from the kernel's 32-bit words in hexadecimal, each in the machine's byte order."""
    numbers = (int(words[at : at + 8], 16) for at in range(0, len(words), 8))
    raw = b"".join(number.to_bytes(4, sys.byteorder) for number in numbers)
    return plain(str(ipaddress.ip_address(raw)))
