"""Which addresses may be connected to.

URLs come from strangers, who may point a URL, a redirect or a DNS answer at the machine's own network. So addresses
are checked when a socket is about to connect, after all redirects and name resolution.
"""

from __future__ import annotations

import ipaddress
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

# Cloud services that hand out credentials, at addresses that a rule for address classes would allow.
_METADATA = frozenset(
    ipaddress.ip_address(a)
    for a in ("100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254")
)
_METADATA_NAMES = frozenset(
    {"metadata", "metadata.google.internal", "metadata.goog", "instance-data", "instance-data.ec2.internal"}
)
_NAT64 = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("64:ff9b:1::/48"))
_SHARED = ipaddress.ip_network("100.64.0.0/10")


class AddressRefused(OSError):
    """A connection to an address that the policy does not allow."""


def refusal_reason(address: str, allow_private: bool) -> str | None:
    """Why not to connect to `address` (an IP address); None if it is allowed.

    `allow_private` covers loopback and private networks, never link-local ones, where clouds keep their metadata.

    >>> refusal_reason("10.0.0.7", allow_private=False)
    'a loopback or private address'
    >>> refusal_reason("::ffff:169.254.169.254", allow_private=True)
    'a link-local or metadata address'
    """
    try:
        ip = _unwrapped(ipaddress.ip_address(address))
    except ValueError:
        return "not an IP address"
    if ip in _METADATA or ip.is_link_local:
        return "a link-local or metadata address"
    if ip.is_multicast or ip.is_unspecified or (ip.is_reserved and not ip.is_loopback):
        return "a multicast or reserved address"
    private = ip.is_loopback or ip.is_private or not ip.is_global or (ip.version == 4 and ip in _SHARED)
    return "a loopback or private address" if private and not allow_private else None


def _unwrapped(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The IPv4 address inside an IPv6 one that embeds it, else `ip`."""
    if isinstance(ip, ipaddress.IPv4Address):
        return ip
    if any(ip in network for network in _NAT64) or (ip not in (_ANY6, _LOOPBACK6) and int(ip) < 1 << 32):
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None) or ip


_ANY6, _LOOPBACK6 = ipaddress.IPv6Address("::"), ipaddress.IPv6Address("::1")


@dataclass
class Policy:
    """The connections that are allowed while it is `enforced`; `refusal` describes the first forbidden one."""

    allow_private: bool = False
    proxy: str | None = None
    refusal: str | None = None
    _proxy_addresses: frozenset[tuple[str, int]] = field(default=frozenset(), repr=False)

    def __post_init__(self) -> None:
        if self.proxy:
            parts = urlsplit(self.proxy if "://" in self.proxy else f"http://{self.proxy}")
            port = parts.port or {"https": 443}.get(parts.scheme, 1080 if parts.scheme.startswith("socks") else 80)
            try:
                found = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
            except OSError:
                found = []  # connecting to it will report that
            self._proxy_addresses = frozenset((str(info[4][0]), port) for info in found)

    def check_host(self, host: str | None) -> None:
        """Check the host of a URL: behind a proxy, its address is not visible here. Raises AddressRefused."""
        name = (host or "").lower().rstrip(".")
        reason = refusal_reason(name, self.allow_private)
        if name in _METADATA_NAMES:
            reason = "a metadata service"
        elif name == "localhost" or name.endswith(".localhost"):
            reason = None if self.allow_private else "a loopback or private address"
        elif reason == "not an IP address":
            reason = None
        if reason:
            self._refuse(name, reason)

    def check_connection(self, address: Any) -> None:
        """Check the address that a socket connects to. Raises AddressRefused."""
        host, port = (
            (str(address[0]), address[1]) if isinstance(address, tuple) and len(address) >= 2 else (repr(address), 0)
        )
        reason = refusal_reason(host, self.allow_private)
        if reason and (host, port) not in self._proxy_addresses:
            self._refuse(host, reason)

    def _refuse(self, host: str, reason: str) -> None:
        self.refusal = self.refusal or f"{host} is {reason}"
        raise AddressRefused(self.refusal)


_policy: Policy | None = None
_hooked = False


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if _policy is not None and event in ("socket.connect", "socket.sendto"):
        _policy.check_connection(arguments[1])


@contextmanager
def enforced(policy: Policy) -> Iterator[Policy]:
    """Check all connections of this process, in all threads, against `policy`: for a process with a single job.

    It is an audit hook, which Python code can neither remove nor bypass.
    """
    global _policy, _hooked
    if not _hooked:
        sys.addaudithook(_audit)
        _hooked = True
    before, _policy = _policy, policy
    try:
        yield policy
    finally:
        _policy = before
