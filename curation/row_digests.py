"""The digests that show whether a row is up to date: each identifies a step's settings and its inputs' digests.

Downloads, media, tilings, captions and summaries have separate ones, so that a new prompt does not redo the media.
Those of tilings have the words in them, and those of media do not: other subtitles redo no media.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from curation.config import Section
from curation.download_settings import DownloadSettings
from curation.ids import digest, digests
from curation.recipes import identities, identity
from curation.records import SubtitleTrack, VideoRequest
from curation.rejects import Kind
from curation.settings import FrameSettings, Settings, ShotSettings

FORMER_FORMAT = "bv*[height<=720][ext=mp4]+ba[ext=m4a]/bv*[height<=720]+ba/b[height<=720]/b"
FORMER_DETECTOR, FORMER_THRESHOLD = "content", 27.0

# The parts of each digest are listed in one function, for one row and for whole columns alike.


def download_digest(request: VideoRequest, settings: Settings) -> str:
    """The digest of a `downloads` row."""
    return digest(*_download(request.request_key, request.id, request.subtitles, settings))


def download_digests(requests: pa.Table, settings: Settings) -> pa.Array:
    return digests(*_download(requests["request_key"], requests["id"], requests["subtitles"], settings))


def _download(request_key: Any, id_: Any, subtitles: Any, settings: Settings) -> tuple[Any, ...]:
    return ("download", _as_it_was(settings.download).digest(), request_key, id_, subtitles)


@functools.lru_cache
def _as_it_was(settings: DownloadSettings) -> DownloadSettings:
    """The settings with the former default of `format` for today's: what it fetched is good enough, and stays."""
    same = settings.format == DownloadSettings.model_fields["format"].default
    return settings.model_copy(update={"format": FORMER_FORMAT}) if same else settings


def material_digest(request: VideoRequest, settings: Settings) -> str:
    """What identifies the media of a download: all of its digest but what concerns subtitles."""
    return digest(*_material(request.request_key, request.id, settings))


def material_digests(requests: pa.Table, settings: Settings) -> pa.Array:
    return digests(*_material(requests["request_key"], requests["id"], settings))


def _material(request_key: Any, id_: Any, settings: Settings) -> tuple[Any, ...]:
    return ("material", _as_it_was(settings.download).format, request_key, id_)


def words_digest(tracks: Iterable[SubtitleTrack]) -> str:
    """What identifies the subtitles of a download."""
    return digest("words", *((track.language, track.kind, track.format, track.text) for track in tracks))


def media_digest(download: str, settings: Settings, material: str | None, recipe: int | None = None) -> str:
    """The digest of `videos` and `frames` rows, made by the single pass from a download with these columns."""
    if material is None:  # of an older version
        return digest(*_older_media(identity(download, recipe), settings))
    return digest(*_media(identity(material, recipe), settings))


def media_digests(downloads: pa.Table, settings: Settings) -> pa.ChunkedArray:
    """`media_digest` of downloads with the columns `digest`, `material` and `recipe`."""
    fetched, materials = (identities(downloads[name], downloads["recipe"]) for name in ("digest", "material"))
    return _where_known(materials, lambda: digests(*_media(materials, settings)), _older_media(fetched, settings))


def _media(material: Any, settings: Settings) -> tuple[Any, ...]:
    return ("media", material, *_single_pass(settings.frames, settings.media, _former_shots(settings.shots)))


def _older_media(download: Any, settings: Settings) -> tuple[Any, ...]:
    sections = (settings.media, _former_shots(settings.shots), settings.subtitles)
    return ("media", download, *_single_pass(settings.frames, *sections))


@functools.lru_cache
def _former_shots(settings: ShotSettings) -> ShotSettings:
    """The settings with the former defaults for today's: the shots that they found are good enough, and stay."""
    same = settings.detector == ShotSettings.model_fields["detector"].default
    threshold = FORMER_THRESHOLD if settings.threshold is None else settings.threshold
    return settings.model_copy(
        update={"detector": FORMER_DETECTOR if same else settings.detector, "threshold": threshold}
    )


def _where_known(column: pa.ChunkedArray, digests_: Callable[[], pa.Array], older: tuple[Any, ...]) -> pa.ChunkedArray:
    """`digests_` where `column` has a value, and the digests of what `older` lists elsewhere."""
    if column.null_count == 0:
        return pa.chunked_array([digests_()])
    if column.null_count == len(column):
        return pa.chunked_array([digests(*older)])
    return pc.if_else(pc.is_valid(column), digests_(), digests(*older))


@functools.lru_cache
def _single_pass(frames: FrameSettings, *sections: Section) -> tuple[Any, ...]:
    kept = {name: value for name, value in frames.values().items() if name != "every_s"}
    return (kept, *(section.digest() for section in sections))


def timeline_digest(media: str) -> str:
    """The digest of the `timelines` row that is measured in media with the identity `media`."""
    return digest(*_timeline(media))


def timeline_digests(media: pa.ChunkedArray) -> pa.Array:
    return digests(*_timeline(media))


def _timeline(media: Any) -> tuple[Any, ...]:
    return ("timeline", media)


def spoken_digest(words: str, settings: Settings) -> str:
    """What identifies the sentences of a video whose subtitles have the digest `words`."""
    return digest(*_spoken(words, settings))


def _spoken(words: Any, settings: Settings) -> tuple[Any, ...]:
    return ("spoken", words, settings.subtitles.digest(), settings.download.subtitle_languages)


def tiling_digest(media: str, words: str | None, settings: Settings) -> str:
    """The digest of `segments` rows, tiled from a video with digest `media` and from a download's `words`."""
    if words is None:  # of an older version
        return digest(*_tiling(media, settings))
    return digest(*_tiling(media, settings), spoken_digest(words, settings))


def tiling_digests(media: pa.ChunkedArray, words: pa.ChunkedArray, settings: Settings) -> pa.ChunkedArray:
    def known() -> pa.Array:
        return digests(*_tiling(media, settings), pa.chunked_array([digests(*_spoken(words, settings))]))

    return _where_known(words, known, _tiling(media, settings))


def _tiling(media: Any, settings: Settings) -> tuple[Any, ...]:
    return ("tilings", media, settings.tilings.digest(), settings.frames.every_s)


def reject_digest(digest_of_rows: str, *policies: Any) -> str:
    """The digest of a `rejects` row: that of the rows it stands in for, and the policies that may have rejected it."""
    return digest("reject", digest_of_rows, *policies)


def clips_digest(tiling: str, texts: str, uncaptioned: int) -> str:
    """The digest of a video's `clips` rows: its tiling, the digest of its `texts`, and its uncaptioned frames."""
    return digest(*_clips(tiling, texts, uncaptioned))


def clips_digests(tilings: pa.ChunkedArray, texts: str, uncaptioned: int) -> pa.Array:
    return digests(*_clips(tilings, texts, uncaptioned))


def _clips(tiling: Any, texts: str, uncaptioned: int) -> tuple[Any, ...]:
    return ("clips", tiling, texts, uncaptioned)


# --- rejects --------------------------------------------------------------------------------------------------------

DOWNLOAD_POLICIES: Mapping[str, tuple[str, ...]] = {
    Kind.TOO_LARGE: ("max_bytes",),
    Kind.TOO_LONG: ("max_duration_s",),
    Kind.REFUSED: ("allow_private", "max_duration_s"),
    Kind.OPTED_OUT: ("honour_opt_out",),
}
SEGMENT_POLICIES: Mapping[str, tuple[str, ...]] = {
    Kind.TOO_LARGE: ("max_pixels",),
    Kind.TOO_LONG: ("max_duration_s",),
    Kind.UNSUPPORTED: ("max_frame_rate",),
    Kind.TRUNCATED: ("max_damage",),
    Kind.CORRUPT: ("max_damage",),
}
"""By kind, the policies of `download` and of `media` that may have rejected an item. It is tried again when one of
these changes, or what its rows would be made of; no other setting would have let it through."""


def download_reject_digest(kind: str, download: str, settings: Settings) -> str:
    return reject_digest(download, *_values(settings.download, DOWNLOAD_POLICIES.get(kind, ())))


def download_reject_digests(kind: str, download: str, settings: Settings) -> set[str]:
    """The digests that an up-to-date reject may have: an older version took in all policies."""
    older = reject_digest(download, _as_it_was(settings.download).policy_digest())
    return {download_reject_digest(kind, download, settings), older}


def segment_reject_digest(kind: str, media: str, settings: Settings) -> str:
    if kind == Kind.TOO_SHORT:
        return reject_digest(media, settings.tilings.short.min_s)
    return reject_digest(media, *_values(settings.media, SEGMENT_POLICIES.get(kind, ())))


def segment_reject_digests(kind: str, media: str, settings: Settings) -> set[str]:
    """The digests that an up-to-date reject may have: an older version took in all policies, and the tilings."""
    older = reject_digest(tiling_digest(media, None, settings), settings.media.policy_digest())
    return {segment_reject_digest(kind, media, settings), older}


def _values(section: Section, names: Sequence[str]) -> list[Any]:
    return [getattr(section, name) for name in names]
