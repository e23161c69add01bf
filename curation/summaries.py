"""The two training texts of every clip of a video: from what is said in it, and from the captions of its frames.

Short clips keep both as they are ("verbatim"), and so does a longer one whose text already is one sentence within the
limits. The others get a summary of each, as VidLA has it: one sentence within the limits, with nothing added. What
cannot be summarised so is truncated at a sentence end, and says so ("truncated").
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from curation.answers import Answer, additions, read_answer
from curation.config import SummarySettings
from curation.engines import Completion, Failure, TextRequest
from curation.engines.source import TextSource, text_source
from curation.records import Caption, Clip, Segment, Summary, Video, digest
from curation.rejects import Kind, Rejected
from curation.text_limits import Limits, spaced, split_sentences, truncate
from prompts import Prompt

TextKind = Literal["subtitles", "captions"]
KINDS: tuple[TextKind, ...] = ("subtitles", "captions")
_Key = tuple[str, TextKind]  # clip_id and kind
FEWEST_WORDS = 8
"""No summary is asked to be shorter, however often it is asked for."""


@dataclass(frozen=True)
class SummaryPlan:
    """Everything that decides what the summaries say."""

    subtitles: TextSource
    captions: TextSource
    limits: Limits
    min_support: float

    def source(self, kind: TextKind) -> TextSource:
        return self.subtitles if kind == "subtitles" else self.captions

    @property
    def digest(self) -> str:
        return digest(*(self._digest(kind) for kind in KINDS))

    def summary_digest(self, kind: TextKind, parts: Sequence[str], language: str | None) -> str:
        """Stands for one summary: the texts that it is made from, and all that makes it."""
        return digest("summary", self._digest(kind), parts, language)

    def _digest(self, kind: TextKind) -> str:
        return digest(kind, self.source(kind).digest, self.limits.words, self.limits.tokens, self.min_support)


def summary_plan(settings: SummarySettings, prompts: Mapping[str, Prompt]) -> SummaryPlan:
    """The plan that `settings` describe. Raises PromptError where a prompt is not there."""
    return SummaryPlan(
        subtitles=text_source(settings.engine, settings.subtitles, "summarize_subtitles", prompts),
        captions=text_source(settings.engine, settings.captions, "summarize_captions", prompts),
        limits=Limits(settings.max_words, settings.max_clip_tokens),
        min_support=settings.min_support,
    )


@dataclass(frozen=True)
class Summarized:
    """What became of a video's clips: each is in `clips` or, by clip_id, in `rejected`.

    `summaries` are the new ones, each with its digest.
    """

    clips: list[Clip] = field(default_factory=list)
    summaries: list[tuple[Summary, str]] = field(default_factory=list)
    rejected: dict[str, Rejected] = field(default_factory=dict)


def summarize_video(
    video: Video,
    segments: Sequence[Segment],
    captions: Mapping[str, Caption],
    plan: SummaryPlan,
    existing: Iterable[tuple[Summary, str]] = (),
) -> Summarized:
    """The clips of `video`, one a segment; `captions` are by frame_id, `existing` summaries have their digests.

    A clip in which nothing is said has no subtitle text, and one without a captioned frame no caption text; nothing is
    asked for these. Equal texts are asked for once, and those in `existing` not at all. A clip is rejected only where
    an engine gave no answer though it was asked again. Raises EngineError where an engine as a whole cannot work.
    """
    sources = _sources(video, segments, captions)
    digests = {
        (s.clip_id, kind): plan.summary_digest(kind, source.parts, source.language)
        for s in segments
        for kind in KINDS
        if (source := sources.get((s.clip_id, kind))) and s.scale != "short" and not source.fits(plan.limits)
    }
    made: dict[str, _Text | Failure] = {}
    rows: set[tuple[str, str]] = set()  # clip_id and digest
    for summary, made_by in existing:
        made[made_by] = _Text(summary.text, summary.status, summary.raw_text)
        rows.add((summary.clip_id, made_by))
    for kind in KINDS:
        made |= _make(kind, {d: sources[key] for key, d in digests.items() if key[1] == kind and d not in made}, plan)

    texts = {key: made[digests[key]] if key in digests else _Text(s.text, "verbatim") for key, s in sources.items()}
    outcome = Summarized()
    for segment in segments:
        own = {kind: texts[segment.clip_id, kind] for kind in KINDS if (segment.clip_id, kind) in texts}
        for kind, text in own.items():
            wanted = digests.get((segment.clip_id, kind))
            if isinstance(text, Failure):
                outcome.rejected[segment.clip_id] = Rejected(Kind.ENGINE, text.message)
            elif wanted and (segment.clip_id, wanted) not in rows:
                outcome.summaries.append((_summary(segment, kind, text, plan), wanted))
        if segment.clip_id not in outcome.rejected:
            outcome.clips.append(_clip(segment, video, sources, texts))
    return outcome


# --- what a text is made from ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Source:
    """The sentences, or captions, that a clip's text is made from, and what they came from.

    `language` is known for what is said alone.
    """

    parts: tuple[str, ...]
    language: str | None
    origin: str | None

    @property
    def text(self) -> str:
        joined = " ".join(self.parts)
        return joined if spaced(joined) else "".join(self.parts)

    def fits(self, limits: Limits) -> bool:
        """Whether it already is what a summary must be: one sentence within the limits."""
        return limits.hold(self.text) and _is_one_sentence(self.text, self.language)


def _sources(video: Video, segments: Sequence[Segment], captions: Mapping[str, Caption]) -> dict[_Key, _Source]:
    """By clip and kind, where there is any text at all."""
    sources: dict[_Key, _Source] = {}
    for segment in segments:
        said = [s.text.strip() for s in video.sentences if segment.start <= (s.start + s.end) / 2 < segment.end]
        seen = [c for frame_id in segment.frame_ids if (c := captions.get(frame_id)) and c.text]
        shown = dict.fromkeys(c.text for c in seen if c.text)  # a scene that lasts is described once
        models = sorted({f"{c.engine}/{c.model}" for c in seen})
        given: dict[TextKind, _Source] = {
            "subtitles": _Source(_worded(said), video.language, video.subtitle_kind),
            "captions": _Source(_worded(shown), None, ", ".join(models)),
        }
        sources |= {(segment.clip_id, kind): source for kind, source in given.items() if source.parts}
    return sources


def _worded(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(text for text in texts if any(c.isalnum() for c in text))


def _is_one_sentence(text: str, language: str | None) -> bool:
    return len(split_sentences(text, language)) == 1


def _is_scrap(text: str) -> bool:
    """Whether `text` is a heading ("Tomato soup") or says one thing again and again."""
    words = text.lower().split()
    return spaced(text) and (len(words) < FEWEST_WORDS // 2 or len(set(words)) < len(words) / 2)


# --- making ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Text:
    """A clip's text, however it was come by."""

    text: str | None
    status: str
    raw_text: str | None = None


def _make(kind: TextKind, wanted: Mapping[str, _Source], plan: SummaryPlan) -> dict[str, _Text | Failure]:
    """A text for each of `wanted`, by digest: a summary, else a truncation; a Failure where there was no answer."""
    engine = plan.source(kind)
    made: dict[str, _Text | Failure] = {}
    raw: dict[str, str] = {}  # what the model answered last
    waiting = {d: source for d, source in wanted.items() if kind == "captions" or engine.knows(source.language)}
    for attempt in range(engine.attempts):
        answers = engine.ask([_request(kind, d, source, plan, attempt) for d, source in waiting.items()])
        for known, answer in answers.items():
            source = waiting[known]
            if isinstance(answer, Completion):
                raw[known] = answer.raw_text
                summary = _accepted(read_answer(answer, engine.prompt.output_schema, source.text), source, plan)
                if summary is None:
                    continue  # it is asked for again
                made[known] = _Text(summary.text, "repaired" if attempt else summary.status, answer.raw_text)
            elif answer.retryable:
                made[known] = answer
            del waiting[known]
    for known, source in wanted.items():
        if known not in made:
            made[known] = _Text(truncate(source.parts, plan.limits), "truncated", raw.get(known))
    return made


def _request(kind: TextKind, request_id: str, source: _Source, plan: SummaryPlan, attempt: int) -> TextRequest:
    """The request for a summary; a later attempt asks for a shorter one."""
    data = {"text": source.text} if kind == "subtitles" else {"captions": source.parts}
    words = max(min(FEWEST_WORDS, plan.limits.words), plan.limits.words - 5 * attempt)
    engine = plan.source(kind)
    return TextRequest(request_id, engine.prompt, {**data, "max_words": words}, engine.sampling_of(attempt))


def _accepted(answer: Answer, source: _Source, plan: SummaryPlan) -> Answer | None:
    """`answer` if it is one whole sentence within the limits that adds nothing to `source`; else None."""
    if answer.text is None or answer.status == "truncated" or not plan.limits.hold(answer.text):
        return None
    if not _is_one_sentence(answer.text, source.language) or _is_scrap(answer.text):
        return None
    added, invented = additions(answer.text, source.text, source.language)
    return None if invented or 1 - added < plan.min_support else answer


# --- rows -----------------------------------------------------------------------------------------------------------


def _clip(
    segment: Segment, video: Video, sources: Mapping[_Key, _Source], texts: Mapping[_Key, _Text | Failure]
) -> Clip:
    def columns(kind: TextKind, name: str) -> dict[str, str | None]:
        source, text = sources.get((segment.clip_id, kind)), texts.get((segment.clip_id, kind))
        values: tuple[str | None, ...] = (None,) * 4
        if source and isinstance(text, _Text):
            values = (text.text, source.text, source.origin, text.status)
        return dict(zip((f"{name}_{c}" for c in ("text", "original", "source", "status")), values, strict=True))

    return Clip(
        clip_id=segment.clip_id,
        video_id=segment.video_id,
        scale=segment.scale,
        start=segment.start,
        end=segment.end,
        parent_id=segment.parent_id,
        frame_ids=segment.frame_ids,
        sentence_count=segment.sentence_count,
        media_uri=video.media_uri,
        language=video.language,
        **columns("subtitles", "subtitle"),
        **columns("captions", "caption"),
    )


def _summary(segment: Segment, kind: TextKind, text: _Text, plan: SummaryPlan) -> Summary:
    return Summary(
        clip_id=segment.clip_id,
        video_id=segment.video_id,
        kind=kind,
        text=text.text,
        raw_text=text.raw_text,
        status=text.status,
        **plan.source(kind).lineage,
    )
