"""Where stored media lies: in the dataset, whatever the row of a dataset of unknown origin says."""

from __future__ import annotations

import re
from pathlib import Path

from curation.ids import digest

_NAME = r"[A-Za-z0-9_][A-Za-z0-9_.~-]*"
_MEDIA_URI = re.compile(rf"media/(?:{_NAME}/)*{_NAME}")


def media_uri_of(video_id: str, media: str) -> str:
    """The name of a video's stored media whose row has the digest `media`."""
    return f"media/{digest(video_id)[:2]}/{video_id}.{media[:8]}.mp4"


def checked(media_uri: str) -> str:
    """`media_uri` if it is a name in the dataset's folder of media. Raises FileNotFoundError."""
    if not _MEDIA_URI.fullmatch(media_uri):
        raise FileNotFoundError(f"{media_uri[:200]!r} is not the name of stored media")
    return media_uri


def path_of_media(folder: Path, media_uri: str) -> Path:
    """The path of stored media in the dataset in `folder`.

    Raises FileNotFoundError, also for a link that leads out of the dataset.
    """
    path = folder / checked(media_uri)
    if not path.resolve().is_relative_to(folder.resolve()):
        raise FileNotFoundError(f"{media_uri} is a link out of the dataset; stored media must lie in it")
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    return path
