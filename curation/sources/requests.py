"""From inputs (URLs, video files, folders, playlists, lists) to requests, one at a time."""

from __future__ import annotations

import functools
import itertools
import json
import logging
import os
import re
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from curation import guard
from curation.download_settings import DownloadSettings
from curation.errors import InputError
from curation.file_types import is_video
from curation.ids import digest
from curation.records import Reject, VideoRequest
from curation.rejects import Kind, Rejected
from curation.sources import ytdlp
from curation.sources.cookies import check_cookies
from curation.sources.input_lists import SUFFIXES
from curation.sources.targets import FetchTarget, reject_input, target_at, url_in
from curation.subtitles.tracks import subtitles_beside
from curation.uris import InvalidUri, UrlForms, forms, is_playlist, path_of, redact

log = logging.getLogger(__name__)

CHILD = "curation.sources.list_child"
ROWS = 1000  # of a list, in a batch
BATCH_S = 60.0  # for a batch, which takes a tenth of a second
ROW_S = 30.0  # for a row alone, and the start of a child
_WHOLE = "playlist"  # in the key of the reject of one that could not be listed to its end
Answer = FetchTarget | Reject
"""What an input names: a request, or the reject of a row that is none."""


@dataclass
class Inputs(Iterator[Answer]):
    """The requests in the inputs of a run, in order, read lazily: memory does not grow with a list.

    An invalid row is a Reject of the download stage, and reading continues. Of the lists read so far, `read` has the
    names of the files, and `refused` names those of which every row is a Reject. `playlists` says of
    each URL that was asked for one whether it could be listed to its end. Reading may raise InputError.
    """

    readers: list[Iterator[Answer]] = field(default_factory=list)  # one for each input
    read: set[str] = field(default_factory=set)
    refused: list[str] = field(default_factory=list)
    playlists: dict[str, bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._answers = itertools.chain.from_iterable(self.readers)

    def __next__(self) -> Answer:
        return next(self._answers)

    def listed(self) -> set[str]:
        """The keys of the rejects of playlists that could not be listed to their end, but now could."""
        return {digest("input", url, _WHOLE) for url, whole in self.playlists.items() if whole}

    def watched(self, name: str, answers: Iterator[Answer]) -> Iterator[Answer]:
        """The rows of a list, which counts as refused if they all are."""
        useful = False
        for answer in answers:
            useful = useful or isinstance(answer, FetchTarget)
            yield answer
        self.read.add(Path(name).name)
        if not useful:
            self.refused.append(name)


def read_inputs(
    inputs: Sequence[str], settings: DownloadSettings, files_under: Path | None = None, *, offline: bool = False
) -> Inputs:
    """The requests in `inputs`; lists may name files below `files_under`.

    If `offline`, nothing is asked of a site: a playlist counts as a video.
    Raises InputError if the names alone, or the first rows of a list, show an error: before the first request.
    """
    if settings.cookies_file is not None:
        check_cookies(settings.cookies_file)
    if files_under is not None and not files_under.is_dir():
        raise InputError(f"--files-under {files_under}: not a folder")
    found = Inputs()
    under = files_under and files_under.resolve()
    playlists = None if offline else found.playlists
    found.readers += [_reader(text, found, settings, under, playlists) for text in inputs]
    return found


def _reader(
    text: str,
    found: Inputs,
    settings: DownloadSettings,
    files_under: Path | None,
    playlists: dict[str, bool] | None,
) -> Iterator[Answer]:
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]+):", text)
    if scheme and scheme[1].lower() in ("http", "https"):
        try:
            return _from_url(forms(text), settings, playlists)
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
        return _begun(f"{text}: contains no video", _from_folder(path, settings))
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f"{text}: not a regular file")
    if not os.access(path, os.R_OK):
        raise InputError(f"{text}: no permission to read it")
    if is_video(path.name):
        beside = path.absolute().parent
        return iter([_local(path, _names_in(beside), beside.resolve(), settings)])
    if path.suffix.lower() in SUFFIXES:
        rows = _begun(f"{text}: contains no row", _from_list(path, settings, files_under, playlists))
        return found.watched(text, rows)
    raise InputError(f"{text}: by its suffix neither a video nor a list ({', '.join(SUFFIXES)})")


def _begun(fault: str, answers: Iterator[Answer]) -> Iterator[Answer]:
    """`answers`, of which the first are read at once. Raises InputError if there are none, or if that fails."""
    first = next(answers, None)
    if first is None:
        raise InputError(fault)
    return itertools.chain([first], answers)


# --- files ----------------------------------------------------------------------------------------------------------


def _local(path: Path, names: Sequence[str], inside: Path, settings: DownloadSettings) -> FetchTarget:
    """A video named on the command line, or in a folder that was, with the subtitles beside it."""
    uri = path.resolve().as_uri()
    request = VideoRequest(request_key=digest("request", uri, None, None), uri=uri, local=True)
    return _with_subtitles(request, path, names, inside, settings)


def _with_subtitles(
    request: VideoRequest, path: Path, names: Sequence[str], inside: Path, settings: DownloadSettings
) -> FetchTarget:
    """`request` with the subtitles beside its file at `path`; `names` are the files there, sorted.

    They are a regular file in the folder `inside`, as links go, or none.
    """
    subtitles, language = subtitles_beside(path, names, settings.subtitle_languages)
    if subtitles and not (subtitles.is_file() and subtitles.resolve().is_relative_to(inside)):
        log.warning("%s is not read: it is not a regular file in this folder (a link out of it?)", subtitles)
        subtitles = language = None
    uri = subtitles.resolve().as_uri() if subtitles else None
    return FetchTarget.of(replace(request, subtitles=uri, subtitle_language=language), request.uri, uri)


def _names_in(folder: Path) -> tuple[str, ...]:
    """The names of the files in a folder, sorted; none if it cannot be read."""
    try:
        return tuple(sorted(entry.name for entry in folder.iterdir()))
    except OSError:
        return ()


def _from_folder(folder: Path, settings: DownloadSettings) -> Iterator[Answer]:
    """Every video in `folder` and below, by name, except hidden ones; links to folders are not followed."""
    inside = folder.resolve()
    for where, folders, files in os.walk(inside):
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        names = sorted(files)
        for path in (Path(where, n) for n in names if not n.startswith(".") and is_video(n)):
            if path.is_file() and path.resolve().is_relative_to(inside):
                yield _local(path, names, inside, settings)
            else:
                message = "not a regular file in this folder (a link out of it?); name it as a separate input"
                yield reject_input(Kind.REFUSED, message, path.as_uri(), str(path))


# --- lists ----------------------------------------------------------------------------------------------------------


def _from_list(
    path: Path, settings: DownloadSettings, files_under: Path | None, playlists: dict[str, bool] | None
) -> Iterator[Answer]:
    """The targets and rejects of the rows, found in a guarded child, in batches.

    If a batch fails, its rows are done one by one, and one that fails again is rejected. Raises InputError if the list
    cannot be read on.
    """
    names = functools.lru_cache(100)(_names_in)
    place: Mapping[str, Any] | None = {}
    alone = 0
    while place is not None:
        try:
            answer = _rows(path, place, files_under, 1 if alone else ROWS, ROW_S if alone else BATCH_S)
        except guard.GuardError as error:
            if isinstance(error, guard.Stopped):
                raise
            if not alone:
                alone = ROWS
                continue
            answer = _skipped(path, place, files_under, error)
        alone = max(0, alone - 1)
        for found in answer["found"]:
            if "reject" in found:
                yield Reject(**found["reject"])
            else:
                yield from _found(found, files_under, settings, names, playlists)
        place = answer["after"]


def _rows(
    path: Path,
    place: Mapping[str, Any],
    files_under: Path | None,
    count: int,
    seconds: float,
    fault: str | None = None,
) -> dict[str, Any]:
    """Raises InputError, and GuardError."""
    under = files_under and str(files_under)
    argument = {"path": str(path), "place": place, "count": count, "fault": fault, "files_under": under}
    limits = guard.Limits(seconds, ytdlp.MEMORY_BYTES, ytdlp.ANSWER_BYTES)
    answer = guard.call(f"{CHILD}:targets", argument, limits)
    if "error" in answer:
        raise InputError(answer["error"])
    return answer


def _skipped(path: Path, place: Mapping[str, Any], files_under: Path | None, fault: guard.GuardError) -> dict[str, Any]:
    """The answer for one row that cannot be looked into. Raises InputError if it cannot be read at all."""
    try:
        return _rows(path, place, files_under, 1, BATCH_S, f"it cannot be read: {fault}")
    except guard.GuardError as error:
        if isinstance(error, guard.Stopped):
            raise
        raise InputError(f"{path}: not readable after row {place.get('number', 0)}: {error}") from None


def _found(
    found: Mapping[str, Any],
    files_under: Path | None,
    settings: DownloadSettings,
    names_in: Callable[[Path], Sequence[str]],
    playlists: dict[str, bool] | None,
) -> Iterator[Answer]:
    """The target in a row, or those of its playlist."""
    # What a list names is local only below `files_under`, whatever the child says.
    uris = (found["request"]["uri"], found["request"]["subtitles"])
    local = files_under is not None and all(_is_below(files_under, uri) for uri in uris if uri is not None)
    request = VideoRequest(**{**found["request"], "local": local})
    if is_playlist(request.uri):
        yield from _from_playlist_row(request, settings, playlists)
        return
    if local and request.subtitles is None:
        path = path_of(request.uri)
        target = _with_subtitles(request, path, names_in(path.parent), path.parent, settings)
    else:
        target = FetchTarget.of(request, found["url"], found["subtitles_url"])
    yield replace(target, row=found["row"], states=found["states"])


def _is_below(folder: Path, uri: str) -> bool:
    """Whether `uri` is that of a file in a folder; both have no links in them."""
    return uri.startswith("file:") and ".." not in path_of(uri).parts and path_of(uri).is_relative_to(folder)


def _from_playlist_row(
    request: VideoRequest, settings: DownloadSettings, playlists: dict[str, bool] | None
) -> Iterator[Answer]:
    """The videos of a playlist in a list, each with the metadata of its row."""
    if (request.id, request.start, request.end, request.subtitles) != (None, None, None, None):
        message = "a playlist or channel has neither id, start, end nor subtitles: they are those of one video"
        yield reject_input(Kind.INVALID_REQUEST, message, request.uri, request.request_key, "playlist")
        return
    yield from _from_url(forms(request.uri), settings, playlists, json.loads(request.metadata or "{}"))


# --- URLs and playlists ---------------------------------------------------------------------------------------------


def _from_url(
    url: UrlForms,
    settings: DownloadSettings,
    playlists: dict[str, bool] | None,
    metadata: Mapping[str, Any] = MappingProxyType({}),
) -> Iterator[Answer]:
    """The videos of a playlist, or the single one at the URL, with the `metadata` of its row.

    A failure here is reported when the video is fetched. Without `playlists`, none is looked for.
    """
    if playlists is None or is_video(urlsplit(url.fetched).path):
        yield target_at(url, metadata=metadata)
        return
    with tempfile.TemporaryDirectory(prefix="vidla-playlist-") as folder:
        entries, failure, number = Path(folder, "entries.jsonl"), None, 0
        try:
            ytdlp.list_playlist(url.fetched, entries, settings)
        except ytdlp.FetchRejected as error:
            failure = error
        playlists[url.stored] = failure is None
        if not entries.exists():
            yield target_at(url, metadata=metadata)
            return
        for number, entry in enumerate(ytdlp.read_playlist(entries), 1):
            try:
                if found := url_in(entry.url, "url"):
                    yield target_at(found, metadata={**metadata, **entry.metadata})
            except Rejected as error:
                message = f"entry {number} of the playlist: {error.message}"
                uri = redact(entry.url[:2000]) if isinstance(entry.url, str) else url.stored
                yield reject_input(error.kind, message, uri, url.stored, number)
        if failure:
            message = f"listing the playlist failed after {number} entries: {failure.message}"
            yield reject_input(failure.kind, message, url.stored, url.stored, _WHOLE)
