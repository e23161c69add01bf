"""Why a video could not be fetched: from HTTP statuses, broken connections and sites' messages to kinds of reject."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass

from yt_dlp.networking.exceptions import HTTPError, IncompleteRead, ProxyError, RequestError
from yt_dlp.utils import ContentTooShortError, DownloadError, ExtractorError, GeoRestrictedError, UnsupportedError

from curation.errors import causes
from curation.rejects import Kind
from curation.retry_after import parse_retry_after

# Messages of sites and yt-dlp. The first matching kind wins: a bot check comes before the login that it asks for.
_MESSAGES: tuple[tuple[Kind, tuple[str, ...]], ...] = (
    (
        Kind.BOT_CHECK,
        (
            r"not a (ro)?bot|anti-?bot|bot (check|detection|protection)|are human|captcha",
            r"unusual traffic|automated (queries|requests|access)",
            r"just a moment\.\.\.|attention required! \| cloudflare|pardon our interruption",
        ),
    ),
    (Kind.RATE_LIMITED, (r"rate.?limit|too many requests|http error 429",)),
    (
        Kind.PRIVATE,
        (
            r"\bprivate video|video is (set to )?private|(is|was made|been made) private",
            r"private (content|account|channel|profile)",
        ),
    ),
    (
        Kind.GEO_BLOCKED,
        (
            r"geo.?(restrict|block|locat)|(in|from|to) your (country|region|location|area)",
            r"not available in this (country|region)|outside of? \w+ only",
        ),
    ),
    (
        Kind.LIVE,
        (
            r"premieres? in|upcoming (stream|video|event)|will begin in|(stream|event) has not started",
            r"live event (will|has)|(is|not) currently live|live ?stream|is live\b",
        ),
    ),
    (
        Kind.LOGIN_REQUIRED,
        (
            r"\b(sign|log|logged|signed)[ -]?in\b|\blogin\b|registered users|account credentials|use --cookies",
            r"\bage\b.{0,30}(restrict|confirm|verif|limit|gate)|(confirm|verify) your age|age-?restricted",
            r"inappropriate for some users|authentication|password",
            r"members[ -]only|join this channel|subscribers?[ -]only|subscri(be|ption)|premium|purchase",
        ),
    ),
    (
        Kind.NOT_FOUND,
        (
            r"(been|was|is) (removed|deleted|taken down|terminated)|no longer (available|exists?)|copyright claim",
            r"does ?n.t exist|not exist|not found(?!\W+please install)|has been closed|http error (404|410)",
            r"(video|content|this) (is |is currently )?(unavailable|not available)",
        ),
    ),
    (
        Kind.NO_VIDEO,
        (
            r"no (video|media)( formats?)?( could be)? found|no video in|there is no video|not a video|unsupported url",
            r"did not get any data",
        ),
    ),
    (Kind.UNSUPPORTED, (r"\bdrm\b|requested format is not available|unusual and will be skipped",)),
)
_PATTERNS = {kind: re.compile("|".join(messages), re.IGNORECASE) for kind, messages in _MESSAGES}
_NETWORK = re.compile(
    r"\[download\] Got error|giving up after|unable to download video data|fragment \d{1,9} not found", re.IGNORECASE
)
_BUG = "please report this issue"  # what yt-dlp adds where a site is not as its extractor expects
_ADDED = re.compile(r"\x1b\[[0-9;]*m|^ERROR: *|; please report this issue.*|\(caused by .*", re.DOTALL)  # by yt-dlp
_KINDS_OF_403 = frozenset({Kind.BOT_CHECK, Kind.RATE_LIMITED, Kind.PRIVATE, Kind.GEO_BLOCKED, Kind.LOGIN_REQUIRED})
_ADVICE = {
    Kind.BOT_CHECK: "the site takes us for a bot; set download.cookies_file, a proxy or longer sleeps, and retry later",
    Kind.LOGIN_REQUIRED: "set download.cookies_file to the cookies of an account with access",
    Kind.GEO_BLOCKED: "set download.proxy to a proxy in a country where it is available",
    Kind.LIVE: "retry when the stream has ended",
}


@dataclass(frozen=True)
class FetchFailure:
    """A failed attempt at a download; `retry_after` is the wait that the server asked for, in seconds."""

    kind: Kind
    message: str
    retry_after: float | None = None


def failure_of_status(status: int, headers: Mapping[str, str], body: str, phase: str) -> FetchFailure:
    """The failure that an HTTP status stands for; the start of the `body` decides where the status is ambiguous.

    `phase` is "page" or "media": a media server that refuses what the page promised takes us for a bot.

    >>> failure_of_status(403, {}, "", "page").kind, failure_of_status(403, {}, "", "media").kind
    (<Kind.LOGIN_REQUIRED: 'login_required'>, <Kind.BOT_CHECK: 'bot_check'>)
    """
    retry_after = parse_retry_after(headers.get("Retry-After"))
    message = f"HTTP {status} for the {phase}"
    if status in (404, 410):
        return FetchFailure(Kind.NOT_FOUND, message)
    if status == 429:
        return FetchFailure(Kind.RATE_LIMITED, f"{message}: too many requests", retry_after)
    if status == 408:
        return FetchFailure(Kind.TIMEOUT, f"{message}: the server gave up waiting", retry_after)
    if status == 451:
        return FetchFailure(Kind.GEO_BLOCKED, f"{message}: unavailable for legal reasons")
    if status in (401, 402, 403, 503):
        if headers.get("cf-mitigated") == "challenge":
            return _with_advice(Kind.BOT_CHECK, message)
        kind = _kind_in(body)
        if kind and kind in (_KINDS_OF_403 if status != 503 else {Kind.BOT_CHECK}):
            return _with_advice(kind, message)
    if status in (401, 402) or (status == 403 and phase == "page"):
        return _with_advice(Kind.LOGIN_REQUIRED, message)
    if status == 403:
        return _with_advice(Kind.BOT_CHECK, message)
    if status >= 500:
        return FetchFailure(Kind.SERVER_ERROR, message, retry_after)
    return FetchFailure(Kind.UNSUPPORTED, message)


def failure_of_connection(error: BaseException, stall_s: float) -> FetchFailure:
    """The failure of a connection that could not be made, or broke."""
    chain = list(causes(error))

    def caused_by(*types: type[BaseException]) -> BaseException | None:
        return next((c for c in chain if isinstance(c, types)), None)

    if caused_by(ProxyError):
        return FetchFailure(Kind.CONNECTION, "the proxy did not connect")
    if found := caused_by(socket.gaierror):
        return FetchFailure(Kind.CONNECTION, f"the host's name does not resolve: {found.args[-1]}")
    if caused_by(TimeoutError) or any("timed out" in str(c).lower() for c in chain):
        return FetchFailure(Kind.TIMEOUT, f"stalled: no data for {stall_s:g} s")
    if caused_by(ConnectionRefusedError):
        return FetchFailure(Kind.CONNECTION, "connection refused")
    if found := caused_by(ssl.SSLError):
        return FetchFailure(Kind.CONNECTION, f"no secure connection: {found.args[-1]}")
    if isinstance(found := caused_by(IncompleteRead, ContentTooShortError), IncompleteRead):
        return FetchFailure(
            Kind.CONNECTION,
            f"the connection ended after {found.partial} bytes, {found.expected or 'some'} before the end",
        )
    if found or caused_by(ConnectionResetError, BrokenPipeError):
        return FetchFailure(Kind.CONNECTION, "the connection was reset before the end")
    return FetchFailure(Kind.CONNECTION, f"the connection failed: {error}")


def failure_of_extraction(error: BaseException, seen: FetchFailure | None, stall_s: float) -> FetchFailure:
    """The failure behind yt-dlp's `error`; `seen` is the last failed request, which may be its cause.

    `stall_s` is the number of seconds after which a silent connection was given up.
    """
    chain = list(causes(error))
    if any(isinstance(c, GeoRestrictedError) for c in chain):
        return _with_advice(Kind.GEO_BLOCKED, _plain(error))
    if (seen and any(isinstance(c, RequestError | ContentTooShortError) for c in chain)) or _is_network_message(error):
        return seen or failure_of_connection(error, stall_s)
    if any(isinstance(c, UnsupportedError) for c in chain):
        return FetchFailure(Kind.NO_VIDEO, "no video in the page")
    kind = _kind_in(str(error))
    if kind and not (kind is Kind.NOT_FOUND and _BUG in str(error)):  # it is yt-dlp that does not find something
        return _with_advice(kind, _plain(error))
    return seen or FetchFailure(Kind.UNSUPPORTED, f"yt-dlp cannot handle it: {_plain(error)}")


def _is_network_message(error: BaseException) -> bool:
    """Whether a message is about a network error: yt-dlp's downloaders keep only the text of the exception."""
    return isinstance(error, DownloadError) and bool(_NETWORK.search(str(error)))


def _kind_in(text: str) -> Kind | None:
    return next((kind for kind, pattern in _PATTERNS.items() if pattern.search(text)), None)


def _with_advice(kind: Kind, message: str) -> FetchFailure:
    return FetchFailure(kind, f"{message}; {_ADVICE[kind]}" if kind in _ADVICE else message)


def _plain(error: BaseException) -> str:
    """yt-dlp's message without prefixes and requests to report the issue."""
    text = error.orig_msg if isinstance(error, ExtractorError) and error.orig_msg else str(error)
    return " ".join(_ADDED.sub("", text).split())[:500]


def failure_of_http_error(error: HTTPError, phase: str) -> FetchFailure:
    """The failure behind yt-dlp's `error` for an HTTP status; reads the start of the body."""
    if error.redirect_loop:
        return FetchFailure(Kind.REFUSED, "redirected more often than download.max_redirects allows")
    try:
        body = error.response.read(1 << 16).decode("utf-8", "replace")
    except (RequestError, OSError):
        body = ""
    return failure_of_status(error.status, error.response.headers, body, phase)
