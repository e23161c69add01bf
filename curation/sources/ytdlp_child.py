"""The functions that run in the guarded child process: yt-dlp on one URL. JSON in, JSON out.

Failures are returned as {"failed": {kind, message, retry_after, transient, waited}}, since a Rejected lacks the rest.
`kind` is null if the disk is full.
"""

from __future__ import annotations

import dataclasses
import datetime
import errno
import json
import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from yt_dlp.cookies import CookieLoadError
from yt_dlp.globals import plugin_dirs
from yt_dlp.utils import PagedList, YoutubeDLError

from curation import guard, storable
from curation.download_settings import DownloadSettings
from curation.errors import causes, disk_is_full
from curation.ids import file_digest
from curation.media.containers import contents_of
from curation.media.identify import identify
from curation.media.merge import merge
from curation.rejects import Kind, Rejected
from curation.sources.address_policy import Policy, enforced
from curation.sources.failures import FetchFailure, failure_of_extraction
from curation.sources.js_runtime import take_overrun
from curation.sources.page_columns import page_columns, rights_columns
from curation.sources.page_json import page_json
from curation.sources.ytdlp import MEMORY_BYTES, NAME_CHARS, TRANSIENT, page_of, pause_s
from curation.sources.ytdlp_client import BoundedYoutubeDL
from curation.storable import TEXT_CHARS
from curation.subtitles.tracks import FILE_BYTES, readable, unreadable
from curation.uris import LONGEST, redact

PLAYLIST_ENTRIES = 200_000
PLAYLISTS = 100  # inside a playlist: a channel has several
_TEXTS = (b"<!doctype", b"<html", b"<?xml", b"<svg", b"{", b"#extm3u", b"ffconcat")
_IMAGES = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"BM", b"II*\0", b"MM\0*", b"8BPS")
# What yt-dlp's code raises where a page is not as it expects.
_STUMBLES = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, AssertionError, RecursionError)
_ROW = {
    "title": ("title",),
    "channel": ("channel", "uploader"),
    "channel_id": ("channel_id", "uploader_id"),
    "licence": ("license",),
    "description": ("description",),
    "language": ("language",),
    "webpage_uri": ("webpage_url",),
}


def media(argument: dict[str, Any]) -> dict[str, Any]:
    """Fetch the media of {url, settings, folder, seconds, ranged} into the folder.

    Returns {media, digest, opt_out, extractor, id, row, page} and what `offered` returns: `row` and `page` have the
    columns of `downloads` and `pages` that the site fills.
    """
    settings = DownloadSettings.model_validate(argument["settings"])
    folder = Path(argument["folder"])
    client: BoundedYoutubeDL
    seen: dict[str, Any] = {}

    def check(info: dict[str, Any], *, incomplete: bool) -> None:
        _check(info, settings, argument["ranged"])
        if not incomplete:
            seen["page"] = _page(client, argument["url"], info)
            _check_gate(settings.only_where, seen["page"])
            client.expect_media(folder, info.get("duration"))

    options = {"match_filter": check, "playlist_items": "1:2", "outtmpl": str(folder / "media.%(ext)s")}
    with _client(argument, settings, page_seconds=settings.page_timeout_s, **options) as client:
        answer = _caught(client, lambda: _media(client, argument["url"], settings, bool(argument["ranged"])))
    answer.get("failed", answer).update(seen)
    return answer


def page(argument: dict[str, Any]) -> dict[str, Any]:
    """Ask the page of {url, settings, seconds} for its video, without the media. Returns {page}, columns of `pages`."""
    settings = DownloadSettings.model_validate(argument["settings"])

    def asked() -> dict[str, Any]:
        info = _first(client.extract_info(argument["url"], download=False))
        return {"page": _page(client, argument["url"], info)}

    with _client(argument, settings, page_seconds=settings.page_timeout_s, playlist_items="1:2") as client:
        return _caught(client, asked)


def offered(argument: dict[str, Any]) -> dict[str, Any]:
    """Ask the page of {url, settings, seconds} for its subtitles.

    Returns {subtitles, automatic}, the available files by language, and {unread}, the formats of those that are not
    read.
    """
    settings = DownloadSettings.model_validate(argument["settings"])
    with _client(argument, settings, page_seconds=settings.page_timeout_s, playlist_items="1:2") as client:
        return _caught(client, lambda: _offered(_first(client.extract_info(argument["url"], download=False))))


def _page(client: BoundedYoutubeDL, url: str, info: dict[str, Any]) -> dict[str, Any]:
    columns = _row(info) | page_columns(info) | {"extractor": str(info.get("extractor_key") or "Generic")}
    del columns["description"]
    asked = client.settings.ask_rights
    return columns | (rights_columns(client, url, columns["webpage_uri"]) if asked else {})


def _check_gate(condition: str | None, columns: dict[str, Any]) -> None:
    """Raises Rejected if a video with these columns of `pages` does not meet the condition."""
    if condition is None:
        return
    from curation.dataset.gate import gate_of  # not imported without a gate: it takes a while

    if not gate_of(condition).admits(page_of("", "", storable.tree(columns))):
        raise Rejected(Kind.GATED, f"it waits until download.only_where lets it through: {condition}")


def subtitles(argument: dict[str, Any]) -> dict[str, Any]:
    """Fetch subtitles: the first available file of each group in {groups, folder, seconds, settings}.

    Returns {tracks: [{language, kind, path}], missed: [messages]}. Fails only if the time is up, or the disk is full.
    """
    settings = DownloadSettings.model_validate(argument["settings"]).model_copy(update={"max_bytes": FILE_BYTES})
    missed: list[str] = []
    with _client(argument, settings) as client:

        def first(place: int, group: list[dict[str, Any]]) -> dict[str, Any] | None:
            for choice, track in enumerate(group):
                path = Path(argument["folder"], f"subtitles.{place}.{choice}")
                answer = _caught(client, partial(_subtitle_file, client, track["file"], path))
                if "failed" not in answer:
                    return {"language": track["language"], "kind": track["kind"], "path": str(path)}
                if answer["failed"]["kind"] is None:
                    raise OSError(errno.ENOSPC, answer["failed"]["message"])
                missed.append(f"{track['kind']} subtitles in {track['language']}: {answer['failed']['message']}")
            return None

        tracks = [track for place, group in enumerate(argument["groups"]) if (track := first(place, group))]
    return {"tracks": tracks, "missed": missed}


def _subtitle_file(client: BoundedYoutubeDL, file: dict[str, Any], path: Path) -> dict[str, Any]:
    if file.get("data") is not None:
        path.write_text(str(file["data"]), encoding="utf-8", errors="replace")
        return {}
    for attempt in range(1, client.settings.attempts + 1):
        client.failure = None
        client.expect_media()
        try:
            client.dl(str(path), dict(file), subtitle=True)
            break
        except YoutubeDLError:
            failure = client.failure
            if not failure or failure.kind not in TRANSIENT or attempt == client.settings.attempts:
                raise
            wait = pause_s(client.settings, attempt, failure.retry_after)
            if time.monotonic() + wait >= client.deadline:
                raise
            time.sleep(wait)
    if not path.is_file():
        raise Rejected(Kind.NOT_FOUND, "the file was not delivered")
    return {}


def playlist(argument: dict[str, Any]) -> dict[str, Any]:
    """List the videos of the playlist {url, file, seconds, settings} in the file: one JSON {url, metadata} per line.

    Leaves no file if the URL is not a playlist. Videos are listed without being opened.
    """
    settings = DownloadSettings.model_validate(argument["settings"])
    with _client(argument, settings, extract_flat="in_playlist") as client:
        return _caught(client, lambda: _list(client, argument["url"], Path(argument["file"])))


def _list(client: BoundedYoutubeDL, url: str, file: Path) -> dict[str, Any]:
    seen, waiting, count = {url}, [url], 0
    while waiting:
        found = _opened(client, waiting.pop(0))
        if not found or found.get("_type") != "playlist":
            continue
        with file.open("a", encoding="utf-8") as out:
            for entry in _entries(found):
                target = _address(entry)
                if target and _is_playlist(client, entry, target):
                    if target not in seen and len(seen) < PLAYLISTS:
                        waiting.append(target)
                    seen.add(target)
                    continue
                metadata = {"playlist": found.get("title"), "playlist_id": found.get("id"), "title": entry.get("title")}
                named = {k: str(v)[:NAME_CHARS] for k, v in metadata.items() if v}
                out.write(json.dumps({"url": (target or url)[: LONGEST + 1], "metadata": named}) + "\n")
                count += 1
                if count >= PLAYLIST_ENTRIES:
                    raise Rejected(Kind.TOO_LARGE, f"more than {PLAYLIST_ENTRIES} videos")
    return {"count": count}


def _opened(client: BoundedYoutubeDL, url: str) -> dict[str, Any] | None:
    """The extractor's result for `url`, with its entries not listed yet; None if it is certainly a single video."""
    found: dict[str, Any] = {"_type": "url", "url": url}
    for _ in range(client.settings.max_redirects + 1):
        if found.get("_type") not in ("url", "url_transparent"):
            return found
        if _extractor(client, found, found["url"]).is_single_video(found["url"]):
            return None
        found = client.extract_info(found["url"], False, found.get("ie_key"), process=False)
    return None


def _extractor(client: BoundedYoutubeDL, entry: dict[str, Any], url: str) -> Any:
    name = entry.get("ie_key") or next(key for key, ie in client._ies.items() if ie.suitable(url))
    return client.get_info_extractor(name)


def _is_playlist(client: BoundedYoutubeDL, entry: dict[str, Any], url: str) -> bool:
    if entry.get("_type") not in ("url", "url_transparent"):
        return False
    extractor = _extractor(client, entry, url)
    return extractor.ie_key() == "YoutubeTab" or extractor.is_single_video(url) is False


def _entries(found: dict[str, Any]) -> Iterator[dict[str, Any]]:
    entries = found.get("entries") or ()
    listed = entries.getslice(0, PLAYLIST_ENTRIES + 1) if isinstance(entries, PagedList) else entries
    return (e for e in listed if e)


def _address(entry: dict[str, Any]) -> str | None:
    """The URL of a single entry: its page, or its media if it has no page."""
    formats = entry.get("formats") or [{}]
    found = entry.get("url") or entry.get("webpage_url") or formats[-1].get("url")
    return str(found) if found else None


def _client(argument: dict[str, Any], settings: DownloadSettings, **params: Any) -> BoundedYoutubeDL:
    policy = Policy(settings.allow_private, settings.proxy.reveal() if settings.proxy else None, settings.helpers)
    plugin_dirs.value = ["default", *settings.plugin_folders]  # loaded with the first client of this process
    return BoundedYoutubeDL(settings, policy, argument["seconds"], **params)


def _caught(client: BoundedYoutubeDL, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The answer of `work` under the client's address policy and within its time, or its failure (see above)."""
    transient = False
    try:
        with enforced(client.policy), client.in_time():
            return work() | {"waited": client.waited}
    except Rejected as error:
        failure = FetchFailure(error.kind, error.message)
    except (YoutubeDLError, OSError) as error:
        if disk_is_full(error):
            return {"failed": {"kind": None, "message": "no space left on the disk for a download"}}
        if isinstance(error, OSError):
            raise
        overrun = take_overrun()
        if any(isinstance(cause, CookieLoadError) for cause in causes(error)):
            failure = FetchFailure(Kind.INVALID_REQUEST, _without_cookies(client.settings.cookies_from_browser))
        elif overrun:
            failure = FetchFailure(overrun.kind, overrun.message)
        else:
            failure = failure_of_extraction(error, client.failure, client.settings.stall_s)
        transient = overrun is None and failure.kind in TRANSIENT
    except _STUMBLES as error:
        failure = FetchFailure(Kind.UNSUPPORTED, f"yt-dlp stumbles over it: {type(error).__name__}: {error}"[:500])
    failed = dataclasses.asdict(failure) | {"message": redact(failure.message[:TEXT_CHARS])}
    return {"failed": failed | {"transient": transient, "waited": client.waited}}


def _without_cookies(browser: str | None) -> str:
    if browser is None:
        return "download.cookies_file is not a Netscape cookie file"
    return f"the cookies of {browser} cannot be read here; name a file: download.cookies_file"


def _media(client: BoundedYoutubeDL, url: str, settings: DownloadSettings, ranged: bool) -> dict[str, Any]:
    info = _first(client.extract_info(url, download=True))
    file = _one_file(client, info.get("requested_downloads") or ())
    probe(file, None if ranged else settings.max_duration_s)
    return {
        "media": str(file),
        "digest": file_digest(file),
        "opt_out": client.opt_out_json(),
        "extractor": str(info.get("extractor_key") or "Generic"),
        "id": str(info["id"]),
        "row": _row(info) | {"page": page_json(info)},
        **_offered(info),
    }


def _offered(info: dict[str, Any]) -> dict[str, Any]:
    """The subtitle files of a page by language, {subtitles, automatic}, and the formats of those not read, {unread}."""
    manual = info.get("subtitles")
    automatic = readable(info.get("automatic_captions"))
    return {"subtitles": readable(manual), "automatic": automatic, "unread": unreadable(manual)}


def _first(info: dict[str, Any] | None) -> dict[str, Any]:
    """The single video of a page. Raises Rejected if there is none."""
    if info and info.get("_type") in ("playlist", "multi_video"):
        info = next((e for e in info.get("entries") or () if e), None)
    if not info:
        raise Rejected(Kind.NO_VIDEO, "no video in the page")
    return info


def _one_file(client: BoundedYoutubeDL, downloads: Sequence[dict[str, Any]]) -> Path:
    """The media on disk; a picture and a sound that came as two files are merged. Raises Rejected."""
    files = [Path(f["filepath"]) for d in downloads for f in d.get("requested_formats") or [d] if f.get("filepath")]
    if len(downloads) != 1 or not files or not all(file.is_file() for file in files):  # it skips some videos silently
        raise Rejected(Kind.NO_VIDEO, "yt-dlp found nothing to download")
    if not all(file.stat().st_size for file in files):
        raise Rejected(Kind.NO_VIDEO, "the media is an empty file")
    if len(files) == 1:
        return files[0]
    limits = guard.Limits(max(0.0, client.deadline - time.monotonic()), MEMORY_BYTES)
    return merge(files, Path(downloads[0]["filepath"]), limits)


def _check(info: dict[str, Any], settings: DownloadSettings, ranged: bool) -> None:
    """Raises Rejected for a video that must not be downloaded, as soon as its page shows that."""
    if (info.get("n_entries") or 1) > 1:
        raise Rejected(Kind.UNSUPPORTED, "several videos on one page; name the page as a separate input")
    if info.get("is_live") or info.get("live_status") in ("is_live", "is_upcoming", "post_live"):
        raise Rejected(Kind.LIVE, "a live or upcoming stream; retry when it has ended")
    duration = info.get("duration")
    if duration and duration > settings.max_duration_s and not ranged:
        raise _too_long(duration, settings.max_duration_s)
    chosen = info.get("requested_formats") or [info]
    if all(f.get("vcodec") == "none" for f in chosen):
        raise Rejected(Kind.NO_VIDEO, "sound only")
    if len(chosen) > 1 and shutil.which("ffmpeg") is None:
        raise Rejected(Kind.INTERNAL, "video and audio are separate, and ffmpeg, which joins them, is not installed")
    size = sum(f.get("filesize") or 0 for f in chosen)
    if size > settings.max_bytes:
        raise Rejected(Kind.TOO_LARGE, f"{size} bytes; download.max_bytes allows {settings.max_bytes}")


def probe(path: Path, max_duration_s: float | None) -> None:
    """Raises Rejected if `path` is certainly not a video, or is too long."""
    with path.open("rb") as file:
        head = file.read(512)
        what = identify(file)
    if head.lstrip().lower().startswith(_TEXTS):
        raise Rejected(Kind.NO_VIDEO, f"{what or 'a text'} instead of media")
    if head.startswith(_IMAGES):
        raise Rejected(Kind.NO_VIDEO, f"{what or 'an image'} instead of media")
    try:
        found = contents_of(path)
    except Rejected as error:
        if error.kind is Kind.UNSUPPORTED:
            raise
        return
    if not found.video:
        raise Rejected(Kind.NO_VIDEO, "sound only")
    seconds = found.duration or 0
    if max_duration_s is not None and seconds > max_duration_s:
        raise _too_long(seconds, max_duration_s)


def _too_long(seconds: float, allowed_s: float) -> Rejected:
    return Rejected(Kind.TOO_LONG, f"{seconds:g} s; download.max_duration_s allows {allowed_s:g}")


def _row(info: dict[str, Any]) -> dict[str, str | None]:
    """The columns of `downloads` that a site's metadata fills."""

    def text(names: tuple[str, ...]) -> str | None:
        value = next((info[n] for n in names if info.get(n)), None)
        return redact(str(value)[:TEXT_CHARS]) if value is not None else None

    date = re.fullmatch(r"(\d{4})(\d\d)(\d\d)", str(info.get("upload_date")))
    # For a plain media file, yt-dlp takes the server's Last-Modified for the date of upload.
    stated = date and not info.get("direct")
    row = {column: text(names) for column, names in _ROW.items()}
    if (row["title"] or "").endswith(" (1)") and str(info["id"]).endswith("-1"):
        row["title"] = str(row["title"])[:-4]  # yt-dlp numbers the videos of a page, even a single one
    return row | {"upload_date": _iso_date(date.groups()) if date and stated else None}


def _iso_date(numbers: tuple[str, ...]) -> str | None:
    """The date, if there is such a day."""
    try:
        return datetime.date(*map(int, numbers)).isoformat()
    except ValueError:
        return None
