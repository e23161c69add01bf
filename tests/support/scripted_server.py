"""An OpenAI-compatible server on loopback that misbehaves on demand: storms, stalls, nonsense.

It answers `echo <last user words>` unless its script does something else.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

Body = dict[str, Any]


@dataclass
class Asked:
    """A request as received; `time` is 1 for the first request with these words, 2 for the second, …"""

    body: Body
    words: str
    time: int
    at: float
    in_flight: int  # including this one
    headers: dict[str, str]
    http: web.Request = field(repr=False)
    server: ScriptedServer = field(repr=False)


Script = Callable[[Asked], Awaitable[web.StreamResponse]]


def words_of(body: Body) -> str:
    """The text of the last user message, without its images."""
    content = next(m["content"] for m in reversed(body["messages"]) if m["role"] == "user")
    return content if isinstance(content, str) else content[-1]["text"]


class ScriptedServer:
    """Serves `script` at `url` between `start` and `stop`, or as a context manager; records its requests.

    With `path`, it listens on that Unix socket instead of a port.
    """

    def __init__(
        self, script: Script | None = None, models: tuple[str, ...] = ("m",), path: Path | None = None
    ) -> None:
        self.script = script or echo
        self.path = path
        self.models = [{"id": model, "object": "model"} for model in models]
        self.asked: list[Asked] = []
        self.times: Counter[str] = Counter()
        self.in_flight = 0
        self.most_in_flight = 0
        self.peers: set[Any] = set()  # one per connection
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> ScriptedServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Serve, on the same port as before after a `stop`."""
        ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(ready)), daemon=True)
        self._thread.start()
        if not ready.wait(60):
            raise TimeoutError("the scripted server has not started")

    def stop(self) -> None:
        """Stop serving, and abort every connection."""
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(60)

    async def _serve(self, ready: threading.Event) -> None:
        self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
        app = web.Application(client_max_size=1 << 26)
        app.router.add_post("/v1/chat/completions", self._completions)
        app.router.add_get("/v1/models", self._models)
        runner = web.AppRunner(
            app, handle_signals=False, access_log=None, shutdown_timeout=0, handler_cancellation=True
        )
        await runner.setup()
        if self.path is None:
            port = web.TCPSite(runner, "127.0.0.1", self.port, reuse_address=True)
            await port.start()
            self.port = port._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
        else:
            await web.UnixSite(runner, self.path).start()
        self._runner = runner
        ready.set()
        await self._ended.wait()
        for protocol in list(runner.server.connections if runner.server else ()):
            if protocol.transport is not None:
                protocol.transport.abort()
        await runner.cleanup()

    async def _models(self, _: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": self.models})

    async def _completions(self, http: web.Request) -> web.StreamResponse:
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        self.peers.add(http.transport and http.transport.get_extra_info("peername"))
        try:
            body = await http.json()
            words = words_of(body)
            self.times[words] += 1
            asked = Asked(
                body, words, self.times[words], time.monotonic(), self.in_flight, dict(http.headers), http, self
            )
            self.asked.append(asked)
            return await self.script(asked)
        finally:
            self.in_flight -= 1


# --- scripts: answers to a request ---------------------------------------------------------------------------------


def completion(text: str | None, finish_reason: str | None = "stop", **message: Any) -> Body:
    """A chat completion with one token per word."""
    tokens = len((text or "").split())
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text, **message},
                "finish_reason": finish_reason,
            }
        ],
        "usage": {"prompt_tokens": 7, "completion_tokens": tokens, "total_tokens": 7 + tokens},
    }


async def echo(asked: Asked) -> web.StreamResponse:
    """Answer with the words of the request, streamed if requested."""
    return await say(asked, f"echo {asked.words}")


async def say(asked: Asked, text: str, pause_s: float = 0.0, finish_reason: str = "stop") -> web.StreamResponse:
    """Answer with `text`: at once, or, if streaming is requested, word by word with `pause_s` before each."""
    if not asked.body.get("stream"):
        return web.json_response(completion(text, finish_reason))
    stream = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await stream.prepare(asked.http)
    await stream.write(event({"role": "assistant", "content": ""}))
    words = text.split(" ")
    for i, word in enumerate(words):
        await asyncio.sleep(pause_s)
        await stream.write(event({"content": word if i == 0 else f" {word}"}))
    await stream.write(event({}, finish_reason))
    usage = completion(text)["usage"]
    await stream.write(b"data: " + json.dumps({"choices": [], "usage": usage}).encode() + b"\n\n")
    await stream.write(b"data: [DONE]\n\n")
    return stream


def event(delta: Body, finish_reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return b"data: " + json.dumps({"object": "chat.completion.chunk", "choices": [choice]}).encode() + b"\n\n"


def status(code: int, message: str = "no", **headers: str) -> Script:
    """A refusal in the form that vLLM uses."""

    async def refuse(_: Asked) -> web.StreamResponse:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.json_response({"error": {"message": message, "code": code}}, status=code, headers=named)

    return refuse


def raw(body: bytes, kind: str = "application/json") -> Script:
    """Whatever `body` is, with status 200."""

    async def answer(_: Asked) -> web.StreamResponse:
        return web.Response(body=body, content_type=kind)

    return answer


async def stall(asked: Asked) -> web.StreamResponse:
    """No answer for as long as a test can take."""
    await asyncio.sleep(300)
    return await echo(asked)


async def half(asked: Asked) -> web.StreamResponse:
    """The first half of an answer that was announced whole; then the connection breaks."""
    answer = json.dumps(completion(f"echo {asked.words}")).encode()
    stream = web.StreamResponse(headers={"Content-Length": str(len(answer)), "Content-Type": "application/json"})
    await stream.prepare(asked.http)
    await stream.write(answer[: len(answer) // 2])
    return await reset(asked, stream)


async def reset(asked: Asked, stream: web.StreamResponse | None = None) -> web.StreamResponse:
    """Break the connection off."""
    if asked.http.transport is not None:
        asked.http.transport.abort()
    return stream or web.Response()


async def nap() -> None:
    await asyncio.sleep(0.01)


def after(seconds: float, then: Script = echo) -> Script:
    async def wait(asked: Asked) -> web.StreamResponse:
        await asyncio.sleep(seconds)
        return await then(asked)

    return wait


def first(times: int, bad: Script, then: Script = echo) -> Script:
    """Each request is met with `bad` so many times, and then with `then`."""
    return lambda asked: (bad if asked.time <= times else then)(asked)
