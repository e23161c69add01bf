"""Which addresses may be connected to.

URLs come from strangers, who may point a URL, a redirect or a DNS answer at the machine's own network. So addresses
are checked when a socket is about to connect, after all redirects and name resolution.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

# Cloud services that hand out credentials, at addresses that a rule for address classes would allow.
_METADATA = frozenset(
    ipaddress.ip_address(a)
    for a in ("100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254")
)
_METADATA_NAMES = frozenset(
    {"metadata", "metadata.google.internal", "metadata.goog", "instance-data", "instance-data.ec2.internal"}
)
_LOCAL_NAME = re.compile(r"[^.]+|.*\.(local|localdomain|internal|intranet|lan|home\.arpa)")
_NAME = re.compile(r"[\w.-]+")
_NUMBER = re.compile(r"\d+|0x[0-9a-f]*", re.ASCII)  # a last label by which programs take a name for an IPv4 address
_EMBEDDING = tuple(map(ipaddress.ip_network, ("64:ff9b::/96", "64:ff9b:1::/48", "::ffff:0:0:0/96")))
_GLOBAL6 = ipaddress.ip_network("2000::/3")
# Not public, whatever the version of Python knows of them.
_SPECIAL = tuple(
    map(ipaddress.ip_network, ("100.64.0.0/10", "192.0.0.0/24", "192.88.99.0/24", "2001:db8::/32", "3fff::/20"))
)


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
    special = any(ip in network for network in _SPECIAL) or (ip.version == 6 and ip not in _GLOBAL6)
    private = ip.is_loopback or ip.is_private or not ip.is_global or special
    return "a loopback or private address" if private and not allow_private else None


def _unwrapped(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The IPv4 address inside an IPv6 one that embeds it, else `ip`."""
    if isinstance(ip, ipaddress.IPv4Address):
        return ip
    if any(ip in network for network in _EMBEDDING) or (ip not in (_ANY6, _LOOPBACK6) and int(ip) < 1 << 32):
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None) or ip


_ANY6, _LOOPBACK6 = ipaddress.IPv6Address("::"), ipaddress.IPv6Address("::1")


def name_refusal_reason(host: str, allow_private: bool) -> str | None:
    """Why not to ask anybody, such as a proxy, to connect to `host` (a name or address); None if it is allowed.

    Others may decode or fold its characters, and read a number in it as an address.

    >>> name_refusal_reason("0x7f.1", allow_private=False), name_refusal_reason("example.org", allow_private=False)
    ('a loopback or private address', None)
    """
    name = _folded(host)
    last = name.rpartition(".")[2]
    if ":" in name or _canonical_ipv4(name):
        return refusal_reason(name, allow_private)
    if not _NAME.fullmatch(name):
        return "not the name of a host"
    if name in _METADATA_NAMES:
        return "a metadata service"
    if _NUMBER.fullmatch(last):
        return _number_refusal_reason(name, allow_private)
    if allow_private:
        return None
    if name == "localhost" or name.endswith(".localhost"):
        return "a loopback or private address"
    if _LOCAL_NAME.fullmatch(name):
        return "a name in a local network"
    return "a name that ends in a digit, as no public one does" if last[-1].isdigit() else None


def _folded(host: str) -> str:
    """`host` as it may be read in the end: decoded, its digits and dots folded, without invisible characters."""
    name = unicodedata.normalize("NFKC", unquote(host)).replace("。", ".")
    return "".join(c for c in name if unicodedata.category(c) != "Cf").lower().rstrip(".")


def _canonical_ipv4(name: str) -> bool:
    try:
        return str(ipaddress.IPv4Address(name)) == name
    except ValueError:
        return False


def _number_refusal_reason(name: str, allow_private: bool) -> str:
    """The reason for the address that `name` may spell; none is allowed, since programs read them differently."""
    try:
        reason = refusal_reason(socket.inet_ntoa(socket.inet_aton(name)), allow_private)
    except OSError:
        reason = None
    return reason or "an address in an unusual spelling"


@dataclass
class Policy:
    """The connections that are allowed while it is `enforced`; `refusal` describes the first forbidden one.

    `helpers` (HOST:PORT) may be connected to while `asking_helpers` is true, whatever their addresses.
    """

    allow_private: bool = False
    proxy: str | None = None
    helpers: tuple[str, ...] = ()
    asking_helpers: bool = False
    refusal: str | None = None
    _proxy_addresses: frozenset[tuple[str, int]] = field(default=frozenset(), repr=False)
    _helper_addresses: frozenset[tuple[str, int]] = field(default=frozenset(), repr=False)

    def __post_init__(self) -> None:
        for name, port in map(_helper, self.helpers):
            self._helper_addresses |= _addresses(name, port)
        if self.proxy:
            parts = urlsplit(self.proxy if "://" in self.proxy else f"http://{self.proxy}")
            port = parts.port or {"https": 443}.get(parts.scheme, 1080 if parts.scheme.startswith("socks") else 80)
            self._proxy_addresses = _addresses(parts.hostname, port)

    def check_host(self, host: str | None) -> None:
        """Check the host of a URL: behind a proxy, its address is not visible here. Raises AddressRefused."""
        if reason := name_refusal_reason(host or "", self.allow_private):
            self._refuse(host or "it", reason)

    def check_connection(self, address: Any) -> None:
        """Check the address that a socket connects to. Raises AddressRefused."""
        host, port = (
            (str(address[0]), address[1]) if isinstance(address, tuple) and len(address) >= 2 else (repr(address), 0)
        )
        reason = refusal_reason(host, self.allow_private)
        allowed = self._proxy_addresses | (self._helper_addresses if self.asking_helpers else frozenset())
        if reason and (host, port) not in allowed:
            self._refuse(host, reason)

    def is_asked_helper(self, url: str) -> bool:
        """Whether `url` is that of a helper, and helpers are asked now."""
        if not self.asking_helpers:
            return False
        parts = urlsplit(url)
        return (parts.hostname or "", parts.port or 80) in map(_helper, self.helpers)

    def _refuse(self, host: str, reason: str) -> None:
        self.refusal = self.refusal or f"{host} is {reason}"
        raise AddressRefused(self.refusal)


def _helper(named: str) -> tuple[str, int]:
    """The name and port of a helper, as they stand in a URL.

    >>> _helper("[::1]:4416")
    ('::1', 4416)
    """
    name, _, port = named.rpartition(":")
    return name.strip("[]").lower(), int(port)


def _addresses(host: str | None, port: int) -> frozenset[tuple[str, int]]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        return frozenset()  # connecting to it will report that
    return frozenset((str(info[4][0]), port) for info in found)


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


@contextmanager
def asking_helpers() -> Iterator[None]:
    """Let the policy in force allow connections to its helpers."""
    policy = _policy or Policy()
    before, policy.asking_helpers = policy.asking_helpers, True
    try:
        yield
    finally:
        policy.asking_helpers = before
