"""What runs in the guarded child: yt-dlp on one URL. JSON in, JSON out.

Failures come back as values, {"failed": {kind, message, retry_after}}, since a Rejected has no room for Retry-After.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
from yt_dlp.cookies import CookieLoadError
from yt_dlp.utils import YoutubeDLError

from curation.addresses import Policy, enforced
from curation.config import DownloadSettings
from curation.failures import of_extraction
from curation.rejects import Kind, Rejected
from curation.uris import redact
from curation.web import Client, folder_bytes

TEXT_LIMIT = 100_000  # characters of one text from a site
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

    Gives {media, digest, opt_out, info: {extractor, id, row}, subtitles, automatic}; the last two list files that may be
    fetched, by language.
    """
    settings = DownloadSettings.model_validate(argument["settings"])
    folder = Path(argument["folder"])
    client: Client

    def check(info: dict[str, Any], *, incomplete: bool) -> None:
        _check(info, settings, argument["ranged"])
        if not incomplete:
            client.expect_media(folder_bytes(folder))

    with _client(
        argument, settings, match_filter=check, playlist_items="1:2", outtmpl=str(folder / "media.%(ext)s")
    ) as client:
        return _caught(client, lambda: _media(client, argument["url"], settings, bool(argument["ranged"])))


def _client(argument: dict[str, Any], settings: DownloadSettings, **params: Any) -> Client:
    policy = Policy(settings.allow_private, settings.proxy)
    return Client(settings, policy, time.monotonic() + argument["seconds"], **params)


def _caught(client: Client, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        with enforced(client.policy):
            return work()
    except Rejected as error:
        failed: dict[str, Any] = {"kind": error.kind.value, "message": redact(error.message), "retry_after": None}
    except CookieLoadError:
        failed = {
            "kind": Kind.INVALID_REQUEST.value,
            "message": "download.cookies_file is no Netscape cookie file",
            "retry_after": None,
        }
    except YoutubeDLError as error:
        if "No space left on device" in str(error):
            return {"failed": "disk full"}
        failure = of_extraction(error, client.failure)
        failed = {"kind": failure.kind.value, "message": redact(failure.message), "retry_after": failure.retry_after}
    return {"failed": failed}


def _media(client: Client, url: str, settings: DownloadSettings, ranged: bool) -> dict[str, Any]:
    info = client.extract_info(url, download=True)
    if info and info.get("_type") == "playlist":
        info = next((e for e in info.get("entries") or () if e), None)
    if not info:
        raise Rejected(Kind.NO_VIDEO, "no video in the page")
    files = [Path(d["filepath"]) for d in info.get("requested_downloads") or () if d.get("filepath")]
    if len(files) != 1 or not files[0].is_file():  # yt-dlp skips some videos without a word
        raise Rejected(Kind.NO_VIDEO, "yt-dlp found nothing to download")
    if not files[0].stat().st_size:
        raise Rejected(Kind.NO_VIDEO, "the media is an empty file")
    probe(files[0], None if ranged else settings.max_duration_s)
    with files[0].open("rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    return {
        "media": str(files[0]),
        "digest": digest,
        "opt_out": client.opt_out_json(),
        "info": {"extractor": str(info.get("extractor_key") or "Generic"), "id": str(info["id"]), "row": _row(info)},
        "subtitles": _subtitle_files(info.get("subtitles")),
        "automatic": _subtitle_files(info.get("automatic_captions")),
    }


def _check(info: dict[str, Any], settings: DownloadSettings, ranged: bool) -> None:
    """Raises Rejected for what shall not be downloaded, as soon as the page says so."""
    if (info.get("n_entries") or 1) > 1:
        raise Rejected(Kind.UNSUPPORTED, "several videos on one page; name the page as an input of its own")
    if info.get("is_live") or info.get("live_status") in ("is_live", "is_upcoming", "post_live"):
        raise Rejected(Kind.LIVE, "a live stream, or one that is still to come; retry when it is over")
    duration = info.get("duration")
    if duration and duration > settings.max_duration_s and not ranged:
        raise Rejected(Kind.TOO_LONG, f"{duration:g} s; download.max_duration_s allows {settings.max_duration_s:g}")
    chosen = info.get("requested_formats") or [info]
    if all(f.get("vcodec") == "none" for f in chosen):
        raise Rejected(Kind.NO_VIDEO, "sound only")
    size = sum(f.get("filesize") or 0 for f in chosen)
    if size > settings.max_bytes:
        raise Rejected(Kind.TOO_LARGE, f"{size} bytes; download.max_bytes allows {settings.max_bytes}")


def probe(path: Path, max_duration_s: float | None) -> None:
    """Raises Rejected where `path` certainly has no video or is too long; what cannot be opened is left to the decoder."""
    with path.open("rb") as file:
        head = file.read(512).lstrip().lower()
    if head.startswith((b"<!doctype", b"<html", b"<?xml", b"{")):
        raise Rejected(Kind.NO_VIDEO, "a page of text where media should be")
    try:
        with av.open(str(path), options={"protocol_whitelist": "file"}) as container:
            moving = [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
            if not moving or container.format.name.endswith("_pipe") or container.format.name == "image2":
                raise Rejected(Kind.NO_VIDEO, "an image" if moving else "sound only")
            seconds = (container.duration or 0) / 1_000_000
    except av.FFmpegError:
        return
    if max_duration_s is not None and seconds > max_duration_s:
        raise Rejected(Kind.TOO_LONG, f"{seconds:g} s; download.max_duration_s allows {max_duration_s:g}")


def _row(info: dict[str, Any]) -> dict[str, str | None]:
    """The columns of `downloads` that a site's metadata fills."""

    def text(names: tuple[str, ...]) -> str | None:
        value = next((info[n] for n in names if info.get(n)), None)
        return redact(str(value))[:TEXT_LIMIT] if value is not None else None

    date = re.fullmatch(r"(\d{4})(\d\d)(\d\d)", str(info.get("upload_date")))
    # For a bare file yt-dlp takes the server's Last-Modified for the date of upload.
    stated = date and not info.get("direct")
    return {column: text(names) for column, names in _ROW.items()} | {
        "upload_date": "-".join(date.groups()) if date and stated else None
    }


def _subtitle_files(tracks: dict[str, list[dict[str, Any]]] | None) -> dict[str, dict[str, Any]]:
    """For each language the best file in a format that we read."""
    best: dict[str, dict[str, Any]] = {}
    for language, files in (tracks or {}).items():
        for ext in ("vtt", "srt"):
            if found := next((f for f in reversed(files) if f.get("ext") == ext), None):
                best[language] = {
                    k: found[k] for k in ("url", "data", "ext", "protocol", "http_headers") if found.get(k) is not None
                }
                break
    return best
