"""The parameters of yt-dlp that follow from the settings of downloads."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from typing import Any

from curation.download_settings import DownloadSettings
from curation.sources import js_runtime
from curation.storable import TEXT_CHARS
from curation.uris import redact

log = logging.getLogger(__name__)


class _Log:
    """yt-dlp's output, redacted, in our log."""

    def debug(self, message: str) -> None:
        log.debug("%s", redact(message[:TEXT_CHARS]))

    info = debug

    def warning(self, message: str) -> None:
        log.info("%s", redact(message[:TEXT_CHARS]))

    error = warning  # a final failure is reported as a reject


def params_of(settings: DownloadSettings) -> dict[str, Any]:
    """The parameters of a YoutubeDL with these settings."""
    params: dict[str, Any] = {
        "logger": _Log(),
        "quiet": True,
        "noprogress": True,
        "color": "never",
        "format": settings.format,
        "cookiefile": settings.cookies_file,
        "cookiesfrombrowser": _browser(settings.cookies_from_browser),
        "extractor_args": _extractor_arguments(secret.reveal() for secret in settings.extractor_args),
        "js_runtimes": js_runtime.choices(settings.js_runtime),
        "proxy": settings.proxy.reveal() if settings.proxy else "",  # "": not even one from the environment
        "ratelimit": settings.rate_limit,
        "sleep_interval": settings.sleep_interval_s or None,
        "sleep_interval_requests": settings.sleep_requests_s or None,
        "socket_timeout": settings.stall_s,
        "retries": 0,  # attempts are counted in one place, which knows the time left and the Retry-After
        "extractor_retries": 0,
        "file_access_retries": 0,
        "fragment_retries": settings.attempts - 1,
        "retry_sleep_functions": {"fragment": lambda n: settings.retry_wait_s * 2**n},
        "skip_unavailable_fragments": False,  # otherwise a video with holes passes for complete
        "noplaylist": True,
        "geo_bypass": False,  # no false X-Forwarded-For
        "default_search": "error",
        "enable_file_urls": False,
        "allow_unplayable_formats": False,
        "fixup": "never",
        "updatetime": False,
    }
    if settings.user_agent:
        params["http_headers"] = {"User-Agent": settings.user_agent}
    return params


def _browser(named: str | None) -> tuple[str, ...] | None:
    """The browser to take cookies from, in yt-dlp's form: its name and, if given, its profile."""
    return tuple(filter(None, named.partition(":")[::2])) if named else None


def _extractor_arguments(arguments: Iterable[str]) -> dict[str, dict[str, list[str]]]:
    r"""Arguments as on yt-dlp's command line, in the form of its parameter; a comma in a value is written `\,`.

    >>> _extractor_arguments(["youtube:player_client=tv,web;lang=en"])
    {'youtube': {'player_client': ['tv', 'web'], 'lang': ['en']}}
    """
    parsed: dict[str, dict[str, list[str]]] = {}
    for argument in arguments:
        extractor, _, pairs = argument.partition(":")
        for name, _, values in (pair.partition("=") for pair in pairs.split(";")):
            listed = [value.replace("\\,", ",").strip() for value in re.split(r"(?<!\\),", values)]
            parsed.setdefault(extractor.strip().lower(), {})[name.strip().lower().replace("-", "_")] = listed
    return parsed
