"""Sends the requests of all callers, first come first served, to servers that have room for them."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
from collections import deque
from collections.abc import Coroutine, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, NamedTuple

from curation.engines.interface import Completion, Failure, TextRequest
from curation.engines.load import load
from curation.engines.openai.blame import Blame, RequestHistory
from curation.engines.openai.chat import ExchangeError, request_body
from curation.engines.openai.client import Client
from curation.engines.openai.pace import Ticket, Trouble
from curation.engines.openai.servers import Endpoint, Endpoints, Server
from curation.errors import EngineError, PromptError
from curation.settings import EngineSettings

log = logging.getLogger(__name__)

Answer = Completion | Failure


class RequestBatch:
    """The requests of one caller's call, and the answers so far."""

    def __init__(self, requests: Sequence[TextRequest]) -> None:
        self.requests = requests
        self.answers: dict[int, Answer] = {}  # by index in the batch
        self.next = 0  # the first request that has not been sent yet
        self.done: Future[list[Answer]] = Future()


@dataclass(eq=False, slots=True)
class _Job:
    """A request that is in flight or will be repeated."""

    batch: RequestBatch
    index: int
    history: RequestHistory  # its number: in the order of first sending
    sent: int = 0  # times
    last: Endpoint | None = None

    @property
    def request(self) -> TextRequest:
        return self.batch.requests[self.index]


class _Body(NamedTuple):
    """How a request was put."""

    streamed: bool
    thoughts: bool


class Scheduler:
    """Sends the batches that are submitted. Every batch ends with answers or with an EngineError.

    Everything but `__init__` runs on one event loop. Waiting requests take no memory beyond their own.
    """

    def __init__(self, model: str, settings: EngineSettings, key: str, server: Server) -> None:
        self.model = model
        self.settings = settings
        self._key = key
        self._server = server
        self._endpoints = Endpoints(settings, server.ready)
        self._batches: set[RequestBatch] = set()
        self._queue: deque[RequestBatch] = deque()  # batches with requests not yet sent
        self._retries: list[tuple[float, int, _Job]] = []  # a heap, by time of the next try
        self._tasks: dict[asyncio.Task[None], tuple[Endpoint, _Job] | None] = {}
        self._discovering = False
        self._discovery: asyncio.Task[None] | None = None
        self._discovered_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._numbers = itertools.count()
        self._held_s = 0.0  # time that servers took to start: it does not count against patience
        self._blame = Blame(settings.patience_s)
        self._refused = ""  # the last rejection
        self._streams = True
        self._thoughts = settings.thoughts  # whether models may have them, or the server cannot tell them not to

    async def open(self) -> None:
        self._client = Client(self.model, self.settings, self._key, self._server.access)

    async def close(self) -> None:
        """Cancel what is in flight; waiting callers get an EngineError."""
        self._give_up("the engine was closed")
        tasks = list(self._tasks)
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._client.close()

    async def model_cards(self, bases: Sequence[str]) -> list[dict[str, Any]]:
        """The entries of the servers' /models lists."""
        return [card for base in bases for card in await self._client.model_cards(base.rstrip("/"))]

    async def check(self, bases: Sequence[str]) -> None:
        """Raises EngineError if one of the servers refuses us, or if none of them answers."""
        silent = await asyncio.gather(*(self._client.check(base.rstrip("/")) for base in bases))
        if all(silent):
            raise EngineError(f"no server of {self.model} answers: {'; '.join(filter(None, silent))}")

    def submit(self, batch: RequestBatch) -> None:
        if not self._batches:
            self._server.set_active(True)
        self._batches.add(batch)
        self._queue.append(batch)
        load.asked(len(batch.requests))
        self._blame.silence.asked(self._now())
        self._pump()

    def withdraw(self, batch: RequestBatch) -> None:
        """Drop `batch`: its caller no longer waits."""
        self._forget(batch)
        batch.done.cancel()
        for task, flight in self._tasks.items():
            if flight is not None and flight[1].batch is batch:
                task.cancel()

    # --- sending ----------------------------------------------------------------------------------------------------

    def _pump(self) -> None:
        """Send as much as there is room for, and set a timer for when there may be more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._tasks:
            self._give_up_if_refused()
        if not self._batches or self._discovering:
            return
        if not self._endpoints.known:
            self._discover()
            return
        now = self._loop_time()
        if self._server.reread_s is not None and now - self._discovered_at > self._server.reread_s:
            self._discovered_at = now
            self._start(self._reread(), None)
        self._endpoints.share_among(self._server.active_processes)
        while self._endpoints.have_room(now) and (job := self._next(now)):
            self._send(job, now)
        later = [due for due, _, _ in self._retries[:1] if due > now] + self._endpoints.opening(now)
        if self._server.reread_s is not None:
            later.append(self._discovered_at + self._server.reread_s)
        if later and (self._queue or self._retries):
            self._timer = asyncio.get_running_loop().call_at(min(later), self._pump)

    def _next(self, now: float) -> _Job | None:
        """The request to send next: repeats that are due, then the oldest batch's. None if none may be sent now."""
        while self._retries and self._retries[0][0] <= now:
            job = heapq.heappop(self._retries)[2]
            if job.batch in self._batches:
                return job
        while self._queue and len(self._retries) < self.settings.max_in_flight and not self._blame.suspicious:
            batch = self._queue[0]
            if batch in self._batches and batch.next < len(batch.requests):
                batch.next += 1
                return _Job(batch, batch.next - 1, RequestHistory(next(self._numbers)))
            self._queue.popleft()
        return None

    def _send(self, job: _Job, now: float) -> None:
        endpoint = self._endpoints.roomiest(now, job.last)
        self._blame.sent(job.history, self._now())
        job.sent += 1
        job.last = endpoint
        load.sent()
        self._start(self._exchange(endpoint, job, endpoint.pace.sent(now)), (endpoint, job))

    def _start(self, work: Coroutine[Any, Any, None], flight: tuple[Endpoint, _Job] | None) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks[task] = flight
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        flight = self._tasks.pop(task)
        if flight is None:
            self._discovering = self._discovering and task is not self._discovery
        elif task.cancelled():
            flight[0].pace.dropped()
            load.ended(None)
        if not task.cancelled() and (error := task.exception()):
            log.error("a request failed unexpectedly", exc_info=error)
            self._give_up(f"the engine failed: {error!r}")
        self._pump()

    async def _exchange(self, endpoint: Endpoint, job: _Job, ticket: Ticket) -> None:
        # Streaming every answer would cost processor time.
        sent = _Body(self._streams and job.index == 0, self._thoughts)
        try:
            body = request_body(job.request, self.model, sent.streamed, sent.thoughts)
            chat = await self._client.ask(endpoint.url, body)
        except PromptError as error:
            endpoint.pace.dropped()
            self._fail(job, str(error), retryable=False)
            return
        except ExchangeError as error:
            await self._failed(endpoint, job, ticket, error, sent)
            return
        endpoint.pace.answered()
        self._blame.succeeded(self._now())
        answer = Completion(
            job.request.id,
            chat.text,
            chat.finish_reason,
            input_tokens=chat.input_tokens,
            output_tokens=chat.output_tokens,
            retries=job.sent - 1,
            first_token_s=chat.first_token_s,
            in_flight=ticket.in_flight,
        )
        load.ended(answer)
        self._settle(job, answer)

    def _settle(self, job: _Job, answer: Answer) -> None:
        batch = job.batch
        if batch not in self._batches:
            return
        batch.answers[job.index] = answer
        load.asked(-1)
        if len(batch.answers) < len(batch.requests):
            return
        if all(task.done() or task is asyncio.current_task() for task in self._tasks):
            self._give_up_if_refused()
        if batch in self._batches:
            self._forget(batch)
            batch.done.set_result([batch.answers[index] for index in range(len(batch.requests))])

    def _forget(self, batch: RequestBatch) -> None:
        if batch in self._batches:
            load.asked(len(batch.answers) - len(batch.requests))
        self._batches.discard(batch)
        if not self._batches:
            self._nothing_left()

    def _nothing_left(self) -> None:
        self._blame.silence.idle(self._now())
        self._server.set_active(False)

    # --- trouble ----------------------------------------------------------------------------------------------------

    async def _failed(self, endpoint: Endpoint, job: _Job, ticket: Ticket, error: ExchangeError, sent: _Body) -> None:
        trouble = error.trouble
        if trouble == "unusable":
            why = await self._client.diagnose(endpoint.base, error)
            endpoint.pace.dropped()
            load.ended(None)
            self._give_up(why)
        elif trouble == "bad":
            endpoint.pace.answered()
            if self._does_without(sent, str(error).lower()):
                self._blame.answered(self._now())
                self._repeat(job, 0.0)
                return
            self._blame.refused(self._now())
            self._refused = f"{endpoint.name} refuses every request ({error}); check its settings, or the prompt's"
            self._fail(job, str(error), retryable=False)
        elif trouble == "cramped":
            endpoint.pace.answered()
            self._blame.cramped(self._now())
            self._refused = f"{endpoint.name} refuses request after request ({error}); {self._more_context}"
            self._fail(job, f"{error}; {self._more_context}", retryable=True)
        else:
            self._handle_failure(endpoint, job, ticket, trouble, error)

    def _does_without(self, sent: _Body, refusal: str) -> bool:
        """Whether a request is refused for something that it may do without, and does from now on."""
        if sent.streamed and "stream" in refusal:
            self._streams = False
            return True
        if not sent.thoughts and "chat_template" in refusal:
            self._thoughts = True
            return True
        return False

    @property
    def _more_context(self) -> str:
        """The way out where requests do not fit into a server's context."""
        longer = "raise its context length (vLLM: --max-model-len, llama.cpp: --ctx-size)"
        return f"{'raise vllm.max_model_len' if self.settings.kind == 'vllm' else longer}, or lower max_tokens"

    def _handle_failure(
        self, endpoint: Endpoint, job: _Job, ticket: Ticket, trouble: Trouble, error: ExchangeError
    ) -> None:
        verdict = self._blame.failed(job.history, trouble, self._now())
        if verdict.request_at_fault:
            endpoint.pace.dropped()
        else:
            endpoint.pace.failed(ticket, self._loop_time(), trouble, error.retry_after)
            if self._endpoints.away and ticket.at > self._discovered_at:
                self._discover()
        if verdict.warn:
            log.warning("%s has not answered for %.0f s (%s); trying again", endpoint.name, verdict.silent_s, error)
        if verdict.action == "give up":
            load.ended(None)
            self._give_up(
                f"{self._endpoints.names} has not answered for {verdict.silent_s:.0f} s (the last try: {error}); "
                "once it does, the same command goes on from there"
            )
        elif verdict.action == "fail":
            self._fail(job, f"no answer after {job.sent} tries; the last one: {error}", retryable=True)
        else:
            self._repeat(job, verdict.pause_s)

    def _repeat(self, job: _Job, pause_s: float) -> None:
        load.repeated()
        heapq.heappush(self._retries, (self._loop_time() + pause_s, job.history.number, job))

    def _fail(self, job: _Job, message: str, retryable: bool) -> None:
        failure = Failure(job.request.id, message, retryable, retries=job.sent - 1)
        load.ended(failure)
        self._settle(job, failure)

    def _give_up_if_refused(self) -> None:
        """Give up if all that was in flight has been rejected, like request after request before it."""
        if self._blame.suspicious and not self._retries:
            self._blame.forget_refusals()
            self._give_up(self._refused)

    def _give_up(self, why: str) -> None:
        """Fail every waiting batch."""
        for batch in self._batches:
            load.asked(len(batch.answers) - len(batch.requests))
            batch.done.set_exception(EngineError(why))
        self._batches.clear()
        self._queue.clear()
        self._retries.clear()
        self._nothing_left()
        for task in self._tasks:
            if task is not asyncio.current_task():
                task.cancel()

    # --- servers ----------------------------------------------------------------------------------------------------

    def _discover(self) -> None:
        if not self._discovering:
            self._discovering = True
            self._discovery = self._start(self._discover_endpoints(), None)

    async def _discover_endpoints(self) -> None:
        begun = self._loop_time()
        try:
            await self._endpoints.discover()
        except EngineError as error:
            self._give_up(str(error))
        finally:
            self._discovered_at = self._loop_time()
            self._held_s += self._discovered_at - begun

    async def _reread(self) -> None:
        """Look again which servers there are, while requests go on."""
        try:
            await self._endpoints.reread(self._server.named)
        except EngineError as error:
            log.warning("%s; going on with the servers known so far", error)

    # --- time -------------------------------------------------------------------------------------------------------

    def _loop_time(self) -> float:
        return asyncio.get_running_loop().time()

    def _now(self) -> float:
        """The clock that patience is measured by: it stands still while servers start."""
        return self._loop_time() - self._held_s
