"""The two training texts of every clip of a video: from its subtitles, and from the captions of its frames.

Short clips keep both as they are ("verbatim"), and so does a longer clip whose text already is one sentence within the
limits. The others get a summary of each, as in VidLA: one sentence within the limits that adds nothing, in the text's
own language or in one that the settings name; or, from the built-in engine, the most central sentences ("extracted").
A text without an acceptable summary is truncated at the end of a sentence, in its own language ("truncated").
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from curation.engines.interface import Failure
from curation.engines.text_source import TextSource, text_source
from curation.errors import PromptError
from curation.ids import digest
from curation.languages import LANGUAGES, language_of, primary
from curation.prompts import Prompt
from curation.records import Caption, Clip, Row, Segment, Summary, Video
from curation.rejects import Kind, Rejected
from curation.settings import SummarySettings
from curation.texts.additions import additions
from curation.texts.answers import Answer
from curation.texts.limits import MAX_CHARS, TextLimits, clip_tokens, count_words, spaced, split_sentences, truncate
from curation.texts.questions import Outcome, Question, ask
from curation.texts.unrecognised import is_unrecognised, recognised_text

TextKind = Literal["subtitles", "captions"]
KINDS: tuple[TextKind, ...] = ("subtitles", "captions")
_Key = tuple[str, TextKind]  # clip_id and kind
FEWEST_WORDS = 8
"""The lowest word limit that a summary is requested with, unless max_words is lower."""


@dataclass(frozen=True)
class SummaryPlan:
    """Everything that determines the summaries. `language` is a code; None stands for that of each text."""

    subtitles: TextSource
    captions: TextSource
    limits: TextLimits
    min_support: float
    language: str | None = None

    def source(self, kind: TextKind) -> TextSource:
        return self.subtitles if kind == "subtitles" else self.captions

    @property
    def digest(self) -> str:
        return digest(*(self._digest(kind) for kind in KINDS))

    def summary_digest(self, kind: TextKind, parts: Sequence[str], language: str | None) -> str:
        """The digest of one summary: of the texts that it is made from, and of this plan."""
        return digest("summary", self._digest(kind), parts, language)

    def _digest(self, kind: TextKind) -> str:
        limits = (self.limits.words, self.limits.tokens, self.min_support)
        return digest(kind, self.source(kind).digest, *limits, self.language)


def summary_plan(settings: SummarySettings, prompts: Mapping[str, Prompt]) -> SummaryPlan:
    """The plan that `settings` describe. Raises PromptError if a prompt is missing or does not fit its task."""
    plan = SummaryPlan(
        subtitles=text_source(settings.engine, settings.subtitles, "summarize_subtitles", prompts),
        captions=text_source(settings.engine, settings.captions, "summarize_captions", prompts),
        limits=TextLimits(settings.max_words, settings.max_clip_tokens),
        min_support=settings.min_support,
        language=settings.language,
    )
    for prompt in (plan.subtitles.prompt, plan.captions.prompt):
        if plan.language and "language" not in prompt.variables:
            raise PromptError(f"prompt '{prompt.id}' does not use 'language', so summaries.language has no effect")
    return plan


@dataclass(frozen=True)
class Summarized:
    """The clips of a video: each is in `clips` or, by clip_id, in `rejected`; in both, if it has a former text instead.

    `summaries` are the rows to add: those that are not among the existing ones.
    """

    clips: list[Clip] = field(default_factory=list)
    summaries: list[Row[Summary]] = field(default_factory=list)
    rejected: dict[str, Rejected] = field(default_factory=dict)


def summarize_video(
    video: Video,
    segments: Sequence[Segment],
    captions: Mapping[str, Caption],
    plan: SummaryPlan,
    existing: Iterable[Row[Summary]] = (),
    former: Mapping[str, Clip] = MappingProxyType({}),
) -> Summarized:
    """The clips of `video`, one per segment; `captions` are by frame_id, `existing` are earlier summaries.

    A clip without speech has no subtitle text, and one without a captioned frame no caption text. Equal texts are
    summarised once, and those in `existing` not at all. A clip is rejected only if an engine, though asked again, gave
    no answer; if it is in `former` (by clip_id, of the same footage), it has its former text of that kind. Raises
    EngineError if an engine as a whole cannot work.
    """
    sources = sources_of(video, segments, captions)
    digests = _digests(sources, segments, plan)
    by_digest: dict[str, _Text | Failure] = {}
    stored: set[tuple[str, str]] = set()  # clip_id and digest
    for row in existing:
        by_digest[row.digest] = _Text(row.record.text, row.record.status, row.record.raw_text)
        stored.add((row.record.clip_id, row.digest))
    for kind in KINDS:
        by_digest |= _make_texts(
            kind, {d: sources[key] for key, d in digests.items() if key[1] == kind and d not in by_digest}, plan
        )

    texts = {
        key: by_digest[digests[key]] if key in digests else _Text(s.text, "verbatim") for key, s in sources.items()
    }
    summarized = Summarized()
    for segment in segments:
        own = {kind: texts[segment.clip_id, kind] for kind in KINDS if (segment.clip_id, kind) in texts}
        for kind, text in own.items():
            summary_digest = digests.get((segment.clip_id, kind))
            if isinstance(text, Failure):
                summarized.rejected[segment.clip_id] = Rejected(Kind.ENGINE, text.message)
            elif summary_digest and (segment.clip_id, summary_digest) not in stored:
                summarized.summaries.append(Row(_summary(segment, kind, text, plan), summary_digest))
        if segment.clip_id not in summarized.rejected or segment.clip_id in former:
            earlier = former.get(segment.clip_id)
            summarized.clips.append(_clip(segment, video, sources, texts, captions, earlier))
    return summarized


def summaries_to_ask(
    video: Video,
    segments: Sequence[Segment],
    captions: Mapping[str, Caption],
    plan: SummaryPlan,
    existing: Iterable[Row[Summary]] = (),
) -> dict[TextKind, int]:
    """By kind, how many summaries `summarize_video` would ask for."""
    known = {row.digest for row in existing}
    digests = _digests(sources_of(video, segments, captions), segments, plan)
    missing = {(kind, digest) for (_, kind), digest in digests.items() if digest not in known}
    return {kind: sum(each == kind for each, _ in missing) for kind in KINDS}


def _digests(sources: Mapping[_Key, SourceText], segments: Sequence[Segment], plan: SummaryPlan) -> dict[_Key, str]:
    """The digests of the summaries of these segments, as far as they need one."""
    return {
        (s.clip_id, kind): plan.summary_digest(kind, source.parts, source.language)
        for s in segments
        for kind in KINDS
        if (source := sources.get((s.clip_id, kind))) and s.scale != "short" and not source.needs_no_summary(plan)
    }


# --- sources --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SourceText:
    """The sentences or captions that a clip's text is made from, and their origin.

    `language` is None if it is unknown, which it always is for captions.
    """

    parts: tuple[str, ...]
    language: str | None
    origin: str | None

    @property
    def text(self) -> str:
        joined = " ".join(self.parts)
        return joined if spaced(joined) else "".join(self.parts)

    def is_in(self, language: str | None) -> bool:
        """Whether it is in `language`, as far as can be detected; None stands for its own."""
        return language is None or language == (primary(self.language) or language_of(self.text))

    def needs_no_summary(self, plan: SummaryPlan) -> bool:
        """Whether it already is a valid summary: one sentence within the limits, in the requested language."""
        fits = plan.limits.hold(self.text) and _is_one_sentence(self.text, self.language)
        return fits and self.is_in(plan.language)


def sources_of(video: Video, segments: Sequence[Segment], captions: Mapping[str, Caption]) -> dict[_Key, SourceText]:
    """The source texts by clip and kind; a clip without words of a kind has none."""
    sources: dict[_Key, SourceText] = {}
    middles = sorted(((s.start + s.end) / 2, place) for place, s in enumerate(video.sentences))
    for segment in segments:
        inside = middles[bisect_left(middles, (segment.start,)) : bisect_left(middles, (segment.end,))]
        spoken = [video.sentences[place].text.strip() for place in sorted(place for _, place in inside)]
        seen = [c for frame_id in segment.frame_ids if (c := captions.get(frame_id)) and recognised_text(c)]
        shown = dict.fromkeys(c.text for c in seen if c.text)  # a lasting scene is described once
        by_kind: dict[TextKind, SourceText] = {
            "subtitles": SourceText(_with_words(spoken), video.language, video.subtitle_kind),
            "captions": SourceText(_with_words(shown), None, _models(seen)),
        }
        sources |= {(segment.clip_id, kind): source for kind, source in by_kind.items() if source.parts}
    return sources


def _models(captions: Iterable[Caption]) -> str:
    return ", ".join(sorted({f"{c.engine}/{c.model}" for c in captions}))


def _with_words(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(text for text in texts if any(c.isalnum() for c in text))


def _is_one_sentence(text: str, language: str | None) -> bool:
    return len(split_sentences(text, language)) == 1


def _is_scrap(text: str) -> bool:
    """Whether `text` is a heading ("Tomato soup") or repeats itself."""
    words = text.lower().split()
    return spaced(text) and (len(words) < FEWEST_WORDS // 2 or len(set(words)) < len(words) / 2)


# --- making texts ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Text:
    """A clip's text, whatever produced it."""

    text: str | None
    status: str
    raw_text: str | None = None


def _make_texts(kind: TextKind, sources: Mapping[str, SourceText], plan: SummaryPlan) -> dict[str, _Text | Failure]:
    """A text for each of `sources`, by digest: a summary, else a truncation; a Failure if a later run may succeed."""
    made: dict[str, _Text | Failure] = {}
    outcomes = ask_summaries(kind, sources, plan)
    for key, source in sources.items():
        answer = outcomes.get(key)
        if isinstance(answer, Failure) and answer.retryable:
            made[key] = answer
        elif isinstance(answer, Outcome) and answer.fault is None:
            made[key] = _Text(answer.answer.text, answer.answer.status, answer.raw_text)
        else:
            raw_text = answer.raw_text if isinstance(answer, Outcome) else None
            made[key] = _Text(truncate(source.parts, plan.limits), "truncated", raw_text)
    return made


def ask_summaries(kind: TextKind, sources: Mapping[str, SourceText], plan: SummaryPlan) -> dict[str, Outcome | Failure]:
    """Ask for a summary of each of `sources`; the outcomes by key. Sources are left out if the engine does not know
    their language or the requested one. After each unacceptable summary a shorter one is asked for."""
    engine = plan.source(kind)

    def question(key: str, source: SourceText) -> Question:
        data: dict[str, object] = {"captions": source.parts}
        if kind == "subtitles":  # sentences as they are spoken, for an engine that takes some of them
            data = {"text": source.text, "sentences": source.parts, "limits": plan.limits}
        language = LANGUAGES[plan.language] if plan.language else None
        fewest = min(FEWEST_WORDS, plan.limits.words)

        def variables(restarts: int) -> dict[str, object]:
            return {**data, "max_words": max(fewest, plan.limits.words - 5 * restarts), "language": language}

        return Question(key, variables, source=source.text)

    known = {
        key: source
        for key, source in sources.items()
        if (kind == "captions" or engine.knows(source.language)) and (not plan.language or engine.knows(plan.language))
    }
    questions = [question(key, source) for key, source in known.items()]
    return ask(questions, engine, lambda key, answer: _fault(answer, known[key], plan))


def _fault(answer: Answer, source: SourceText, plan: SummaryPlan) -> str | None:
    """The fault of `answer`; None if it is one complete sentence, within the limits, in the requested language, adding
    nothing to `source`, or if it is taken from it."""
    text = answer.text or ""
    if answer.status == "truncated":
        return "cut off"
    if not plan.limits.hold(text):
        return f"too long: {count_words(text)} words, {clip_tokens(text)} tokens"
    if answer.status == "extracted":
        return None if source.is_in(plan.language) else f"not in {LANGUAGES[plan.language or '']}"
    if not _is_one_sentence(text, plan.language or source.language):
        return "not one sentence"
    if _is_scrap(text):
        return "not a whole sentence"
    # Of 5,000 texts of 12 to 25 words in 61 languages, one was misidentified with this certainty.
    if plan.language and language_of(text, plan.language) != plan.language:
        return f"not in {LANGUAGES[plan.language]}"
    if not source.is_in(plan.language):
        return None  # words of two languages cannot be compared
    added, invented = additions(text, source.text[:MAX_CHARS], source.language)
    if invented:
        return f"not in the text: {', '.join(invented[:3])}"
    return "too many words that are not in the text" if 1 - added < plan.min_support else None


# --- rows -----------------------------------------------------------------------------------------------------------


def _clip(
    segment: Segment,
    video: Video,
    sources: Mapping[_Key, SourceText],
    texts: Mapping[_Key, _Text | Failure],
    captions: Mapping[str, Caption],
    former: Clip | None,
) -> Clip:
    seen = [captions[frame_id] for frame_id in segment.frame_ids if frame_id in captions]

    def columns(kind: TextKind, name: str) -> dict[str, str | None]:
        source, text = sources.get((segment.clip_id, kind)), texts.get((segment.clip_id, kind))
        names = [f"{name}_{c}" for c in ("text", "original", "source", "status")]
        values: tuple[str | None, ...] = (None,) * 4
        if former and isinstance(text, Failure):
            values = tuple(getattr(former, column) for column in names)
        elif source and isinstance(text, _Text):
            values = (text.text, source.text, source.origin, text.status)
        elif kind == "captions" and seen and all(map(is_unrecognised, seen)):
            values = (None, None, _models(seen), "unrecognised")
        return dict(zip(names, values, strict=True))

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
        metadata=video.metadata,
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
