"""The requests of all callers, first come first served, on their way to the servers that have room for them."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
from collections import deque
from collections.abc import Coroutine, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from curation.engines.interface import Completion, Failure, TextRequest
from curation.engines.load import load
from curation.engines.openai.blame import Blame, RequestHistory
from curation.engines.openai.chat import ExchangeError, body
from curation.engines.openai.client import Client
from curation.engines.openai.pace import Ticket, Trouble
from curation.engines.openai.servers import Endpoint, Server, Servers
from curation.errors import EngineError, PromptError
from curation.settings import EngineSettings

log = logging.getLogger(__name__)

Answer = Completion | Failure


class Call:
    """The requests of one call, and their answers as they come in."""

    def __init__(self, requests: Sequence[TextRequest]) -> None:
        self.requests = requests
        self.answers: dict[int, Answer] = {}  # by place in the batch
        self.next = 0  # the first request that has not been sent yet
        self.done: Future[list[Answer]] = Future()


@dataclass(eq=False, slots=True)
class _Job:
    """A request that is being sent, or will be again."""

    batch: Call
    index: int
    history: RequestHistory  # its number: in the order of first sending
    sent: int = 0  # times
    last: Endpoint | None = None

    @property
    def request(self) -> TextRequest:
        return self.batch.requests[self.index]


class Scheduler:
    """Sends what is submitted, and sees to it that every batch is done in the end: with answers, or an EngineError.

    Everything but `__init__` runs on one event loop. What waits costs no memory beside the requests.
    """

    def __init__(self, model: str, settings: EngineSettings, key: str, server: Server) -> None:
        self.model = model
        self.settings = settings
        self._key = key
        self._server = server
        self._places = Servers(settings, server.ready)
        self._batches: set[Call] = set()
        self._line: deque[Call] = deque()  # whose requests have not all been sent
        self._again: list[tuple[float, int, _Job]] = []  # a heap, by the time of the next try
        self._tasks: dict[asyncio.Task[None], tuple[Endpoint, _Job] | None] = {}
        self._finding = False
        self._found_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._numbers = itertools.count()
        self._held_s = 0.0  # time that servers took to start, which counts against nobody's patience
        self._blame = Blame(settings.patience_s)
        self._refused = ""  # the last rejection
        self._streams = True

    async def open(self) -> None:
        self._client = Client(self.model, self.settings, self._key)

    async def close(self) -> None:
        """Break off what is in flight; whoever waits gets an EngineError."""
        self._give_up("the engine was closed")
        tasks = list(self._tasks)
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._client.close()

    async def model_cards(self, bases: Sequence[str]) -> list[dict[str, Any]]:
        """What the servers say about their models."""
        return [card for base in bases for card in await self._client.model_cards(base.rstrip("/"))]

    def submit(self, batch: Call) -> None:
        if not self._batches:
            self._server.asking(True)
        self._batches.add(batch)
        self._line.append(batch)
        self._blame.silence.asked(self._now())
        self._pump()

    def withdraw(self, batch: Call) -> None:
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
        if self._blame.suspicious and not self._tasks and not self._again:
            self._blame.forget_refusals()
            self._give_up(self._refused)
        if not self._batches or self._finding:
            return
        if not self._places.known:
            self._find_servers()
            return
        now = self._loop_time()
        self._places.share_among(self._server.askers)
        while self._places.have_room(now) and (job := self._next(now)):
            self._send(job, now)
        later = [due for due, _, _ in self._again[:1] if due > now] + self._places.opening(now)
        if later and (self._line or self._again):
            self._timer = asyncio.get_running_loop().call_at(min(later), self._pump)

    def _next(self, now: float) -> _Job | None:
        """The request that has waited longest, if it may be sent now."""
        while self._again and self._again[0][0] <= now:
            job = heapq.heappop(self._again)[2]
            if job.batch in self._batches:
                return job
        while self._line and len(self._again) < self.settings.max_in_flight and not self._blame.suspicious:
            batch = self._line[0]
            if batch in self._batches and batch.next < len(batch.requests):
                batch.next += 1
                return _Job(batch, batch.next - 1, RequestHistory(next(self._numbers)))
            self._line.popleft()
        return None

    def _send(self, job: _Job, now: float) -> None:
        place = self._places.roomiest(now, job.last)
        self._blame.sent(job.history, self._now())
        job.sent += 1
        job.last = place
        load.sent()
        self._start(self._exchange(place, job, place.pace.sent(now)), (place, job))

    def _start(self, work: Coroutine[Any, Any, None], flight: tuple[Endpoint, _Job] | None) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks[task] = flight
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        flight = self._tasks.pop(task)
        if flight is None:
            self._finding = False
        elif task.cancelled():
            flight[0].pace.dropped()
            load.ended(None)
        if not task.cancelled() and (error := task.exception()):
            log.error("a request failed in a way that it should not", exc_info=error)
            self._give_up(f"the engine failed: {error!r}")
        self._pump()

    async def _exchange(self, place: Endpoint, job: _Job, sent: Ticket) -> None:
        streamed = self._streams and job.index == 0  # streaming all would cost processor time
        try:
            said = await self._client.ask(place.url, body(job.request, self.model, streamed))
        except PromptError as error:
            place.pace.dropped()
            self._fail(job, str(error), retryable=False)
            return
        except ExchangeError as error:
            await self._failed(place, job, sent, error, streamed)
            return
        place.pace.answered()
        self._blame.succeeded(self._now())
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

    def _settle(self, job: _Job, answer: Answer) -> None:
        batch = job.batch
        if batch not in self._batches:
            return
        batch.answers[job.index] = answer
        if len(batch.answers) == len(batch.requests):
            self._forget(batch)
            batch.done.set_result([batch.answers[index] for index in range(len(batch.requests))])

    def _forget(self, batch: Call) -> None:
        self._batches.discard(batch)
        if not self._batches:
            self._nothing_left()

    def _nothing_left(self) -> None:
        self._blame.silence.idle(self._now())
        self._server.asking(False)

    # --- trouble ----------------------------------------------------------------------------------------------------

    async def _failed(self, place: Endpoint, job: _Job, sent: Ticket, error: ExchangeError, streamed: bool) -> None:
        trouble = error.trouble
        if trouble == "unusable":
            why = await self._client.what_to_do(place.base, error)
            place.pace.dropped()
            load.ended(None)
            self._give_up(why)
        elif trouble == "bad":
            place.pace.answered()
            if streamed and "stream" in str(error).lower():
                self._blame.answered(self._now())
                self._streams = False
                self._repeat(job, 0.0)
                return
            self._blame.refused(self._now())
            self._refused = f"{place.name} refuses every request ({error}); see to its settings, or the prompt's"
            self._fail(job, str(error), retryable=False)
        else:
            self._try_again(place, job, sent, trouble, error)

    def _try_again(self, place: Endpoint, job: _Job, sent: Ticket, trouble: Trouble, error: ExchangeError) -> None:
        verdict = self._blame.failed(job.history, trouble, self._now())
        if verdict.request_at_fault:
            place.pace.dropped()
        else:
            place.pace.failed(sent, self._loop_time(), trouble, error.retry_after)
            if self._places.away and sent.at > self._found_at:
                self._find_servers()
        if verdict.warn:
            log.warning("%s has not answered for %.0f s (%s); it is asked again", place.name, verdict.silent_s, error)
        if verdict.action == "give up":
            load.ended(None)
            self._give_up(
                f"{self._places.names} has not answered for {verdict.silent_s:.0f} s (the last try: {error}); "
                "once it does, the same command goes on from there"
            )
        elif verdict.action == "fail":
            self._fail(job, f"asked {job.sent} times in vain; the last time: {error}", retryable=True)
        else:
            self._repeat(job, verdict.pause_s)

    def _repeat(self, job: _Job, pause_s: float) -> None:
        load.repeated()
        heapq.heappush(self._again, (self._loop_time() + pause_s, job.history.number, job))

    def _fail(self, job: _Job, message: str, retryable: bool) -> None:
        failure = Failure(job.request.id, message, retryable, retries=job.sent - 1)
        load.ended(failure)
        self._settle(job, failure)

    def _give_up(self, why: str) -> None:
        """Nobody gets an answer any more."""
        for batch in self._batches:
            batch.done.set_exception(EngineError(why))
        self._batches.clear()
        self._line.clear()
        self._again.clear()
        self._nothing_left()
        for task in self._tasks:
            if task is not asyncio.current_task():
                task.cancel()

    # --- servers ----------------------------------------------------------------------------------------------------

    def _find_servers(self) -> None:
        if not self._finding:
            self._finding = True
            self._start(self._find(), None)

    async def _find(self) -> None:
        begun = self._loop_time()
        try:
            await self._places.find()
        except EngineError as error:
            self._give_up(str(error))
        finally:
            self._found_at = self._loop_time()
            self._held_s += self._found_at - begun

    # --- time -------------------------------------------------------------------------------------------------------

    def _loop_time(self) -> float:
        return asyncio.get_running_loop().time()

    def _now(self) -> float:
        """Seconds for patience to be measured in: they stand still while servers are started."""
        return self._loop_time() - self._held_s
