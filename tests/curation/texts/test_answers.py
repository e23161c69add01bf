"""Answers of models as they come: classes of answers in the wrappings that models and servers put around them."""

from __future__ import annotations

import json
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.engines.interface import Completion
from curation.texts.answers import ONLY_THOUGHTS, REPETITION, Answer, read_answer
from curation.texts.thoughts import without_thoughts
from curation.texts.wrappings import repeats_endlessly

BUS = "A red bus drives over a bridge."
TEXTS = {
    "a sentence": (BUS, "repaired"),
    "quotes inside": ('A sign says "stop" to a driver.', "repaired"),
    "another script": ("一辆红色公交车驶过一座桥。", "repaired"),
    "emphasis at its end": ("A sign with the words *no entry", "repaired"),
    "no words": ("…", "empty"),
    "a refusal": ("I'm sorry, but I can't describe this image.", "refused"),
}
WRAPPINGS = {
    "thoughts": "<think>\nThe user wants a caption. A bus?\n</think>\n\n{}",
    "no thoughts": "<think>\n\n</think>\n\n{}",
    "thoughts without their beginning": "The user wants {{braces}} and a caption.\n</think>\n\n{}",
    "thinking": "<thinking>A bus.</thinking>{}",
    "brackets": "[THINK]A bus.[/THINK]{}",
    "Kimi": "◁think▷A bus.◁/think▷{}",
    "Seed": "<seed:think>A bus.</seed:think>{}",
    "channels": "<|channel|>analysis<|message|>A bus?<|end|><|start|>assistant<|channel|>final<|message|>{}<|return|>",
    "channels without marks": "analysisWe need a caption. A bus.assistantfinal{}",
    "thoughts and an answer": "<think>A bus.</think><answer>{}</answer>",
    "fence": "```\n{}\n```",
    "fence with a language": "```text\n{}\n```",
    "fence in a line": "```{}```",
    "fence after a preamble": "Here is the caption:\n\n```\n{}\n```",
    "label": "Caption: {}",
    "bold label": "**Caption:** {}",
    "bold label, colon outside": "**Caption**: {}",
    "longer label": "**One-sentence summary:** {}",
    "German label": "Zusammenfassung: {}",
    "Chinese label": "摘要：{}",
    "heading": "## Caption\n\n{}",
    "bold heading": "**Image description**\n\n{}",
    "heading alone": "# {}",
    "bold": "**{}**",
    "end of turn": "{}<|im_end|>",
    "end of text": "{}</s>",
    "end by Gemma": "{}<end_of_turn>\n",
    "end by DeepSeek": "{}<｜end▁of▁sentence｜>",
    "role": "assistant\n{}",
    "turn": "<|im_start|>assistant\n{}<|im_end|>",
    "goes on as the user": "{}<|im_end|>\n<|im_start|>user\nDescribe this frame.<|im_end|>",
    "preamble": "Sure! Here is a one-sentence caption: {}",
    "tag": "<caption>{}</caption>",
    "boxed": r"\boxed{{{}}}",
    "list": "- {}",
    "quotes": "“{}”",
    "several": "<think>A bus.</think>\n\n```markdown\n**Caption:** “{}”\n```<|im_end|>",
}
JSON_WRAPPINGS = {
    "an object": lambda text: json.dumps({"caption": text}),
    "other fields": lambda text: json.dumps({"caption": text, "confidence": 0.9, "objects": []}, indent=2),
    "inside": lambda text: json.dumps({"result": {"text": text}}, ensure_ascii=False),
    "a list": lambda text: json.dumps([text]),
    "a fence": lambda text: f"```json\n{json.dumps({'caption': text})}\n```",
    "thoughts": lambda text: f"<think>{{}}</think>{json.dumps({'caption': text})}",
    "a string": json.dumps,
}


def free(text: str, finish_reason: str = "stop") -> Answer:
    return read_answer(Completion("1", text, finish_reason), None)  # type: ignore[arg-type]


def expected(text: str, status: str) -> Answer:
    return Answer(text if status == "repaired" else None, status)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", TEXTS)
@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_wrappings_come_off(wrapping: str, kind: str) -> None:
    assert free(WRAPPINGS[wrapping].format(TEXTS[kind][0])) == expected(*TEXTS[kind])


@pytest.mark.parametrize("kind", TEXTS)
@pytest.mark.parametrize("wrapping", JSON_WRAPPINGS)
def test_json_that_was_not_asked_for_comes_off(wrapping: str, kind: str) -> None:
    text, status = TEXTS[kind]
    assert free(JSON_WRAPPINGS[wrapping](text)) == expected(text, status)


@pytest.mark.parametrize(
    "wrapping",
    [
        key
        for key in WRAPPINGS
        if key not in ("boxed", "list", "quotes", "fence in a line", "preamble", "heading alone")
    ],
)
def test_json_that_was_asked_for_is_found_in_wrappings(wrapping: str) -> None:
    schema = {"type": "object", "properties": {"caption": {"type": "string"}}, "required": ["caption"]}
    given = WRAPPINGS[wrapping].format(json.dumps({"caption": BUS}))
    assert read_answer(Completion("1", given), schema) == Answer(BUS, "repaired")


@pytest.mark.parametrize(
    ("text", "finish_reason", "answer"),
    [
        ("<think>\nOkay, the user wants one", "length", Answer(None, "unparseable", ONLY_THOUGHTS)),
        ("<think>\nOkay, the user wants one", "stop", Answer(None, "unparseable", ONLY_THOUGHTS)),
        ("<think>\nOkay.</think>", "length", Answer(None, "unparseable", ONLY_THOUGHTS)),
        ("<|channel|>analysis<|message|>A bus", "length", Answer(None, "unparseable", ONLY_THOUGHTS)),
        ("<|channel>thought\nA bus", "length", Answer(None, "unparseable", ONLY_THOUGHTS)),
        ("analysisThe user wants", "length", Answer(None, "unparseable", ONLY_THOUGHTS)),
        ("<think>\nOkay.</think>\n", "stop", Answer(None, "empty")),
        ("<think>Hm.</think>A red bus. It dri", "length", Answer("A red bus.", "truncated")),
        ("```\nA red bus. It dri", "length", Answer("A red bus.", "truncated")),
        ('{"caption": "A red bus. It dri', "length", Answer("A red bus.", "truncated")),
        ('{"caption": "A red bus. It dri', "stop", Answer(None, "unparseable")),
        ('{"caption": "A red bus.", "mood": "calm"}', "stop", Answer(None, "unparseable")),
        ('{"confidence": 0.9}', "stop", Answer(None, "unparseable")),
        ("{'caption': 'A red bus.'}", "stop", Answer(None, "unparseable")),
        ("the bus and " * 30, "length", Answer(None, "unparseable", REPETITION)),
        (f"{BUS} {'It drives and drives. ' * 20}", "stop", Answer(None, "unparseable", REPETITION)),
        ("A" * 200, "length", Answer(None, "unparseable", REPETITION)),
        ("红色的公交车，" * 20, "length", Answer(None, "unparseable", REPETITION)),
        ('{"caption": "' + "a bus, " * 40, "length", Answer(None, "unparseable", REPETITION)),
    ],
)
def test_answers_without_an_end(text: str, finish_reason: str, answer: Answer) -> None:
    assert free(text, finish_reason) == answer


@pytest.mark.parametrize(
    "text",
    [
        "Sorry, I can't assist with that request.",
        "Unfortunately, I cannot view images.",
        "There is no image provided.",
        "I cannot determine what is in the image.",
        "Lo siento, no puedo ver la imagen.",
        "抱歉，我无法描述这张图片。",
    ],
)
def test_refusals(text: str) -> None:
    assert free(text).status == "refused"


@pytest.mark.parametrize("text", ["N/A", "null", "None."])
def test_answers_that_say_nothing(text: str) -> None:
    assert free(text) == Answer(None, "empty")


@pytest.mark.parametrize(
    "text",
    [
        BUS,
        "I can't see any people, only an empty street.",
        "A page of code that ends with the tag `</think>` in a dark editor.",
        'A slide that says "<s>old</s>" means struck out in HTML.',
        "I can't help but notice a red car in the yard.",
        "Sure enough, the dog jumps over the fence.",
        "Here are two dogs: a brown one and a white one.",
        "Okay, the man nods and leaves the room.",
        "A man thinks: I am late.",
        "Analysis of a chess game on a board.",
        "Assistants carry boxes.",
        "The caption reads “no entry”.",
        "Summary courts meet in a hall.",
        "A sign says *keep off* the grass.",
        "A dog, a cat, a hen and a cow look at a dog, a cat, a hen and a cow in a mirror.",
        "[Music] plays in a bar.",
        '"Stop," she says, "or I shoot."',
        "3 men stand: one waves.",
        "Ein Mann hackt Holz; ein Hund sieht zu.",
        "Ha ha ha, laughs the man on the stage.",
        "A # is painted on a wall.",
        "x < y is written on a blackboard.",
    ],
)
def test_odd_texts_stay(text: str) -> None:
    assert free(text) == Answer(text, "ok")


LETTERS = string.ascii_lowercase + "äéßøжщ河桥"
WORDS = st.text(LETTERS, min_size=1, max_size=10)
SENTENCES = st.lists(WORDS, min_size=2, max_size=30, unique=True).map(lambda words: f"Die {' '.join(words)}.")


@given(SENTENCES)
def test_an_answer_without_wrappings_stays_as_it_is(text: str) -> None:
    assert free(text) == Answer(text, "ok")


@given(SENTENCES, st.sampled_from(sorted(WRAPPINGS)))
def test_what_comes_off_is_all_that_was_put_on(text: str, wrapping: str) -> None:
    assert free(WRAPPINGS[wrapping].format(text)) == Answer(text, "repaired")


@given(st.text())
def test_any_answer_is_read(text: str) -> None:
    for finish_reason in ("stop", "length"):
        answer = free(text, finish_reason)
        assert (answer.text is None) == (answer.status in ("refused", "unparseable", "empty"))
        assert answer.text is None or (answer.text == answer.text.strip() and "\n" not in answer.text)


@given(st.text(LETTERS + " ", min_size=12, max_size=60).filter(str.strip), st.text(LETTERS + " ", max_size=40))
def test_what_is_said_again_and_again_is_told(said: str, before: str) -> None:
    assert repeats_endlessly(f"{before} {said.strip() * 30}")


def test_only_the_last_thoughts_end_them() -> None:
    assert without_thoughts("<think>a</think> b </think> c") == " c"
