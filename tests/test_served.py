"""Models that are served: every request answered once, by its own answer, whatever the server does meanwhile."""

from __future__ import annotations

from typing import Any

from curation.config import EngineSettings
from curation.engines import Completion, Sampling, TextRequest
from curation.engines.served import open_elsewhere
from prompts import Prompt
from tests.scripted_server import ScriptedServer

PROMPT = Prompt("say", 1, "You are brief.", "Say {{ words }}")


def request(words: str, **more: Any) -> TextRequest:
    return TextRequest(words, PROMPT, {"words": words}, Sampling(max_tokens=16), **more)


def settings(*urls: str, **more: Any) -> EngineSettings:
    return EngineSettings(kind="openai", model="m", base_urls=urls, **more)


def test_an_answer_comes_back() -> None:
    with ScriptedServer() as server:
        engine = open_elsewhere(settings(server.url))
        try:
            (answer,) = engine.complete([request("one two")])
        finally:
            engine.close()
    assert isinstance(answer, Completion)
    assert (answer.id, answer.text, answer.finish_reason) == ("one two", "echo Say one two", "stop")
    assert (answer.input_tokens, answer.output_tokens, answer.retries, answer.in_flight) == (7, 4, 0, 1)
