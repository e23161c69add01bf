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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from curation import storable
from curation.file_types import VIDEO_SUFFIXES, is_video
from curation.ids import digest
from curation.records import Reject, VideoRequest
from curation.rejects import Kind, Rejected, Stage
from curation.secret import Secret
from curation.sources.user_files import path_below
from curation.subtitles.subtitle_formats import SUFFIXES as SUBTITLE_SUFFIXES
from curation.subtitles.tracks import language_in
from curation.uris import InvalidUri, UrlForms, forms, is_redacted, redact

ID_CHARS = 1000
METADATA_CHARS = 1 << 20
SECONDS = 1e9  # the latest time in a video; microseconds of later ones would not fit into file names
_CLOCK = re.compile(r"(?:(\d+):)?(\d+):(\d+(?:\.\d*)?)", re.ASCII)
_FILE = re.compile(r"[/\\~]|\.\.?[/\\]|[A-Za-z]:[/\\]|file:", re.IGNORECASE)
_SUFFIXED = re.compile(rf".+\.({'|'.join((*VIDEO_SUFFIXES, *SUBTITLE_SUFFIXES))})", re.IGNORECASE | re.DOTALL)
_OWN_COLUMNS = frozenset({"url", "id", "subtitles", "start", "end"})


@dataclass(frozen=True)
class FetchTarget:
    """A request's row and the URLs to fetch, which may hold secrets.

    `row` is the name of its row, if a list has one. `states` is whether the row states its id, subtitles and metadata:
    those of .txt lists and what the command line names do not.
    """

    request: VideoRequest
    url: Secret
    subtitles_url: Secret | None = None
    row: str | None = field(default=None, compare=False)
    states: bool = field(default=False, compare=False)

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


def target_in_row(row: Mapping[str, Any], files_under: Path | None = None) -> FetchTarget:
    """The target in a list's row, whatever is in it: a URL, or a file below `files_under`. Raises Rejected."""
    url = url_in(row.get("url"), "url", files_under)
    subtitles = url_in(row.get("subtitles"), "subtitles", files_under)
    if url is None:
        raise Rejected(Kind.INVALID_REQUEST, "no url")
    if is_file(url) and not is_video(url.stored):
        raise Rejected(Kind.INVALID_REQUEST, "by its suffix not a video")
    if subtitles and is_file(subtitles) != is_file(url):
        raise Rejected(Kind.INVALID_REQUEST, "the subtitles of a file must be a file, and those of a URL a URL")
    start, end = _seconds(row, "start"), _seconds(row, "end")
    if end is not None and end <= (start or 0.0):
        raise Rejected(Kind.INVALID_REQUEST, f"end {end:g} is not after start {start or 0.0:g}")
    metadata = {k: v for k, v in row.items() if k not in _OWN_COLUMNS}
    return target_at(url, start, end, _given_id(row), subtitles, metadata)


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
        local=is_file(url),
    )
    return FetchTarget.of(request, url.fetched, subtitles.fetched if subtitles else None)


def reject_input(kind: Kind, message: str, uri: str, *key: Any) -> Reject:
    """The reject of an input that `key` (JSON values) identifies."""
    return Rejected(kind, message, tries=0).row(Stage.DOWNLOAD, digest("input", *key), storable.text(uri, 2000))


def row_name(name: str, number: int) -> str:
    """What messages call a row of the list `name`."""
    return f"{name}, row {number}"


def is_file(url: UrlForms) -> bool:
    return url.stored.startswith("file:")


def url_in(value: Any, column: str, files_under: Path | None = None) -> UrlForms | None:
    """The URL in a cell, or that of the file below `files_under`; None if it is empty. Raises Rejected."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if not isinstance(value, str):
        raise Rejected(Kind.INVALID_REQUEST, f"{column} is not text")
    url = storable.text(value.strip())
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*):", url)
    if files_under is not None and (scheme is None or _FILE.match(url)):
        uri = path_below(files_under, url).as_uri()
        return UrlForms(uri, uri, uri)
    if _FILE.match(url) or (scheme is None and _SUFFIXED.fullmatch(url)):
        raise Rejected(
            Kind.REFUSED,
            f"{column} is a file; lists may name files below the folder that --files-under names, and no others "
            "(a URL begins with https://)",
        )
    if scheme and scheme[1].lower() not in ("http", "https") and "." not in scheme[1]:
        raise Rejected(Kind.REFUSED, f"{column} has the scheme {scheme[1][:50]!r}; only http and https are fetched")
    try:
        return forms(url)
    except InvalidUri as error:
        raise Rejected(Kind.INVALID_REQUEST, f"{column}: {error}") from None


def names_video(text: str) -> bool:
    """Whether `text` has the form of a URL, or of a path of a file, as in the cell of a list that names a video.

    >>> [names_video(text) for text in ("https://a.example/1", "talks/a b.mp4", "/data/x", "a talk, about bees", "")]
    [True, True, True, False, False]
    """
    return bool(re.fullmatch(r"https?://\S+", text, re.IGNORECASE) or _FILE.match(text) or is_video(text))


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
        clock = _clock(value)
        seconds = math.nan if isinstance(value, bool) else float(value) if clock is None else clock
    except (TypeError, ValueError, OverflowError):
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        message = f"{column} {reprlib.repr(value)} is neither a number of seconds from 0 up nor a time like 1:02:03.5"
        raise Rejected(Kind.INVALID_REQUEST, message)
    if seconds > SECONDS:
        raise Rejected(Kind.INVALID_REQUEST, f"{column} {seconds:g} is later than any video lasts ({SECONDS:g} s)")
    return seconds


def _clock(value: Any) -> float | None:
    """The seconds in a time such as 1:02:03.5 or 75:30, None if it is not one.

    >>> _clock("0:05"), _clock(" 1:02:03.5"), _clock("75:30"), _clock("1:75"), _clock("90")
    (5.0, 3723.5, 4530.0, None, None)
    """
    found = _CLOCK.fullmatch(value.strip()) if isinstance(value, str) and len(value) < 100 else None
    if not found:
        return None
    hours, minutes, seconds = (float(part or 0) for part in found.groups())
    too_many = seconds >= 60 or (found[1] is not None and minutes >= 60)
    return None if too_many else 3600 * hours + 60 * minutes + seconds


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
