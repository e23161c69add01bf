"""Captions: caption N belongs to frame N, one frame's trouble is its own, and every status is told apart."""

from __future__ import annotations

import json
import random

import cv2
import numpy as np
import pytest

from curation.engines.interface import Completion, Failure, Sampling, TextRequest
from curation.engines.text_source import TextSource, text_source
from curation.ids import content_digest, frame_id_of
from curation.prompts import Prompt, load_prompts
from curation.records import Frame
from curation.rejects import Kind
from curation.settings import Settings
from curation.texts.captions import caption_digest, caption_frames
from tests.support.scripted_engine import ScriptedEngine

PROMPTS = load_prompts()
FREE = PROMPTS["caption-frame"]
SCHEMA = {"type": "object", "properties": {"caption": {"type": "string"}}, "required": ["caption"]}
COLOURS = {
    "red": (255, 0, 0),
    "yellow": (255, 255, 0),
    "green": (0, 255, 0),
    "cyan": (0, 255, 255),
    "blue": (0, 0, 255),
}


def make_frame(index: int, image: bytes) -> Frame:
    return Frame(
        frame_id=frame_id_of("v", float(index)),
        video_id="v",
        time=float(index),
        image=image,
        image_digest=content_digest(image),
        sharpness=1.0,
    )


def coloured_jpeg(colour: str) -> bytes:
    pixels = np.full((90, 160, 3), COLOURS[colour][::-1], np.uint8)
    return cv2.imencode(".jpg", pixels)[1].tobytes()


def scripted(engine: ScriptedEngine, prompt: Prompt = FREE, attempts: int = 3) -> TextSource:
    return TextSource(engine, prompt, Sampling(64), attempts)


@pytest.mark.parametrize("seed", [1, 2])
def test_caption_n_belongs_to_frame_n_by_the_real_engine(seed: int) -> None:
    """Shuffled, with corrupt images among them: each caption names the colour of its own frame."""
    colours = [list(COLOURS)[i % len(COLOURS)] for i in range(20)]
    frames = [make_frame(i, coloured_jpeg(c) if i % 7 != 3 else b"not an image") for i, c in enumerate(colours)]
    random.Random(seed).shuffle(frames)
    settings = Settings().captions
    source = text_source(settings.engine, settings, "caption", PROMPTS)
    outcome = caption_frames(frames, source)
    assert [c.frame_id for c in outcome.captions] == [f.frame_id for f in frames if f.time % 7 != 3]
    for caption in outcome.captions:
        evidence = json.loads(caption.raw_text or "")
        assert f"mostly {colours[int(caption.time)]}" in evidence["look"] and len(evidence["tags"]) == 5
        assert (caption.engine, caption.model) == ("builtin", "efficientnet-lite0")
        named = max(evidence["tags"].values()) >= 0.5
        assert (caption.text is not None, caption.status) == ((True, "ok") if named else (False, "unrecognised"))
    assert set(outcome.rejected) == {frame_id_of("v", float(i)) for i in (3, 10, 17)}
    assert {r.kind for r in outcome.rejected.values()} == {Kind.UNREADABLE}


def test_retries_do_not_mix_frames_up() -> None:
    def script(request: TextRequest, before: int) -> str | Failure:
        chance = random.Random(f"{request.id}/{before}").random()
        if chance < 0.2:
            return Failure(request.id, "busy", retryable=True)
        if chance < 0.3:
            return Failure(request.id, "bad request", retryable=False)
        return "" if chance < 0.5 else f"The caption of {request.id}, whose image is {request.images[0].decode()}"

    engine = ScriptedEngine(script)
    frames = [make_frame(i, f"image {i}".encode()) for i in range(300)]
    random.Random(1).shuffle(frames)
    outcome = caption_frames(frames, scripted(engine))
    assert len(outcome.captions) + len(outcome.rejected) == 300
    assert {c.frame_id for c in outcome.captions} | outcome.rejected.keys() == {f.frame_id for f in frames}
    assert {c.status for c in outcome.captions} == {"ok", "repaired", "empty"}
    for caption in outcome.captions:
        if caption.status != "empty":
            assert caption.text == f"The caption of {caption.frame_id}, whose image is image {caption.time:.0f}"
    assert {r.kind for r in outcome.rejected.values()} == {Kind.ENGINE, Kind.UNREADABLE}


@pytest.mark.parametrize(
    ("answer", "text", "status"),
    [
        ("A red bus.", "A red bus.", "ok"),
        ("  A red\n bus.  ", "A red bus.", "ok"),
        ('"A red bus."', "A red bus.", "repaired"),
        ("Here is the caption: A red bus.", "A red bus.", "repaired"),
        ("Sure! Here's a one-sentence caption:\n\n“A red bus.”", "A red bus.", "repaired"),
        ("Caption: A red bus.", "A red bus.", "repaired"),
        ("- A red bus.", "A red bus.", "repaired"),
        ("<caption>A red bus.</caption>", "A red bus.", "repaired"),
        ('He says "stop" and "go".', 'He says "stop" and "go".', "ok"),
        ("Sure-footed goats climb.", "Sure-footed goats climb.", "ok"),
        ("Here is a red bus.", "Here is a red bus.", "ok"),
        ("3 men stand: one waves.", "3 men stand: one waves.", "ok"),
        ("", None, "empty"),
        (" ...\n", None, "empty"),
        ("I'm sorry, but I can't describe this image.", None, "refused"),
        ("I cannot assist with that request.", None, "refused"),
        ("As an AI, I have no eyes.", None, "refused"),
        ("I can see a bus.", "I can see a bus.", "ok"),
        ("A red\ud800 bus\u202e.\x00", "A red bus.", "repaired"),
        (Completion("", "A red bus. It sto", "length"), "A red bus.", "truncated"),
        (Completion("", "A red bus that", "length"), "A red bus that", "truncated"),
    ],
)
def test_free_text_statuses(answer: str | Completion, text: str | None, status: str) -> None:
    def script(request: TextRequest, before: int) -> Completion:
        if isinstance(answer, str):
            return Completion(request.id, answer)
        return Completion(request.id, answer.text, answer.finish_reason)

    engine = ScriptedEngine(script)
    (caption,) = caption_frames([make_frame(0, b"")], scripted(engine)).captions
    assert (caption.text, caption.status) == (text, status)
    given = answer if isinstance(answer, str) else answer.text
    assert caption.raw_text == given.replace("\ud800", "?"), "half a character cannot be stored"
    assert len(engine.asked) == (3 if text is None else 1)  # what gives no text is asked for again, within bounds


@pytest.mark.parametrize(
    ("answer", "text", "status"),
    [
        ('{"caption": "A red bus."}', "A red bus.", "ok"),
        ('```json\n{"caption": "A red bus."}\n```', "A red bus.", "repaired"),
        ('{"caption": ""}', None, "empty"),
        ('{"caption": 7}', None, "unparseable"),
        ('{"text": "A red bus."}', None, "unparseable"),
        ('["A red bus."]', None, "unparseable"),
        ('{"caption": "A red b', None, "unparseable"),
        ("A red bus.", None, "unparseable"),
        ("[" * 100_000, None, "unparseable"),
        ('{"caption": "I am sorry, I cannot assist with that."}', None, "refused"),
        ("I'm sorry, but I can't describe this image.", None, "refused"),
        ("", None, "empty"),
        (Completion("", '{"caption": "A red bus."}', "length"), "A red bus.", "truncated"),
        (Completion("", '{"caption": "A red bus. It sto', "length"), "A red bus.", "truncated"),
        (Completion("", '{"caption": "A \\"red\\" b\\u00', "length"), 'A "red" b', "truncated"),
        (Completion("", '{"capt', "length"), None, "unparseable"),
        (Completion("", '{"caption": "', "length"), None, "unparseable"),
    ],
)
def test_structured_statuses(answer: str | Completion, text: str | None, status: str) -> None:
    given = answer if isinstance(answer, Completion) else Completion("", answer)
    prompt = Prompt("caption-frame", 1, "s", "u", SCHEMA)
    engine = ScriptedEngine(lambda request, before: Completion(request.id, given.text, given.finish_reason))
    (caption,) = caption_frames([make_frame(0, b"")], scripted(engine, prompt)).captions
    assert (caption.text, caption.status, caption.raw_text) == (text, status, given.text)


def test_asking_again_repairs_and_samples_otherwise() -> None:
    engine = ScriptedEngine(lambda request, before: "A red bus." if before == 2 else "")
    (caption,) = caption_frames([make_frame(0, b"")], scripted(engine)).captions
    assert (caption.text, caption.status) == ("A red bus.", "repaired")
    assert [r.sampling.seed for r in engine.asked] == [0, 1, 2]
    assert engine.asked[0].sampling.temperature == 0.0 < engine.asked[1].sampling.temperature


def test_an_engine_that_gave_up_is_not_asked_again() -> None:
    engine = ScriptedEngine(lambda request, before: Failure(request.id, "busy", retryable=True))
    outcome = caption_frames([make_frame(0, b""), make_frame(1, b"")], scripted(engine))
    assert outcome.captions == [] and len(outcome.rejected) == 2 and len(engine.asked) == 2
    assert all(r.kind is Kind.ENGINE and r.retryable for r in outcome.rejected.values())


def test_the_digest_stands_for_image_engine_prompt_and_sampling() -> None:
    base = scripted(ScriptedEngine(lambda r, b: ""))
    others = [
        TextSource(ScriptedEngine(lambda r, b: "", revision="2"), FREE, Sampling(64)),
        TextSource(base.engine, Prompt("caption-frame", 1, "s", "u"), Sampling(64)),
        TextSource(base.engine, FREE, Sampling(65)),
    ]
    digests = {caption_digest("image", source) for source in (base, *others)} | {caption_digest("other", base)}
    assert len(digests) == 5
    assert caption_digest("image", base) == caption_digest("image", scripted(base.engine, attempts=9))  # type: ignore[arg-type]
