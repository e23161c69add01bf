"""yt-dlp in a guarded child process (ytdlp_child.py), whose death is a failure like any other."""

from __future__ import annotations

import dataclasses
import errno
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curation import guard
from curation.download_settings import DownloadSettings
from curation.records import Page
from curation.rejects import Kind, Rejected
from curation.sources.input_lists import all_rows
from curation.subtitles.tracks import SubtitleChoice, SubtitleFiles
from curation.uris import redact

CHILD = "curation.sources.ytdlp_child"
MEMORY_BYTES = 4 * 2**30  # address space of the child process, which may have decoded video before
ANSWER_BYTES = 64 * 2**20
_LISTS = ("categories", "subtitles", "automatic_subtitles", "training")  # columns of `pages`
_GRACE_S = 10.0  # for the child to report by itself that its time is up
NAME_CHARS = 1000  # of an extractor's, a playlist's or an entry's name
TRANSIENT = frozenset({Kind.RATE_LIMITED, Kind.SERVER_ERROR, Kind.CONNECTION, Kind.TIMEOUT})
"""The kinds of failure that may be gone on the next attempt."""


def pause_s(settings: DownloadSettings, attempt: int, retry_after: float | None) -> float:
    """Seconds to wait after an `attempt`, counted from 1: doubling, and at least as long as the server asked for.

    >>> [pause_s(DownloadSettings(retry_wait_s=2.0), attempt, retry_after=5.0) for attempt in (1, 2, 3)]
    [5.0, 5.0, 8.0]
    """
    return max(settings.retry_wait_s * 2.0 ** (attempt - 1), retry_after or 0.0)


def wait(seconds: float) -> None:
    """Sleep. Raises guard.Stopped at once if guard.stop_all is called meanwhile."""
    guard.run(["sleep", f"{seconds:.3f}"], guard.Limits(seconds + 60.0, MEMORY_BYTES))


class FetchRejected(Rejected):
    """A Rejected with the wait that the server asked for, and the time spent on waiting for places, in seconds.

    `transient`: whether another attempt may soon succeed; `page`: the columns of `pages`, if the page was read.
    """

    def __init__(
        self,
        kind: Kind,
        message: str,
        retry_after: float | None = None,
        transient: bool = False,
        waited: float = 0.0,
        page: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(kind, message)
        self.retry_after, self.transient, self.waited, self.page = retry_after, transient, waited, page


@dataclass(frozen=True)
class SiteMetadata:
    """The metadata that a site states of a video: columns of `downloads`."""

    title: str | None
    channel: str | None
    channel_id: str | None
    upload_date: str | None
    licence: str | None
    description: str | None
    language: str | None
    webpage_uri: str | None
    page: str | None = None  # JSON


@dataclass(frozen=True)
class OfferedSubtitles:
    """The subtitle files of a page, by language: people's and automatic ones; the formats of people's in others."""

    manual: SubtitleFiles
    automatic: SubtitleFiles
    unread: Mapping[str, str]

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> OfferedSubtitles:
        return cls(answer["subtitles"], answer["automatic"], answer.get("unread", {}))


@dataclass(frozen=True)
class FetchedMedia:
    """One video's media file, with its extractor and id, and the subtitle files that its page offers.

    `page` has the columns of `pages`; `waited`: the seconds spent on waiting for places at hosts.
    """

    path: Path
    digest: str
    opt_out: str | None
    extractor: str
    id: str
    metadata: SiteMetadata
    page: Mapping[str, Any]
    offered: OfferedSubtitles
    waited: float


@dataclass(frozen=True)
class FetchedSubtitles:
    """The subtitle files on disk, and one message for each that could not be fetched."""

    files: tuple[FetchedSubtitle, ...] = ()
    missed: tuple[str, ...] = ()


@dataclass(frozen=True)
class FetchedSubtitle:
    """A subtitle file on disk; `kind` is manual or automatic."""

    path: Path
    language: str
    kind: str


@dataclass(frozen=True)
class PlaylistEntry:
    """A video of a playlist, and the metadata that the playlist states of it. The URL may be anything."""

    url: Any
    metadata: Mapping[str, Any]


def fetch_media(url: str, folder: Path, settings: DownloadSettings, seconds: float, *, ranged: bool) -> FetchedMedia:
    """Fetch the video at `url` into `folder`, within `seconds`; a `ranged` one may be longer than is allowed.

    Raises FetchRejected, OSError where the disk is full, and guard.Stopped.
    """
    answer = _call("media", settings, seconds, url=url, folder=str(folder), ranged=ranged)
    return FetchedMedia(
        path=Path(answer["media"]),
        digest=answer["digest"],
        opt_out=answer["opt_out"],
        extractor=answer["extractor"][:NAME_CHARS],
        id=answer["id"],
        metadata=SiteMetadata(**answer["row"]),
        page=answer["page"],
        offered=OfferedSubtitles.of(answer),
        waited=answer["waited"],
    )


def fetch_page(url: str, settings: DownloadSettings) -> Mapping[str, Any]:
    """The columns of `pages` that the page at `url` states, without its media. Raises as `fetch_media` does."""
    columns: Mapping[str, Any] = _call("page", settings, settings.page_timeout_s, url=url)["page"]
    return columns


def fetch_offered(url: str, settings: DownloadSettings) -> OfferedSubtitles:
    """The subtitles that the page at `url` offers, without its media. Raises as `fetch_media` does."""
    return OfferedSubtitles.of(_call("offered", settings, settings.page_timeout_s, url=url))


def page_of(request_key: str, uri: str, columns: Mapping[str, Any]) -> Page:
    """The row of `pages` for a request."""
    lists = {name: tuple(columns.get(name) or ()) for name in _LISTS}
    return Page(request_key=request_key, uri=uri, **dict(columns) | lists)


def fetch_subtitles(
    groups: Sequence[Sequence[SubtitleChoice]], folder: Path, settings: DownloadSettings, seconds: float
) -> FetchedSubtitles:
    """Fetch the first available file of each group into `folder`, within `seconds`. Raises as `fetch_media` does."""
    choices = [[dataclasses.asdict(choice) for choice in group] for group in groups]
    answer = _call("subtitles", settings, seconds, groups=choices, folder=str(folder))
    files = (FetchedSubtitle(Path(t["path"]), t["language"], t["kind"]) for t in answer["tracks"])
    return FetchedSubtitles(tuple(files), tuple(answer["missed"]))


def list_playlist(url: str, file: Path, settings: DownloadSettings) -> None:
    """Write the videos of the playlist at `url` into `file`, for `read_playlist`; leaves no file for a single video.

    After an error the file holds the videos listed so far. Raises as `fetch_media` does.
    """
    _call("playlist", settings, settings.timeout_s, url=url, file=str(file))


def read_playlist(file: Path) -> Iterator[PlaylistEntry]:
    """The videos that `list_playlist` wrote, a few in memory at a time."""
    for _, row in all_rows(file):
        row = {} if isinstance(row, str) else row
        metadata = row.get("metadata")
        yield PlaylistEntry(row.get("url", 0), metadata if isinstance(metadata, Mapping) else {})


def _call(function: str, settings: DownloadSettings, seconds: float, **argument: Any) -> dict[str, Any]:
    """The answer of a function of ytdlp_child.py to `settings` and `argument` (JSON values), within `seconds`.

    It measures them itself, since it may wait for places as long again as a download may take.
    """
    argument |= {"settings": settings.revealed(), "seconds": seconds}
    limits = guard.Limits(max(seconds, 0.0) + settings.timeout_s + _GRACE_S, MEMORY_BYTES, ANSWER_BYTES)
    try:
        answer = guard.call(f"{CHILD}:{function}", argument, limits)
    except guard.TimedOut:
        raise FetchRejected(Kind.TIMEOUT, f"not finished after {settings.timeout_s:g} s (download.timeout_s)") from None
    except guard.OutOfMemory:
        raise FetchRejected(Kind.OUT_OF_MEMORY, f"yt-dlp needed more than {MEMORY_BYTES} bytes of memory") from None
    except (guard.Crashed, guard.Overflowed) as error:
        if re.search(r"exit code 1\b", str(error)):  # no error of a function ends it like that: time_limit.py does
            raise FetchRejected(Kind.TIMEOUT, "it hung, and was ended when its time was up") from None
        raise FetchRejected(Kind.CRASHED, redact(str(error))) from None
    if failed := answer.get("failed"):
        if failed["kind"] is None:
            raise OSError(errno.ENOSPC, failed["message"])
        raise FetchRejected(**failed | {"kind": Kind(failed["kind"])})
    return answer
