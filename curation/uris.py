"""URIs of videos: a single stored form for each requested video, and no secrets in anything stored or logged.

Signed URLs must be fetched as they are, and must not be stored. So each URL has several `forms`; the one to fetch stays
in memory.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from urllib.parse import SplitResult, quote, unquote, unquote_plus, urlsplit, urlunsplit

REDACTED = "REDACTED"
LONGEST = 16_384  # characters of a URL

_TRACKING = re.compile(
    r"utm_.+|fbclid|gclid|gclsrc|dclid|gbraid|wbraid|msclkid|twclid|ttclid|yclid|mc_[ce]id|igshid|igsh|_ga|_gl",
    re.IGNORECASE,
)
# Signatures, and the parameters that belong to them, differ each time the same URL is signed.
_SIGNATURE = re.compile(
    r"x-(amz|goog|ms|oss|cos)-.+|(l|url)?_?sig(nature)?|key-pair-id|awsaccesskeyid|googleaccessid|hdn(ea|ts|tl)|__token__",
    re.IGNORECASE,
)
# These belong to a signature if there is one, or an expiry; alone they may distinguish two videos.
_TOKEN = re.compile(
    r"((access|auth|id|refresh|security|session|bearer|csrf|download)[_-]?)?token|policy|sign|hmac|jwt", re.IGNORECASE
)
_HASH = re.compile(r"st|hash|md5", re.IGNORECASE)  # only if there is an expiry
_EXPIRY = re.compile(r"(expires?|expiry|expiration|exp|ts|timestamp)=.*|e=\d{10,13}", re.IGNORECASE)
_AZURE = re.compile(r"s[etprv]|spr|sip|sk[tesv]|sk[ot]id", re.IGNORECASE)  # only if there is a `sig`
# Secrets other than signatures.
_SECRET = re.compile(
    r"((api|access|secret|private|subscription|auth)?[_-]?key)|(client[_-]?)?secret|pass|passw(or)?d|pwd|auth"
    r"|authorization|session(_?id)?|sid|jsessionid|phpsessid|cookie|credentials?",
    re.IGNORECASE,
)
_JWT = re.compile(r"eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]*")
_YOUTUBE = re.compile(r"(?:www\.|m\.|music\.)?youtube(?:-nocookie)?\.com|(?:www\.)?youtu\.be")
_YOUTUBE_ID = re.compile(r"[\w-]{11}", re.ASCII)
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


def _normalised(parts: SplitResult) -> SplitResult:
    if _YOUTUBE.fullmatch(parts.hostname or "") and (video := _youtube_id(parts)):
        return SplitResult("https", "www.youtube.com", "/watch", f"v={video}", "")
    kept = "&".join(p for p, name in _named(parts.query) if not _TRACKING.fullmatch(name))
    path, query = quote(parts.path, safe="/%:@!$&'()*+,;=~"), quote(kept, safe="/%:@!$&'()*+,;=~?[]{}|")
    return parts._replace(path=path, query=query)


def _unsigned(parts: SplitResult) -> str:
    kept = (p for p, kind in _parameters(parts.query) if kind is not _ParameterKind.SIGNATURE)
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


# --- secrets --------------------------------------------------------------------------------------------------------


def is_redacted(uri: str) -> bool:
    """Whether `redact` has removed something from `uri`, so that it cannot be fetched."""
    return REDACTED in uri


def redact(text: str) -> str:
    """`text`, a URI or a message that contains some, with signatures, keys, tokens and users replaced by REDACTED.

    >>> redact("cannot open https://me:pw@host/a?key=s3cret&page=2")
    'cannot open https://REDACTED@host/a?key=REDACTED&page=2'
    """
    text = re.sub(r"(?<=//)[^/?#@\s]+@", f"{REDACTED}@", text)
    text = _JWT.sub(REDACTED, text)
    text = re.sub(r"(?<=[;/])(hdn\w+|jsessionid|exp)=[^/;?\s]+", rf"\1={REDACTED}", text, flags=re.IGNORECASE)
    return re.sub(r"(?<=[?#;])[^\s'\"<>?#]*=[^\s'\"<>?#]*", _redact_query, text)


def _redact_query(match: re.Match[str]) -> str:
    return "&".join(_redact_parameter(p, kind is not _ParameterKind.PLAIN) for p, kind in _parameters(match[0]))


def _redact_parameter(parameter: str, secret: bool) -> str:
    name, equals, value = parameter.partition("=")
    if secret and value:
        return f"{name}={REDACTED}"
    plain = unquote(value)
    inner = redact(plain) if "//" in plain else plain  # a URL inside a URL
    return parameter if inner == plain else f"{name}{equals}{quote(inner, safe='')}"


class _ParameterKind(Enum):
    """The kind of a parameter in a query."""

    PLAIN = "plain"
    SIGNATURE = "signature"
    SECRET = "secret"


def _parameters(query: str) -> Iterator[tuple[str, _ParameterKind]]:
    """Each parameter of `query`, unchanged, with its kind."""
    named = _named(query)
    names = [name for _, name in named]
    expires = any(_EXPIRY.fullmatch(p) for p, _ in named)
    signing = [_SIGNATURE, _TOKEN, _HASH] if expires else [_SIGNATURE]
    signed = any(p.fullmatch(n) for n in names for p in signing)
    companions = [*signing, _TOKEN, *([_AZURE] if "sv" in names else [])] if signed else []
    for parameter, name in named:
        if any(p.fullmatch(name) for p in companions) or (signed and _EXPIRY.fullmatch(parameter)):
            yield parameter, _ParameterKind.SIGNATURE
        elif _TOKEN.fullmatch(name) or _SECRET.fullmatch(name):
            yield parameter, _ParameterKind.SECRET
        else:
            yield parameter, _ParameterKind.PLAIN
