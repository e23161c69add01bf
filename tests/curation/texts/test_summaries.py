"""Summaries: one sentence within the limits with nothing added, else a truncation that says so."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence

import pytest

from curation.engines.interface import Completion, Failure, Sampling, TextRequest
from curation.engines.text_source import TextSource
from curation.errors import ConfigError, EngineError, PromptError
from curation.ids import clip_id_of, frame_id_of
from curation.prompts import Prompt, load_prompts
from curation.records import Caption, Segment, Sentence, Summary, Video
from curation.rejects import Kind
from curation.settings import Settings, resolve
from curation.texts.additions import additions
from curation.texts.limits import TextLimits, clip_tokens, count_words, split_sentences, truncate
from curation.texts.summaries import Summarized, SummaryPlan, summarize_video, summary_plan
from tests.support.scripted_engine import ScriptedEngine

PROMPTS = load_prompts()
LIMITS = TextLimits(words=25, tokens=77)
SAID = (
    "The river rises every spring when the snow melts in the mountains.",
    "For the farmers in this valley that is both a blessing and a danger.",
    "Last year the water came up to the doors of the church.",
    "This year they have built a wall of 300 sandbags along the bank.",
)
SHOWN = (
    "A river runs through a green valley.",
    "Two farmers stack sandbags.",
    "A white church stands beside the water.",
)
GERMAN_SAID = (
    "Der Fluss steigt jedes Frühjahr, wenn in den Bergen der Schnee schmilzt.",
    "Für die Bauern im Tal ist das Segen und Gefahr zugleich.",
    "In diesem Jahr haben sie am Fluss einen Wall aus Sandsäcken gebaut.",
)
GOOD = {
    "subtitles": "Every spring the river rises, and this year farmers have built a wall of sandbags along the bank.",
    "captions": "A river runs through a green valley, farmers stack sandbags, and a church stands beside the water.",
}


def make_video(said: Sequence[str] = SAID, language: str | None = "en") -> Video:
    """Sentences of five seconds each."""
    return Video(
        video_id="v",
        uri="https://example.org/v",
        media_uri="media/v.mp4",
        media_digest="0",
        media_bytes=1,
        duration=60.0,
        width=640,
        height=360,
        frame_rate=25.0,
        frame_count=1500,
        has_audio=True,
        source_width=640,
        source_height=360,
        language=language,
        sentences=tuple(Sentence(5.0 * i, 5.0 * i + 5, text) for i, text in enumerate(said)),
    )


def make_segment(scale: str, start: float = 0.0, end: float = 20.0, frames: int = 3) -> Segment:
    return Segment(
        clip_id=clip_id_of("v", scale, start, end),
        video_id="v",
        scale=scale,
        start=start,
        end=end,
        parent_id=None,
        frame_ids=tuple(frame_id_of("v", float(i)) for i in range(frames)),
        sentence_count=4,
    )


def make_captions(shown: Sequence[str | None] = SHOWN) -> dict[str, Caption]:
    lineage = {"engine": "e", "model": "m", "revision": "1", "prompt_digest": "0", "sampling": "{}"}
    return {
        frame_id_of("v", float(i)): Caption(
            frame_id=frame_id_of("v", float(i)),
            video_id="v",
            time=float(i),
            text=text,
            raw_text=text,
            status="ok" if text else "empty",
            **lineage,
        )
        for i, text in enumerate(shown)
    }


def kind_of(request: TextRequest) -> str:
    return "subtitles" if "text" in request.variables else "captions"


def make_plan(engine: ScriptedEngine, **changes: object) -> SummaryPlan:
    sources = {kind: TextSource(engine, PROMPTS[f"summarize-{kind}"], Sampling(48), 3) for kind in GOOD}
    return dataclasses.replace(SummaryPlan(**sources, limits=LIMITS, min_support=0.75), **changes)  # type: ignore[arg-type]


def summarize_one(
    engine: ScriptedEngine, video: Video | None = None, captions: dict[str, Caption] | None = None
) -> Summarized:
    video = video or make_video()
    captions = make_captions() if captions is None else captions
    return summarize_video(video, [make_segment("medium")], captions, make_plan(engine))


# --- what is asked, and what is not ---------------------------------------------------------------------------------


def test_short_clips_keep_their_texts_and_longer_ones_get_summaries() -> None:
    engine = ScriptedEngine(lambda request, before: GOOD[kind_of(request)])
    segments = [make_segment("short", 0, 10, 1), make_segment("medium"), make_segment("long", 0, 60)]
    outcome = summarize_video(make_video(), segments, make_captions(), make_plan(engine))
    short, medium, long = outcome.clips
    assert short.subtitle_text == short.subtitle_original == " ".join(SAID[:2])
    assert short.caption_text == short.caption_original == SHOWN[0]
    assert (short.subtitle_status, short.caption_status) == ("verbatim", "verbatim")
    for clip in (medium, long):
        assert (clip.subtitle_text, clip.caption_text) == (GOOD["subtitles"], GOOD["captions"])
        assert (clip.subtitle_original, clip.caption_original) == (" ".join(SAID), " ".join(SHOWN))
        assert (clip.subtitle_status, clip.caption_status) == ("ok", "ok")
        assert clip.media_uri == "media/v.mp4"
    assert len(engine.asked) == 2, "equal texts are asked for once"
    assert {(s.record.clip_id, s.record.kind) for s in outcome.summaries} == {
        (clip.clip_id, kind) for clip in (medium, long) for kind in GOOD
    }


def test_all_requests_of_a_video_go_in_one_batch_a_kind() -> None:
    engine = ScriptedEngine(lambda request, before: "")
    video = make_video([f"Sentence number {i} speaks of topic{i} at length." for i in range(40)])
    segments = [make_segment("medium", 20.0 * i, 20.0 * i + 20, 0) for i in range(10)]
    summarize_video(video, segments, {}, make_plan(engine))
    assert engine.batches == [10, 10, 10]


def test_a_sentence_belongs_to_the_clip_that_holds_its_middle() -> None:
    segments = [make_segment("short", 0, 7.5, 0), make_segment("short", 7.5, 20, 0)]
    outcome = summarize_video(make_video(), segments, {}, make_plan(ScriptedEngine(lambda r, b: "")))
    assert [c.subtitle_text for c in outcome.clips] == [SAID[0], " ".join(SAID[1:])]


def test_nothing_said_and_nothing_shown_ask_for_nothing() -> None:
    engine = ScriptedEngine(lambda request, before: "Invented.")
    for said, shown in (((), ()), (("♪ ♪", "..."), (None, None, None))):
        (clip,) = summarize_one(engine, make_video(said), make_captions(shown)).clips
        assert (clip.subtitle_text, clip.subtitle_source, clip.subtitle_status) == (None, None, None)
        assert (clip.caption_text, clip.caption_source, clip.caption_status) == (None, None, None)
    assert engine.asked == []


def test_one_sentence_within_the_limits_is_kept_as_it_is() -> None:
    engine = ScriptedEngine(lambda request, before: "")
    outcome = summarize_one(engine, make_video(SAID[:1]), make_captions([SHOWN[0]] * 3))
    (clip,) = outcome.clips
    assert (clip.subtitle_text, clip.subtitle_status) == (SAID[0], "verbatim")
    assert (clip.caption_text, clip.caption_status) == (SHOWN[0], "verbatim"), "a scene that lasts is described once"
    assert engine.asked == [] and outcome.summaries == []


@pytest.mark.parametrize("language", ["de", "zh", None])
def test_a_language_that_the_model_does_not_know_is_not_asked(language: str | None) -> None:
    engine = ScriptedEngine(lambda request, before: GOOD[kind_of(request)], languages=frozenset({"en"}))
    (clip,) = summarize_one(engine, make_video(language=language)).clips
    assert clip.subtitle_status == "truncated"
    assert clip.subtitle_text == SAID[0]
    assert [kind_of(r) for r in engine.asked] == ["captions"]
    (clip,) = summarize_one(engine, make_video(language="en-GB")).clips
    assert clip.subtitle_status == "ok"


def test_existing_summaries_are_not_asked_again() -> None:
    engine = ScriptedEngine(lambda request, before: GOOD[kind_of(request)])
    segments = [make_segment("medium"), make_segment("long", 0, 60)]
    first = summarize_video(make_video(), segments, make_captions(), make_plan(engine))
    asked = len(engine.asked)
    again = summarize_video(make_video(), segments, make_captions(), make_plan(engine), first.summaries)
    assert again.clips == first.clips and again.summaries == [] and len(engine.asked) == asked
    # Tiled otherwise, with the same sentences inside: a new row, but no new request.
    moved = summarize_video(
        make_video(), [make_segment("medium", 0, 21)], make_captions(), make_plan(engine), first.summaries
    )
    assert len(moved.summaries) == 2 and len(engine.asked) == asked
    assert {s.record.clip_id for s in moved.summaries} == {clip_id_of("v", "medium", 0, 21)}
    # Another prompt, another limit: asked again.
    plan = make_plan(engine)
    changed = dataclasses.replace(plan.subtitles, prompt=dataclasses.replace(plan.subtitles.prompt, version=9))
    redone = summarize_video(
        make_video(), segments, make_captions(), dataclasses.replace(plan, subtitles=changed), first.summaries
    )
    assert {s.record.kind for s in redone.summaries} == {"subtitles"} and len(engine.asked) == asked + 1
    assert dataclasses.replace(plan, limits=TextLimits(20, 77)).digest != plan.digest


def test_frames_in_which_nothing_is_recognised_say_nothing() -> None:
    """So do the rows of older versions, where the built-in engine said so in words."""
    engine = ScriptedEngine(lambda request, before: GOOD[kind_of(request)])
    unrecognised = {f: dataclasses.replace(c, status="unrecognised") for f, c in make_captions([None] * 3).items()}
    former = [make_captions([f"An unrecognised scene{look}."] * 3) for look in ("", ": dark", ": bright, mostly red")]
    older = [{f: dataclasses.replace(c, engine="builtin") for f, c in captions.items()} for captions in former]
    for captions in (unrecognised, *older):
        for scale in ("short", "medium"):
            segments = [make_segment(scale)]
            (clip,) = summarize_video(make_video(()), segments, captions, make_plan(engine)).clips
            assert (clip.caption_text, clip.caption_original, clip.caption_status) == (None, None, "unrecognised")
            assert clip.caption_source == f"{next(iter(captions.values())).engine}/m"
    mixed = {**older[0], frame_id_of("v", 1.0): make_captions()[frame_id_of("v", 1.0)]}
    (clip,) = summarize_video(make_video(()), [make_segment("short")], mixed, make_plan(engine)).clips
    assert (clip.caption_text, clip.caption_source, clip.caption_status) == (SHOWN[1], "e/m", "verbatim")
    assert engine.asked == []


# --- extracts -------------------------------------------------------------------------------------------------------


def test_the_built_in_summary_is_taken_from_what_is_said_in_any_language() -> None:
    plan = summary_plan(Settings().summaries, PROMPTS)
    for said, language in ((SAID, "en"), (GERMAN_SAID, "de"), (GERMAN_SAID, None)):
        outcome = summarize_video(make_video(said, language), [make_segment("medium")], {}, plan)
        (clip,), (row,) = outcome.clips, outcome.summaries
        assert clip.subtitle_status == row.record.status == "extracted"
        assert clip.subtitle_text == row.record.text and all(
            s in said for s in split_sentences(clip.subtitle_text or "")
        )
        assert LIMITS.hold(clip.subtitle_text or "")
        assert (row.record.engine, row.record.model) == ("builtin", "extracted-sentences")


def test_what_cannot_be_extracted_is_truncated() -> None:
    plan = summary_plan(Settings().summaries, PROMPTS)
    endless = ("on and on the river ran through the valley and the farmers " * 5,)
    (clip,) = summarize_video(make_video(endless), [make_segment("medium")], {}, plan).clips
    assert clip.subtitle_status == "truncated" and LIMITS.hold(clip.subtitle_text or "")
    english = summary_plan(resolve(None, ["summaries.language=en"]).summaries, PROMPTS)
    (clip,) = summarize_video(make_video(GERMAN_SAID, "de"), [make_segment("medium")], {}, english).clips
    assert (clip.subtitle_text, clip.subtitle_status) == (" ".join(GERMAN_SAID[:2]), "truncated"), (
        "an extract translates nothing"
    )


# --- another language than the text's -------------------------------------------------------------------------------

GERMAN = {
    "subtitles": "Jedes Frühjahr steigt der Fluss, und dieses Jahr haben die Bauern einen Wall aus Sandsäcken gebaut.",
    "captions": "Ein Fluss fließt durch ein grünes Tal, Bauern stapeln Sandsäcke, und eine Kirche steht am Wasser.",
}


def summarize_in(language: str, engine: ScriptedEngine, video: Video, shown: Sequence[str] = SHOWN) -> Summarized:
    segments = [make_segment("short", 0, 5, 1), make_segment("medium")]
    return summarize_video(video, segments, make_captions(shown), make_plan(engine, language=language))


def test_summaries_in_a_language_that_the_texts_are_not_in() -> None:
    engine = ScriptedEngine(lambda request, before: GERMAN[kind_of(request)])
    short, medium = summarize_in("de", engine, make_video()).clips
    assert (short.subtitle_text, short.subtitle_status) == (SAID[0], "verbatim"), "short clips keep their own words"
    assert (medium.subtitle_text, medium.subtitle_status) == (GERMAN["subtitles"], "ok")
    assert (medium.caption_text, medium.caption_status) == (GERMAN["captions"], "ok")
    assert [request.variables["language"] for request in engine.asked] == ["German", "German"]
    assert all("in German" in request.messages()[0]["content"] for request in engine.asked)


@pytest.mark.parametrize(("language", "asked"), [("de", {"subtitles", "captions"}), ("en", set()), (None, set())])
def test_a_text_that_fits_is_kept_only_in_the_wanted_language(language: str | None, asked: set[str]) -> None:
    for stated in ("en", "en-GB", None):
        engine = ScriptedEngine(lambda request, before: GERMAN[kind_of(request)])
        summarize_in(language, engine, make_video(SAID[:1], stated), [SHOWN[0]] * 3)  # type: ignore[arg-type]
        assert {kind_of(request) for request in engine.asked} == asked


def test_what_cannot_be_said_in_the_wanted_language_is_truncated_in_its_own() -> None:
    """A model that goes on in the text's language, and one that does not know the wanted one."""
    engine = ScriptedEngine(lambda request, before: GOOD[kind_of(request)])
    for clips in (
        summarize_in("de", engine, make_video()).clips,
        summarize_in("de", ScriptedEngine(engine.script, frozenset({"en"})), make_video()).clips,
    ):
        assert (clips[1].subtitle_text, clips[1].subtitle_status) == (SAID[0], "truncated")
        assert (clips[1].caption_text, clips[1].caption_status) == (" ".join(SHOWN), "truncated")
    assert len(engine.asked) == 6


def test_nothing_may_be_added_where_the_languages_are_the_same() -> None:
    engine = ScriptedEngine(lambda request, before: BAD["invented story"])
    assert summarize_in("en", engine, make_video()).clips[1].subtitle_status == "truncated"
    other = make_video(("Der Fluss steigt jedes Frühjahr.", "Die Bauern haben einen Wall gebaut."), "de")
    assert summarize_in("en", engine, other).clips[1].subtitle_status == "ok", "words of two languages do not compare"


def test_the_wanted_language_is_part_of_a_summarys_digest() -> None:
    plans = [make_plan(ScriptedEngine(lambda r, b: ""), language=language) for language in (None, "en", "de")]
    assert len({plan.digest for plan in plans}) == 3
    assert len({plan.summary_digest("captions", SHOWN, None) for plan in plans}) == 3


def test_the_settings_name_the_language() -> None:
    plan = summary_plan(resolve(None, ["summaries.language=fr"]).summaries, PROMPTS)
    assert plan.language == "fr"
    with pytest.raises(ConfigError, match=r"summaries.language: 'klingon' is not a known language code: af, .*, zu"):
        resolve(None, ["summaries.language=klingon"])
    deaf = {**PROMPTS, "summarize-captions": Prompt("summarize-captions", 1, "s", "{{ captions }}")}
    with pytest.raises(PromptError, match="'summarize-captions' does not use 'language'"):
        summary_plan(resolve(None, ["summaries.language=fr"]).summaries, deaf)
    assert summary_plan(Settings().summaries, deaf).language is None


# --- what is accepted -----------------------------------------------------------------------------------------------

BAD = {
    "empty": "",
    "refused": "I'm sorry, but I cannot summarize this text.",
    "too many words": f"{GOOD['subtitles'][:-1]}, and the water came up to the doors of the church last year.",
    "two sentences": "The river rises every spring. The farmers have built a wall of sandbags.",
    "invented name": "Every spring the river Danube rises, and the farmers have built a wall of sandbags.",
    "invented number": "Every spring the river rises, and the farmers have built a wall of 500 sandbags.",
    "invented story": "A documentary explores how climate change threatens agricultural communities worldwide.",
    "a heading": "River and farmers",
    "a repetition": "The river, the river, the river, the river, the river.",
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
def test_what_is_not_a_summary_is_asked_again_and_then_truncated(bad: str) -> None:
    engine = ScriptedEngine(lambda request, before: bad if kind_of(request) == "subtitles" else GOOD["captions"])
    outcome = summarize_one(engine)
    (clip,) = outcome.clips
    assert (clip.subtitle_text, clip.subtitle_status) == (SAID[0], "truncated")
    assert (clip.caption_text, clip.caption_status) == (GOOD["captions"], "ok")
    (summary,) = (s.record for s in outcome.summaries if s.record.kind == "subtitles")
    assert (summary.text, summary.raw_text, summary.status) == (SAID[0], bad, "truncated")
    asked = [r for r in engine.asked if kind_of(r) == "subtitles"]
    assert len(asked) == 3
    assert [r.variables["max_words"] for r in asked] == [25, 20, 15], "a shorter one is asked for"
    assert len({r.sampling.seed for r in asked}) == 3


def test_a_second_try_may_do() -> None:
    engine = ScriptedEngine(lambda request, before: GOOD[kind_of(request)] if before else "")
    (clip,) = summarize_one(engine).clips
    assert (clip.subtitle_text, clip.subtitle_status) == (GOOD["subtitles"], "repaired")


def test_an_answer_cut_off_is_not_a_summary() -> None:
    engine = ScriptedEngine(
        lambda request, before: Completion(request.id, "The river rises every spring when the", "length")
    )
    (clip,) = summarize_one(engine).clips
    assert (clip.subtitle_text, clip.subtitle_status) == (SAID[0], "truncated")


def test_a_refusal_that_was_said_is_no_refusal() -> None:
    said = ("I cannot help you with the river, said the farmer to his neighbour that spring.", *SAID)
    engine = ScriptedEngine(
        lambda request, before: "I cannot help you with the river, said the farmer to his neighbour."
    )
    (clip,) = summarize_one(engine, make_video(said)).clips
    assert clip.subtitle_status == "ok"


def test_failures() -> None:
    """A busy server rejects the clip, to be made later; a bad request falls back; other clips stay untouched."""

    def script(request: TextRequest, before: int) -> str | Failure:
        if "broken" in str(request.variables):
            return Failure(request.id, "bad request", retryable=False)
        if "unlucky" in str(request.variables):
            return Failure(request.id, "busy", retryable=True)
        return "The speaker says fine words in this fine sentence."

    texts = ("fine", "broken", "unlucky", "fine")
    said = [f"The speaker says {texts[i // 4]} words in this fine sentence {i}." for i in range(16)]
    segments = [make_segment("medium", 20.0 * i, 20.0 * i + 20, 0) for i in range(4)]
    random.Random(0).shuffle(segments)
    outcome = summarize_video(make_video(said), segments, {}, make_plan(ScriptedEngine(script)))
    statuses = {c.start: c.subtitle_status for c in outcome.clips}
    assert statuses == {0.0: "ok", 20.0: "truncated", 60.0: "ok"}
    assert [c.clip_id for c in outcome.clips] == [s.clip_id for s in segments if s.start != 40.0]
    assert {(k, r.kind) for k, r in outcome.rejected.items()} == {(clip_id_of("v", "medium", 40, 60), Kind.ENGINE)}


def test_an_engine_that_mixes_ids_up_is_found_out() -> None:
    engine = ScriptedEngine(lambda request, before: Completion("another id", "text"))
    with pytest.raises(EngineError, match="did not answer exactly"):
        summarize_one(engine)


def test_rows_say_what_made_them() -> None:
    engine = ScriptedEngine(lambda request, before: GOOD[kind_of(request)])
    summary: Summary = summarize_one(engine).summaries[0].record
    assert (summary.engine, summary.model, summary.revision) == ("scripted", "scripted", "1")
    assert summary.prompt_digest == PROMPTS["summarize-subtitles"].digest
    assert summary.sampling == '{"max_tokens": 48, "seed": 0, "temperature": 0.0}'


# --- limits ---------------------------------------------------------------------------------------------------------


def test_clip_tokens_are_those_of_clip() -> None:
    assert clip_tokens("") == 2
    assert clip_tokens("a photo of a cat") == 7
    assert clip_tokens("A PHOTO  of a cat") == 7
    assert clip_tokens("word " * 100) == 102


def test_words_are_counted_where_they_are_written_apart() -> None:
    assert count_words("Wir kochen Suppe.") == 3
    assert count_words("우리는 수프를 만든다") == 3
    assert count_words("हम सूप बनाते हैं") == 4
    assert count_words("今天我们做汤。") == count_words("今日はスープを作ります。") == count_words("วันนี้เราทำซุป") == 0


UNSPLIT = {
    "no full stop in 60 words": ["word " * 60],
    "one endless word": ["a" * 100_000],
    "digits": ["7" * 5_000],
    "emoji": ["😀" * 500],
    "Chinese": ["今天我们用六个番茄和一个洋葱来做一个简单的汤" * 20],
    "Thai": ["วันนี้เราทำซุปมะเขือเทศ" * 40],
    "Arabic": ["اليوم نصنع حساء الطماطم " * 60],
    "Hindi": ["आज हम टमाटर का सूप बनाते हैं " * 40],
    "long words": ["Donaudampfschifffahrtsgesellschaftskapitän " * 30],
    "first sentence too long": ["word " * 60, "Short one."],
}


@pytest.mark.parametrize("sentences", UNSPLIT.values(), ids=UNSPLIT.keys())
def test_a_truncation_always_fits_and_is_a_beginning(sentences: list[str]) -> None:
    cut = truncate(sentences, LIMITS)
    assert cut and LIMITS.hold(cut)
    assert sentences[0].startswith(cut)
    assert clip_tokens(cut) > 20 or count_words(cut) == 25 or len(cut.split()) == 1 or clip_tokens(cut + "x" * 40) > 70


def test_a_truncation_ends_at_a_sentence_end_where_it_can() -> None:
    assert truncate(SAID, LIMITS) == SAID[0]
    assert truncate(["One.", "Two.", "word " * 25], LIMITS) == "One. Two."
    assert truncate(["今天我们做汤。", "很好喝。"], LIMITS) == "今天我们做汤。很好喝。"


def test_sentences_are_split() -> None:
    assert len(split_sentences("Dr. Smith paid 3.50 dollars. He left.")) == 2
    assert len(split_sentences("今天我们做汤。很好喝。", "zh")) == 2
    assert len(split_sentences("No such language. Two.", "xx")) == 2


@pytest.mark.parametrize(
    ("summary", "source", "share", "invented"),
    [
        ("The farmer walks to the river.", "Farmers walked to rivers.", 0.0, []),
        ("Seven farmers walk.", "7 farmers walk.", 0.0, []),
        ("7 farmers walk.", "Eight farmers walk.", 0.0, ["7"]),
        ("The farmer Smith walks.", "A farmer walks.", 1 / 3, ["Smith"]),
        ("Elephants fly planes.", "Farmers walk.", 1.0, []),
        ("I'm sure it's the river.", "I am sure that it is the river.", 0.0, []),
        ("我们做汤", "今天我们做番茄汤。", 0.0, []),
        ("", "Farmers walk.", 0.0, []),
    ],
)
def test_additions(summary: str, source: str, share: float, invented: list[str]) -> None:
    assert additions(summary, source, "en") == (pytest.approx(share), invented)


def test_german_nouns_are_not_names() -> None:
    assert additions("Der alte Bauer baut einen Damm.", "Bauern bauten alte Dämme.", "de")[1] == []
