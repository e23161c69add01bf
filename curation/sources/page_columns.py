"""The columns of `pages` that a video's page and its site state. Runs in the guarded child (ytdlp_child.py)."""

from __future__ import annotations

import contextlib
from typing import Any
from urllib.parse import urlsplit

from yt_dlp.utils import YoutubeDLError

from curation.licences import spdx_of
from curation.rejects import Rejected
from curation.sources import rights
from curation.sources.ytdlp_client import BoundedYoutubeDL
from curation.uris import redact

ASK_S = 10.0  # for each question beside the page
_LARGEST = 2**63 - 1
_NAMES = 200  # languages or categories
_NAME_CHARACTERS = 200


def page_columns(info: dict[str, Any]) -> dict[str, Any]:
    """What yt-dlp has read from the page, besides the columns that `downloads` has too."""
    chosen = info.get("requested_formats") or [info]
    return {
        "site_id": _text(info.get("id")),
        "duration": _number(info.get("duration")),
        "age_limit": _whole(info.get("age_limit")),
        "categories": _names(info.get("categories")),
        "availability": _text(info.get("availability")),
        "live_status": _text(info.get("live_status")),
        "view_count": _whole(info.get("view_count")),
        "width": next((w for f in chosen if (w := _whole(f.get("width")))), None),
        "height": next((h for f in chosen if (h := _whole(f.get("height")))), None),
        "subtitles": _names(info.get("subtitles")),
        "automatic_subtitles": _names(info.get("automatic_captions")),
        "licence_spdx": spdx_of(_text(info.get("license"), rights.FILE_BYTES)),
    }


def rights_columns(client: BoundedYoutubeDL, url: str, page: str | None) -> dict[str, Any]:
    """What YouTube answers for the video at `url`, and what the site's files say of its `page`."""
    page = page or url
    origin = "{0.scheme}://{0.netloc}".format(urlsplit(page))
    robots, tdmrep = _file(client, f"{origin}/robots.txt"), _file(client, f"{origin}/.well-known/tdmrep.json")
    columns: dict[str, Any] = {
        "robots_allow": rights.robots_allow(robots, page, client.settings.user_agent) if robots is not None else None,
        "tdm_reserved": rights.tdm_reserved(tdmrep, page) if tdmrep is not None else None,
    }
    if video := rights.youtube_id(url):
        answer = _asked(client, rights.TRAINABILITY + video)
        columns["training"] = rights.permitted_to_train(answer, video) if answer is not None else None
    return columns


def _file(client: BoundedYoutubeDL, url: str) -> bytes | None:
    """A site's file, asked for once in the life of this process; None if there is none."""
    if url not in _files:
        if len(_files) >= _NAMES:
            _files.clear()
        _files[url] = _asked(client, url)
    return _files[url]


_files: dict[str, bytes | None] = {}


def _asked(client: BoundedYoutubeDL, url: str) -> bytes | None:
    """The beginning of the answer to a request beside the page; None if there is none, whatever the reason."""
    try:
        with client.beside_the_page(ASK_S), contextlib.closing(client.urlopen(url)) as response:
            return bytes(response.read(rights.FILE_BYTES + 1))
    except (YoutubeDLError, Rejected):
        return None


# --- values ---------------------------------------------------------------------------------------------------------


def _text(value: Any, characters: int = _NAME_CHARACTERS) -> str | None:
    return redact(str(value)[:characters]) if value not in (None, "") else None


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and 0 <= value < 1e9 else None


def _whole(value: Any) -> int | None:
    return int(value) if isinstance(value, int | float) and 0 <= value <= _LARGEST else None


def _names(values: Any) -> list[str]:
    """The names in a list, or of a dictionary; a page may state anything in their place."""
    listed = list(values)[:_NAMES] if isinstance(values, list | tuple | dict) else [values]
    return [redact(str(name)[:_NAME_CHARACTERS]) for name in listed if isinstance(name, str | int) and name != ""]
