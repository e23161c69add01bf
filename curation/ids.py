"""Digests and ids. The same input gives the same ones on every machine."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from datetime import UTC, datetime
from io import BufferedReader
from json.encoder import encode_basestring
from pathlib import Path
from typing import Any

import pyarrow as pa


def digest(*parts: Any) -> str:
    """32 hex digits that identify `parts` (JSON values).

    >>> digest("media", {"b": 1, "a": [2.0, None]}) == digest("media", {"a": [2.0, None], "b": 1})
    True
    """
    return _hashed(_canonical(parts))


def digests(*parts: Any) -> pa.Array:
    """`digest` for many rows at once: a part that is an Arrow column of strings supplies one value per row.

    >>> column = pa.chunked_array([["x", "y"]])
    >>> digests("media", column).to_pylist() == [digest("media", "x"), digest("media", "y")]
    True
    """
    columns = [part for part in parts if isinstance(part, pa.ChunkedArray)]
    texts = ("%s" if isinstance(part, pa.ChunkedArray) else _canonical(part).replace("%", "%%") for part in parts)
    whole = f"[{','.join(texts)}]"
    rows = zip(*(map(_json_text, column.to_pylist()) for column in columns), strict=True)
    return pa.array([_hashed(whole % row) for row in rows], pa.string())


def _json_text(text: str | None) -> str:
    return "null" if text is None else encode_basestring(text)


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _hashed(text: str) -> str:
    return hashlib.blake2b(
        text.encode("utf-8", "surrogatepass"), digest_size=16
    ).hexdigest()  # a file name may have any


def content_digest(data: bytes) -> str:
    """32 hex digits that identify `data`."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def file_digest(path: Path) -> str:
    """`content_digest` of a file, read block by block."""
    with path.open("rb") as file:
        return digest_of(file)


def digest_of(file: BufferedReader) -> str:
    """`content_digest` of the rest of an open file, read block by block."""
    return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def new_run_id() -> str:
    """An id for a new run, from the UTC time and a random suffix, such as 20260131T235959-1a2b."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(2)}"


def microseconds(time: float) -> int:
    return round(time * 1_000_000)


SAFE = "[A-Za-z0-9_-]{1,80}"
"""A regular expression of the identities that are a part of a video's id as they are."""


def video_id_of(namespace: str, identity: str, start: float | None = None, end: float | None = None) -> str:
    """A video's id, from its `identity` within a `namespace` (an extractor, "list" or "content") and its range.

    The id is a safe file name on every system: an unsafe identity is replaced by its digest. Times are seconds.

    >>> video_id_of("Youtube", "dQw4w9WgXcQ")
    'youtube-dQw4w9WgXcQ'
    >>> video_id_of("list", "tram", start=1.5, end=12)
    'list-tram~1500000-12000000'
    """
    safe = re.fullmatch(SAFE, identity)
    # Ids may differ in case alone; the digest in media names keeps their files apart on systems that ignore case.
    space = namespace if len(namespace) <= 80 else digest(namespace)
    name = f"{re.sub('[^a-z0-9]+', '_', space.lower())}-{identity if safe else digest(identity)}"
    if start is None and end is None:
        return name
    return f"{name}~{microseconds(start or 0.0)}-{'' if end is None else microseconds(end)}"


def source_id(video_id: str) -> str:
    """The id of the video that `video_id` is, or is a range of.

    >>> source_id("a1b2~0-60"), source_id("a1b2")
    ('a1b2', 'a1b2')
    """
    return video_id.partition("~")[0]


def own_video_id(listed: str | None, content: str, start: float | None = None, end: float | None = None) -> str:
    """The id of a video that has none from its site: by the id in the list, else by the digest of its content."""
    return video_id_of("content" if listed is None else "list", content if listed is None else listed, start, end)


def is_own(video_id: str) -> bool:
    """Whether an id was given by `own_video_id`, and not by the video's site.

    >>> is_own("list-tram~0-60"), is_own("youtube-dQw4w9WgXcQ")
    (True, False)
    """
    return video_id.startswith(("list-", "content-"))


def listed_id(video_id: str) -> str | None:
    """The id in the list from which that of a video was made, unless it was made from a digest of that.

    >>> listed_id("list-tram~0-60"), listed_id("content-a1b2")
    ('tram', None)
    """
    return source_id(video_id).removeprefix("list-") if video_id.startswith("list-") else None


def frame_id_of(video_id: str, time: float) -> str:
    return f"{video_id}.{microseconds(time)}"


def clip_id_of(video_id: str, scale: str, start: float, end: float) -> str:
    return f"{video_id}.{scale}.{microseconds(start)}-{microseconds(end)}"


def forgotten_key(kind: str, name: str) -> str:
    """What is kept of something forgotten: a digest of its kind and name."""
    return digest("forgotten", kind, name)
