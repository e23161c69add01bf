"""URIs of videos: one form for each video asked for, and no secret in anything that is stored or logged.

Signed URLs have to be fetched as they are, and must not be kept: so each URL has `forms`, of which the one that is
fetched lives in memory only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from urllib.parse import SplitResult, quote, unquote, unquote_plus, urlsplit, urlunsplit

REDACTED = "REDACTED"
LONGEST = 16_384  # characters of an URL

_TRACKING = re.compile(
    r"utm_.+|fbclid|gclid|gclsrc|dclid|gbraid|wbraid|msclkid|twclid|ttclid|yclid|mc_[ce]id|igshid|igsh|_ga|_gl",
    re.IGNORECASE,
)
# A signature differs each time the same thing is signed, and so does what belongs to it.
_SIGNATURE = re.compile(
    r"x-(amz|goog|ms|oss|cos)-.+|(l|url)?_?sig(nature)?|key-pair-id|awsaccesskeyid|googleaccessid|hdn(ea|ts|tl)|__token__",
    re.IGNORECASE,
)
# These are part of a signature where one is beside them, or an expiry; alone they may be what tells two videos apart.
_TOKEN = re.compile(
    r"((access|auth|id|refresh|security|session|bearer|csrf|download)[_-]?)?token|policy|sign|hmac|jwt", re.IGNORECASE
)
_HASH = re.compile(r"st|hash|md5", re.IGNORECASE)  # beside an expiry only
_EXPIRY = re.compile(r"(expires?|expiry|expiration|exp|ts|timestamp)=.*|e=\d{10,13}", re.IGNORECASE)
_AZURE = re.compile(r"s[etprv]|spr|sip|sk[tesv]|sk[ot]id", re.IGNORECASE)  # beside its `sig`
# Secrets that are no signature.
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
    """`url` taken apart, its scheme and host in lower case, its fragment dropped. Raises InvalidUri."""
    if len(url) > LONGEST:
        raise InvalidUri(f"an URL of {len(url)} characters")
    if re.search(r"[\x00-\x20\x7f\\]", url):
        raise InvalidUri("the URL has a space or control character in it")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        if parts.scheme not in _DEFAULT_PORTS:
            raise InvalidUri(f"the URL's scheme is {parts.scheme!r}; only http and https are spoken")
        host = host.rstrip(".") if host.isascii() else host.rstrip(".").encode("idna").decode("ascii")
    except InvalidUri:
        raise
    except ValueError:
        raise InvalidUri("the URL's host or port makes no sense") from None
    if not host:
        raise InvalidUri("the URL has no host")
    if ":" not in host and not re.fullmatch(r"[\w.-]+", host):
        raise InvalidUri("the URL's host or port makes no sense")
    userinfo, at, _ = parts.netloc.rpartition("@")
    netloc = userinfo + at + (f"[{host}]" if ":" in host else host)
    if port is not None and port != _DEFAULT_PORTS[parts.scheme]:
        netloc += f":{port}"
    # A fragment never reaches a server, but yt-dlp takes orders from one.
    return SplitResult(parts.scheme, netloc, parts.path or "/", parts.query, "")


@dataclass(frozen=True)
class UrlForms:
    """The three forms of an URL; only `stored` may be shown."""

    fetched: str
    stored: str
    identity: str


def forms(url: str) -> UrlForms:
    """`url` as it is fetched, stored and told from others.

    `fetched` is whole but for the fragment. `stored` is normalised: without tracking, one form for each YouTube video,
    secrets redacted. `identity`, for digests only, has the secrets again but no signatures, so that an URL that is
    signed anew is the same request. Raises InvalidUri.
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
    kept = (p for p, what in _parameters(parts.query) if what is not _Is.SIGNATURE)
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
    """The parameters of `query` as they stand, each with its decoded name."""
    return [(p, unquote_plus(p.partition("=")[0])) for p in query.split("&") if p]


# --- secrets --------------------------------------------------------------------------------------------------------


def is_redacted(uri: str) -> bool:
    """Whether `uri` went through `redact` and lost something by it, so that it cannot be fetched."""
    return REDACTED in uri


def redact(text: str) -> str:
    """`text`, an URI or a message that quotes some, with signatures, keys, tokens and users replaced by REDACTED."""
    text = re.sub(r"(?<=//)[^/?#@\s]+@", f"{REDACTED}@", text)
    text = _JWT.sub(REDACTED, text)
    text = re.sub(r"(?<=[;/])(hdn\w+|jsessionid|exp)=[^/;?\s]+", rf"\1={REDACTED}", text, flags=re.IGNORECASE)
    return re.sub(r"(?<=[?#;])[^\s'\"<>?#]*=[^\s'\"<>?#]*", _redact_query, text)


def _redact_query(match: re.Match[str]) -> str:
    return "&".join(_redact_parameter(p, what is not _Is.PLAIN) for p, what in _parameters(match[0]))


def _redact_parameter(parameter: str, secret: bool) -> str:
    name, equals, value = parameter.partition("=")
    if secret and value:
        return f"{name}={REDACTED}"
    plain = unquote(value)
    inner = redact(plain) if "//" in plain else plain  # an URL inside an URL
    return parameter if inner == plain else f"{name}{equals}{quote(inner, safe='')}"


class _Is(Enum):
    """What a parameter is."""

    PLAIN = "plain"
    SIGNATURE = "signature"
    SECRET = "secret"


def _parameters(query: str) -> Iterator[tuple[str, _Is]]:
    """Each parameter of `query` as it stands, and what it is."""
    named = _named(query)
    names = [name for _, name in named]
    expires = any(_EXPIRY.fullmatch(p) for p, _ in named)
    signing = [_SIGNATURE, _TOKEN, _HASH] if expires else [_SIGNATURE]
    signed = any(p.fullmatch(n) for n in names for p in signing)
    beside = [*signing, _TOKEN, *([_AZURE] if "sv" in names else [])] if signed else []
    for parameter, name in named:
        if any(p.fullmatch(name) for p in beside) or (signed and _EXPIRY.fullmatch(parameter)):
            yield parameter, _Is.SIGNATURE
        elif _TOKEN.fullmatch(name) or _SECRET.fullmatch(name):
            yield parameter, _Is.SECRET
        else:
            yield parameter, _Is.PLAIN
