"""Models that are served: each request gets its own answer, once, whatever the server does meanwhile."""

from __future__ import annotations

import email.utils
import logging
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from aiohttp import web

from curation.engines.interface import Completion, Failure, Sampling, TextRequest
from curation.engines.load import load
from curation.engines.openai import remote_servers
from curation.engines.openai.blame import CRAMPED
from curation.engines.openai.engine import OpenAIEngine, open_openai
from curation.engines.openai.remote_servers import RemoteServers
from curation.engines.openai.servers import Access, Server
from curation.engines.registry import open_engine
from curation.errors import EngineError
from curation.prompts import Prompt
from curation.settings import EngineSettings
from tests.support import scripted_server as scripted
from tests.support.project import ROOT
from tests.support.scripted_server import Asked, Script, ScriptedServer

PROMPT = Prompt("say", 1, "You are brief.", "Say {{ words }}")
WAIT_S = 180.0
"""Bounds what should take moments, on a busy machine."""


def request(words: str, **more: Any) -> TextRequest:
    return TextRequest(words, PROMPT, {"words": words}, Sampling(max_tokens=16), **more)


def requests(count: int, prefix: str = "") -> list[TextRequest]:
    return [request(f"{prefix}{number}") for number in range(count)]


def settings(*urls: str, **more: Any) -> EngineSettings:
    return EngineSettings(kind="openai", model="m", base_urls=urls, **more)


@contextmanager
def engine(*urls: str, **more: Any) -> Iterator[OpenAIEngine]:
    opened = open_openai(settings(*urls, **more))
    try:
        yield opened
    finally:
        opened.close()


def check(asked: Sequence[TextRequest], answers: Sequence[Completion | Failure]) -> None:
    """Every answer is there, in order, and its own."""
    assert [(a.id, getattr(a, "text", a)) for a in answers] == [(r.id, f"echo Say {r.id}") for r in asked]


def call_in_threads(calls: Sequence[Callable[[], Any]]) -> list[Any]:
    """What each call returns or raises."""

    def outcome(call: Callable[[], Any]) -> Any:
        try:
            return call()
        except Exception as error:
            return error

    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result(WAIT_S) for future in [pool.submit(outcome, call) for call in calls]]


def wait_for(true: Callable[[], object]) -> None:
    until = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < until
        time.sleep(0.01)


# --- what is answered -----------------------------------------------------------------------------------------------


def test_an_answer_comes_back() -> None:
    with ScriptedServer() as server, engine(server.url) as e:
        (answer,) = e.complete([request("one two")])
    assert isinstance(answer, Completion)
    assert (answer.id, answer.text, answer.finish_reason) == ("one two", "echo Say one two", "stop")
    assert (answer.input_tokens, answer.output_tokens, answer.retries, answer.in_flight) == (7, 4, 0, 1)
    assert server.asked[0].headers["Content-Type"] == "application/json"
    assert server.asked[0].body["model"] == "m"


def test_nothing_asked_is_nothing_answered() -> None:
    with engine("http://127.0.0.1:1/v1") as e:
        assert e.complete([]) == []


def test_the_first_of_a_call_is_streamed_and_timed_and_reads_the_same() -> None:
    async def slowly(asked: Asked) -> web.StreamResponse:
        return await scripted.say(asked, f"echo {asked.words}", pause_s=0.3)

    with ScriptedServer(slowly) as server, engine(server.url, max_in_flight=1) as e:
        begun = time.monotonic()
        first, second = e.complete([request("same"), request("same ")])
        took = time.monotonic() - begun
    assert isinstance(first, Completion)
    assert isinstance(second, Completion)
    assert first.first_token_s is not None
    assert 0.25 <= first.first_token_s <= took - 0.3  # two more words were to come, 0.3 s each
    assert second.first_token_s is None
    assert [bool(asked.body.get("stream")) for asked in server.asked] == [True, False]
    assert first.text == second.text == "echo Say same"
    assert (first.output_tokens, first.finish_reason) == (second.output_tokens, second.finish_reason)


def test_a_server_that_cannot_stream_is_asked_plainly() -> None:
    async def no_streams(asked: Asked) -> web.StreamResponse:
        refuse = asked.body.get("stream") and scripted.status(400, "unknown field: stream_options")
        return await (refuse or scripted.echo)(asked)

    async def ignores_it(asked: Asked) -> web.StreamResponse:
        return web.json_response(scripted.completion(f"echo {asked.words}"))

    for script, times in ((no_streams, [2, 1, 1]), (ignores_it, [1, 1, 1])):
        with ScriptedServer(script) as server, engine(server.url) as e:
            asked = requests(3)
            check(asked[:2], e.complete(asked[:2]))
            check(asked[2:], e.complete(asked[2:]))
            assert [server.times[f"Say {n}"] for n in range(3)] == times


def test_connections_are_used_again() -> None:
    with ScriptedServer() as server, engine(server.url, max_in_flight=4) as e:
        for part in range(10):
            asked = requests(20, f"{part} ")
            check(asked, e.complete(asked))
        assert len(server.peers) <= 4


def test_a_prompt_that_cannot_be_rendered_fails_alone() -> None:
    wrong = TextRequest("wrong", PROMPT, {}, Sampling(max_tokens=16))
    with ScriptedServer() as server, engine(server.url) as e:
        bad, good = e.complete([wrong, request("right")])
    assert isinstance(bad, Failure)
    assert not bad.retryable
    assert "words" in bad.message
    check([request("right")], [good])


def test_callers_share_the_server_and_a_tail_does_not_drain_it() -> None:
    """First come first served; and while one call waits for its last answer, the server is full of another's."""
    held = {f"Say a{n}" for n in range(20)}

    async def script(asked: Asked) -> web.StreamResponse:
        while asked.words in held:
            await scripted.nap()
        return await scripted.echo(asked)

    first, second = requests(20, "a"), requests(200, "b")
    with ScriptedServer(script) as server, engine(server.url, max_in_flight=8) as e, ThreadPoolExecutor(2) as pool:
        one = pool.submit(e.complete, first)
        wait_for(lambda: len(server.asked) == 8)
        two = pool.submit(e.complete, second)
        time.sleep(0.2)
        held &= {"Say a0"}
        check(second, two.result(WAIT_S))
        assert not one.done()
        order = [asked.words[4] for asked in server.asked]
        assert order == sorted(order)
        assert server.most_in_flight == 8
        held.clear()
        check(first, one.result(WAIT_S))


def test_what_waits_costs_no_memory() -> None:
    image = b"\xff\xd8" + bytes(100_000)
    pending = [request(str(n), images=(image,)) for n in range(20_000)]
    with ScriptedServer(scripted.stall) as server, engine(server.url, max_in_flight=4) as e:
        tracemalloc.start()
        try:
            thread = threading.Thread(target=lambda: call_in_threads([lambda: e.complete(pending)]))
            thread.start()
            wait_for(lambda: server.in_flight == 4)
            grown = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        e.close()
        thread.join(WAIT_S)
    assert grown < 100 * len(pending) + 20 * len(image)


# --- trouble --------------------------------------------------------------------------------------------------------

FAULTS: dict[str, Script] = {
    "429": scripted.status(429, Retry_After="0"),
    "500": scripted.status(500),
    "503": scripted.status(503),
    "reset": scripted.reset,
    "half": scripted.half,
    "no json": scripted.raw(b"{"),
    "null": scripted.raw(b'{"choices": [{"message": {"content": null}, "finish_reason": "stop"}]}'),
    "half a stream": scripted.raw(scripted.event({"content": "half"}), "text/event-stream"),
    "late": scripted.after(0.2),
}


@pytest.mark.slow
def test_every_request_gets_its_own_answer_whatever_happens() -> None:
    """500 requests in any order from 8 threads; each is met with 0 to 3 faults, some are bad, some never answered."""
    dice = random.Random(4)
    plans = {f"Say {n}": [dice.choice(list(FAULTS)) for _ in range(dice.choice((0, 0, 0, 0, 1, 1, 2, 3)))]
             for n in range(500)}  # fmt: skip
    bad = {f"Say {n}" for n in dice.sample(range(500), 10)}
    poison = {f"Say {n}" for n in dice.sample(range(500), 3)} - bad

    async def script(asked: Asked) -> web.StreamResponse:
        plan = plans[asked.words]
        if asked.words in bad:
            return await scripted.status(400, "corrupt")(asked)
        if asked.words in poison:
            return await scripted.status(500, "crashed")(asked)
        if asked.time <= len(plan):
            return await FAULTS[plan[asked.time - 1]](asked)
        return await scripted.after(dice.random() / 20)(asked)

    asked = requests(500)
    dice.shuffle(asked)
    parts = [asked[n::8] for n in range(8)]
    load.clear()
    with ScriptedServer(script) as server, engine(server.url, max_in_flight=32) as e:
        answers = call_in_threads([lambda part=part: e.complete(part) for part in parts])  # type: ignore[misc]
        assert server.most_in_flight <= 32
    for part, answered in zip(parts, answers, strict=True):
        assert [a.id for a in answered] == [r.id for r in part]
        for a in answered:
            words = f"Say {a.id}"
            if words in bad | poison:
                assert isinstance(a, Failure)
                assert a.retryable == (words in poison)
            else:
                assert isinstance(a, Completion)
                assert a.text == f"echo {words}"
            assert a.retries == server.times[words] - 1
    assert all(server.times[words] == 1 for words in bad)
    total = load.snapshot()
    assert (total.requests, total.failures) == (500 - len(bad | poison), len(bad | poison))
    assert total.retries == len(server.asked) - 500
    assert total.in_flight == 0


@pytest.mark.parametrize("code", [400, 413, 415, 418, 422, 451])
def test_a_bad_request_is_sent_once_and_costs_nobody_else_anything(code: int) -> None:
    async def script(asked: Asked) -> web.StreamResponse:
        bad = asked.words in ("Say 0", "Say 3")  # the first one is streamed
        return await (scripted.status(code, "The image\nis corrupt " * 100) if bad else scripted.echo)(asked)

    asked = requests(6)
    with ScriptedServer(script) as server, engine(server.url) as e:
        answers = e.complete(asked)
    assert set(server.times.values()) == {1}
    check([asked[n] for n in (1, 2, 4, 5)], [answers[n] for n in (1, 2, 4, 5)])
    for n in (0, 3):
        failure = answers[n]
        assert isinstance(failure, Failure)
        assert not failure.retryable
        assert str(code) in failure.message
        assert "The image is corrupt" in failure.message
        assert "\n" not in failure.message
        assert len(failure.message) <= 300


@pytest.mark.parametrize("code", [408, 409, 425, 429, 500, 502, 503, 504, 529])
def test_a_busy_server_is_asked_again(code: int) -> None:
    script = scripted.first(2, scripted.status(code))
    with ScriptedServer(script) as server, engine(server.url) as e:
        asked = requests(5)
        answers = e.complete(asked)
        check(asked, answers)
        assert [a.retries for a in answers] == [2] * 5
        assert set(server.times.values()) == {3}


@pytest.mark.hostile("answers")
@pytest.mark.parametrize("fault", sorted(FAULTS))
def test_a_broken_answer_is_asked_for_again(fault: str) -> None:
    with ScriptedServer(scripted.first(1, FAULTS[fault])) as server, engine(server.url) as e:
        asked = requests(10)
        check(asked, e.complete(asked))
        assert set(server.times.values()) == {1 if fault == "late" else 2}


@pytest.mark.slow
def test_requests_that_break_again_and_again_are_given_up_alone() -> None:
    """Though in the end nobody else asks: the server is not taken to be away, since it has answered others."""
    poison = {f"Say {n}" for n in range(100, 120)}

    async def script(asked: Asked) -> web.StreamResponse:
        return await (scripted.status(500) if asked.words in poison else scripted.after(0.05))(asked)

    asked = requests(500)
    with ScriptedServer(script) as server, engine(server.url, max_in_flight=32) as e:
        (answers,) = call_in_threads([lambda: e.complete(asked)])
    check(asked[:100] + asked[120:], answers[:100] + answers[120:])
    for failure in answers[100:120]:
        assert isinstance(failure, Failure)
        assert failure.retryable
        assert failure.retries == 7
    assert {server.times[words] for words in poison} == {8}


def test_what_is_to_be_sent_again_does_not_pile_up() -> None:
    async def script(asked: Asked) -> web.StreamResponse:
        return await (scripted.status(500) if int(asked.words[4:]) % 2 else scripted.after(0.01))(asked)

    with ScriptedServer(script) as server, engine(server.url, max_in_flight=4) as e, ThreadPoolExecutor(1) as pool:
        call = pool.submit(e.complete, requests(200))
        wait_for(lambda: server.times["Say 1"] == 4)
        assert len(server.times) <= 20
        e.close()
        assert isinstance(call.exception(WAIT_S), EngineError)


def test_a_request_that_times_out_again_and_again_costs_nobody_else_anything() -> None:
    async def script(asked: Asked) -> web.StreamResponse:
        return await (scripted.stall if asked.words == "Say 1" else scripted.after(0.01))(asked)

    with ScriptedServer(script) as server, engine(server.url, max_in_flight=4, timeout_s=1.5, patience_s=6) as e:
        asked = requests(400)
        others = asked[:1] + asked[2:]
        stuck, served = call_in_threads([lambda: e.complete([asked[1]]), lambda: e.complete(others)])
        check(others, served)
        assert set(server.times.values()) == {1, server.times["Say 1"]}
        assert isinstance(stuck[0], Failure)
        assert stuck[0].retryable
        assert 2 <= server.times["Say 1"] <= 8


@pytest.mark.parametrize("kind", ["seconds", "date"])
def test_retry_after_holds_for_everybody(kind: str) -> None:
    told: list[float] = []

    async def script(asked: Asked) -> web.StreamResponse:
        if told:
            return await scripted.after(0.1)(asked)
        told.append(time.monotonic())
        value = "2" if kind == "seconds" else email.utils.formatdate(time.time() + 3, usegmt=True)  # whole seconds
        return await scripted.status(429, Retry_After=value)(asked)

    with ScriptedServer(script) as server, engine(server.url, max_in_flight=2) as e:
        asked = requests(10)
        check(asked, e.complete(asked))
        later = sorted(asked.at for asked in server.asked if asked.at > told[0])
        in_flight = [at for at in later if at < told[0] + 1]  # what had been sent by then
        assert len(in_flight) <= 1
        assert later[len(in_flight)] >= told[0] + 1.9


def test_retry_after_is_obeyed_as_long_as_patience_lasts() -> None:
    script = scripted.first(1, scripted.status(503, Retry_After="3600"))
    with ScriptedServer(script) as server, engine(server.url, patience_s=1) as e:
        begun = time.monotonic()
        check([request("0")], e.complete([request("0")]))
        assert 1 <= time.monotonic() - begun < WAIT_S
        assert server.times["Say 0"] == 2


@pytest.mark.slow
def test_in_flight_finds_what_the_server_takes_falls_in_a_storm_and_recovers() -> None:
    """The server takes 8 at a time, then for a while nothing, then everything."""
    takes, working = 8, 0

    async def script(asked: Asked) -> web.StreamResponse:
        nonlocal working
        if working >= takes:
            return await scripted.after(0.02, scripted.status(429))(asked)
        working += 1
        try:
            return await scripted.after(0.02)(asked)
        finally:
            working -= 1

    with ScriptedServer(script) as server, engine(server.url, max_in_flight=64) as e:
        asked = requests(1500)
        check(asked, e.complete(asked))
        assert 32 < server.most_in_flight <= 64
        late = [a.in_flight for a in server.asked[-500:]]
        assert max(late) <= 16
        assert sum(late) / len(late) > 4
        assert len(server.asked) - 1500 < 700  # refusals

        takes, server.most_in_flight, begun = 0, 0, len(server.asked)
        with ThreadPoolExecutor(1) as pool:
            asked = requests(3000, "again ")
            answers = pool.submit(e.complete, asked)
            time.sleep(3)
            stormed = len(server.asked) - begun
            takes = 64
            check(asked, answers.result(WAIT_S))
        assert stormed < 100  # a trickle
        assert server.most_in_flight > 40


# --- several servers ------------------------------------------------------------------------------------------------


def test_requests_are_spread_over_servers() -> None:
    with ScriptedServer(scripted.after(0.02)) as one, ScriptedServer(scripted.after(0.02)) as two:
        with engine(one.url, two.url + "/", max_in_flight=4) as e:
            asked = requests(100)
            check(asked, e.complete(asked))
        assert len(one.asked) + len(two.asked) == 100
        assert min(len(one.asked), len(two.asked)) > 20
        assert max(one.most_in_flight, two.most_in_flight) <= 4


def test_a_dead_server_is_left_out() -> None:
    with ScriptedServer() as dead:
        pass
    with ScriptedServer(scripted.after(0.01)) as alive, engine(dead.url, alive.url, max_in_flight=4) as e:
        asked = requests(200)
        answers = e.complete(asked)
        check(asked, answers)
        assert len(alive.asked) == 200
        assert sum(a.retries for a in answers) < 40


def test_a_server_that_swallows_everything_is_left_out() -> None:
    with ScriptedServer(scripted.stall) as hung, ScriptedServer(scripted.after(0.01)) as alive:
        with engine(hung.url, alive.url, max_in_flight=8, timeout_s=0.5, patience_s=30) as e:
            asked = requests(400)
            check(asked, e.complete(asked))
        assert len(hung.asked) < 30


def test_a_server_that_dies_in_mid_run_is_made_up_for_and_used_again_when_it_is_back() -> None:
    one, two, asked = ScriptedServer(scripted.after(0.02)), ScriptedServer(scripted.after(0.02)), requests(2000)
    with one, two, engine(one.url, two.url, max_in_flight=4) as e, ThreadPoolExecutor(1) as pool:
        answers = pool.submit(e.complete, asked)
        wait_for(lambda: len(one.asked) > 50)
        one.stop()
        before = len(one.asked)
        wait_for(lambda: len(two.asked) > 300)
        one.start()
        check(asked, answers.result(WAIT_S))
        assert len(one.asked) > before + 50


# --- servers that stay silent ---------------------------------------------------------------------------------------


def silent(fault: str) -> Script:
    return {"stalls": scripted.stall, "503": scripted.status(503), "resets": scripted.reset,
            "429": scripted.status(429, Retry_After="1"), "garbage": scripted.raw(b"?")}[fault]  # fmt: skip


@pytest.mark.hostile("answers")
@pytest.mark.parametrize("fault", ["stalls", "503", "resets", "429", "garbage", "dead"])
def test_silence_beyond_patience_ends_every_call(fault: str) -> None:
    with ScriptedServer(scripted.echo if fault == "dead" else silent(fault)) as server:
        if fault == "dead":
            server.stop()
        with engine(server.url, max_in_flight=4, timeout_s=0.3, patience_s=1.5) as e:
            begun = time.monotonic()
            outcomes = call_in_threads([lambda n=n: e.complete(requests(20, f"{n} ")) for n in range(4)])  # type: ignore[misc]
            assert time.monotonic() - begun >= 1.5
            for outcome in outcomes:
                assert isinstance(outcome, EngineError)
                assert f"{server.url} has not answered for" in str(outcome)
                assert "the same command goes on from there" in str(outcome)
            begun = time.monotonic()
            (late,) = call_in_threads([lambda: e.complete([request("late")])])
            assert isinstance(late, EngineError)  # not once more as long
            if fault == "dead":
                server.start()
                check([request("back")], e.complete([request("back")]))


def test_a_server_that_comes_back_within_patience_loses_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with ScriptedServer(scripted.after(0.02)) as server, engine(server.url, max_in_flight=8, patience_s=60) as e:
        asked = requests(400)
        with ThreadPoolExecutor(1) as pool:
            answers = pool.submit(e.complete, asked)
            wait_for(lambda: len(server.asked) > 50)
            server.stop()
            time.sleep(1)
            server.start()
            check(asked, answers.result(WAIT_S))
        assert max(server.times.values()) <= 2


def test_silence_does_not_run_while_nothing_is_asked() -> None:
    with ScriptedServer() as server, engine(server.url, patience_s=0.5) as e:
        e.complete([request("a")])
        time.sleep(1)
        server.script = scripted.first(1, scripted.status(503))
        check([request("b")], e.complete([request("b")]))


# --- servers that start again ---------------------------------------------------------------------------------------


class Restarting:
    """A server that is started again while `ready` is asked for, each time on another port."""

    def __init__(self, starts: int, start_s: float = 0.0) -> None:
        self.servers = [ScriptedServer(self.warming_up) for _ in range(starts)]
        self.start_s = start_s
        self.running: ScriptedServer | None = None
        self.closed = threading.Event()
        self._lock = threading.Lock()
        self._left = iter(self.servers)

    @staticmethod
    async def warming_up(asked: Asked) -> web.StreamResponse:
        """The very first requests are too early."""
        early = len(asked.server.asked) <= 2
        return await (scripted.status(503) if early else scripted.after(0.02))(asked)

    def ready(self) -> tuple[str, ...]:
        with self._lock:
            if self.running is None:
                if self.closed.wait(self.start_s):
                    raise EngineError("closed")
                self.running = next(self._left, None)
                if self.running is None:
                    raise EngineError("it does not come up any more")
                self.running.start()
            return (self.running.url,)

    active_processes = 1
    reread_s: float | None = None

    def access(self, host: str) -> None:
        """They are reached by their names."""

    def named(self) -> tuple[str, ...]:
        return self.ready()

    def set_active(self, active: bool) -> None:
        pass

    def crash(self) -> None:
        server = self.running
        assert server is not None
        server.stop()
        self.running = None

    def close(self) -> None:
        self.closed.set()


@contextmanager
def restarting(server: Server, **more: Any) -> Iterator[OpenAIEngine]:
    opened = OpenAIEngine("own", settings("unused", **more), "m", "m@", "rev", server)
    try:
        yield opened
    finally:
        opened.close()


def test_processes_that_share_a_server_share_what_is_in_flight() -> None:
    server = Restarting(1)
    server.servers[0].script = scripted.after(0.02)
    with restarting(server, max_in_flight=12) as e:
        for active_processes, most in ((4, 3), (100, 1), (1, 12)):
            server.active_processes = active_processes
            server.servers[0].most_in_flight = 0
            check(requests(60), e.complete(requests(60)))
            assert server.servers[0].most_in_flight == most


def test_time_to_start_counts_against_nobodys_patience() -> None:
    server = Restarting(3, start_s=1.5)
    with restarting(server, patience_s=1, max_in_flight=8) as e:
        asked = requests(300)
        with ThreadPoolExecutor(1) as pool:
            answers = pool.submit(e.complete, asked)
            for number in range(2):
                wait_for(lambda n=number: len(server.servers[n].asked) > 30)  # type: ignore[misc]
                server.crash()
            check(asked, answers.result(WAIT_S))
        assert server.servers[2].asked
        server.crash()


def test_a_server_that_is_gone_for_good_ends_every_call() -> None:
    server = Restarting(1)
    with restarting(server, max_in_flight=8) as e:
        with ThreadPoolExecutor(2) as pool:
            answers = [pool.submit(e.complete, requests(3000, f"{n} ")) for n in range(2)]
            wait_for(lambda: len(server.servers[0].asked) > 30)
            server.crash()
            for answer in answers:
                with pytest.raises(EngineError, match="does not come up any more"):
                    answer.result(WAIT_S)
        with pytest.raises(EngineError, match="does not come up any more"):
            e.complete([request("more")])
        with pytest.raises(EngineError, match="does not come up any more"):
            e.start()


def test_closing_does_not_wait_for_a_server_that_starts() -> None:
    before = threading.active_count()
    server = Restarting(1, start_s=300)
    with restarting(server) as e:
        thread = threading.Thread(target=lambda: call_in_threads([lambda: e.complete(requests(3))]))
        thread.start()
        time.sleep(0.2)
        begun = time.monotonic()
        e.close()
        assert time.monotonic() - begun < 60
        thread.join(WAIT_S)
    wait_for(lambda: threading.active_count() <= before)


# --- settings that are wrong ----------------------------------------------------------------------------------------

KEY = "sk-5ecret/of+mine"


def refused(*, script: Script, path: str = "/v1", models: tuple[str, ...] = ("m",), **more: Any) -> str:
    """The one line that an engine ends with, and the number of times that it asked."""
    with ScriptedServer(script, models) as server, engine(server.url.removesuffix("/v1") + path, **more) as e:
        with pytest.raises(EngineError) as caught:
            e.complete(requests(5))
        assert set(server.times.values()) <= {1}
        line = str(caught.value)
        assert "\n" not in line
        assert KEY not in line
        return line


@pytest.mark.hostile("secrets")
@pytest.mark.parametrize("code", [401, 403, 404])
def test_a_password_is_not_quoted(code: int) -> None:
    password = "correct horse/battery"
    with ScriptedServer(scripted.status(code, f"the password {password} of me:{password} is wrong")) as server:
        url = server.url.replace("//", "//me:correct%20horse%2Fbattery@")
        with engine(url) as e, pytest.raises(EngineError) as raised:
            e.complete(requests(12))
    assert "horse" not in str(raised.value) and "127.0.0.1" in str(raised.value)


@pytest.mark.hostile("secrets")
def test_a_wrong_key_is_said_to_be_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MY_KEY", raising=False)
    line = refused(script=scripted.status(401, "no key"), api_key_env="MY_KEY")
    assert "requires a key" in line
    assert "MY_KEY" in line
    monkeypatch.setenv("MY_KEY", KEY)
    for code in (401, 403):
        line = refused(script=scripted.status(code, f"Incorrect API key: {KEY}"), api_key_env="MY_KEY")
        assert "does not accept the key in MY_KEY" in line


def test_a_wrong_model_is_said_to_be_wrong() -> None:
    line = refused(script=scripted.status(404, "The model `m` does not exist."), models=("other", "third"))
    assert "has no model 'm'" in line
    assert "other, third" in line


def test_a_wrong_url_is_said_to_be_wrong() -> None:
    assert "/v1" in refused(script=scripted.echo, path="")
    assert "301" in refused(script=scripted.status(301, Location="https://elsewhere.example/v1"))


@pytest.mark.parametrize(
    "url", ["127.0.0.1:8000/v1", "ftp://host/v1", "http:///v1", "http://host:port/v1", "http://a b"]
)
def test_what_is_no_url_is_said_to_be_none(url: str) -> None:
    with engine(url) as e:
        for call in (e.start, lambda: e.complete(requests(2))):
            with pytest.raises(EngineError, match="base_urls"):
                call()


@pytest.mark.hostile("secrets")
@pytest.mark.parametrize(
    ("url", "key", "hint"),
    [
        ("http://10.0.0.7:8000/v1", "a-key", "the key in A_KEY by plain http"),
        ("http://models.example/v1", "a-key", "the key in A_KEY by plain http"),
        ("http://localhost.example/v1", "a-key", "the key in A_KEY by plain http"),
        ("http://[2001:db8::1]:8000/v1", "a-key", "the key in A_KEY by plain http"),
        ("http://me:a-password@10.0.0.7:8000/v1", "", "its password by plain http"),
        ("https://me:a-password@models.example/v1", "a-key", "not both"),
    ],
)
def test_a_key_is_not_sent_where_others_can_read_it(
    url: str, key: str, hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_KEY", key)
    with pytest.raises(EngineError, match=hint) as raised:
        open_openai(settings(url, api_key_env="A_KEY"))
    assert "a-key" not in str(raised.value) and "a-password" not in str(raised.value)
    if "not both" not in hint:
        open_openai(settings(url, api_key_env="A_KEY", key_over_http=True))


@pytest.mark.parametrize(
    ("url", "key"),
    [
        ("http://127.0.0.1:8000/v1", "a-key"),
        ("http://127.8.0.1:8000/v1", "a-key"),
        ("http://[::1]:8000/v1", "a-key"),
        ("http://localhost:8000/v1", "a-key"),
        ("https://models.example/v1", "a-key"),
        ("https://me:a-password@models.example/v1", ""),
        ("http://10.0.0.7:8000/v1", ""),
    ],
)
def test_a_key_is_sent_to_this_machine_and_by_https(url: str, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", key)
    open_openai(settings(url, api_key_env="A_KEY"))


def test_a_server_that_refuses_everything_is_not_the_requests_fault() -> None:
    script = scripted.status(400, "this model takes no images")
    with ScriptedServer(script) as server, engine(server.url, max_in_flight=4) as e:
        for _ in range(2):
            with pytest.raises(EngineError, match=r"refuses every request .*takes no images"):
                e.complete(requests(100))
        assert len(server.asked) < 60
        server.script = scripted.echo
        check(requests(3), e.complete(requests(3)))


SMALL = "This model's maximum context length is 4096 tokens. However, your prompt contains 5000 input tokens."


def test_a_request_that_does_not_fit_is_the_engines_fault() -> None:
    async def script(asked: Asked) -> web.StreamResponse:
        return await (scripted.status(400, SMALL) if asked.words == "Say 3" else scripted.echo)(asked)

    with ScriptedServer(script) as server, engine(server.url) as e:
        answers = e.complete(requests(6))
    assert set(server.times.values()) == {1}
    failure = answers.pop(3)
    assert isinstance(failure, Failure) and failure.retryable
    assert "maximum context length is 4096" in failure.message and "or lower max_tokens" in failure.message
    check([r for r in requests(6) if r.id != "3"], answers)


@pytest.mark.parametrize(("kind", "names"), [("openai", "--max-model-len"), ("vllm", r"vllm\.max_model_len")])
def test_a_context_too_small_for_request_after_request_ends_the_call_and_names_the_setting(
    kind: str, names: str
) -> None:
    with ScriptedServer() as server:
        given = EngineSettings(kind=kind, model="m", base_urls=(server.url,), max_in_flight=16)
        opened = OpenAIEngine(kind, given, "m", "m@", None, RemoteServers(settings(server.url)))
        try:
            check(requests(3), opened.complete(requests(3)))  # one that has served before is believed no less
            server.script = scripted.status(400, SMALL)
            with pytest.raises(EngineError, match=rf"maximum context length is 4096 .*{names}.* or lower max_tokens"):
                opened.complete(requests(100, "more "))
            assert len(server.asked) < 40
            with pytest.raises(EngineError, match=names):
                opened.complete(requests(CRAMPED, "as many as are in flight at once "))
            server.script = scripted.echo
            check(requests(3), opened.complete(requests(3)))
        finally:
            opened.close()


def test_requests_that_do_not_fit_among_others_that_do_end_nothing() -> None:
    async def script(asked: Asked) -> web.StreamResponse:
        long = int(asked.words[4:]) % 2 == 0
        return await (scripted.status(400, SMALL) if long else scripted.after(0.05))(asked)

    asked = requests(100)
    with ScriptedServer(script) as server, engine(server.url, max_in_flight=60) as e:
        answers = e.complete(asked)
    assert all(isinstance(answer, Failure) for answer in answers[::2])
    check(asked[1::2], answers[1::2])


def test_many_bad_requests_to_begin_with_are_still_their_own_fault() -> None:
    async def script(asked: Asked) -> web.StreamResponse:
        bad = int(asked.words[4:]) < 50
        return await (scripted.status(400, "corrupt") if bad else scripted.after(0.2))(asked)

    asked = requests(100)
    with ScriptedServer(script) as server, engine(server.url, max_in_flight=60) as e:
        answers = e.complete(asked)
        assert all(isinstance(answer, Failure) for answer in answers[:50])
        check(asked[50:], answers[50:])


@pytest.mark.hostile("secrets")
@pytest.mark.slow
def test_the_key_is_sent_and_never_shown(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", f" {KEY}\n")
    caplog.set_level(logging.DEBUG)

    async def script(asked: Asked) -> web.StreamResponse:
        given = asked.headers["Authorization"]
        assert given == f"Bearer {KEY}"
        faults = [scripted.status(400, given), scripted.status(500, given), scripted.raw(given.encode())]
        fault = scripted.first(8, faults[int(asked.words[-1]) % 3])
        return await (fault if int(asked.words[4:]) < 9 else scripted.after(0.1))(asked)

    with ScriptedServer(script) as server, engine(server.url, max_in_flight=20, patience_s=3) as e:
        answers = e.complete(requests(1000))
        assert len([a for a in answers if isinstance(a, Failure) and "REDACTED" in a.message]) == 9
        shown = f"{answers!r} {e!r} {vars(e)!r} {e.identity} {caplog.text}"
        assert KEY not in shown
    monkeypatch.setenv("OPENAI_API_KEY", "no\u2028key")
    with engine("http://127.0.0.1:1/v1") as e, pytest.raises(EngineError, match="OPENAI_API_KEY"):
        e.complete(requests(1))


def test_no_key_is_sent_to_a_server_of_our_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with ScriptedServer() as server:
        own = settings("unused").model_copy(update={"kind": "vllm"})
        e = OpenAIEngine("vllm", own, "m", "m@", "rev", RemoteServers(settings(server.url)))
        e.complete([request("a")])
        e.close()
        assert "Authorization" not in server.asked[0].headers


class Private(RemoteServers):
    """A server of our own: behind a socket, though its URL could be looked up."""

    def __init__(self, url: str, socket: Path) -> None:
        super().__init__(settings(url))
        self._socket = socket

    def access(self, host: str) -> Access:
        return Access(str(self._socket), KEY)


@pytest.mark.hostile("neighbours")
def test_a_server_of_our_own_is_asked_through_its_socket_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own = settings("unused", patience_s=1).model_copy(update={"kind": "vllm"})
    with ScriptedServer() as impostor:
        e = OpenAIEngine("vllm", own, "m", "m@", "rev", Private(impostor.url, tmp_path / "socket"))
        with ScriptedServer(path=tmp_path / "socket") as server:
            (answer,) = e.complete([request("a")])
        assert isinstance(answer, Completion)
        assert [asked.headers["Authorization"] for asked in server.asked] == [f"Bearer {KEY}"]
        with pytest.raises(EngineError, match="has not answered"):
            e.complete([request("b")])
        e.close()
        assert impostor.asked == []
    assert KEY not in caplog.text + repr(Access("socket", KEY))


@pytest.mark.hostile("neighbours")
def test_the_key_of_our_own_server_is_in_no_message(tmp_path: Path) -> None:
    async def script(asked: Asked) -> web.StreamResponse:
        return await scripted.status(400, asked.headers["Authorization"])(asked)

    own = settings("unused").model_copy(update={"kind": "vllm"})
    with ScriptedServer(script, path=tmp_path / "socket"):
        e = OpenAIEngine("vllm", own, "m", "m@", "rev", Private("http://127.0.0.1:1/v1", tmp_path / "socket"))
        (answer,) = e.complete([request("a")])
        e.close()
    assert isinstance(answer, Failure)
    assert "REDACTED" in answer.message and KEY not in answer.message


# --- what names it --------------------------------------------------------------------------------------------------


def test_it_is_named_without_asking_anybody() -> None:
    e = open_engine(settings("http://127.0.0.1:1/v1", revision="abc"), "caption")
    assert (e.engine, e.model, e.identity, e.revision, e.languages) == ("openai", "m", "m@abc", "abc", None)
    e.close()
    assert open_openai(settings("http://127.0.0.1:1/v1")).identity == "m@"


@pytest.mark.parametrize(
    ("card", "revision"),
    [
        ({"id": "m"}, "unstated"),
        ({"id": "m", "revision": "r2"}, "r2"),
        ({"id": "m", "root": f"/hub/models--a--b/snapshots/{'0a' * 20}"}, "0a" * 20),
        ({"id": "other", "revision": "r2"}, "unstated"),
    ],
)
def test_a_revision_that_the_server_states_is_recorded(card: dict[str, str], revision: str) -> None:
    with ScriptedServer() as server, engine(server.url) as e:
        server.models[:] = [card]
        assert e.revision == revision
        server.models.clear()
        assert e.revision == revision


def test_a_revision_that_nobody_states_is_unstated() -> None:
    with engine("http://127.0.0.1:1/v1") as e:
        assert e.revision == "unstated"


# --- the end --------------------------------------------------------------------------------------------------------


def sockets() -> list[Any]:
    me = os.getpid()
    return [
        c for c in psutil.Process(me).net_connections("tcp") if c.status in ("ESTABLISHED", "SYN_SENT", "CLOSE_WAIT")
    ]


def test_closing_is_prompt_and_leaves_nothing() -> None:
    threads_before, sockets_before = set(threading.enumerate()), len(sockets())
    tasks_before = load.snapshot().in_flight
    with ScriptedServer() as server, engine(server.url, max_in_flight=16) as e, engine(server.url) as f:
        server.script = scripted.after(0.1)
        e.complete(requests(16))  # kept connections
        f.complete(requests(100))
        server.script = scripted.stall
        with ThreadPoolExecutor(4) as pool:
            calls = [pool.submit(one.complete, requests(40)) for one in (e, e, f, f)]
            wait_for(lambda: server.in_flight == 16 + 80)
            begun = time.monotonic()
            e.close()
            for call in calls[:2]:
                with pytest.raises(EngineError, match="closed"):
                    call.result(WAIT_S)
            wait_for(lambda: server.in_flight == 80)
            assert not any(call.done() for call in calls[2:])  # another engine's
            f.close()
            for call in calls[2:]:
                with pytest.raises(EngineError, match="closed"):
                    call.result(WAIT_S)
            assert time.monotonic() - begun < 60
        for one in (e, f):
            with pytest.raises(EngineError, match="closed"):
                one.complete(requests(1))
            one.close()
        wait_for(lambda: server.in_flight == 0)
        wait_for(lambda: len(sockets()) <= sockets_before)
    wait_for(lambda: set(threading.enumerate()) <= threads_before)
    assert load.snapshot().in_flight == tasks_before


def test_an_engine_that_was_closed_leaves_the_way_to_the_next() -> None:
    with ScriptedServer() as server:
        for _ in range(5):
            with engine(server.url) as e:
                check(requests(3), e.complete(requests(3)))


def test_closing_while_calls_come_in_hangs_nobody() -> None:
    with ScriptedServer() as server:
        for _ in range(20):
            e = open_openai(settings(server.url))
            calls: list[Callable[[], Any]] = [lambda e=e: e.complete(requests(5))] * 4  # type: ignore[misc]
            outcomes = call_in_threads([*calls, e.close, *calls])
            for outcome in outcomes:
                assert outcome is None or isinstance(outcome, EngineError) or len(outcome) == 5


INTERRUPTED = """
import sys
from tests.curation.engines.openai.test_engine import open_openai, requests, settings
engine = open_openai(settings(sys.argv[1]))
try:
    engine.complete(requests(100))
except KeyboardInterrupt:
    answer = engine.complete(requests(1, "after "))[0]
    print("interrupted", answer.text, flush=True)
    engine.close()
"""


def test_ctrl_c_interrupts_a_call_and_withdraws_its_requests() -> None:
    async def script(asked: Asked) -> web.StreamResponse:
        if "after" not in asked.words:
            return await scripted.stall(asked)
        while asked.server.in_flight > 1:
            await scripted.nap()
        return await scripted.echo(asked)

    with ScriptedServer(script) as server:
        command = [sys.executable, "-c", INTERRUPTED, server.url]
        root = ROOT
        process = subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            wait_for(lambda: server.in_flight == 100)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=WAIT_S)
        finally:
            process.kill()
        assert (out.strip(), process.returncode) == ("interrupted echo Say after 0", 0), err
        wait_for(lambda: server.in_flight == 0)


# --- models that think ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "refusal",
    [
        "Unrecognized request argument supplied: chat_template_kwargs",
        "[{'type': 'extra_forbidden', 'loc': ['body', 'chat_template_kwargs'], 'msg': 'Extra inputs'}]",
        "chat_template is not supported for Mistral tokenizers.",
    ],
)
def test_no_thoughts_are_asked_for_where_the_server_knows_how(refusal: str) -> None:
    async def strict(asked: Asked) -> web.StreamResponse:
        told = "chat_template_kwargs" in asked.body
        return await (scripted.status(400, refusal) if told else scripted.echo)(asked)

    with ScriptedServer() as server, engine(server.url) as e:
        check(requests(3), e.complete(requests(3)))
        kwargs = [asked.body["chat_template_kwargs"] for asked in server.asked]
        assert kwargs == [{"enable_thinking": False, "thinking": False}] * 3
    with ScriptedServer(strict) as server, engine(server.url, max_in_flight=4) as e:
        check(requests(30), e.complete(requests(30)))
        assert len(server.asked) <= 34, "it is asked once, by each request in flight"
    with ScriptedServer() as server, engine(server.url, thoughts=True) as e:
        check(requests(1), e.complete(requests(1)))
        assert "chat_template_kwargs" not in server.asked[0].body and e.identity == "m@+thoughts"


# --- servers that come and go ---------------------------------------------------------------------------------------


def test_servers_in_a_file_are_used_as_they_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_servers, "REREAD_S", 0.3)
    monkeypatch.setattr(remote_servers, "LOOK_AGAIN_S", 0.1)
    listed = tmp_path / "servers"
    slowly = scripted.after(0.05)
    with ScriptedServer(slowly) as one, ScriptedServer(slowly) as two, engine(f"file://{listed}", max_in_flight=4) as e:
        e.check()  # there is none yet, which is no fault
        with ThreadPoolExecutor() as pool:
            made = pool.submit(e.complete, requests(400))
            wait_for(lambda: load.snapshot().pending >= 400)
            listed.write_text(f"# servers\n\n{one.url}\n")
            wait_for(lambda: one.asked)
            assert not two.asked
            listed.write_text(f"{one.url}\n{two.url}\n")
            wait_for(lambda: two.asked)
            listed.write_text(f"{two.url}\n")
            check(requests(400), made.result(WAIT_S))
            rest = len(one.asked)
            check(requests(20), e.complete(requests(20)))
        assert len(one.asked) == rest or len(two.asked) > rest
    assert load.snapshot().pending == 0


def test_a_file_that_stays_empty_ends_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_servers, "LOOK_AGAIN_S", 0.1)
    with (
        engine(f"file://{tmp_path}/servers", patience_s=0.3) as e,
        pytest.raises(EngineError, match=r"base_urls: file://.*/servers has named no server for 0 s"),
    ):
        e.complete(requests(2))
    assert load.snapshot().pending == 0


def test_all_addresses_of_a_name_are_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(0, 0, 0, "", (address, 8000)) for address in ("10.0.0.2", "10.0.0.1", "10.0.0.2")]
    found.append((0, 0, 0, "", ("fd00::1", 8000, 0, 0)))
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, port, **_: found if host == "models" else [])
    servers = RemoteServers(settings("dns+http://models:8000/v1", "http://other:1/v1", "dns+http://gone:8000/v1"))
    addresses = ["http://10.0.0.1:8000/v1", "http://10.0.0.2:8000/v1", "http://[fd00::1]:8000/v1"]
    assert servers.named() == (*addresses, "http://other:1/v1") and servers.reread_s == 30
    assert RemoteServers(settings("http://other:1/v1")).reread_s is None
    with pytest.raises(EngineError, match="certificates are for names"):
        RemoteServers(settings("dns+https://models/v1")).named()
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with pytest.raises(EngineError, match="by plain http"):
        open_openai(settings("dns+http://models:8000/v1"))


def test_a_url_in_a_file_must_not_get_the_key_by_plain_http(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    (tmp_path / "servers").write_text("http://10.0.0.1:8000/v1\n")
    with engine(f"file://{tmp_path}/servers") as e, pytest.raises(EngineError, match="by plain http"):
        e.complete(requests(1))
    (tmp_path / "servers").write_text("ftp://10.0.0.1/v1\n")
    with engine(f"file://{tmp_path}/servers") as e, pytest.raises(EngineError, match="only http and https"):
        e.complete(requests(1))
