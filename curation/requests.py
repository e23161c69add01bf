"""What was asked for: URLs, video files, folders, playlists and lists, as requests, one at a time.

An URL may be signed, and what is signed must not be stored. So a request travels as `Asked`: the row, whose URIs are
redacted, and beside it the URLs that are fetched, which are never written anywhere. A signed URL can therefore not be
fetched again from the table alone: `asked_again` says so, and the list has to be given again.
"""

from __future__ import annotations

import csv
import json
import math
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pyarrow.parquet as pq

from curation import ytdlp
from curation.config import DownloadSettings
from curation.records import Reject, VideoRequest, digest
from curation.rejects import RETRYABLE, Kind, Rejected
from curation.tracks import beside, language_in
from curation.uris import InvalidUri, canonical, fetchable, identity, is_redacted, redact

VIDEO_SUFFIXES = frozenset(
    [
        ".mp4",
        ".m4v",
        ".mov",
        ".mkv",
        ".webm",
        ".avi",
        ".ts",
        ".mts",
        ".m2ts",
        ".mpg",
        ".mpeg",
        ".vob",
        ".flv",
        ".f4v",
        ".wmv",
        ".asf",
        ".ogv",
        ".ogm",
        ".3gp",
        ".3g2",
        ".mxf",
        ".dv",
        ".divx",
        ".y4m",
        ".nut",
    ]
)
LIST_SUFFIXES = frozenset({".txt", ".csv", ".jsonl", ".parquet"})
LINE_LIMIT = 1 << 20  # characters of one row of a list
_OWN_COLUMNS = frozenset({"url", "id", "subtitles", "start", "end"})


class InputError(ValueError):
    """An INPUT that cannot be what was meant; one line that says why."""


@dataclass(frozen=True)
class Asked:
    """A request's row, and what to fetch for it: the URLs as given, secrets included. Not to be stored or logged."""

    request: VideoRequest
    url: str
    subtitles_url: str | None = None

    def __repr__(self) -> str:
        return f"Asked({self.request!r})"


def asked_again(request: VideoRequest) -> Asked:
    """What to fetch for a row of the `requests` table. Raises Rejected where the URL was signed, so not stored."""
    if is_redacted(request.uri) or is_redacted(request.subtitles or ""):
        raise Rejected(
            Kind.INVALID_REQUEST, "its URL was signed or held a secret, which is not stored; name the list again"
        )
    return Asked(request, request.uri, request.subtitles)


def read_inputs(inputs: Sequence[str], settings: DownloadSettings) -> Iterator[Asked | Reject]:
    """The requests that `inputs` ask for, in order, read as they are wanted: memory does not grow with a list.

    A row that makes no sense is a Reject of the download stage, and the rest goes on. Raises InputError, at once where
    the names alone show it.
    """
    if settings.cookies_file is not None and not os.access(settings.cookies_file, os.R_OK):
        raise InputError(f"cannot read download.cookies_file {settings.cookies_file}")
    readers = [_reader(i, settings) for i in inputs]
    return (found for reader in readers for found in reader)


def _reader(text: str, settings: DownloadSettings) -> Iterator[Asked | Reject]:
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]+):", text)
    if scheme and scheme[1].lower() in ("http", "https"):
        try:
            fetchable(text)
        except InvalidUri as error:
            raise InputError(f"{redact(text)}: {error}") from None
        return _from_url(text, settings)
    if scheme and scheme[1].lower() == "file":
        text = unquote(urlsplit(text).path)
    elif scheme and "//" in text:
        raise InputError(f"{redact(text)}: only http, https and files are read, not {scheme[1]}")
    path = Path(text)
    if not path.exists():
        raise InputError(f"{text}: no such file or folder")
    if path.is_dir():
        return _from_folder(path, settings)
    if not path.is_file():
        raise InputError(f"{text}: not a regular file")
    if not os.access(path, os.R_OK):
        raise InputError(f"{text}: not allowed to read it")
    if is_video(path.name):
        return iter([_local(path, sorted(p.name for p in path.absolute().parent.iterdir()), settings)])
    if path.suffix.lower() in LIST_SUFFIXES:
        return _from_list(path)
    raise InputError(f"{text}: neither a video nor a list ({', '.join(sorted(LIST_SUFFIXES))}) by its suffix")


# --- files ----------------------------------------------------------------------------------------------------------


def _local(path: Path, names: Sequence[str], settings: DownloadSettings) -> Asked:
    """A video named on the command line, or in a folder that was; `names` is what lies beside it, sorted."""
    subtitles, language = beside(path, names, settings.subtitle_languages)
    uri = path.resolve().as_uri()
    request = VideoRequest(
        request_key=digest("request", uri, None, None),
        uri=uri,
        subtitles=subtitles.resolve().as_uri() if subtitles else None,
        subtitle_language=language,
        local=True,
    )
    return Asked(request, uri, request.subtitles)


def _from_folder(folder: Path, settings: DownloadSettings) -> Iterator[Asked | Reject]:
    """Every video in `folder` and below, by name; hidden ones left out, links to folders not followed."""
    inside, empty = folder.resolve(), True
    for where, folders, files in os.walk(inside):
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        names = sorted(files)
        for path in (Path(where, n) for n in names if not n.startswith(".") and is_video(n)):
            empty = False
            if path.is_file() and path.resolve().is_relative_to(inside):
                yield _local(path, names, settings)
            else:
                message = "not a regular file of this folder (a link out of it?); name it as an input of its own"
                yield _reject(Kind.REFUSED, message, path.as_uri(), str(path))
    if empty:
        raise InputError(f"{folder}: no video in it")


def is_video(name: str) -> bool:
    return Path(name).suffix.lower() in VIDEO_SUFFIXES


# --- lists ----------------------------------------------------------------------------------------------------------

Row = Mapping[str, Any] | str
"""A row of a list by column, or what is wrong with it."""


def _from_list(path: Path) -> Iterator[Asked | Reject]:
    rows = {".txt": _txt_rows, ".csv": _csv_rows, ".jsonl": _jsonl_rows, ".parquet": _parquet_rows}[path.suffix.lower()]
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
    return Reject(
        key=digest("input", *key),
        video_id=None,
        uri=uri,
        stage="download",
        kind=kind.value,
        message=message,
        retryable=kind in RETRYABLE,
        attempts=1,
    )


def _lines(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        while line := file.readline(LINE_LIMIT):
            yield line


def _txt_rows(path: Path) -> Iterator[tuple[int, Row]]:
    """One URL a line; blank lines and those that begin with # are left out."""
    for number, line in enumerate(_lines(path), 1):
        if (line := line.strip()) and not line.startswith("#"):
            yield number, {"url": line}


def _csv_rows(path: Path) -> Iterator[tuple[int, Row]]:
    reader = csv.reader(_lines(path))
    try:
        header = [c.strip() for c in next(reader)]
    except (StopIteration, csv.Error):
        raise InputError(f"{path}: no header line") from None
    _check_columns(path, header)
    while True:
        before = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield before, f"lines {before} to {reader.line_num} are not CSV: {error}"
            continue
        if not cells:
            continue
        if len(cells) > len(header):
            yield before, f"{len(cells)} cells under {len(header)} columns"
        else:
            yield before, {k: v for k, v in zip(header, cells, strict=False) if v != ""}


def _jsonl_rows(path: Path) -> Iterator[tuple[int, Row]]:
    for number, line in enumerate(_lines(path), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            yield number, f"not JSON: {error}"
            continue
        yield number, row if isinstance(row, dict) else "not a JSON object"


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _parquet_rows(path: Path) -> Iterator[tuple[int, Row]]:
    """Rows batch by batch; columns of bytes are left out, since they are not metadata that JSON could hold."""
    number = 0
    try:
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            _check_columns(path, schema.names)
            columns = [f.name for f in schema if not (pa.types.is_binary(f.type) or pa.types.is_large_binary(f.type))]
            for batch in file.iter_batches(batch_size=1024, columns=columns):
                for row in batch.to_pylist():
                    number += 1
                    yield number, {k: v for k, v in row.items() if v is not None}
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path}: not readable as Parquet after row {number}: {error}") from None


def _check_columns(path: Path, columns: Iterable[str]) -> None:
    names = list(columns)
    if "url" not in names:
        raise InputError(f"{path}: no column 'url', only {', '.join(map(repr, names))}")
    if len(set(names)) < len(names):
        raise InputError(f"{path}: a column twice in {', '.join(map(repr, names))}")


def _from_row(row: Mapping[str, Any]) -> Asked:
    """Raises Rejected."""
    url = _url(row.get("url"), "url")
    if url is None:
        raise Rejected(Kind.INVALID_REQUEST, "no url")
    start, end = _seconds(row, "start"), _seconds(row, "end")
    if end is not None and end <= (start or 0.0):
        raise Rejected(Kind.INVALID_REQUEST, f"end {end:g} is not after start {start or 0.0:g}")
    given = row.get("id")
    if given is not None and (isinstance(given, bool) or not isinstance(given, str | int)):
        raise Rejected(Kind.INVALID_REQUEST, f"id {given!r} is neither text nor an integer")
    further = {k: v for k, v in row.items() if k not in _OWN_COLUMNS}
    return _asked(
        url,
        start,
        end,
        str(given).strip() if given is not None else None,
        _url(row.get("subtitles"), "subtitles"),
        further,
    )


def _asked(
    url: str,
    start: float | None = None,
    end: float | None = None,
    given_id: str | None = None,
    subtitles: str | None = None,
    further: Mapping[str, Any] | None = None,
) -> Asked:
    request = VideoRequest(
        request_key=digest("request", identity(url), start, end),
        uri=canonical(url),
        start=start,
        end=end,
        id=given_id or None,
        subtitles=canonical(subtitles) if subtitles else None,
        subtitle_language=language_in(urlsplit(subtitles).path) if subtitles else None,
        metadata=json.dumps(_redacted(further), ensure_ascii=False, default=str) if further else None,
    )
    return Asked(request, fetchable(url), fetchable(subtitles) if subtitles else None)


def _redacted(value: Any) -> Any:
    """`value` with every text in it redacted, so that a signed URL in a further column is not stored either."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {str(k): _redacted(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_redacted(v) for v in value]
    if isinstance(value, bytes) or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return value


def _url(value: Any, column: str) -> str | None:
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if not isinstance(value, str):
        raise Rejected(Kind.INVALID_REQUEST, f"{column} is not text")
    url = value.strip()
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*):", url)
    if re.match(r"[/\\~]|\.\.?[/\\]|[A-Za-z]:[/\\]|file:", url, re.IGNORECASE):
        raise Rejected(
            Kind.REFUSED,
            f"{column} is a file; in a list only http(s) URLs are allowed, files are named on the command line",
        )
    if scheme and scheme[1].lower() not in ("http", "https") and "." not in scheme[1]:
        raise Rejected(Kind.REFUSED, f"{column} has the scheme {scheme[1]!r}; only http and https are fetched")
    try:
        return url if fetchable(url) else None
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
        raise Rejected(Kind.INVALID_REQUEST, f"{column} {value!r} is not a number of seconds from 0 up")
    return seconds


# --- URLs and playlists ---------------------------------------------------------------------------------------------


def _from_url(url: str, settings: DownloadSettings) -> Iterator[Asked | Reject]:
    """The videos of a playlist, or the one that the URL is. What fails here fails again, and is told, when fetched."""
    if is_video(urlsplit(url).path):
        yield _asked(url)
        return
    with tempfile.TemporaryDirectory(prefix="vidla-playlist-") as folder:
        entries, broken = Path(folder, "entries.jsonl"), None
        try:
            ytdlp.call("playlist", settings, settings.timeout_s, url=fetchable(url), file=str(entries))
        except ytdlp.Failed as error:
            broken = error
        if not entries.exists():
            yield _asked(url)
            return
        number = 0
        for number, line in enumerate(_lines(entries), 1):
            entry = json.loads(line)
            try:
                yield _asked(_url(entry["url"], "url") or "", further=entry["metadata"])
            except Rejected as error:
                yield _reject(
                    error.kind, f"entry {number}: {error.message}", redact(entry["url"]), canonical(url), number
                )
        if broken:
            message = f"the playlist broke off after {number} entries: {broken.message}"
            yield _reject(broken.kind, message, canonical(url), canonical(url), "playlist")
