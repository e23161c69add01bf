"""The requests of all callers, first come first served, on their way to the servers that have room for them."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
import random
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import aiohttp
from yarl import URL

from curation.config import EngineSettings
from curation.engines import Completion, EngineError, Failure, TextRequest
from curation.engines.chat import ExchangeError, ask, body, model_cards
from curation.engines.load import load
from curation.engines.pace import Pace, Sent, Silence, Trouble
from curation.uris import REDACTED, redact
from prompts import PromptError

log = logging.getLogger(__name__)

TRIES = 8
"""Times that one request is sent to servers that fail on it. Hearing that a server is busy does not count."""
CONNECT_S = 10.0
KEEP_ALIVE_S = 4.0
"""An unused connection is closed before the server does so; vLLM waits five seconds."""
LONGEST_MESSAGE = 300  # characters
FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 15.0
WARN_S = 10.0

Answer = Completion | Failure
T = TypeVar("T")


class Batch:
    """The requests of one call, and their answers as they come in."""

    def __init__(self, requests: Sequence[TextRequest]) -> None:
        self.requests = requests
        self.answers: dict[int, Answer] = {}  # by place in the batch
        self.next = 0  # the first request that has not been sent yet
        self.done: Future[list[Answer]] = Future()


@dataclass(eq=False, slots=True)
class _Job:
    """A request that is being sent, or will be again."""

    number: int  # in the order of first sending
    batch: Batch
    index: int
    since: float | None = None  # when it first reached a server
    sent: int = 0
    tries: int = 0
    last: _Place | None = None

    @property
    def request(self) -> TextRequest:
        return self.batch.requests[self.index]


class _Place:
    """A server, by its base URL."""

    def __init__(self, base: str, settings: EngineSettings) -> None:
        self.base = base.rstrip("/")
        self.url = URL(f"{self.base}/chat/completions")
        self.name = redact(self.base)
        self.pace = Pace(settings.max_in_flight, settings.patience_s)


class Pool:
    """Sends what is submitted, and sees to it that every batch is done in the end: with answers, or an EngineError.

    `ready` gives the base URLs of the servers once they can be asked; it may block, and raises EngineError where they
    never will be. Everything but `__init__` runs on one event loop. What waits costs no memory beside the requests.
    """

    def __init__(
        self, model: str, settings: EngineSettings, key: str | None, ready: Callable[[], tuple[str, ...]]
    ) -> None:
        self.model = model
        self.settings = settings
        self._key = key
        self._ready = ready
        self._places: list[_Place] = []
        self._batches: set[Batch] = set()
        self._line: deque[Batch] = deque()  # whose requests have not all been sent
        self._again: list[tuple[float, int, _Job]] = []  # a heap, by the time of the next try
        self._tasks: dict[asyncio.Task[None], tuple[_Place, _Job] | None] = {}
        self._readying = False
        self._ready_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._numbers = itertools.count()
        self._silence = Silence()
        self._troubled: set[int] = set()  # jobs that failed since the last answer, two at most
        self._held_s = 0.0  # time that `ready` took, which counts against nobody's patience
        self._streams = True
        self._warned = False

    async def open(self) -> None:
        headers = {"Content-Type": "application/json", "User-Agent": "vidla"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        timeout_s = self.settings.timeout_s
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_S),
            timeout=aiohttp.ClientTimeout(total=timeout_s, sock_connect=min(CONNECT_S, timeout_s)),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=headers,
        )

    async def close(self) -> None:
        """Break off what is in flight; whoever waits gets an EngineError."""
        self._give_up("the engine was closed")
        tasks = list(self._tasks)
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._session.close()

    async def model_cards(self, bases: Sequence[str]) -> list[dict[str, Any]]:
        """What the servers say about their models."""
        return [card for base in bases for card in await model_cards(self._session, base.rstrip("/"))]

    def submit(self, batch: Batch) -> None:
        self._batches.add(batch)
        self._line.append(batch)
        self._silence.asked(self._now())
        self._pump()

    def withdraw(self, batch: Batch) -> None:
        """Nobody waits for `batch` any more."""
        self._forget(batch)
        batch.done.cancel()
        for task, flight in self._tasks.items():
            if flight is not None and flight[1].batch is batch:
                task.cancel()

    # --- sending ----------------------------------------------------------------------------------------------------

    def _pump(self) -> None:
        """Send as much as there is room for, and come back when there may be more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._batches or self._readying:
            return
        if not self._places:
            self._ask_ready()
            return
        now = self._loop_time()
        while any(place.pace.room(now) for place in self._places) and (job := self._next(now)):
            self._send(job, now)
        later = [place.pace.opens_at for place in self._places] + [due for due, _, _ in self._again[:1]]
        ahead = [at for at in later if at > now]
        if ahead and (self._line or self._again):
            self._timer = asyncio.get_running_loop().call_at(min(ahead), self._pump)

    def _next(self, now: float) -> _Job | None:
        """The request that has waited longest, if it may be sent now."""
        while self._again and self._again[0][0] <= now:
            job = heapq.heappop(self._again)[2]
            if job.batch in self._batches:
                return job
        while self._line and len(self._again) < self.settings.max_in_flight:
            batch = self._line[0]
            if batch in self._batches and batch.next < len(batch.requests):
                batch.next += 1
                return _Job(next(self._numbers), batch, batch.next - 1)
            self._line.popleft()
        return None

    def _send(self, job: _Job, now: float) -> None:
        streamed = self._streams and job.index == 0  # streaming all would cost processor time
        try:
            data = body(job.request, self.model, streamed)
        except PromptError as error:
            self._settle(job, Failure(job.request.id, str(error), retryable=False))
            return
        place = max((p for p in self._places if p.pace.room(now)), key=lambda p: (p is not job.last, p.pace.room(now)))
        if job.since is None:
            job.since = self._now()
        job.sent += 1
        job.last = place
        sent = place.pace.sent(now)
        load.sent()
        self._start(self._exchange(place, job, sent, data, streamed), (place, job))

    def _start(self, work: Coroutine[Any, Any, None], flight: tuple[_Place, _Job] | None) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks[task] = flight
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        flight = self._tasks.pop(task)
        if task.cancelled():
            if flight is not None:
                flight[0].pace.dropped()
                load.ended(None)
        elif error := task.exception():
            log.error("a request failed in a way that it should not", exc_info=error)
            self._give_up(f"the engine failed: {error!r}")
        self._pump()

    async def _exchange(self, place: _Place, job: _Job, sent: Sent, data: bytes, streamed: bool) -> None:
        try:
            said = await ask(self._session, place.url, data)
        except ExchangeError as error:
            await self._failed(place, job, sent, error, streamed)
            return
        place.pace.answered()
        self._heard()
        answer = Completion(
            job.request.id,
            said.text,
            said.finish_reason,
            input_tokens=said.input_tokens,
            output_tokens=said.output_tokens,
            retries=job.sent - 1,
            first_token_s=said.first_token_s,
            in_flight=sent.in_flight,
        )
        load.ended(answer)
        self._settle(job, answer)

    def _heard(self) -> None:
        """A server answered, whatever it said."""
        self._silence.broken(self._now())
        self._troubled.clear()
        self._warned = False

    def _settle(self, job: _Job, answer: Answer) -> None:
        batch = job.batch
        if batch not in self._batches:
            return
        batch.answers[job.index] = answer
        if len(batch.answers) == len(batch.requests):
            self._forget(batch)
            batch.done.set_result([batch.answers[index] for index in range(len(batch.requests))])

    def _forget(self, batch: Batch) -> None:
        self._batches.discard(batch)
        if not self._batches:
            self._silence.idle(self._now())

    # --- trouble ----------------------------------------------------------------------------------------------------

    async def _failed(self, place: _Place, job: _Job, sent: Sent, error: ExchangeError, streamed: bool) -> None:
        trouble = error.trouble
        if trouble == "unusable":
            why = await self._unusable(place, error)
            place.pace.dropped()
            load.ended(None)
            self._give_up(why)
        elif trouble == "bad":
            place.pace.answered()
            self._heard()
            if streamed and "stream" in str(error).lower():
                self._streams = False
                self._repeat(job, 0.0)
            else:
                self._fail(job, self._plain(error), retryable=False)
        else:
            place.pace.failed(sent, self._loop_time(), trouble, error.retry_after)
            self._try_again(place, job, trouble, self._plain(error))
            if all(p.pace.away for p in self._places) and sent.at > self._ready_at:
                self._ask_ready()

    def _try_again(self, place: _Place, job: _Job, trouble: Trouble, message: str) -> None:
        now, patience_s = self._now(), self.settings.patience_s
        silent_s = self._silence.seconds(now)
        if len(self._troubled) < 2:
            self._troubled.add(job.number)
        # Whether it is the servers that are in trouble, or only this request.
        down = trouble in ("busy", "absent") or len(self._troubled) > 1
        if silent_s >= WARN_S and down and not self._warned:
            log.warning("%s has not answered for %.0f s (%s); it is asked again", place.name, silent_s, message)
            self._warned = True
        if trouble == "absent":
            job.since = None  # it never got there
        elif trouble != "busy":
            job.tries += 1
        if silent_s >= patience_s and down:
            load.ended(None)
            names = ", ".join(p.name for p in self._places)
            self._give_up(
                f"{names} has not answered for {silent_s:.0f} s (the last try: {message}); "
                "once it does, the same command goes on from there"
            )
        elif job.tries >= TRIES or (job.since is not None and now - job.since >= patience_s):
            self._fail(job, f"asked {job.sent} times in vain; the last time: {message}", retryable=True)
        else:
            pause_s = min(FIRST_PAUSE_S * 2.0 ** (job.tries - 1), LONGEST_PAUSE_S) if job.tries else 0.0
            self._repeat(job, pause_s * (0.5 + random.random() / 2))

    def _repeat(self, job: _Job, pause_s: float) -> None:
        load.repeated()
        heapq.heappush(self._again, (self._loop_time() + pause_s, job.number, job))

    def _fail(self, job: _Job, message: str, retryable: bool) -> None:
        failure = Failure(job.request.id, message, retryable, retries=job.sent - 1)
        load.ended(failure)
        self._settle(job, failure)

    async def _unusable(self, place: _Place, error: ExchangeError) -> str:
        """What is wrong where no request would fare better, and what to do."""
        why, variable = self._plain(error), self.settings.api_key_env
        if error.status in (401, 403) and self._key:
            return f"{place.name} does not take the key in {variable} ({why}); put the right one there"
        if error.status in (401, 403):
            return f"{place.name} wants a key ({why}); put it into the environment variable {variable}"
        if error.status == 404:
            names = [str(card["id"]) for card in await model_cards(self._session, place.base)]
            if names and self.model not in names:
                return self._plain(f"{place.name} has no model '{self.model}'; it serves {', '.join(names)}")
            hint = "" if names else "; the base URL of an OpenAI-compatible server mostly ends in /v1"
            return f"{place.name} does not answer chat completions of '{self.model}' ({why}){hint}"
        return f"{place.name} cannot be used ({why})"

    def _give_up(self, why: str) -> None:
        """Nobody gets an answer any more."""
        for batch in self._batches:
            batch.done.set_exception(EngineError(why))
        self._batches.clear()
        self._line.clear()
        self._again.clear()
        self._silence.idle(self._now())
        for task in self._tasks:
            if task is not asyncio.current_task():
                task.cancel()

    # --- servers ----------------------------------------------------------------------------------------------------

    def _ask_ready(self) -> None:
        if not self._readying:
            self._readying = True
            self._start(self._find_servers(), None)

    async def _find_servers(self) -> None:
        begun = self._loop_time()
        try:
            bases = await _in_thread(self._ready)
        except EngineError as error:
            self._give_up(str(error))
        else:
            known = {place.base: place for place in self._places}
            self._places = [known.get(base.rstrip("/")) or _Place(base, self.settings) for base in bases]
        finally:
            self._ready_at = self._loop_time()
            self._held_s += self._ready_at - begun
            self._readying = False

    # --- time and words ---------------------------------------------------------------------------------------------

    def _loop_time(self) -> float:
        return asyncio.get_running_loop().time()

    def _now(self) -> float:
        """Seconds for patience to be measured in: they stand still while servers are started."""
        return self._loop_time() - self._held_s

    def _plain(self, words: object) -> str:
        """`words` on one line of bounded length, without our key and others' secrets."""
        text = str(words)
        if self._key:
            text = text.replace(self._key, REDACTED)
        line = " ".join("".join(c if c.isprintable() else " " for c in text[: 10 * LONGEST_MESSAGE]).split())
        return redact(line)[:LONGEST_MESSAGE]


async def _in_thread(call: Callable[[], T]) -> T:
    """What `call` returns or raises, in a thread of its own that nobody waits for at the end of the process."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(outcome: T | BaseException) -> None:
        if done.done():
            return  # broken off
        if isinstance(outcome, BaseException):
            done.set_exception(outcome)
        else:
            done.set_result(outcome)

    def work() -> None:
        outcome: T | BaseException
        try:
            outcome = call()
        except BaseException as error:
            outcome = error
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(settle, outcome)

    threading.Thread(target=work, name="ready", daemon=True).start()
    return await done
