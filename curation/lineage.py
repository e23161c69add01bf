"""The digests that tell whether a row is up to date: each stands for a step's settings and for its inputs' digests.

Downloads, media, tilings, captions, summaries have one each, so that a new prompt does not touch the media.
"""

from __future__ import annotations

from curation.config import Settings
from curation.records import VideoRequest, digest


def download_digest(request: VideoRequest, settings: Settings) -> str:
    """Of a `downloads` row."""
    return digest("download", settings.download.digest(), request.request_key, request.id, request.subtitles)


def media_digest(download: str, settings: Settings) -> str:
    """Of `videos` and `frames` rows, made by the single pass from the download with that digest."""
    frames = settings.frames.model_dump(exclude={"every_s"})
    sections = (settings.media, settings.shots, settings.subtitles)
    return digest("media", download, frames, *(section.digest() for section in sections))


def tiling_digest(media: str, settings: Settings) -> str:
    """Of `segments` rows, tiled from the video with that digest."""
    return digest("tilings", media, settings.tilings.digest(), settings.frames.every_s)


def reject_digest(digest_of_rows: str, *policies: str) -> str:
    """Of a `rejects` row: the digest that its rows would have had, and the policies that may have rejected it."""
    return digest("reject", digest_of_rows, *policies)


def clips_digest(tiling: str, texts: str, uncaptioned: int) -> str:
    """Of a video's `clips` rows: its tiling, all that makes the texts, and how many of its frames have no caption."""
    return digest("clips", tiling, texts, uncaptioned)


def download_reject_digest(download: str, settings: Settings) -> str:
    return reject_digest(download, settings.download.policy_digest())


def segment_reject_digest(media: str, settings: Settings) -> str:
    return reject_digest(tiling_digest(media, settings), settings.media.policy_digest())
