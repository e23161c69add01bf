"""The vLLM server that the command starts: up, watched, started again, and gone with the command."""

from __future__ import annotations

import json
import urllib.request

import pytest

from tests.conftest import SERVED_MODEL

pytestmark = pytest.mark.slow


def ask(base_url: str, words: str) -> str:
    body = {"model": SERVED_MODEL, "messages": [{"role": "user", "content": words}], "max_tokens": 16, "temperature": 0}
    request = urllib.request.Request(
        f"{base_url}/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=120) as answer:
        return str(json.load(answer)["choices"][0]["message"]["content"])


def test_a_real_server_answers(text_server: str) -> None:
    assert "Paris" in ask(text_server, "What is the capital of France?")
