"""Which addresses and names are connected to, directly and through a proxy."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.rejects import Kind
from curation.secret import Secret
from curation.sources import address_policy
from curation.sources.address_policy import name_refusal_reason, refusal_reason
from tests.support.fetching import rejected
from tests.support.web_server import WebServer


def port_of(web: WebServer) -> int:
    return int(web.url("").rsplit(":", 1)[1])


# --- addresses ------------------------------------------------------------------------------------------------------


@pytest.mark.hostile("addresses")
@pytest.mark.parametrize(
    ("address", "public", "with_private"),
    [
        ("93.184.215.14", True, True),
        ("2606:2800:21f:cb07:6820:80da:af6b:8b2c", True, True),
        ("127.8.9.10", False, True),
        ("10.1.2.3", False, True),
        ("172.31.0.1", False, True),
        ("192.168.1.1", False, True),
        ("100.64.0.1", False, True),
        ("::1", False, True),
        ("fd12::1", False, True),
        ("::ffff:10.0.0.1", False, True),
        ("2002:7f00:1::", False, True),
        ("64:ff9b::127.0.0.1", False, True),
        ("::127.0.0.1", False, True),
        ("169.254.169.254", False, False),
        ("::ffff:169.254.169.254", False, False),
        ("64:ff9b::169.254.169.254", False, False),
        ("fe80::1", False, False),
        ("fe80::1%eth0", False, False),
        ("fd00:ec2::254", False, False),
        ("100.100.100.200", False, False),
        ("168.63.129.16", False, False),
        ("0.0.0.0", False, False),
        ("::", False, False),
        ("224.0.0.1", False, False),
        ("ff02::1", False, False),
        ("240.0.0.1", False, False),
        ("255.255.255.255", False, False),
        ("fec0::1", False, True),
        ("feff:ffff::1", False, True),
        ("3fff::1", False, True),
        ("3fff:fff:ffff::1", False, True),
        ("192.0.0.1", False, True),
        ("192.0.0.9", False, True),
        ("192.0.0.170", False, True),
        ("192.0.0.192", False, False),
        ("192.88.99.1", False, True),
        ("198.18.0.1", False, True),
        ("203.0.113.5", False, True),
        ("2001:db8::1", False, True),
        ("5f00::1", False, False),
        ("100::1", False, False),
        ("::ffff:0:169.254.169.254", False, False),
        ("localhost", False, False),
    ],
)
def test_allowed_addresses(address: str, public: bool, with_private: bool) -> None:
    assert (refusal_reason(address, False) is None) is public
    assert (refusal_reason(address, True) is None) is with_private


@pytest.mark.hostile("addresses")
@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f000001", "[::ffff:127.0.0.1]", "[::1]"]
)
def test_private_addresses_are_refused_in_all_their_forms(web: WebServer, tmp_path: Path, host: str) -> None:
    error = rejected(web.url("/video.mp4", host), tmp_path, allow_private=False)
    assert error.kind is Kind.REFUSED
    assert "loopback or private" in error.message
    assert not web.asked


@pytest.mark.hostile("addresses")
def test_the_resolved_address_counts_not_the_name(web: WebServer, tmp_path: Path) -> None:
    """Only the check of the connection itself can detect it: the name looks like any other."""
    with address_policy.enforced(address_policy.Policy()) as policy:
        policy.check_host("some-name.example")
        with pytest.raises(address_policy.AddressRefused):
            socket.create_connection(("localhost", port_of(web)), 1)
        assert policy.refusal == "127.0.0.1 is a loopback or private address"
    socket.create_connection(("localhost", port_of(web)), 1).close()


# --- names, of which a proxy knows the address ----------------------------------------------------------------------

LOOPBACK = [
    "2130706433",
    "0x7f000001",
    "017700000001",
    "127.1",
    "127.0.1",
    "0x7f.1",
    "0X7F.0.0.0x1",
    "0177.0.0.01",
    "127.0.0.1.",
    "１２７.0.0.1",
    "①②⑦.0.0.1",
    "𝟙𝟚𝟟.0.0.1",
    "127。0。0。1",
    "127．0．0．1",
    "%31%32%37.0.0.1",
    "%EF%BC%91%EF%BC%92%EF%BC%97.1",
    "12\u200b7.0.0.1",
    "12\u00ad7.0.0.1",
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:7f00:1",
    "::127.0.0.1",
    "64:ff9b::7f00:1",
    "2002:7f00:1::",
    "localhost",
    "LOCALHOST.",
    "ｌｏｃａｌｈｏｓｔ",
    "a.localhost",
]
NOT_A_PUBLIC_NAME = [
    "",
    ".",
    "10.0.0.1",
    "192.168.1",
    "0xa.1",
    "010.0.0.1",
    "10.1",
    "1.2.3.4.5",
    "256.256.256.256",
    "4294967297",
    "0x",
    "a.0x7f",
    "example.1",
    "a.b2",
    "server1",
    "٣.٣.٣.٣",
    "intranet",
    "printer.local",
    "db.internal",
    "router.lan",
    "nas.home.arpa",
    "a b.example",
    "a\\b.example",
    "a%00.example",
    "127.0.0.1%2f.example",
    "[::1]",
    "1::2::3",
    "fe80::1%25eth0",
]
METADATA = [
    "2852039166",
    "0xa9fea9fe",
    "169.254.43518",
    "0251.0376.0251.0376",
    "１６９.254.169.254",
    "::ffff:a9fe:a9fe",
]
METADATA += ["metadata", "METADATA.google.internal.", "metadata.goog", "instance-data", "ｍetadata", "169.254.169.254"]
PUBLIC = ["example.org", "example.org.", "93.184.215.14", "2606:4700::1111", "xn--p1ai.xn--p1ai", "пример.рф", "1.b.io"]
PUBLIC += ["3com.com", "bücher.example", "a_b.example.org", "0x7f.example.org", "127.0.0.1.example.org"]


@pytest.mark.hostile("addresses")
@pytest.mark.parametrize("host", [*LOOPBACK, *NOT_A_PUBLIC_NAME, *METADATA], ids=ascii)
def test_other_spellings_of_private_addresses_are_refused(host: str) -> None:
    assert name_refusal_reason(host, allow_private=False)


@pytest.mark.hostile("addresses")
@pytest.mark.parametrize("host", METADATA, ids=ascii)
def test_metadata_is_refused_even_where_private_addresses_are_allowed(host: str) -> None:
    assert name_refusal_reason(host, allow_private=True)


@pytest.mark.parametrize("host", PUBLIC, ids=ascii)
def test_public_names_are_allowed(host: str) -> None:
    assert name_refusal_reason(host, allow_private=False) is None


PRIVATE4 = [
    "10.0.0.0/8",
    "127.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "100.64.0.0/10",
    "192.0.0.0/24",
    "0.0.0.0/8",
]
PRIVATE6 = [
    "fec0::/10",
    "3fff::/20",
    "fc00::/7",
    "fe80::/10",
    "::ffff:10.0.0.0/104",
    "64:ff9b::7f00:0/104",
    "2001:db8::/32",
]


@st.composite
def addresses(draw: st.DrawFn, networks: list[str]) -> str:
    network = ipaddress.ip_network(draw(st.sampled_from(networks)))
    return str(network[draw(st.integers(0, network.num_addresses - 1))])


@st.composite
def spellings(draw: st.DrawFn, networks: list[str]) -> str:
    """An IPv4 address in a form that some program reads: fewer parts, other bases, other digits, escapes."""
    left = int(ipaddress.IPv4Address(draw(addresses(networks))))
    parts = []
    for shift in (24, 16, 8)[: draw(st.integers(0, 3))]:
        parts.append(left >> shift)
        left &= (1 << shift) - 1
    written = [draw(st.sampled_from(["{}", "{:#x}", "{:#X}", "0{:o}", "0x0{:x}"])).format(p) for p in [*parts, left]]
    name = draw(st.sampled_from([".", ".", "。", "．"])).join(written) + draw(st.sampled_from(["", "."]))
    changed: list[Callable[[str], str]] = [
        str,
        lambda c: chr(ord(c) - ord("0") + 0xFF10) if c.isdigit() else c,
        lambda c: quote(c, safe="") if ord(c) > 127 else f"%{ord(c):02x}",
        lambda c: c + "\u2060",
    ]
    return "".join(draw(st.sampled_from(changed))(c) for c in name)


@pytest.mark.hostile("addresses")
@given(spellings(PRIVATE4))
def test_no_spelling_of_a_private_address_is_allowed(host: str) -> None:
    assert name_refusal_reason(host, allow_private=False)


@pytest.mark.hostile("addresses")
@given(spellings(["169.254.0.0/16", "100.100.100.200/32", "168.63.129.16/32"]))
def test_no_spelling_of_a_metadata_address_is_ever_allowed(host: str) -> None:
    assert name_refusal_reason(host, allow_private=True)


@pytest.mark.hostile("addresses")
@given(addresses(PRIVATE6))
def test_no_private_ipv6_address_is_allowed(host: str) -> None:
    assert name_refusal_reason(host, allow_private=False) and refusal_reason(host, allow_private=False)


@given(addresses(["93.0.0.0/8", "2606:4700::/32"]))
def test_every_public_address_is_allowed(host: str) -> None:
    assert name_refusal_reason(host, allow_private=False) is None and refusal_reason(host, allow_private=False) is None


# --- through a proxy ------------------------------------------------------------------------------------------------


@pytest.mark.hostile("addresses")
def test_a_proxy_may_have_a_private_address_but_nothing_else_there(web: WebServer, tmp_path: Path) -> None:
    with address_policy.enforced(address_policy.Policy(proxy=web.url(""))):
        socket.create_connection(("127.0.0.1", port_of(web)), 1).close()
        with pytest.raises(address_policy.AddressRefused):
            socket.create_connection(("127.0.0.1", 9), 1)
    # The server is used as a proxy, and has nothing under that name.
    error = rejected("http://forest.example/missing.mp4", tmp_path, allow_private=False, proxy=Secret(web.url("")))
    assert error.kind is Kind.NOT_FOUND
    assert web.paths() == ["http://forest.example/missing.mp4"]


@pytest.mark.hostile("addresses")
@pytest.mark.parametrize("host", ["10.0.0.1", "2130706433", "0x7f.1", "127.1", "１２７.0.0.1", "server.1", "[fec0::1]"])
def test_a_proxy_is_not_asked_for_private_hosts(web: WebServer, tmp_path: Path, host: str) -> None:
    error = rejected(f"http://{host}/video.mp4", tmp_path, allow_private=False, proxy=Secret(web.url("")))
    assert error.kind is Kind.REFUSED and not web.asked


@pytest.mark.hostile("addresses")
@pytest.mark.parametrize(
    "target",
    [
        "http://127.0.0.1/video.mp4",
        "http://2130706433/video.mp4",
        "http://127.1/video.mp4",
        "http://１２７.0.0.1/video.mp4",
        "http://%31%32%37.0.0.1/video.mp4",
        "http://127.0.0.1\\@forest.example/video.mp4",
        "http://forest.example\\@127.0.0.1/video.mp4",
        "http://a@b@127.1/video.mp4",
        "http://127.\t1/video.mp4",
        "//0x7f.1/video.mp4",
        "http://[::ffff:7f00:1]/video.mp4",
        "http://169.254.169.254/video.mp4",
    ],
    ids=ascii,
)
def test_a_redirect_through_a_proxy_leads_to_no_private_host(web: WebServer, tmp_path: Path, target: str) -> None:
    url = f"http://forest.example/to?{quote(target, safe='')}"
    error = rejected(url, tmp_path, allow_private=False, proxy=Secret(web.url("")))
    assert error.kind is Kind.REFUSED, error
    assert web.paths() == [url]
