"""From inputs (URLs, video files, folders, playlists, lists) to requests, one at a time."""

from __future__ import annotations

import logging
import os
import re
import stat
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from curation import guard
from curation.download_settings import DownloadSettings
from curation.errors import InputError
from curation.file_types import VIDEO_SUFFIXES
from curation.ids import digest
from curation.records import Reject, VideoRequest
from curation.rejects import Kind, Rejected
from curation.sources import ytdlp
from curation.sources.cookies import check_cookies
from curation.sources.input_lists import SUFFIXES
from curation.sources.targets import FetchTarget, reject_input, target_at, url_in
from curation.subtitles.tracks import subtitles_beside
from curation.uris import InvalidUri, UrlForms, forms, path_of, redact

log = logging.getLogger(__name__)

CHILD = "curation.sources.list_child"
ROWS = 1000  # of a list, in a batch
BATCH_S = 60.0  # for a batch, which takes a tenth of a second
ROW_S = 30.0  # for a row alone, and the start of a child
_VIDEO = re.compile(rf".+\.({'|'.join(VIDEO_SUFFIXES)})", re.IGNORECASE | re.DOTALL)


def read_inputs(inputs: Sequence[str], settings: DownloadSettings) -> Iterator[FetchTarget | Reject]:
    """The requests in `inputs`, in order, read lazily: memory does not grow with a list.

    An invalid row becomes a Reject of the download stage, and reading continues. Raises InputError, before the first
    request if the names alone show the error.
    """
    if settings.cookies_file is not None:
        check_cookies(settings.cookies_file)
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
        text = str(path_of(text))
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
        beside = path.absolute().parent
        return iter([_local(path, sorted(p.name for p in beside.iterdir()), beside.resolve(), settings)])
    if path.suffix.lower() in SUFFIXES:
        return _from_list(path)
    raise InputError(f"{text}: by its suffix neither a video nor a list ({', '.join(SUFFIXES)})")


# --- files ----------------------------------------------------------------------------------------------------------


def _local(path: Path, names: Sequence[str], inside: Path, settings: DownloadSettings) -> FetchTarget:
    """A video named on the command line, or in a folder that was; `names` are the files beside it, sorted.

    Its subtitles are a regular file in the folder `inside`, as links go, or none.
    """
    subtitles, language = subtitles_beside(path, names, settings.subtitle_languages)
    if subtitles and not (subtitles.is_file() and subtitles.resolve().is_relative_to(inside)):
        log.warning("%s is not read: it is not a regular file in this folder (a link out of it?)", subtitles)
        subtitles = language = None
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
                yield _local(path, names, inside, settings)
            else:
                message = "not a regular file in this folder (a link out of it?); name it as a separate input"
                yield reject_input(Kind.REFUSED, message, path.as_uri(), str(path))
    if empty:
        raise InputError(f"{folder}: contains no video")


def is_video(name: str) -> bool:
    """Whether `name` has the suffix of a video file."""
    return bool(_VIDEO.fullmatch(name))


# --- lists ----------------------------------------------------------------------------------------------------------


def _from_list(path: Path) -> Iterator[FetchTarget | Reject]:
    """The targets and rejects of the rows, found in a guarded child, in batches.

    If a batch fails, its rows are done one by one, and one that fails again is rejected. Raises InputError if the list
    cannot be read on.
    """
    place: Mapping[str, Any] | None = {}
    alone = 0
    while place is not None:
        try:
            answer = _rows(path, place, 1 if alone else ROWS, ROW_S if alone else BATCH_S)
        except guard.GuardError as error:
            if isinstance(error, guard.Stopped):
                raise
            if not alone:
                alone = ROWS
                continue
            answer = _skipped(path, place, error)
        alone = max(0, alone - 1)
        for found in answer["found"]:
            yield _found(found)
        place = answer["after"]


def _rows(path: Path, place: Mapping[str, Any], count: int, seconds: float, fault: str | None = None) -> dict[str, Any]:
    """Raises InputError, and GuardError."""
    argument = {"path": str(path), "place": place, "count": count, "fault": fault}
    limits = guard.Limits(seconds, ytdlp.MEMORY_BYTES, ytdlp.ANSWER_BYTES)
    answer = guard.call(f"{CHILD}:targets", argument, limits)
    if "error" in answer:
        raise InputError(answer["error"])
    return answer


def _skipped(path: Path, place: Mapping[str, Any], fault: guard.GuardError) -> dict[str, Any]:
    """The answer for one row that cannot be looked into. Raises InputError if it cannot be read at all."""
    try:
        return _rows(path, place, 1, BATCH_S, f"it cannot be read: {fault}")
    except guard.GuardError as error:
        if isinstance(error, guard.Stopped):
            raise
        raise InputError(f"{path}: not readable after row {place.get('number', 0)}: {error}") from None


def _found(found: Mapping[str, Any]) -> FetchTarget | Reject:
    if "reject" in found:
        return Reject(**found["reject"])
    request = VideoRequest(**{**found["request"], "local": False})  # only what the command line names may be local
    return FetchTarget.of(request, found["url"], found["subtitles_url"])


# --- URLs and playlists ---------------------------------------------------------------------------------------------


def _from_url(url: UrlForms, settings: DownloadSettings) -> Iterator[FetchTarget | Reject]:
    """The videos of a playlist, or the single one at the URL. A failure here is reported when the video is fetched."""
    if is_video(urlsplit(url.fetched).path):
        yield target_at(url)
        return
    with tempfile.TemporaryDirectory(prefix="vidla-playlist-") as folder:
        entries, failure, number = Path(folder, "entries.jsonl"), None, 0
        try:
            ytdlp.list_playlist(url.fetched, entries, settings)
        except ytdlp.FetchRejected as error:
            failure = error
        if not entries.exists():
            yield target_at(url)
            return
        for number, entry in enumerate(ytdlp.read_playlist(entries), 1):
            try:
                if found := url_in(entry.url, "url"):
                    yield target_at(found, metadata=entry.metadata)
            except Rejected as error:
                message = f"entry {number} of the playlist: {error.message}"
                uri = redact(entry.url[:2000]) if isinstance(entry.url, str) else url.stored
                yield reject_input(error.kind, message, uri, url.stored, number)
        if failure:
            message = f"listing the playlist failed after {number} entries: {failure.message}"
            yield reject_input(failure.kind, message, url.stored, url.stored, "playlist")
