"""From inputs (URLs, video files, folders, playlists, lists) to requests, one at a time.

A URL may be signed, and a signature must not be stored. So a request travels as a `FetchTarget`: its row, with redacted
URIs, and the URLs to fetch, which are never written anywhere. A signed URL can therefore not be fetched again from the
table alone: `target_of` reports that, and the list must be given again.
"""

from __future__ import annotations

import json
import math
import os
import re
import reprlib
import stat
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from curation.errors import InputError
from curation.file_types import VIDEO_SUFFIXES
from curation.ids import digest
from curation.records import Reject, VideoRequest
from curation.rejects import Kind, Rejected, Stage
from curation.secret import Secret
from curation.settings import DownloadSettings
from curation.sources import ytdlp
from curation.sources.input_lists import READERS, rows
from curation.subtitles.tracks import language_in, subtitles_beside
from curation.uris import InvalidUri, UrlForms, forms, is_redacted, redact

_VIDEO = re.compile(rf".+\.({'|'.join(VIDEO_SUFFIXES)})", re.IGNORECASE | re.DOTALL)
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


def read_inputs(inputs: Sequence[str], settings: DownloadSettings) -> Iterator[FetchTarget | Reject]:
    """The requests in `inputs`, in order, read lazily: memory does not grow with a list.

    An invalid row becomes a Reject of the download stage, and reading continues. Raises InputError, before the first
    request if the names alone show the error.
    """
    if settings.cookies_file is not None and not os.access(settings.cookies_file, os.R_OK):
        raise InputError(f"cannot read download.cookies_file {settings.cookies_file}")
    readers = [_reader(i, settings) for i in inputs]
    return (found for reader in readers for found in reader)


def _reader(text: str, settings: DownloadSettings) -> Iterator[FetchTarget | Reject]:
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]+):", text)
    if scheme and scheme[1].lower() in ("http", "https"):
        try:
            return _from_url(forms(text), settings)
        except InvalidUri as error:
            raise InputError(f"{redact(text)}: {error}") from None
    if scheme and scheme[1].lower() == "file":
        text = unquote(urlsplit(text).path)
    elif scheme and "//" in text:
        raise InputError(f"{redact(text)}: {scheme[1]} is not supported, only http, https and files")
    path = Path(text)
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        raise InputError(f"{text}: {getattr(error, 'strerror', None) or error}") from None
    if stat.S_ISDIR(status.st_mode):
        return _from_folder(path, settings)
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f"{text}: not a regular file")
    if not os.access(path, os.R_OK):
        raise InputError(f"{text}: no permission to read it")
    if is_video(path.name):
        return iter([_local(path, sorted(p.name for p in path.absolute().parent.iterdir()), settings)])
    if path.suffix.lower() in READERS:
        return _from_list(path)
    raise InputError(f"{text}: by its suffix neither a video nor a list ({', '.join(READERS)})")


# --- files ----------------------------------------------------------------------------------------------------------


def _local(path: Path, names: Sequence[str], settings: DownloadSettings) -> FetchTarget:
    """A video named on the command line, or in a folder that was; `names` are the files beside it, sorted."""
    subtitles, language = subtitles_beside(path, names, settings.subtitle_languages)
    uri = path.resolve().as_uri()
    request = VideoRequest(
        request_key=digest("request", uri, None, None),
        uri=uri,
        subtitles=subtitles.resolve().as_uri() if subtitles else None,
        subtitle_language=language,
        local=True,
    )
    return FetchTarget.of(request, uri, request.subtitles)


def _from_folder(folder: Path, settings: DownloadSettings) -> Iterator[FetchTarget | Reject]:
    """Every video in `folder` and below, by name, except hidden ones; links to folders are not followed."""
    inside, empty = folder.resolve(), True
    for where, folders, files in os.walk(inside):
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        names = sorted(files)
        for path in (Path(where, n) for n in names if not n.startswith(".") and is_video(n)):
            empty = False
            if path.is_file() and path.resolve().is_relative_to(inside):
                yield _local(path, names, settings)
            else:
                message = "not a regular file in this folder (a link out of it?); name it as a separate input"
                yield _reject(Kind.REFUSED, message, path.as_uri(), str(path))
    if empty:
        raise InputError(f"{folder}: contains no video")


def is_video(name: str) -> bool:
    """Whether `name` has the suffix of a video file."""
    return bool(_VIDEO.fullmatch(name))


# --- lists ----------------------------------------------------------------------------------------------------------


def _from_list(path: Path) -> Iterator[FetchTarget | Reject]:
    for number, row in rows(path):
        try:
            if isinstance(row, str):
                raise Rejected(Kind.INVALID_REQUEST, row)
            yield _from_row(row)
        except Rejected as error:
            content = row if isinstance(row, str) else {k: str(v) for k, v in row.items()}
            url = None if isinstance(row, str) else row.get("url")
            uri = redact(url)[:2000] if isinstance(url, str) and url.strip() else f"{path.name}#{number}"
            yield _reject(error.kind, f"{path.name}, row {number}: {error.message}", uri, path.name, number, content)


def _reject(kind: Kind, message: str, uri: str, *key: Any) -> Reject:
    return Rejected(kind, message).row(Stage.DOWNLOAD, digest("input", *key), uri)


def _from_row(row: Mapping[str, Any]) -> FetchTarget:
    """The target in a list's row. Raises Rejected."""
    url = _url(row.get("url"), "url")
    if url is None:
        raise Rejected(Kind.INVALID_REQUEST, "no url")
    start, end = _seconds(row, "start"), _seconds(row, "end")
    if end is not None and end <= (start or 0.0):
        raise Rejected(Kind.INVALID_REQUEST, f"end {end:g} is not after start {start or 0.0:g}")
    given = row.get("id")
    if given is not None and (isinstance(given, bool) or not isinstance(given, str | int)):
        raise Rejected(Kind.INVALID_REQUEST, f"id {reprlib.repr(given)} is neither text nor an integer")
    metadata = {k: v for k, v in row.items() if k not in _OWN_COLUMNS}
    return _target(
        url,
        start,
        end,
        str(given).strip() if given is not None else None,
        _url(row.get("subtitles"), "subtitles"),
        metadata,
    )


def _target(
    url: UrlForms,
    start: float | None = None,
    end: float | None = None,
    given_id: str | None = None,
    subtitles: UrlForms | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> FetchTarget:
    request = VideoRequest(
        request_key=digest("request", url.identity, start, end),
        uri=url.stored,
        start=start,
        end=end,
        id=given_id or None,
        subtitles=subtitles.stored if subtitles else None,
        subtitle_language=language_in(urlsplit(subtitles.fetched).path) if subtitles else None,
        metadata=json.dumps(_redacted(metadata), ensure_ascii=False, default=str) if metadata else None,
    )
    return FetchTarget.of(request, url.fetched, subtitles.fetched if subtitles else None)


def _redacted(value: Any) -> Any:
    """`value` with all texts in it redacted, so that a signed URL in another column is not stored either."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {str(k): _redacted(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_redacted(v) for v in value]
    if isinstance(value, bytes) or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return value


def _url(value: Any, column: str) -> UrlForms | None:
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if not isinstance(value, str):
        raise Rejected(Kind.INVALID_REQUEST, f"{column} is not text")
    url = value.strip()
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*):", url)
    if re.match(r"[/\\~]|\.\.?[/\\]|[A-Za-z]:[/\\]|file:", url, re.IGNORECASE):
        raise Rejected(
            Kind.REFUSED,
            f"{column} is a file; a list may only contain http(s) URLs: name files on the command line",
        )
    if scheme and scheme[1].lower() not in ("http", "https") and "." not in scheme[1]:
        raise Rejected(Kind.REFUSED, f"{column} has the scheme {scheme[1]!r}; only http and https are fetched")
    try:
        return forms(url)
    except InvalidUri as error:
        raise Rejected(Kind.INVALID_REQUEST, f"{column}: {error}") from None


def _seconds(row: Mapping[str, Any], column: str) -> float | None:
    value = row.get(column)
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    try:
        seconds = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds >= 0):
        raise Rejected(Kind.INVALID_REQUEST, f"{column} {reprlib.repr(value)} is not a number of seconds from 0 up")
    return seconds


# --- URLs and playlists ---------------------------------------------------------------------------------------------


def _from_url(url: UrlForms, settings: DownloadSettings) -> Iterator[FetchTarget | Reject]:
    """The videos of a playlist, or the single one at the URL. A failure here is reported when the video is fetched."""
    if is_video(urlsplit(url.fetched).path):
        yield _target(url)
        return
    with tempfile.TemporaryDirectory(prefix="vidla-playlist-") as folder:
        entries, failure, number = Path(folder, "entries.jsonl"), None, 0
        try:
            ytdlp.list_playlist(url.fetched, entries, settings)
        except ytdlp.FetchRejected as error:
            failure = error
        if not entries.exists():
            yield _target(url)
            return
        for number, entry in enumerate(ytdlp.read_playlist(entries), 1):
            try:
                if found := _url(entry.url, "url"):
                    yield _target(found, metadata=entry.metadata)
            except Rejected as error:
                message = f"entry {number} of the playlist: {error.message}"
                yield _reject(error.kind, message, redact(entry.url), url.stored, number)
        if failure:
            message = f"listing the playlist failed after {number} entries: {failure.message}"
            yield _reject(failure.kind, message, url.stored, url.stored, "playlist")
