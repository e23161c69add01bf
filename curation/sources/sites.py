"""The site of a URL: its registered domain, the same for all names under which a site runs its servers."""

from __future__ import annotations

import functools
import ipaddress
from urllib.parse import urlsplit

from publicsuffixlist import PublicSuffixList

# Registered domains of one site; subdomains such as `m.` and `music.` need no mention.
_ALIASES = {
    "youtu.be": "youtube.com",
    "youtube-nocookie.com": "youtube.com",
    "youtubekids.com": "youtube.com",
    "dai.ly": "dailymotion.com",
    "fb.com": "facebook.com",
    "fb.watch": "facebook.com",
    "instagr.am": "instagram.com",
    "twitter.com": "x.com",
    "t.co": "x.com",
    "redd.it": "reddit.com",
    "b23.tv": "bilibili.com",
    "flic.kr": "flickr.com",
    "vkontakte.ru": "vk.com",
    "vk.ru": "vk.com",
    "vkvideo.ru": "vk.com",
    "odnoklassniki.ru": "ok.ru",
    "twitch.com": "twitch.tv",
}


def site_of(url: str) -> str | None:
    """The site that a URL is fetched from; None for a file: URL.

    An address is its own site. On loopback each port is one, since a different program listens there.

    >>> [site_of(url) for url in ("https://youtu.be/x", "https://m.youtube.com/", "http://a.example.co.uk:81/")]
    ['youtube.com', 'youtube.com', 'example.co.uk']
    """
    parts = urlsplit(url)
    if parts.scheme == "file":
        return None
    host = (parts.hostname or "").rstrip(".")
    address = _address(host)
    if host == "localhost" or (address and address.is_loopback):
        return f"{host}:{parts.port or parts.scheme}"
    return host if address else _registered(host)


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


@functools.lru_cache(4096)
def _registered(host: str) -> str:
    try:
        name = host.encode("idna").decode("ascii")
    except UnicodeError:
        name = host
    domain = _suffixes().privatesuffix(name) or name
    return _ALIASES.get(domain, domain)


@functools.cache
def _suffixes() -> PublicSuffixList:
    """Mozilla's Public Suffix List, which names suffixes of hosting services too: their customers are sites."""
    return PublicSuffixList()
