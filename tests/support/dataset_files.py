"""A small dataset of realistic rows, written through the real writer, with real stored media.

Videos 0, 1, 2, … are SECONDS long and tiled into clips of all three scales. In addition, one request is rejected at
download and one video at segment, and the captions of each video's first `uncaptioned` frames are rejected.
"""

from __future__ import annotations

import atexit
import functools
import io
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import av
import cv2
import numpy as np

from curation.dataset.commits import Replacement
from curation.dataset.dataset import Dataset
from curation.dataset.object_store import put
from curation.dataset.parts import PartWriter
from curation.dataset.writer import Writer
from curation.ids import clip_id_of, content_digest, digest, frame_id_of, video_id_of
from curation.labels import Label
from curation.media.timelines import LIGHT, MOTION
from curation.quality.quality_records import PolicyVerdict, Quantile, Signals
from curation.records import (
    Caption,
    Clip,
    Download,
    Fingerprint,
    Frame,
    Page,
    PictureBox,
    Reject,
    Row,
    Segment,
    Sentence,
    Shot,
    SubtitleTrack,
    Summary,
    Timeline,
    Usage,
    Video,
    VideoRequest,
)

FRAME_RATE = 12
SECONDS = 24.0
TILINGS = {"short": 6.0, "medium": 12.0, "long": 24.0}
ENGINE: dict[str, str] = {"engine": "builtin", "model": "tags", "revision": "r1", "prompt_digest": digest("prompt")}
Rows = Mapping[str, Sequence[Any]]


@functools.cache
def stored_media(seconds: float = SECONDS, seed: int = 0) -> bytes:
    """An H.264 video with a key frame every second, no B frames, and AAC sound: as the single pass stores it."""
    buffer = io.BytesIO()
    noise = np.random.default_rng(seed)
    with av.open(buffer, "w", format="mp4") as container:
        video = container.add_stream("libx264", rate=FRAME_RATE)
        video.width, video.height, video.pix_fmt = 64, 36, "yuv420p"
        video.options = {"preset": "ultrafast", "g": str(FRAME_RATE), "bf": "0"}
        audio = container.add_stream("aac", rate=16_000)
        audio.layout = "mono"
        for number in range(round(seconds * FRAME_RATE)):
            pixels = np.full((36, 64, 3), number % 256, np.uint8)
            pixels[:8] = noise.integers(0, 256, (8, 64, 3), np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        for start in range(0, round(seconds * 16_000), 1024):
            tone = np.sin(2 * np.pi * 440 * np.arange(start, start + 1024) / 16_000).astype(np.float32)
            sound = av.AudioFrame.from_ndarray(tone[None], format="fltp", layout="mono")
            sound.sample_rate, sound.pts = 16_000, start
            container.mux(audio.encode(sound))
        container.mux(video.encode(None))
        container.mux(audio.encode(None))
    return buffer.getvalue()


def url_of(number: int) -> str:
    return f"https://videos.example/watch/{number}.mp4"


def request_of(number: int) -> VideoRequest:
    return VideoRequest(request_key=digest("request", url_of(number)), uri=url_of(number), metadata='{"topic": "bees"}')


def download_of(number: int) -> Download:
    video_id = video_id_of("list", f"v{number}")
    return Download(
        request_key=request_of(number).request_key,
        video_id=video_id,
        uri=url_of(number),
        source_uri=f"sources/{digest(video_id)}.mp4",
        source_bytes=10,
        source_digest=digest("source", number),
        title=f"Talk {number}",
        channel=f"Channel {number % 2}",
        channel_id=f"UC{number % 2}",
        upload_date="2024-05-06",
        subtitles=(SubtitleTrack("en", "manual", "vtt", "WEBVTT\n\n00:00.000 --> 00:06.000\nBees dance.\n"),),
    )


def page_of(number: int) -> Page:
    return Page(request_key=request_of(number).request_key, uri=url_of(number), title=f"Talk {number}", duration=48.0)


def made_of(number: int, media: bytes, uncaptioned: int = 0) -> dict[str, list[Any]]:
    """The rows after the download of a video whose stored media is `media`, by table."""
    download = download_of(number)
    video_id = download.video_id
    video = Video(
        video_id=video_id,
        uri=download.uri,
        media_uri=f"media/{digest(video_id)[:2]}/{video_id}.{content_digest(media)[:8]}.mp4",
        media_digest=content_digest(media),
        media_bytes=len(media),
        duration=SECONDS,
        width=64,
        height=36,
        frame_rate=float(FRAME_RATE),
        frame_count=round(SECONDS * FRAME_RATE),
        has_audio=True,
        source_width=1280,
        source_height=720,
        title=download.title,
        channel=download.channel,
        channel_id=download.channel_id,
        upload_date=download.upload_date,
        language="en",
        subtitle_kind="manual",
        sentences=(Sentence(0.0, 6.0, "Bees dance."), Sentence(6.0, 12.0, "They tell where flowers are.")),
        shots=(Shot(0.0, 12.0), Shot(12.0, SECONDS)),
        boundaries=tuple(np.arange(0.0, SECONDS, 6.0).tolist()),
        metadata='{"topic": "bees"}',
    )
    rows: dict[str, list[Any]] = {"videos": [video], "frames": [], "segments": [], "captions": [], "rejects": []}
    rows |= {"timelines": [plain_timeline(video_id)], "summaries": [], "clips": [], "signals": []}
    times = [3.0, 9.0, 15.0, 21.0]
    for at, time in enumerate(times):
        frame_id = frame_id_of(video_id, time)
        image = image_of(frame_id)
        frame = Frame(
            frame_id=frame_id,
            video_id=video_id,
            time=time,
            image=image,
            image_digest=content_digest(image),
            sharpness=9.5,
        )
        rows["frames"].append(frame)
        if at < uncaptioned:
            rows["rejects"].append(reject_of(frame_id, video_id, download.uri, "caption", "engine"))
            continue
        text = f"A bee at {time:g} s"
        caption = Caption(
            frame_id=frame_id,
            video_id=video_id,
            time=time,
            text=text,
            raw_text=text,
            status="ok",
            sampling="{}",
            **ENGINE,
        )
        rows["captions"].append(caption)
    for scale, length in TILINGS.items():
        for start in np.arange(0.0, SECONDS, length).tolist():
            segment = _segment(video_id, scale, start, start + length, times)
            rows["segments"].append(segment)
            rows["clips"].append(_clip(segment, video))
            rows["signals"].append(Signals(clip_id=segment.clip_id, video_id=video_id, still=0.5))
            for kind in ("subtitles", "captions") if scale != "short" else ():
                rows["summaries"].append(
                    Summary(
                        clip_id=segment.clip_id,
                        video_id=video_id,
                        kind=kind,
                        text="Bees dance.",
                        raw_text="Bees dance.",
                        status="ok",
                        sampling="{}",
                        **ENGINE,
                    )
                )
    return rows


@functools.cache
def image_of(frame_id: str) -> bytes:
    """A JPEG of its own."""
    pixels = np.random.default_rng(list(frame_id.encode())).integers(0, 256, (9, 16, 3), np.uint8)
    return bytes(cv2.imencode(".jpg", cv2.resize(pixels, (64, 36)))[1])


def _segment(video_id: str, scale: str, start: float, end: float, times: Iterable[float]) -> Segment:
    above = {"short": "medium", "medium": "long"}.get(scale)
    length = TILINGS[above] if above else 0.0
    parent = start // length * length if above else 0.0
    return Segment(
        clip_id=clip_id_of(video_id, scale, start, end),
        video_id=video_id,
        scale=scale,
        start=start,
        end=end,
        parent_id=clip_id_of(video_id, above, parent, parent + length) if above else None,
        frame_ids=tuple(frame_id_of(video_id, t) for t in times if start <= t < end),
        sentence_count=1,
    )


def _clip(segment: Segment, video: Video) -> Clip:
    verbatim = segment.scale == "short"
    spoken = segment.start < 12.0
    return Clip(
        **{name: getattr(segment, name) for name in Segment.__dataclass_fields__},
        media_uri=video.media_uri,
        subtitle_text="Bees dance." if spoken else None,
        caption_text="A bee",
        subtitle_original="Bees dance." if spoken else None,
        caption_original="A bee",
        subtitle_source="manual" if spoken else None,
        caption_source="builtin/tags",
        subtitle_status=("verbatim" if verbatim else "ok") if spoken else None,
        caption_status="verbatim" if verbatim else "ok",
        language="en",
        metadata=video.metadata,
    )


def verdict_of(clip: Clip, policy: str = "made") -> PolicyVerdict:
    """That of a policy that keeps a clip."""
    return PolicyVerdict(
        policy=policy,
        clip_id=clip.clip_id,
        video_id=clip.video_id,
        kept=True,
        subtitle_kept=True,
        caption_kept=True,
        dropped_by=(),
    )


def quantile_of(number: int) -> Quantile:
    return Quantile(
        policy="made", signal="still", percent=float(number), scale="short", language="en", value=0.5, clips=100
    )


def usage_of(number: int, stage: str) -> Usage:
    """The usage of a stage for a video."""
    download, asked = download_of(number), {"caption": 4, "summarize": 6}.get(stage, 0)
    return Usage(
        key=download.request_key if stage == "download" else download.video_id,
        video_id=download.video_id,
        stage=stage,
        engine=ENGINE["engine"] if asked else None,
        model=ENGINE["model"] if asked else None,
        requests=asked,
        failures=0,
        retries=0,
        reused=0,
        input_tokens=100 * asked,
        output_tokens=10 * asked,
        first_token_s=0.1 if asked else None,
        in_flight=2.0 if asked else None,
        bytes=0 if asked else 10,
        seconds=1.5,
    )


def label_of(clip: Clip, verdict: str = "keep", rater: str = "ada") -> Label:
    """A verdict on a clip."""
    return Label(
        label_id=digest("label", clip.clip_id, verdict, rater),
        clip_id=clip.clip_id,
        video_id=clip.video_id,
        text=None,
        text_digest=None,
        verdict=verdict,
        note=None,
        rater=rater,
        audit=None,
        version=None,
        judged_at="2026-01-02T03:04:05+00:00",
    )


def reject_of(key: str, video_id: str | None, uri: str, stage: str, kind: str) -> Reject:
    return Reject(
        key=key, video_id=video_id, uri=uri, stage=stage, kind=kind, message="no luck", retryable=False, attempts=1
    )


# --- writing --------------------------------------------------------------------------------------------------------


def commit_rows(writer: Writer, token: str, rows: Rows, replacements: Sequence[Replacement] = ()) -> int:
    """One commit with these rows, in one part for each table."""
    parts = PartWriter(writer.dataset.store, writer.lineage, part_bytes=1 << 30)
    for records in rows.values():
        parts.add(Row(record, digest(token)) for record in records)
    return writer.commit(token, parts.finish(), replacements)


def add_videos(writer: Writer, numbers: Iterable[int], uncaptioned: int = 0) -> None:
    """Take videos through all stages: one commit per video and stage, as a run makes them."""
    for number in numbers:
        rows = made_of(number, stored_media(seed=number), uncaptioned)
        put(writer.dataset.store, rows["videos"][0].media_uri, stored_media(seed=number))
        commit_rows(writer, f"{writer.lineage.run_id}:{number}:requests", {"requests": [request_of(number)]})
        by_stage: dict[str, Rows] = {
            "download": {"downloads": [download_of(number)], "pages": [page_of(number)]},
            "segment": {name: rows[name] for name in ("videos", "timelines", "frames", "segments")},
            "caption": {name: rows[name] for name in ("captions", "rejects")},
            "summarize": {name: rows[name] for name in ("summaries", "clips", "signals")},
        }
        for stage, some in by_stage.items():
            some = {**some, "usage": [usage_of(number, stage)]}
            commit_rows(writer, f"{writer.lineage.run_id}:{number}:{stage}", some)
        judged: Rows = {"labels": [label_of(rows["clips"][0])], "quantiles": [quantile_of(number)]}
        commit_rows(writer, f"{writer.lineage.run_id}:{number}:labels", judged)


def plain_timeline(video_id: str = "", seconds: float = SECONDS) -> Timeline:
    """The timeline of a grey video in bars."""
    boxes = (PictureBox(top=0.125, bottom=0.875),) * round(seconds)
    series = dict.fromkeys(LIGHT + MOTION, (0.5,) * round(seconds))
    prints = (Fingerprint(0.0, seconds - 0.5, "5b594a4b4b492a4b" * 4, 100),)
    return Timeline(
        video_id=video_id, picture_box=boxes[0], picture_boxes=boxes, fingerprints=prints, **cast(Any, series)
    )


def make_dataset(location: Path, videos: int = 2, uncaptioned: int = 0) -> Dataset:
    """`videos` videos, a request that was rejected at download (number 90), and a video rejected at segment (91)."""
    shutil.copytree(_template(videos, uncaptioned), location)
    return Dataset(str(location))


@functools.cache
def _template(videos: int, uncaptioned: int) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="vidla-tests-"))
    atexit.register(shutil.rmtree, folder)
    dataset = Dataset(str(folder))
    with Writer(dataset, "run-1", {"command": ["curate"]}) as writer:
        add_videos(writer, range(videos), uncaptioned)
        lost, broken = request_of(90), download_of(91)
        rejects = [
            reject_of(lost.request_key, None, lost.uri, "download", "not_found"),
            reject_of(broken.video_id, broken.video_id, broken.uri, "segment", "unreadable"),
        ]
        rows: Rows = {"requests": [lost, request_of(91)], "downloads": [broken], "rejects": rejects}
        commit_rows(writer, "run-1:rejected", rows)
    return folder
