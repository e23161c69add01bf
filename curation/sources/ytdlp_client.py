"""yt-dlp with every request checked and bounded.

Runs in a guarded child process (curation/guard), one job at a time.
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from math import inf
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

from yt_dlp import YoutubeDL
from yt_dlp.networking import Request, Response
from yt_dlp.networking._requests import RequestsRH
from yt_dlp.networking.exceptions import HTTPError, NoSupportingHandlers, RequestError

from curation.download_settings import DownloadSettings
from curation.ids import digest
from curation.rejects import Kind, Rejected
from curation.sources import time_limit, ytdlp_restrictions
from curation.sources.address_policy import AddressRefused, Policy
from curation.sources.failures import FetchFailure, failure_of_connection, failure_of_http_error
from curation.sources.host_places import HostPlaces, server_of
from curation.sources.opt_out import OPT_OUT_HEADERS, opts_out
from curation.sources.request_bounds import RequestBounds
from curation.sources.sites import site_of
from curation.sources.ytdlp_params import params_of
from curation.uris import redact

log = logging.getLogger(__name__)

PAGE_BYTES = 64 * 2**20  # of one page, playlist or manifest
PAGES_BYTES = 4 * PAGE_BYTES  # of everything read before the media
_SIDE_BODY_BYTES = 1 << 20  # of the body of an error or a redirect

_AUTHORITY = re.compile(r"([^@\\\s]*@)?(\[[0-9a-fA-F:.%\w]+\]|[^@:\\\s\[\]]+)(:\d*)?")
_NEITHER_PAGE_NOR_MEDIA = re.compile(r"(application|text)/([\w.-]+\+)?(json|javascript|x-javascript|css)\b")


class BoundedYoutubeDL(YoutubeDL):  # type: ignore[misc]
    """A YoutubeDL limited to http(s), allowed addresses, places at hosts, a time, and numbers of requests and bytes.

    `failure` is the last failed request, `opt_outs` the opt-out headers received, `waited` the seconds spent on waiting
    for places, which do not count. Raises Rejected in addition to yt-dlp's errors.
    """

    def __init__(
        self, settings: DownloadSettings, policy: Policy, seconds: float, page_seconds: float = inf, **params: Any
    ) -> None:
        self.settings, self.policy = settings, policy
        self.deadline = time.monotonic() + seconds
        self.page_deadline = time.monotonic() + page_seconds + settings.sleep_requests_s
        self.places, self.waited = HostPlaces(settings.per_host), 0.0
        self.bounds = RequestBounds(settings.max_duration_s)
        self.failure: FetchFailure | None = None
        self.opt_outs: list[dict[str, str]] = []
        self.phase = "page"
        self._beside = False
        self.received = 0
        self._versions: _Versions | None = None
        super().__init__(params_of(settings) | params)

    def save_cookies(self) -> None:
        """Do nothing: the file is the user's, and many processes read it at once."""

    def expect_media(self, folder: Path | None = None, duration: float | None = None) -> None:
        """Treat the following responses as media of `duration` seconds, or as subtitles if there is no `folder`.

        Part of the media may be in `folder` already, from an earlier attempt.
        """
        self.phase, self.received = "media", 0
        self.bounds.expect_media(duration, brings_bytes=folder is not None)
        self._limit_time()
        if folder:
            self.received = sum(p.stat().st_size for p in folder.iterdir() if p.is_file())
            self._versions = _Versions(folder / "versions.json")

    def build_request_director(self, handlers: Any, preferences: Any = None) -> Any:
        """Allow a single request handler: yt-dlp's others (libcurl, websockets, FTP) would bypass these checks."""
        director = super().build_request_director([WatchedRH], preferences)
        director.handlers["Watched"].client = self
        return director

    def urlopen(self, req: Request | str) -> Response:
        request = Request(req) if isinstance(req, str) else req
        self._check_time()
        if self.policy.is_asked_helper(request.url):
            request.proxies = {"all": "__noproxy__"}
        self.check_url(request.url)
        offset = self._versions.resume(request) if self._versions else 0
        try:
            response = super().urlopen(request)
            self.failure = None
            if self._versions and response.status == 200:
                self._versions.note(request.url, response.headers.get("ETag"))
                self.received -= offset  # the existing part is discarded
            return self._bounded(response)
        except NoSupportingHandlers as error:
            known = (e for e in error.unexpected_errors if isinstance(e, Rejected))
            raise next(known, error) from None
        except HTTPError as error:
            self._bounded(error.response, _SIDE_BODY_BYTES)
            self.failure = failure_of_http_error(error, self.phase)
            self.places.leave()
            raise
        except RequestError as error:
            self.places.leave()
            if self.policy.refusal:
                raise Rejected(Kind.REFUSED, self._refused()) from None
            self.failure = failure_of_connection(error, self.settings.stall_s)
            raise

    def check_url(self, url: str) -> None:
        """Raises Rejected unless `url` is http(s) and its host is allowed."""
        try:
            parts = urlsplit(url)
            valid = parts.port != 0
        except ValueError:
            valid = False
        if not valid:
            raise Rejected(Kind.REFUSED, "a URL with an invalid host or port")
        if self.policy.is_asked_helper(url) and parts.scheme == "http":
            return
        if parts.scheme.lower() not in ("http", "https"):
            raise Rejected(Kind.REFUSED, f"a {parts.scheme}: URL; only http and https are fetched")
        if not _AUTHORITY.fullmatch(parts.netloc) or re.search(r"[\t\r\n]", url):
            raise Rejected(Kind.REFUSED, "a URL of which programs may read different hosts")
        try:
            self.policy.check_host(parts.hostname)
        except AddressRefused:
            raise Rejected(Kind.REFUSED, self._refused()) from None

    def check_redirect(self, url: str) -> None:
        """Raises Rejected unless following a redirect to `url` is allowed."""
        self.check_url(url)
        if self.phase == "page":
            self.bounds.count_redirect()

    def begin_request(self, url: str) -> None:
        """Count a request, be it to where a redirect leads, and wait for a place at its server."""
        site = site_of(url) or ""
        if self.phase == "page":
            self.bounds.count_page(site)
            self.page_deadline += self.settings.sleep_requests_s
        else:
            self.bounds.count_media(site, self.received)
        self._take_place(server_of(url, proxied=bool(self.settings.proxy)))

    def _take_place(self, server: tuple[str, ...]) -> None:
        """Wait for a place at `server`, as long as a download may take in addition to it."""
        time_limit.lift()
        try:
            waited = self.places.take(server, self.settings.timeout_s - self.waited)
            self.waited += waited
            self.deadline += waited
            self.page_deadline += waited
        finally:
            self._limit_time()

    def _refused(self) -> str:
        return f"refusing to connect: {self.policy.refusal}; download.allow_private allows loopback and private ones"

    def check_opt_out(self, url: str, headers: Any) -> None:
        """Record an opt-out in the headers of a response or redirect, each of which may come several times.

        Raises Rejected if opt-outs are honoured.
        """
        if self._beside or _NEITHER_PAGE_NOR_MEDIA.match(headers.get("Content-Type") or ""):
            return
        lines = [(header, value) for header in OPT_OUT_HEADERS for value in headers.getlist(header)]
        for header, value in lines:
            if not opts_out(header, value, self.settings.user_agent):
                continue
            if self.settings.honour_opt_out:
                raise Rejected(Kind.OPTED_OUT, f"the {self.phase}'s server opts out: {header}: {value[:200]}")
            evidence = {"header": header, "value": value[:1000], "uri": redact(url), "of": self.phase}
            if not any(o.items() >= evidence.items() for o in self.opt_outs):
                self.opt_outs.append(evidence | {"time": datetime.now(UTC).isoformat(timespec="seconds")})

    def opt_out_json(self) -> str | None:
        return json.dumps(self.opt_outs) if self.opt_outs else None

    @contextmanager
    def beside_the_page(self, seconds: float) -> Iterator[None]:
        """Ask something else within `seconds`: whatever comes of it says nothing of the page or its media."""
        failure, refusal, page_deadline = self.failure, self.policy.refusal, self.page_deadline
        begun = time.monotonic()
        self._beside, self.page_deadline = True, min(page_deadline, begun + seconds)
        self._limit_time()
        try:
            yield
        finally:
            self.failure, self.policy.refusal = failure, refusal
            self._beside, self.page_deadline = False, page_deadline + time.monotonic() - begun
            self._limit_time()

    @contextmanager
    def in_time(self) -> Iterator[None]:
        """Raise Rejected when the time is up; leave the place in the end."""
        self._limit_time()
        try:
            yield
        finally:
            time_limit.lift()
            self.places.leave()

    def _time_limit(self) -> tuple[float, str]:
        if self.phase == "page" and self.page_deadline < self.deadline:
            seconds = self.settings.page_timeout_s
            return self.page_deadline, f"the page led to no media within {seconds:g} s (download.page_timeout_s)"
        return self.deadline, f"not finished after {self.settings.timeout_s:g} s (download.timeout_s)"

    def _limit_time(self) -> None:
        time_limit.end_at(*self._time_limit())

    def _check_time(self) -> None:
        moment, message = self._time_limit()
        if time.monotonic() > moment:
            raise Rejected(Kind.TIMEOUT, message)

    def _bounded(self, response: Response, limit: int | None = None) -> Response:
        """`response` with a `read` that enforces the limits of time and bytes, and stops at `limit`, if given.

        The place at its server is left at its end.
        """
        read, media, server = response.read, self.phase == "media", self.places.held
        length = response.headers.get("Content-Length") or ""
        left = int(length) if length.isdecimal() else None
        if limit is None and left is not None and left > self.settings.max_bytes:
            raise self._too_large(f"{left} bytes")

        def bounded(amount: int | None = None) -> bytes:
            nonlocal left
            if amount is None or amount < 0:
                return self._read_all(bounded, limit)
            self._check_time()
            if left != 0 and self.places.held != server:  # another request was made since
                self._take_place(server)
            try:
                data: bytes = read(amount)
            except RequestError as error:
                self.failure = failure_of_connection(error, self.settings.stall_s)
                raise
            self.received += len(data)
            if self.received > (self.settings.max_bytes if media else PAGES_BYTES):
                raise self._too_large(f"more than {self.received} bytes")
            left = 0 if not data else left if left is None else max(0, left - len(data))
            if left == 0 and self.places.held == server:
                self.places.leave()
            return data

        response.read = bounded
        return response

    def _read_all(self, read: Any, limit: int | None) -> bytes:
        data = bytearray()
        while chunk := read(1 << 16):
            data += chunk
            if limit is not None and len(data) >= limit:
                break
            if len(data) > PAGE_BYTES:
                raise Rejected(Kind.TOO_LARGE, f"a page (not media) of more than {PAGE_BYTES} bytes")
        return bytes(data)

    def _too_large(self, what: str) -> Rejected:
        return Rejected(Kind.TOO_LARGE, f"{what}; download.max_bytes allows {self.settings.max_bytes}")


class _Versions:
    """The version (ETag) of each partly downloaded file, so that a download is not resumed from another version.

    yt-dlp sends `Range` alone; this adds the `If-Range` of RFC 9110, 13.1.5.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._known: dict[str, str] = json.loads(file.read_text()) if file.exists() else {}

    def resume(self, request: Request) -> int:
        """The byte at which `request` resumes a file, or 0; makes sure that the version is still the same."""
        match = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range") or "")
        if match and (version := self._known.get(digest(request.url))):
            request.headers["If-Range"] = version
        elif match:
            del request.headers["Range"]
        return int(match[1]) if match else 0

    def note(self, url: str, version: str | None) -> None:
        """Remember the `version` (ETag) of a complete response from `url`."""
        if version and not version.startswith("W/"):
            self._known[digest(url)] = version
            self._file.write_text(json.dumps(self._known))


class WatchedRH(RequestsRH):  # type: ignore[misc]
    """yt-dlp's handler based on `requests`, which shows every response, redirects included, to the client."""

    client: BoundedYoutubeDL

    def _create_instance(self, **kwargs: Any) -> Any:
        session = super()._create_instance(**kwargs)
        session.max_redirects = self.client.settings.max_redirects
        session.hooks["response"].append(partial(self._watch, session))
        adapter = session.get_adapter("https://")  # the one that is mounted for http too
        adapter.send = partial(self._send_in_turn, adapter.send)
        return session

    def _send_in_turn(self, send: Any, request: Any, **kwargs: Any) -> Any:
        self.client.begin_request(request.url)
        return send(request, **kwargs)

    def _watch(self, session: Any, response: Any, **_: Any) -> None:
        if response.status_code < 400:  # servers keep their error pages out of indexes
            self.client.check_opt_out(response.url, response.raw.headers)  # `requests` joins equal headers
        if response.is_redirect:
            self._skip_body(response)
            try:
                target = urljoin(response.url, session.get_redirect_target(response))
            except ValueError:
                raise Rejected(Kind.REFUSED, "a redirect to something that is not a URL") from None
            self.client.check_redirect(target)

    def _skip_body(self, response: Any) -> None:
        """Read a redirect's body, or close the connection: `requests` would read it to its end, however long it is."""
        if len(response.raw.read(_SIDE_BODY_BYTES, decode_content=False)) == _SIDE_BODY_BYTES:
            response.raw.close()
        response._content = b""


ytdlp_restrictions.apply()
