"""How much of a piece of work is done, as those who watch its thread see it."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from pathlib import Path

import pytest
from aiohttp import web

from curation.engines.interface import Sampling, TextRequest
from curation.engines.openai.engine import open_openai
from curation.media.single_pass import decode_once
from curation.prompts import Prompt
from curation.settings import EngineSettings, resolve
from curation.work_done import measured_by, watched
from tests.conftest import make_video
from tests.support.scripted_server import Asked, ScriptedServer, say
from tests.support.watching import wait_until


def test_parts_add_up() -> None:
    with watched() as done:
        assert done() == 0.0
        with measured_by(lambda: 2.0):
            assert done() == 2.0
        with measured_by(lambda: 1.0):
            assert done() == 3.0
        assert done() == 3.0
    with measured_by(lambda: 5.0):  # nobody watches
        assert done() == 3.0


@pytest.mark.slow
def test_the_share_of_a_video_that_is_decoded_is_known_meanwhile(tmp_path: Path) -> None:
    video = make_video(tmp_path / "long.mp4", 16, size="1280x720", rate=25)
    seen, over = list[float](), threading.Event()
    with watched() as done:

        def look() -> None:
            while not over.wait(0.1):
                seen.append(done())

        looking = threading.Thread(target=look)
        looking.start()
        try:
            decode_once(video, [], None, None, resolve(), tmp_path / "stored.mp4", tmp_path)
        finally:
            over.set()
            looking.join()
    shares = sorted({share for share in seen if 0.0 < share < 1.0})
    assert shares and shares == [share for share in dict.fromkeys(seen) if 0.0 < share < 1.0]
    assert not list(tmp_path.glob("*.share*"))


def test_the_answers_to_a_batch_are_counted_as_they_come() -> None:
    go_on = threading.Event()

    async def answer(asked: Asked) -> web.StreamResponse:
        while asked.words.endswith("3</text>") and not go_on.is_set():
            await asyncio.sleep(0.01)
        return await say(asked, "yes")

    prompt = Prompt("p", 1, "Be brief.", "<text>{{ text }}</text>")
    requests = [TextRequest(str(n), prompt, {"text": str(n)}, Sampling(max_tokens=9)) for n in range(4)]
    with ScriptedServer(answer) as server, watched() as done:
        engine = open_openai(EngineSettings(kind="openai", model="m", base_urls=(server.url,), max_in_flight=4))
        context = contextvars.copy_context()
        asking = threading.Thread(target=lambda: context.run(engine.complete, requests))
        asking.start()
        try:
            wait_until(lambda: done() == 3.0)
        finally:
            go_on.set()
            asking.join()
            engine.close()
    assert done() == 4.0
