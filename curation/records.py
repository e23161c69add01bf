"""The records of vidla: one frozen dataclass for each table.

The tables' Arrow schemas and docs/data.md are derived from the annotations, so neither can disagree with the code.
Times are seconds (float64) on the stored media's clock, which starts at 0, unless a column says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Generic, Literal, TypeVar

from curation.source_clock import ClockJump

T = TypeVar("T")
Scale = Literal["short", "medium", "long"]
SCALES: tuple[Scale, ...] = ("short", "medium", "long")


@dataclass(frozen=True)
class Row(Generic[T]):
    """A table's record, the digest of the settings and inputs that made it, and its recipe if not the current one."""

    record: T
    digest: str
    recipe: int | None = None


# --- values inside rows ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SubtitleTrack:
    """A subtitle file of the source."""

    language: Annotated[str, "BCP 47 tag, as the source states it"]
    kind: Annotated[str, "manual or automatic"]
    format: Annotated[str, "vtt, srt, ass, ssa, ttml or sbv"]
    text: Annotated[str, "the decoded file"]


@dataclass(frozen=True)
class Sentence:
    """A spoken sentence and its times."""

    start: Annotated[float, "where it begins"]
    end: Annotated[float, "where it ends"]
    text: Annotated[str, "the sentence"]
    speaker: Annotated[str | None, "who says it, if the subtitles name the speaker; null in older rows"] = None


@dataclass(frozen=True)
class Shot:
    """A run of frames between two boundaries; those of a gradual transition lie between two shots."""

    start: Annotated[float, "time of its first frame"]
    end: Annotated[float, "time of the next shot's first frame, or of the first of the transition to it; or the end"]
    kind: Annotated[
        str | None,
        "the boundary at which it begins: cut, dissolve, wipe or fade; null for the first, and older rows",
    ] = None
    score: Annotated[
        float | None, "how sure that boundary is, from 0.5 to 1; null for the first, older rows, and PySceneDetect's"
    ] = None


@dataclass(frozen=True)
class PictureBox:
    """The picture without black bars, in fractions of the frame: left and right of its width, the others of its height.

    Whole: 0, 0, 1, 1.
    """

    left: Annotated[float, "where it begins"] = 0.0
    top: Annotated[float, "where it begins"] = 0.0
    right: Annotated[float, "where it ends"] = 1.0
    bottom: Annotated[float, "where it ends"] = 1.0


@dataclass(frozen=True)
class Fingerprint:
    """A run of nearly equal pictures, by the hash of the first."""

    start: Annotated[float, "when the first of them is displayed"]
    end: Annotated[float, "when the last of them was looked at"]
    pdq: Annotated[str, "PDQ hash of 256 bits, hexadecimal; up to some 31 bits apart are alike"]
    quality: Annotated[int, "0 to 100; below 50 there is too little to see for a match to mean much"]


# --- tables ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class VideoRequest:
    """A requested video, or a range of one, with or without success."""

    request_key: Annotated[str, "derived from the canonical URI and the range"]
    uri: Annotated[str, "location of the video: an http(s) URL, or file: for a local input"]
    start: Annotated[float | None, "seconds on the source's clock at which the requested range begins"] = None
    end: Annotated[float | None, "seconds on the source's clock at which it ends"] = None
    id: Annotated[str | None, "the id given in the list"] = None
    subtitles: Annotated[str | None, "URI of a manual subtitle file given with the video"] = None
    subtitle_language: Annotated[str | None, "its language, if its name states one"] = None
    metadata: Annotated[str | None, "JSON object of the list's other columns"] = None
    refused: Annotated[str | None, "why its row of the list was refused when it was read: it is never fetched"] = None
    local: Annotated[bool, "whether file: is allowed: named on the command line, or below its --files-under"] = False


@dataclass(frozen=True, kw_only=True)
class Page:
    """What the page of a request, and its site, state of the video and of the rights to it; no media was needed."""

    request_key: Annotated[str, "the request"]
    uri: Annotated[str, "the requested URI"]
    webpage_uri: Annotated[str | None, "the page"] = None
    extractor: Annotated[str | None, "yt-dlp's extractor"] = None
    site_id: Annotated[str | None, "the site's id of the video"] = None
    title: Annotated[str | None, "as the source states it"] = None
    channel: Annotated[str | None, "its name, as the source states it"] = None
    channel_id: Annotated[str | None, "the site's id of the channel"] = None
    upload_date: Annotated[str | None, "ISO date"] = None
    duration: Annotated[float | None, "seconds"] = None
    language: Annotated[str | None, "as the source states it"] = None
    age_limit: Annotated[int | None, "years"] = None
    categories: Annotated[tuple[str, ...], "as the source states them"] = ()
    availability: Annotated[str | None, "public, unlisted, private, needs_auth, subscriber_only or premium_only"] = None
    live_status: Annotated[str | None, "not_live, was_live, is_live, is_upcoming or post_live"] = None
    view_count: Annotated[int | None, "as the source states it"] = None
    width: Annotated[int | None, "pixels, of the chosen format"] = None
    height: Annotated[int | None, "pixels, of the chosen format"] = None
    subtitles: Annotated[tuple[str, ...], "languages of subtitles that people made"] = ()
    automatic_subtitles: Annotated[tuple[str, ...], "languages of automatic ones"] = ()
    licence: Annotated[str | None, "as the source states it"] = None
    licence_spdx: Annotated[str | None, "its SPDX identifier, if the statement names one"] = None
    training: Annotated[
        tuple[str, ...], "who may train on it by YouTube's answer: all, none, or names; empty if it was not given"
    ] = ()
    robots_allow: Annotated[bool | None, "whether robots.txt lets vidla fetch the page; null if there is none"] = None
    tdm_reserved: Annotated[bool | None, "whether tdmrep.json reserves text and data mining of the page"] = None
    failure: Annotated[
        str | None, "if there is no video, why: a kind of reject; the columns above then hold the last values seen"
    ] = None
    message: Annotated[str | None, "the failure in one line"] = None


@dataclass(frozen=True, kw_only=True)
class Download:
    """The source media of a request, and what the source states of it."""

    request_key: Annotated[str, "the request"]
    video_id: Annotated[str, "the site's own id, else the list's, else a digest of the content; with the range"]
    uri: Annotated[str, "the requested URI"]
    start: Annotated[float | None, "requested range, source clock"] = None
    end: Annotated[float | None, "requested range, source clock"] = None
    source_uri: Annotated[str, "the source media, relative to the dataset; deleted once segmented"]
    source_bytes: Annotated[int, "its size"]
    source_digest: Annotated[str, "BLAKE2 digest of its content"]
    webpage_uri: Annotated[str | None, "the page it came from"] = None
    extractor: Annotated[str | None, "yt-dlp's extractor"] = None
    title: Annotated[str | None, "as the source states it"] = None
    channel: Annotated[str | None, "its name, as the source states it"] = None
    channel_id: Annotated[str | None, "the site's id of the channel"] = None
    upload_date: Annotated[str | None, "ISO date"] = None
    licence: Annotated[str | None, "as the source states it"] = None
    description: Annotated[str | None, "as the source states it"] = None
    language: Annotated[str | None, "as the source states it"] = None
    opt_out: Annotated[str | None, "opt-out headers received, with their times (JSON); null if there were none"] = None
    subtitles: Annotated[tuple[SubtitleTrack, ...], "all fetched tracks"] = ()
    subtitle_note: Annotated[
        str | None, "why subtitles that were asked for are missing, or could not be read; null if none are"
    ] = None
    metadata: Annotated[str | None, "JSON object of the list's other columns"] = None
    page: Annotated[
        str | None, "what else the extractor read: JSON object of up to 64 kB, without secrets; null for local files"
    ] = None
    material: Annotated[str | None, "digest of what its media was fetched by; null in older rows"] = None
    words: Annotated[str | None, "digest of its subtitles; null in older rows"] = None


@dataclass(frozen=True, kw_only=True)
class Video:
    """A segmented video: its stored media, sentences and shots."""

    video_id: Annotated[str, "as in downloads"]
    uri: Annotated[str, "the requested URI"]
    media_uri: Annotated[str, "the stored media, relative to the dataset"]
    media_digest: Annotated[str, "BLAKE2 digest of the stored media's content"]
    media_bytes: Annotated[int, "size of the stored media"]
    duration: Annotated[float, "seconds, of the stored media"]
    width: Annotated[int, "pixels, stored"]
    height: Annotated[int, "pixels, stored"]
    frame_rate: Annotated[float, "mean frames per second, stored"]
    frame_count: Annotated[int, "number of stored frames"]
    has_audio: Annotated[bool, "whether the stored media has sound"]
    source_width: Annotated[int, "pixels, as displayed"]
    source_height: Annotated[int, "pixels, as displayed"]
    damage: Annotated[str | None, "what was wrong with the source, if most of it was intact"] = None
    title: Annotated[str | None, "as in downloads"] = None
    channel: Annotated[str | None, "as in downloads"] = None
    channel_id: Annotated[str | None, "as in downloads"] = None
    upload_date: Annotated[str | None, "ISO date"] = None
    licence: Annotated[str | None, "as the source states it"] = None
    opt_out: Annotated[str | None, "as in downloads"] = None
    language: Annotated[
        str | None, "ISO 639-1, identified from the subtitles, else as the source states it; null if unknown"
    ] = None
    subtitle_kind: Annotated[str | None, "manual, automatic, or null without subtitles"] = None
    sentences: Annotated[tuple[Sentence, ...], "the spoken sentences, with their times"] = ()
    sentence_ends: Annotated[
        str | None, "how sentence ends were found: by punctuation, language (and pauses), model (and pauses), or pauses"
    ] = None
    shots: Annotated[tuple[Shot, ...], "runs of frames between two boundaries, cuts or gradual transitions"] = ()
    boundaries: Annotated[tuple[float, ...], "times at which a clip may begin or end, each a stored key frame"] = ()
    metadata: Annotated[str | None, "JSON object of the list's other columns"] = None
    words: Annotated[
        str | None, "digest of the subtitles and settings that its sentences were made by; null in older rows"
    ] = None
    source_start: Annotated[
        float | None, "seconds on the source's clock at which the stored media begins; null in older rows"
    ] = None
    source_jumps: Annotated[
        tuple[ClockJump, ...] | None,
        "jumps of the source's clock: it is the stored one plus `source_start` and the jumps so far; null if older",
    ] = None
    language_confidence: Annotated[
        float | None,
        "how likely `language` is right, from 0 to 1, by the words and by what is stated; null if nothing tells",
    ] = None
    source_transfer: Annotated[
        str | None, "transfer characteristics that the source states, by FFmpeg's name; null in older rows"
    ] = None
    tone_mapping: Annotated[
        str | None,
        "what made SDR in BT.709 of frames and stored media: bt2390 of HDR, bt2407 of a wide gamut; else null",
    ] = None


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """How the pictures of a video look and move, second by second, and its fingerprints; all without black bars.

    Series have a value for each second of the stored media: the first for 0 to 1 s, and so on.
    """

    video_id: Annotated[str, "the video"]
    luminance: Annotated[tuple[float, ...], "mean luma, 0 (black) to 1 (white)"]
    contrast: Annotated[tuple[float, ...], "standard deviation of luma over a picture"]
    black: Annotated[tuple[float, ...], "share of black pixels"]
    blown: Annotated[tuple[float, ...], "share of blown-out pixels"]
    sharpness: Annotated[tuple[float, ...], "variance of the luma's Laplacian in a picture of 320 columns"]
    motion: Annotated[
        tuple[float, ...],
        "mean difference in luma of pictures 1/8 s apart, less the displacement of the whole frame; 0 across cuts",
    ]
    displacement: Annotated[
        tuple[float, ...], "mean displacement of the whole frame in 1/8 s, as a fraction of the picture's width"
    ]
    shake: Annotated[tuple[float, ...], "mean change of that displacement; 0 for a steady pan"]
    still: Annotated[tuple[float, ...], "share of the time in which nothing moves"]
    picture_box: Annotated[PictureBox, "the picture without black bars, as it is for most of the video"]
    picture_boxes: Annotated[tuple[PictureBox, ...], "the same, for each second"]
    fingerprints: Annotated[
        tuple[Fingerprint, ...], "at 2 Hz and half a second after each cut; runs of nearly equal pictures are one"
    ]


@dataclass(frozen=True, kw_only=True)
class Frame:
    """A frame kept for captioning, without black bars. Those in the `frame_ids` of a segment are captioned."""

    frame_id: Annotated[str, "derived from video and microsecond"]
    video_id: Annotated[str, "the video"]
    time: Annotated[float, "when it is displayed"]
    image: Annotated[bytes, "JPEG"]
    image_digest: Annotated[str, "BLAKE2 digest of the image"]
    sharpness: Annotated[float, "variance of the Laplacian at the candidate's size; higher is sharper"]


@dataclass(frozen=True, kw_only=True)
class Caption:
    """A multimodal model's caption of one frame."""

    frame_id: Annotated[str, "the frame"]
    video_id: Annotated[str, "the video"]
    time: Annotated[float, "when the frame is displayed"]
    text: Annotated[str | None, "the caption; null unless the status is ok, repaired or truncated"]
    raw_text: Annotated[str | None, "the model's answer, unchanged"]
    status: Annotated[str, "ok, repaired, truncated, unrecognised, refused, unparseable or empty"]
    engine: Annotated[str, "what made the text"]
    model: Annotated[str, "the engine's model"]
    revision: Annotated[str, "the model's revision"]
    prompt_digest: Annotated[str, "digest of the prompt's file"]
    sampling: Annotated[str, "JSON object"]
    maker: Annotated[str | None, "digest of the engine, prompt and sampling together; null in older rows"] = None


@dataclass(frozen=True, kw_only=True)
class Segment:
    """A clip before it has texts: a range of its video at one of three scales."""

    clip_id: Annotated[str, "derived from video, scale and both microseconds"]
    video_id: Annotated[str, "the video"]
    scale: Annotated[str, "short, medium or long"]
    start: Annotated[float, "where it begins"]
    end: Annotated[float, "where it ends"]
    parent_id: Annotated[str | None, "the clip of the next longer scale that contains it"]
    frame_ids: Annotated[tuple[str, ...], "the captioned frames inside it, in order"]
    sentence_count: Annotated[int, "number of sentences whose middle lies inside"]


@dataclass(frozen=True, kw_only=True)
class Summary:
    """One of the two texts of a medium or long clip: a summary of what is said, or of what is seen."""

    clip_id: Annotated[str, "the clip"]
    video_id: Annotated[str, "the video"]
    kind: Annotated[str, "subtitles or captions"]
    text: Annotated[str | None, "the summary; a truncation of the source text if the status is truncated"]
    raw_text: Annotated[str | None, "the model's last answer, unchanged"]
    status: Annotated[str, "ok, extracted, repaired or truncated"]
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
    subtitle_text: Annotated[str | None, "null if nothing is said"]
    caption_text: Annotated[str | None, "null if no frame has a caption"]
    subtitle_original: Annotated[str | None, "everything said in the clip, the source of its text"]
    caption_original: Annotated[str | None, "the captions of the clip's frames, the source of its text"]
    subtitle_source: Annotated[str | None, "where that comes from: manual or automatic subtitles"]
    caption_source: Annotated[str | None, "where those come from: engine/model"]
    subtitle_status: Annotated[str | None, "verbatim for a short clip, else the summary's status"]
    caption_status: Annotated[
        str | None, "verbatim for a short clip, else the summary's status; unrecognised if nothing is in any frame"
    ]
    language: Annotated[str | None, "as in videos"]
    metadata: Annotated[str | None, "as in videos; null in rows older than the column"] = None


@dataclass(frozen=True, kw_only=True)
class Reject:
    """An item that a stage rejected."""

    key: Annotated[str, "request_key, video_id, frame_id or clip_id, by stage"]
    video_id: Annotated[str | None, "if known"]
    uri: Annotated[str, "the requested URI, without secrets"]
    stage: Annotated[str, "download, segment, caption or summarize"]
    kind: Annotated[str, "the kind of reject (see below)"]
    message: Annotated[str, "one line that says why and, if possible, what to do"]
    retryable: Annotated[bool, "whether a retry can help"]
    attempts: Annotated[int, "number of tries so far, those within one run included; 0 if its row was refused"]


@dataclass(frozen=True, kw_only=True)
class Usage:
    """The cost of one video at one stage of a run. A history: every redo adds rows, and none is replaced.

    If another video gets the id of one that was removed, the rows of that have a digest as key, and no id.
    """

    key: Annotated[str, "request_key at the download stage, else video_id"]
    video_id: Annotated[str | None, "null if the download was rejected"]
    stage: Annotated[str, "download, segment, caption or summarize"]
    engine: Annotated[str | None, "the engine that was asked for texts; null if none was"]
    model: Annotated[str | None, "its model, or models"]
    requests: Annotated[int, "requests for texts, including repeated ones after an unacceptable answer"]
    failures: Annotated[int, "how many of these got no answer"]
    retries: Annotated[int, "how often a request was sent again because a server was busy or unreachable"]
    reused: Annotated[int, "texts reused without a request, because they existed under the same digest"]
    input_tokens: Annotated[int, "input tokens, images included, as the engine counts them"]
    output_tokens: Annotated[int, "output tokens"]
    first_token_s: Annotated[float | None, "mean seconds from sending a request to its first token, if measured"]
    in_flight: Annotated[float | None, "mean number of requests in flight from the same process when one was sent"]
    bytes: Annotated[int, "bytes of source media fetched or decoded"]
    seconds: Annotated[float, "from the start to the end of the work, waiting included"]
    processor_s: Annotated[
        float | None, "processor seconds of the thread that did the work and of its child processes; null in older rows"
    ] = None


@dataclass(frozen=True, kw_only=True)
class ForgottenKey:
    """Something forgotten that is not fetched again. Only a digest is kept, so that nothing of it remains."""

    key: Annotated[str, "digest of the kind and the name of what was forgotten"]
    kind: Annotated[str, "video, request, uri or channel"]
