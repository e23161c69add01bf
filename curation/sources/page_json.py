"""What an extractor read from a video's page, as JSON of bounded size. Runs in the guarded child (ytdlp_child.py)."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from curation import storable
from curation.redaction import REDACTED, is_secret_name, redact

PAGE_BYTES = 64_000  # of the JSON, in UTF-8
TEXT_CHARS = 2000  # of one text in it
ENTRIES = 1000  # of one list or object in it
LEVELS = 4
# Of the keys that yt-dlp documents for extractors, those that are not columns of `downloads`, the dearest first.
KEYS = (
    *("id", "display_id", "alt_title", "media_type", "categories", "tags", "genres", "age_limit", "availability"),
    *("live_status", "was_live", "duration", "timestamp", "release_timestamp", "release_date", "release_year"),
    *("modified_timestamp", "modified_date", "view_count", "concurrent_view_count", "like_count", "dislike_count"),
    *("repost_count", "save_count", "comment_count", "average_rating", "channel_follower_count", "channel_is_verified"),
    *("uploader", "uploader_id", "uploader_url", "channel_url", "creators", "cast", "location", "playable_in_embed"),
    *("series", "series_id", "season", "season_number", "episode", "episode_number", "section_start", "section_end"),
    *("artists", "album", "album_artists", "album_type", "track", "track_number", "composers"),
    *("format_id", "format_note", "ext", "vcodec", "acodec", "width", "height", "fps", "tbr", "dynamic_range"),
    *("audio_channels", "asr", "aspect_ratio", "thumbnail", "chapters", "heatmap"),
)


def page_json(info: Mapping[str, Any]) -> str:
    """A JSON object of KEYS in yt-dlp's `info`, redacted. Lists are cut, and single values left out, beyond PAGE_BYTES.

    >>> page_json({"id": "a1", "tags": ["bees", "dance"], "view_count": 7, "formats": [{"url": "https://…"}]})
    '{"id": "a1", "tags": ["bees", "dance"], "view_count": 7}'
    """
    page: dict[str, Any] = {}
    left = PAGE_BYTES - 2
    for key in KEYS if not info.get("direct") else (k for k in KEYS if k != "timestamp"):  # it is Last-Modified then
        value = _plain(info.get(key), LEVELS)
        while _size(key, value) > left and isinstance(value, list) and value:
            value = value[: len(value) // 2]
        if value not in (None, "", [], {}) and _size(key, value) <= left:
            page[key] = value
            left -= _size(key, value)
    return json.dumps(page, ensure_ascii=False)


def _size(key: str, value: Any) -> int:
    """The bytes of a member of the object, with what separates it from the next."""
    return len(json.dumps({key: value}, ensure_ascii=False).encode())


def _plain(value: Any, levels: int) -> Any:
    """`value` as JSON has it, bounded and without secrets; None for other types, and for what is nested too deep."""
    if isinstance(value, str):
        return redact(storable.text(value, TEXT_CHARS))
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return value if value in storable.INT64 else None
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list | tuple):
        return [_plain(v, levels - 1) for v in value[:ENTRIES]] if levels else None
    if isinstance(value, dict):
        entries = [(redact(storable.text(str(k), 200)), v) for k, v in list(value.items())[:ENTRIES]]
        return {k: REDACTED if is_secret_name(k) else _plain(v, levels - 1) for k, v in entries} if levels else None
    return None
