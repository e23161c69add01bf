"""What is fetched: the target in a row of a list, of a URL and of a row of `requests`.

A URL may be signed, and a signature must not be stored. So a request travels as a `FetchTarget`: its row, with redacted
URIs, and the URLs to fetch, which are never written anywhere. A signed URL can therefore not be fetched again from the
table alone: `target_of` reports that, and the list must be given again.
"""

from __future__ import annotations

import json
import math
import re
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from curation import storable
from curation.ids import digest
from curation.records import Reject, VideoRequest
from curation.rejects import Kind, Rejected, Stage
from curation.secret import Secret
from curation.subtitles.tracks import language_in
from curation.uris import InvalidUri, UrlForms, forms, is_redacted, redact

ID_CHARS = 1000
METADATA_CHARS = 1 << 20
SECONDS = 1e9  # the latest time in a video; microseconds of later ones would not fit into file names
_OWN_COLUMNS = frozenset({"url", "id", "subtitles", "start", "end"})


@dataclass(frozen=True)
class FetchTarget:
    """A request's row and the URLs to fetch, which may hold secrets."""

    request: VideoRequest
    url: Secret
    subtitles_url: Secret | None = None

    @classmethod
    def of(cls, request: VideoRequest, url: str, subtitles_url: str | None = None) -> FetchTarget:
        return cls(request, Secret(url), Secret(subtitles_url) if subtitles_url else None)


def target_of(request: VideoRequest) -> FetchTarget:
    """The target of a row of the `requests` table. Raises Rejected if the URL was signed, and so not stored."""
    if is_redacted(request.uri) or is_redacted(request.subtitles or ""):
        raise Rejected(
            Kind.INVALID_REQUEST, "its URL was signed or held a secret, which is not stored; give the list again"
        )
    return FetchTarget.of(request, request.uri, request.subtitles)


def target_in_row(row: Mapping[str, Any]) -> FetchTarget:
    """The target in a list's row, whatever is in it. Raises Rejected."""
    url = url_in(row.get("url"), "url")
    if url is None:
        raise Rejected(Kind.INVALID_REQUEST, "no url")
    start, end = _seconds(row, "start"), _seconds(row, "end")
    if end is not None and end <= (start or 0.0):
        raise Rejected(Kind.INVALID_REQUEST, f"end {end:g} is not after start {start or 0.0:g}")
    metadata = {k: v for k, v in row.items() if k not in _OWN_COLUMNS}
    return target_at(url, start, end, _given_id(row), url_in(row.get("subtitles"), "subtitles"), metadata)


def target_at(
    url: UrlForms,
    start: float | None = None,
    end: float | None = None,
    given_id: str | None = None,
    subtitles: UrlForms | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> FetchTarget:
    """The target at a URL. Raises Rejected if its metadata is too much."""
    request = VideoRequest(
        request_key=digest("request", url.identity, start, end),
        uri=url.stored,
        start=start,
        end=end,
        id=given_id or None,
        subtitles=subtitles.stored if subtitles else None,
        subtitle_language=language_in(urlsplit(subtitles.fetched).path) if subtitles else None,
        metadata=_as_json(metadata) if metadata else None,
    )
    return FetchTarget.of(request, url.fetched, subtitles.fetched if subtitles else None)


def reject_input(kind: Kind, message: str, uri: str, *key: Any) -> Reject:
    """The reject of an input that `key` (JSON values) identifies."""
    return Rejected(kind, message).row(Stage.DOWNLOAD, digest("input", *key), storable.text(uri, 2000))


def url_in(value: Any, column: str) -> UrlForms | None:
    """The URL in a cell, None if it is empty. Raises Rejected."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if not isinstance(value, str):
        raise Rejected(Kind.INVALID_REQUEST, f"{column} is not text")
    url = storable.text(value.strip())
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*):", url)
    if re.match(r"[/\\~]|\.\.?[/\\]|[A-Za-z]:[/\\]|file:", url, re.IGNORECASE):
        raise Rejected(
            Kind.REFUSED,
            f"{column} is a file; a list may only contain http(s) URLs: name files on the command line",
        )
    if scheme and scheme[1].lower() not in ("http", "https") and "." not in scheme[1]:
        raise Rejected(Kind.REFUSED, f"{column} has the scheme {scheme[1][:50]!r}; only http and https are fetched")
    try:
        return forms(url)
    except InvalidUri as error:
        raise Rejected(Kind.INVALID_REQUEST, f"{column}: {error}") from None


def _given_id(row: Mapping[str, Any]) -> str | None:
    given = row.get("id")
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, str | int):
        raise Rejected(Kind.INVALID_REQUEST, f"id {reprlib.repr(given)} is neither text nor an integer")
    if isinstance(given, int) and given not in storable.INT64:
        raise Rejected(Kind.INVALID_REQUEST, f"id {reprlib.repr(given)} is no 64-bit integer")
    found = storable.text(str(given).strip())
    if len(found) > ID_CHARS:
        raise Rejected(Kind.INVALID_REQUEST, f"id has {len(found)} characters; at most {ID_CHARS} are allowed")
    return found


def _seconds(row: Mapping[str, Any], column: str) -> float | None:
    value = row.get(column)
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    try:
        seconds = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise Rejected(Kind.INVALID_REQUEST, f"{column} {reprlib.repr(value)} is not a number of seconds from 0 up")
    if seconds > SECONDS:
        raise Rejected(Kind.INVALID_REQUEST, f"{column} {seconds:g} is later than any video lasts ({SECONDS:g} s)")
    return seconds


def _as_json(metadata: Mapping[str, Any]) -> str:
    try:
        text = json.dumps(_redacted(metadata, storable.NESTING), ensure_ascii=False, default=str)
    except (storable.NotStorable, ValueError) as error:  # an integer with more digits than Python writes
        raise Rejected(Kind.INVALID_REQUEST, f"the other columns cannot be stored: {error}") from None
    if len(text) > METADATA_CHARS:
        raise Rejected(
            Kind.TOO_LARGE, f"the other columns have {len(text)} characters; at most {METADATA_CHARS} are allowed"
        )
    return storable.text(text)  # what `default` made of other types


def _redacted(value: Any, levels: int) -> Any:
    """`value`, storable, with all texts in it redacted, so that a signed URL in another column is not stored either.

    Texts are cut before they are redacted. Raises NotStorable.
    """
    if isinstance(value, str):
        return redact(storable.text(value, storable.TEXT_CHARS))
    if isinstance(value, Mapping | list | tuple) and levels == 0:
        raise storable.NotStorable(f"nested more than {storable.NESTING} levels deep")
    if isinstance(value, Mapping):
        return {_redacted(str(k), levels): _redacted(v, levels - 1) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_redacted(v, levels - 1) for v in value]
    if isinstance(value, bytes) or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return value
