"""The records that travel through vidla, and the schema of every table.

A table is one frozen dataclass: its Arrow schema and its page in docs/data.md both follow from the annotations,
so neither can disagree with the code. Times are seconds (float64) on the stored media's clock, which starts at 0,
unless a column says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Generic, Literal, TypeVar

T = TypeVar("T")
Scale = Literal["short", "medium", "long"]
SCALES: tuple[Scale, ...] = ("short", "medium", "long")


@dataclass(frozen=True)
class Row(Generic[T]):
    """A record of a table, and the digest of the settings and inputs that made it."""

    record: T
    digest: str


# --- values inside rows ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SubtitleTrack:
    """One subtitle file as the source gave it."""

    language: Annotated[str, "BCP 47 tag, as the source says"]
    kind: Annotated[str, "manual or automatic"]
    format: Annotated[str, "vtt or srt"]
    text: Annotated[str, "the file, decoded"]


@dataclass(frozen=True)
class Sentence:
    """A sentence that is spoken between two times."""

    start: Annotated[float, "where it begins"]
    end: Annotated[float, "where it ends"]
    text: Annotated[str, "what is said"]


@dataclass(frozen=True)
class Shot:
    """A run of frames between two cuts."""

    start: Annotated[float, "time of its first frame"]
    end: Annotated[float, "time of the next shot's first frame, or the video's end"]


# --- tables ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class VideoRequest:
    """What was asked for: one row a video and range, whatever became of it."""

    request_key: Annotated[str, "derived from the canonical URI and the range"]
    uri: Annotated[str, "where the video is: an http(s) URL, or file: for a local input"]
    start: Annotated[float | None, "seconds on the source's clock where the wished range begins"] = None
    end: Annotated[float | None, "seconds on the source's clock where it ends"] = None
    id: Annotated[str | None, "the id that the list gave"] = None
    subtitles: Annotated[str | None, "URI of a manual subtitle file given with the video"] = None
    subtitle_language: Annotated[str | None, "its language, where its name says it"] = None
    metadata: Annotated[str | None, "JSON object of the list's further columns"] = None
    local: Annotated[bool, "named on the command line as a file, so that file: is allowed"] = False


@dataclass(frozen=True, kw_only=True)
class Download:
    """What the source gave for a request."""

    request_key: Annotated[str, "the request"]
    video_id: Annotated[str, "the site's own id, else the list's, else a digest of the content; with the range"]
    uri: Annotated[str, "what was asked for"]
    start: Annotated[float | None, "wished range, source clock"] = None
    end: Annotated[float | None, "wished range, source clock"] = None
    source_uri: Annotated[str, "where the source media lies, relative to the dataset; gone once segmented"]
    source_bytes: Annotated[int, "its size"]
    source_digest: Annotated[str, "BLAKE2 digest of its content"]
    webpage_uri: Annotated[str | None, "the page it came from"] = None
    extractor: Annotated[str | None, "yt-dlp's extractor"] = None
    title: Annotated[str | None, "as the source states it"] = None
    channel: Annotated[str | None, "its name, as the source states it"] = None
    channel_id: Annotated[str | None, "the site's own id of the channel"] = None
    upload_date: Annotated[str | None, "ISO date"] = None
    licence: Annotated[str | None, "as the source states it"] = None
    description: Annotated[str | None, "as the source states it"] = None
    language: Annotated[str | None, "as the source states it"] = None
    opt_out: Annotated[str | None, "opt-out headers seen, with their time (JSON); null where there were none"] = None
    subtitles: Annotated[tuple[SubtitleTrack, ...], "every track that was fetched"] = ()
    metadata: Annotated[str | None, "JSON object of the list's further columns"] = None


@dataclass(frozen=True, kw_only=True)
class Video:
    """A video that made it through segmentation."""

    video_id: Annotated[str, "as in downloads"]
    uri: Annotated[str, "what was asked for"]
    media_uri: Annotated[str, "the stored media, relative to the dataset"]
    media_digest: Annotated[str, "BLAKE2 digest of the stored media's content"]
    media_bytes: Annotated[int, "size of the stored media"]
    duration: Annotated[float, "seconds of stored media"]
    width: Annotated[int, "pixels, stored"]
    height: Annotated[int, "pixels, stored"]
    frame_rate: Annotated[float, "mean frames a second, stored"]
    frame_count: Annotated[int, "frames stored"]
    has_audio: Annotated[bool, "whether the stored media has sound"]
    source_width: Annotated[int, "pixels, as shown"]
    source_height: Annotated[int, "pixels, as shown"]
    damage: Annotated[str | None, "what was wrong with the source where most of it was sound"] = None
    title: Annotated[str | None, "as in downloads"] = None
    channel: Annotated[str | None, "as in downloads"] = None
    channel_id: Annotated[str | None, "as in downloads"] = None
    upload_date: Annotated[str | None, "ISO date"] = None
    licence: Annotated[str | None, "as the source states it"] = None
    opt_out: Annotated[str | None, "as in downloads"] = None
    language: Annotated[str | None, "ISO 639-1, identified from the subtitles, else as the source states it"] = None
    subtitle_kind: Annotated[str | None, "manual, automatic, or null without subtitles"] = None
    sentences: Annotated[tuple[Sentence, ...], "what is spoken, with its times"] = ()
    sentence_ends: Annotated[
        str | None, "what told where sentences end: punctuation, language (and pauses), model (and pauses), or pauses"
    ] = None
    shots: Annotated[tuple[Shot, ...], "runs of frames between two cuts"] = ()
    boundaries: Annotated[tuple[float, ...], "where a clip may begin or end: the stored key frames put there"] = ()
    metadata: Annotated[str | None, "JSON object of the list's further columns"] = None


@dataclass(frozen=True, kw_only=True)
class Frame:
    """A frame kept for captioning; a segment's `frame_ids` choose which of them are captioned."""

    frame_id: Annotated[str, "derived from video and microsecond"]
    video_id: Annotated[str, "the video"]
    time: Annotated[float, "when it is shown"]
    image: Annotated[bytes, "JPEG"]
    image_digest: Annotated[str, "BLAKE2 digest of the image"]
    sharpness: Annotated[float, "variance of the Laplacian at the candidate's size; higher is sharper"]


@dataclass(frozen=True, kw_only=True)
class Caption:
    """What a multimodal model says of one frame."""

    frame_id: Annotated[str, "the frame"]
    video_id: Annotated[str, "the video"]
    time: Annotated[float, "when the frame is shown"]
    text: Annotated[str | None, "the caption; null unless the status is ok, repaired or truncated"]
    raw_text: Annotated[str | None, "what the model answered, unchanged"]
    status: Annotated[str, "ok, repaired, truncated, refused, unparseable or empty"]
    engine: Annotated[str, "what made the text"]
    model: Annotated[str, "the engine's model"]
    revision: Annotated[str, "the model's revision"]
    prompt_digest: Annotated[str, "digest of the prompt's file"]
    sampling: Annotated[str, "JSON object"]


@dataclass(frozen=True, kw_only=True)
class Segment:
    """A clip before it has text: a range of its video at one of three scales."""

    clip_id: Annotated[str, "derived from video, scale and both microseconds"]
    video_id: Annotated[str, "the video"]
    scale: Annotated[str, "short, medium or long"]
    start: Annotated[float, "where it begins"]
    end: Annotated[float, "where it ends"]
    parent_id: Annotated[str | None, "the clip of the next longer scale that contains it"]
    frame_ids: Annotated[tuple[str, ...], "the captioned frames inside it, in order"]
    sentence_count: Annotated[int, "sentences whose middle lies inside"]


@dataclass(frozen=True, kw_only=True)
class Summary:
    """One of the two texts of a medium or long clip, as an LLM made it."""

    clip_id: Annotated[str, "the clip"]
    video_id: Annotated[str, "the video"]
    kind: Annotated[str, "subtitles or captions"]
    text: Annotated[str | None, "the summary; a truncation of the source text where status says so"]
    raw_text: Annotated[str | None, "what the model answered last, unchanged"]
    status: Annotated[str, "ok, repaired, truncated, refused, unparseable or empty"]
    engine: Annotated[str, "what made the text"]
    model: Annotated[str, "the engine's model"]
    revision: Annotated[str, "the model's revision"]
    prompt_digest: Annotated[str, "digest of the prompt's file"]
    sampling: Annotated[str, "JSON object"]


@dataclass(frozen=True, kw_only=True)
class Clip:
    """A training example: a range of stored media with two texts. This is the product."""

    clip_id: Annotated[str, "as in segments"]
    video_id: Annotated[str, "the video"]
    scale: Annotated[str, "short, medium or long"]
    start: Annotated[float, "where it begins"]
    end: Annotated[float, "where it ends"]
    parent_id: Annotated[str | None, "as in segments"]
    frame_ids: Annotated[tuple[str, ...], "as in segments"]
    sentence_count: Annotated[int, "as in segments"]
    media_uri: Annotated[str, "the stored media, relative to the dataset"]
    subtitle_text: Annotated[str | None, "null where nothing was said"]
    caption_text: Annotated[str | None, "null where no frame could be captioned"]
    subtitle_original: Annotated[str | None, "all that is said in the clip, from which its text was made"]
    caption_original: Annotated[str | None, "the captions of the clip's frames, from which its text was made"]
    subtitle_source: Annotated[str | None, "what that came from: manual or automatic subtitles"]
    caption_source: Annotated[str | None, "what those came from: engine/model"]
    subtitle_status: Annotated[str | None, "verbatim for a short clip, else the summary's status"]
    caption_status: Annotated[str | None, "verbatim for a short clip, else the summary's status"]
    language: Annotated[str | None, "as in videos"]


@dataclass(frozen=True, kw_only=True)
class Reject:
    """What did not make it, from every stage."""

    key: Annotated[str, "request_key, video_id, frame_id or clip_id, by stage"]
    video_id: Annotated[str | None, "where it is known"]
    uri: Annotated[str, "what was asked for, without secrets"]
    stage: Annotated[str, "download, segment, caption or summarize"]
    kind: Annotated[str, "why, in a word: one of the kinds of reject"]
    message: Annotated[str, "why, in a line, with the way out where there is one"]
    retryable: Annotated[bool, "whether a retry can help"]
    attempts: Annotated[int, "how often it was tried"]


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What a run spent on one video at one stage. History: rows are added by every redo, and none is replaced."""

    key: Annotated[str, "request_key at the download stage, else video_id"]
    video_id: Annotated[str | None, "null where a download was rejected"]
    stage: Annotated[str, "download, segment, caption or summarize"]
    engine: Annotated[str | None, "what was asked for texts; null where nothing was asked"]
    model: Annotated[str | None, "its model, or models"]
    requests: Annotated[int, "texts asked for, those included that were asked for again because they would not do"]
    failures: Annotated[int, "of these, how many had no answer"]
    retries: Annotated[int, "times that a request was sent again because a server was busy or away"]
    reused: Annotated[int, "texts that were not asked for, since they were there under the same digest"]
    input_tokens: Annotated[int, "tokens that went in, images included, as the engine counts them"]
    output_tokens: Annotated[int, "tokens that came out"]
    first_token_s: Annotated[float | None, "mean seconds from sending a request to its first token, where measured"]
    in_flight: Annotated[float | None, "mean number of requests that its process had at the server when one was sent"]
    bytes: Annotated[int, "source media fetched or decoded"]
    seconds: Annotated[float, "from the beginning to the end of the work, waiting included"]
    processor_s: Annotated[
        float | None, "of a processor, in the thread that did it and in children that answered it; null in older rows"
    ] = None


@dataclass(frozen=True, kw_only=True)
class ForgottenKey:
    """What was forgotten and is not fetched again. Only its digest is kept, so that nothing of it remains."""

    key: Annotated[str, "digest of the kind and of what was forgotten"]
    kind: Annotated[str, "video, request, uri or channel"]
