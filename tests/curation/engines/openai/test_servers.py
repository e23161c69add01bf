"""Which server a request goes to."""

from __future__ import annotations

import asyncio
import threading

import pytest

from curation.engines.openai.servers import Bases, Endpoints
from curation.errors import EngineError
from curation.settings import EngineSettings

SETTINGS = EngineSettings(kind="openai", model="m", base_urls=("http://unused/v1",), max_in_flight=4)


def endpoints(*bases: str) -> Endpoints:
    found = Endpoints(SETTINGS, lambda: bases)
    asyncio.run(found.discover())
    return found


def test_the_roomiest_comes_next_but_not_where_a_request_has_failed() -> None:
    found = endpoints("http://a/v1", "http://b/v1/")
    a = found.roomiest(0.0, None)
    assert str(a.url) == "http://a/v1/chat/completions"
    a.pace.sent(0.0)
    b = found.roomiest(0.0, None)
    assert str(b.url) == "http://b/v1/chat/completions"
    assert found.roomiest(0.0, b) is a  # though it has less room
    for _ in range(3):
        a.pace.sent(0.0)
    assert found.roomiest(0.0, b) is b  # a has none
    for _ in range(4):
        b.pace.sent(0.0)
    assert not found.have_room(0.0)


def test_what_is_known_of_a_server_stays_when_it_is_found_again() -> None:
    answers: list[Bases] = [("http://a", "http://a/"), ("http://b", "http://a"), ("http://b",)]
    found = Endpoints(SETTINGS, lambda: answers.pop(0))
    assert not found.known
    asyncio.run(found.discover())
    a = found.roomiest(0.0, None)
    a.pace.failed(a.pace.sent(0.0), 0.0, "absent")
    assert found.away
    assert found.opening(0.0) == [a.pace.opens_at]
    asyncio.run(found.discover())
    assert not found.away
    b = found.roomiest(0.0, None)
    assert b is not a
    assert found.roomiest(10.0, b) is a
    asyncio.run(found.discover())
    assert found.names == "http://b"


def test_looking_for_servers_stops_nobody_else_and_fails_as_they_do() -> None:
    release = threading.Event()

    def ready() -> Bases:
        release.wait(60)
        raise EngineError("it does not come up")

    async def look() -> None:
        looking = asyncio.create_task(Endpoints(SETTINGS, ready).discover())
        await asyncio.sleep(0.05)
        assert not looking.done()
        release.set()
        with pytest.raises(EngineError, match="does not come up"):
            await looking

    asyncio.run(look())
