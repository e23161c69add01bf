"""URIs of videos: a single stored form for each requested video, and no secrets in anything stored or logged.

Signed URLs must be fetched as they are, and must not be stored. So each URL has several `forms`; the one to fetch stays
in memory.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, quote, unquote_plus, unquote_to_bytes, urlsplit, urlunsplit

from curation.redaction import REDACTED as REDACTED
from curation.redaction import is_redacted as is_redacted
from curation.redaction import redact as redact
from curation.redaction import signature_parameters

LONGEST = 16_384  # characters of a URL

_TRACKING = re.compile(
    r"utm_.+|fbclid|gclid|gclsrc|dclid|gbraid|wbraid|msclkid|twclid|ttclid|yclid|mc_[ce]id|igshid|igsh|_ga|_gl",
    re.IGNORECASE,
)
_YOUTUBE = re.compile(r"(?:www\.|m\.|music\.)?youtube(?:-nocookie)?\.com|(?:www\.)?youtu\.be")
YOUTUBE_VIDEO = "https://www.youtube.com/watch?v="  # the canonical form of its videos begins so
_YOUTUBE_ID = re.compile(r"[\w-]{11}", re.ASCII)
_YOUTUBE_PLAYLIST = re.compile(r"/(playlist|(channel|c|user)/[^/]+(/.*)?|@[^/]+(/.*)?)", re.DOTALL)
_DEFAULT_PORTS = {"http": 80, "https": 443}


class InvalidUri(ValueError):
    """Not an absolute http(s) URL; the message says why, without quoting secrets."""


def parse(url: str) -> SplitResult:
    """The parts of `url`, with scheme and host in lower case and without the fragment. Raises InvalidUri."""
    if len(url) > LONGEST:
        raise InvalidUri(f"the URL has {len(url)} characters; at most {LONGEST} are allowed")
    if re.search(r"[\x00-\x20\x7f\\]", url):
        raise InvalidUri("the URL contains a space or control character")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        if parts.scheme not in _DEFAULT_PORTS:
            raise InvalidUri(f"the URL's scheme is {parts.scheme!r}; only http and https are supported")
        host = host.rstrip(".") if host.isascii() else host.rstrip(".").encode("idna").decode("ascii")
    except InvalidUri:
        raise
    except ValueError:
        raise InvalidUri("the URL's host or port is invalid") from None
    if not host:
        raise InvalidUri("the URL has no host")
    if ":" not in host and not re.fullmatch(r"[\w.-]+", host):
        raise InvalidUri("the URL's host or port is invalid")
    userinfo, at, _ = parts.netloc.rpartition("@")
    netloc = userinfo + at + (f"[{host}]" if ":" in host else host)
    if port is not None and port != _DEFAULT_PORTS[parts.scheme]:
        netloc += f":{port}"
    # A fragment never reaches a server, but yt-dlp would read options from it.
    return SplitResult(parts.scheme, netloc, parts.path or "/", parts.query, "")


@dataclass(frozen=True)
class UrlForms:
    """The three forms of a URL; only `stored` may be shown."""

    fetched: str
    stored: str
    identity: str


def forms(url: str) -> UrlForms:
    """`url` in the forms for fetching, for storing, and for identifying a request.

    `fetched` is complete but for the fragment. `stored` is normalised: without tracking parameters, with a single form
    for each YouTube video, and with secrets redacted. `identity`, for digests only, has secrets but no signatures, so
    that a URL with a new signature is the same request. Raises InvalidUri.

    >>> forms("https://youtu.be/dQw4w9WgXcQ?utm_source=x").stored
    'https://www.youtube.com/watch?v=dQw4w9WgXcQ'
    >>> signed = forms("https://cdn.example/a.mp4?id=1&X-Amz-Signature=abc#t=5")
    >>> print(signed.fetched, signed.stored, signed.identity, sep="\\n")
    https://cdn.example/a.mp4?id=1&X-Amz-Signature=abc
    https://cdn.example/a.mp4?id=1&X-Amz-Signature=REDACTED
    https://cdn.example/a.mp4?id=1
    """
    parts = parse(url)
    normal = _normalised(parts)
    return UrlForms(urlunsplit(parts), redact(urlunsplit(normal)), _unsigned(normal))


def canonical(url: str) -> str:
    """The form of `url` that is stored. Raises InvalidUri."""
    return forms(url).stored


def is_playlist(url: str) -> bool:
    """Whether `url` is, by its form, one of YouTube's playlists or channels; other sites' are not told apart.

    >>> is_playlist("https://www.youtube.com/@bees/videos"), is_playlist("https://youtu.be/dQw4w9WgXcQ?list=PL1")
    (True, False)
    """
    parts = urlsplit(url)
    return bool(_YOUTUBE.fullmatch(parts.hostname or "") and _YOUTUBE_PLAYLIST.fullmatch(parts.path.rstrip("/")))


def path_of(uri: str) -> Path:
    """The path that a file: URI names, whatever the encoding of its name.

    >>> path_of("file:///films/a%20b%E9.mp4").name.encode(errors="surrogateescape")
    b'a b\\xe9.mp4'
    """
    return Path(os.fsdecode(unquote_to_bytes(urlsplit(uri).path)))


def unredacted(url: str) -> str:
    """`canonical`, but with secrets: for comparisons, never to be stored. Raises InvalidUri."""
    return urlunsplit(_normalised(parse(url)))


def _normalised(parts: SplitResult) -> SplitResult:
    if _YOUTUBE.fullmatch(parts.hostname or "") and (video := _youtube_id(parts)):
        return SplitResult("https", "www.youtube.com", "/watch", f"v={video}", "")
    kept = "&".join(p for p, name in _named(parts.query) if not _TRACKING.fullmatch(name))
    path, query = quote(parts.path, safe="/%:@!$&'()*+,;=~"), quote(kept, safe="/%:@!$&'()*+,;=~?[]{}|")
    return parts._replace(path=path, query=query)


def _unsigned(parts: SplitResult) -> str:
    parameters = [p for p, _ in _named(parts.query)]
    kept = (p for p, signs in zip(parameters, signature_parameters(parameters), strict=True) if not signs)
    return urlunsplit(parts._replace(query="&".join(kept)))


def _youtube_id(parts: SplitResult) -> str | None:
    steps = parts.path.strip("/").split("/")
    if parts.netloc.endswith("youtu.be"):
        found = steps[0]
    elif steps[0] == "watch":
        found = next((p.partition("=")[2] for p, name in _named(parts.query) if name == "v"), "")
    else:
        found = steps[1] if len(steps) > 1 and steps[0] in ("shorts", "embed", "live", "v", "e") else ""
    return found if _YOUTUBE_ID.fullmatch(found) else None


def _named(query: str) -> list[tuple[str, str]]:
    """The parameters of `query`, unchanged, each with its decoded name."""
    return [(p, unquote_plus(p.partition("=")[0])) for p in query.split("&") if p]
