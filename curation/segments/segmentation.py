"""From one source to a segmented video: its sentences, the single pass, its three tilings and the frames to caption."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from curation.ids import content_digest, file_digest, frame_id_of
from curation.languages import code_of
from curation.media.single_pass import PassResult, decode_once, look
from curation.records import Download, Frame, Segment, Sentence, Timeline, Video
from curation.rejects import Kind, Rejected
from curation.segments.tilings import choose_frames, sentence_boundaries, tile
from curation.settings import Settings
from curation.sources.user_files import unchanged
from curation.subtitles.cascade import Spoken, sentences_of


@dataclass(frozen=True)
class Segmented:
    """A segmented source: its rows, and the stored media as a file on this machine's disk."""

    video: Video
    timeline: Timeline
    frames: tuple[Frame, ...]
    segments: tuple[Segment, ...]
    stored: Path


def segment_video(download: Download, source: Path, media_uri: str, settings: Settings, scratch: Path) -> Segmented:
    """Decode `source` once: stored media (in `scratch`, later at `media_uri`), shots, kept frames, and the tilings.

    Raises Rejected, also if `source` is not the file that was downloaded.
    """
    spoken = sentences_of(
        download.subtitles, settings.download.subtitle_languages, settings.subtitles, download.language
    )
    stored = scratch / "stored.mp4"
    boundaries = sentence_boundaries(spoken.sentences)
    with unchanged(source, download.source_digest, scratch) as opened:
        decoded = decode_once(opened, boundaries, download.start, download.end, settings, stored, scratch)
    video = _video(download, spoken, decoded, stored, media_uri)
    frames = tuple(_frames(video.video_id, decoded))
    segments = segments_of(video, [(f.frame_id, f.time, f.sharpness) for f in frames], settings)
    timeline = dataclasses.replace(decoded.timeline, video_id=video.video_id)
    return Segmented(video, timeline, frames, segments, stored)


def timeline_of(video: Video, stored: Path, settings: Settings) -> Timeline:
    """The timeline of a video that was segmented before, measured in its stored media. Raises Rejected."""
    cuts = [shot.start for shot in video.shots[1:]]
    return dataclasses.replace(look(stored, cuts, video.duration, settings.media), video_id=video.video_id)


def with_words(video: Video, download: Download, settings: Settings) -> Video:
    """`video` with the words of a download's subtitles instead of its own. Raises Rejected if they cannot be read."""
    spoken = sentences_of(
        download.subtitles, settings.download.subtitle_languages, settings.subtitles, download.language
    )
    begin = (download.start or 0.0) if video.source_start is None else video.source_start
    return dataclasses.replace(
        video,
        language=spoken.language or code_of(download.language),
        language_confidence=spoken.confidence,
        subtitle_kind=spoken.kind,
        sentence_ends=spoken.ends,
        sentences=_on_stored_clock(spoken.sentences, begin, video.duration),
    )


def segments_of(video: Video, frames: Sequence[tuple[str, float, float]], settings: Settings) -> tuple[Segment, ...]:
    """The three tilings of a video with the frames to caption chosen from `frames`: (frame_id, seconds, sharpness).

    Reads no media. Raises Rejected if the video is too short for any clip.
    """
    tilings = settings.tilings
    segments = tile(video.video_id, video.duration, video.boundaries, video.sentences, video.shots, tilings)
    if not segments:
        shortest = tilings.short.min_s
        raise Rejected(Kind.TOO_SHORT, f"{video.duration:.1f} s of video; the shortest clip lasts {shortest:g} s")
    return choose_frames(segments, sorted(frames, key=lambda frame: frame[1]), settings.frames.every_s)


def _video(download: Download, spoken: Spoken, decoded: PassResult, stored: Path, media_uri: str) -> Video:
    shared = {f.name for f in dataclasses.fields(Video)} & {f.name for f in dataclasses.fields(PassResult)}
    copied = ("video_id", "uri", "title", "channel", "channel_id", "upload_date", "licence", "opt_out", "metadata")
    return Video(
        **{name: getattr(decoded, name) for name in shared},
        **{name: getattr(download, name) for name in copied},
        media_uri=media_uri,
        media_digest=file_digest(stored),
        media_bytes=stored.stat().st_size,
        language=spoken.language or code_of(download.language),
        language_confidence=spoken.confidence,
        subtitle_kind=spoken.kind,
        sentence_ends=spoken.ends,
        sentences=_on_stored_clock(spoken.sentences, decoded.source_start, decoded.duration),
    )


def _on_stored_clock(sentences: Iterable[Sentence], offset: float, duration: float) -> tuple[Sentence, ...]:
    """The sentences whose middle lies in the stored range, on the stored media's clock."""
    moved = (dataclasses.replace(s, start=s.start - offset, end=s.end - offset) for s in sentences)
    return tuple(
        dataclasses.replace(s, start=max(0.0, s.start), end=min(duration, s.end))
        for s in moved
        if 0.0 <= (s.start + s.end) / 2 < duration
    )


def _frames(video_id: str, decoded: PassResult) -> Iterable[Frame]:
    for candidate in decoded.candidates:
        image = Path(candidate.path).read_bytes()
        yield Frame(
            frame_id=frame_id_of(video_id, candidate.time),
            video_id=video_id,
            time=candidate.time,
            image=image,
            image_digest=content_digest(image),
            sharpness=candidate.sharpness,
        )
