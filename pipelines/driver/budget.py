"""The limits of a run: work begins only while it cannot pass them, at the most that it may take."""

from __future__ import annotations

import functools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from curation.cost import BUILTIN, Unit, unit_costs
from curation.dataset.dataset import Dataset, rows_of
from curation.prices import Prices
from curation.rejects import Stage
from curation.settings import Settings
from pipelines.stages.caption import captions_to_ask
from pipelines.stages.summarize import summaries_for
from pipelines.worker.text_engines import captioner, summariser
from pipelines.worker.work_items import DownloadItem, VideoItem
from pipelines.worker.worker_process import this_process

WorkItem = TypeVar("WorkItem", bound=DownloadItem | VideoItem)

SPENT = ["stage", "engine", "requests", "processor_s", "input_tokens", "output_tokens"]


@dataclass(frozen=True)
class RunLimits:
    """What a run may take: money at `prices`, tokens of served models, hours by the clock; None for any amount."""

    cost: float | None = None
    tokens: int | None = None
    hours: float | None = None
    prices: Prices = field(default_factory=Prices)

    def __bool__(self) -> bool:
        return (self.cost, self.tokens, self.hours) != (None, None, None)


NO_LIMITS = RunLimits()


@dataclass(frozen=True)
class Amount:
    """Money and tokens."""

    money: float = 0.0
    tokens: float = 0.0

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.money + other.money, self.tokens + other.tokens)

    def __sub__(self, other: Amount) -> Amount:
        return Amount(self.money - other.money, self.tokens - other.tokens)


class Budget:
    """What a run has spent, and what it has reserved for the work in flight; safe to use from several threads.

    `reached` says which limit ended the run, once one has.
    """

    def __init__(
        self, limits: RunLimits, dataset: Dataset, settings: Settings, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.reached: str | None = None
        self._limits, self._dataset, self._settings, self._clock = limits, dataset, settings, clock
        self._begun = clock()
        self._spent = self._reserved = Amount()
        self._input: Counter[str] = Counter()  # by stage, the tokens of requests to served models in this run
        self._requests: Counter[str] = Counter()
        self._in_flight = 0  # stages that hold a reservation
        self._next = Amount()  # what the first item that was not begun may take
        self._freed = threading.Condition()

    @functools.cached_property
    def _units(self) -> Mapping[Stage, Unit]:
        return unit_costs(self._dataset, self._settings)

    @contextmanager
    def admitting(self, stage: Stage, items: Sequence[WorkItem]) -> Iterator[tuple[list[WorkItem], list[WorkItem]]]:
        """Yields those of `items` that may be worked on now, and the others; none once a limit is reached.

        Those that cost nothing come first, the others in their order. If none may, waits for stages in flight, which
        may turn out to take less than was reserved for them.
        """
        if not self._limits:
            yield list(items), []
            return
        costs = [self._most(stage, item) for item in items]
        order = sorted(range(len(items)), key=lambda n: costs[n] != Amount())
        free = costs.count(Amount())
        known = order if self._knows_input(stage) else order[: free + 1]
        count, reserved = self._reserve([costs[n] for n in known])
        try:
            yield [items[n] for n in order[:count]], [items[n] for n in sorted(order[count:])]
        finally:
            with self._freed:
                self._reserved -= reserved
                self._in_flight -= count > 0
                self._freed.notify_all()

    def take(self, record: Mapping[str, Any]) -> None:
        """Count what was spent on the work of a commit."""
        if not self._limits:
            return
        for part in record["tables"].get("usage", {"add": ()})["add"]:
            for row in rows_of(self._dataset.read_part("usage", part["path"], SPENT)):
                self.add(self._amount(row))

    def add(self, amount: Amount) -> None:
        """Count an amount that was spent."""
        with self._freed:
            self._spent += amount

    def is_late(self) -> bool:
        """Whether the hours are over, which then ends the run."""
        with self._freed:
            if self._limits.hours is not None and self._clock() - self._begun >= 3600 * self._limits.hours:
                self.reached = self.reached or f"--max-hours {self._limits.hours:g}"
            return self.reached is not None

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Ends the work once the hours are over: no item is begun any more, and those in progress are finished."""

        def end() -> None:
            if self.is_late():
                this_process.stopping.set()

        if self._limits.hours is None:
            yield
            return
        timer = threading.Timer(max(0.0, self._begun + 3600 * self._limits.hours - self._clock()), end)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def line(self) -> str:
        """The limit that was reached, and what was spent."""
        currency, hours = self._limits.prices.currency, (self._clock() - self._begun) / 3600
        spent, more = (f"{a.tokens:,.0f} tokens and {a.money:,.4g} {currency}" for a in (self._spent, self._next))
        follows = f", and the next video may take {more}" if self._next != Amount() else ""
        return f"Stopped at {self.reached}: {spent} spent in {hours:,.2f} hours{follows}; the same command goes on"

    def _reserve(self, costs: Sequence[Amount]) -> tuple[int, Amount]:
        while not self.is_late():
            with self._freed:
                count, total = 0, Amount()
                for cost in costs:
                    if cost != Amount() and self._passed(self._spent + self._reserved + total + cost):
                        break
                    count, total = count + 1, total + cost
                if count:
                    self._reserved += total
                    self._in_flight += 1
                    return count, total
                if not self._in_flight:
                    self.reached, self._next = self._passed(self._spent + costs[0]), costs[0]
                    break
                self._freed.wait(1.0)
        return 0, Amount()

    def _passed(self, amount: Amount) -> str | None:
        """The limit that is passed with this amount."""
        if self._limits.cost is not None and amount.money > self._limits.cost:
            return f"--max-cost {self._limits.cost:g}"
        if self._limits.tokens is not None and amount.tokens > self._limits.tokens:
            return f"--max-tokens {self._limits.tokens:,}"
        return None

    def _amount(self, row: Mapping[str, Any]) -> Amount:
        served = row["engine"] not in (None, BUILTIN)
        sent, received = (row["input_tokens"], row["output_tokens"]) if served else (0, 0)
        self._input[row["stage"]] += sent
        self._requests[row["stage"]] += served * row["requests"]
        money = self._limits.prices.money(row["stage"], row["processor_s"] or 0.0, float(sent), float(received))
        return Amount(money, sent + received)

    def _most(self, stage: Stage, item: DownloadItem | VideoItem) -> Amount:
        """The most that an item may take: for its texts, max_tokens each; else the mean of the dataset so far."""
        unit = self._units.get(stage, Unit(0.0))
        if not isinstance(item, VideoItem) or stage not in (Stage.CAPTION, Stage.SUMMARIZE):
            return Amount(unit.money(stage, self._limits.prices))
        texts = self._texts(stage, item)
        engine = self._settings.captions.engine if stage == Stage.CAPTION else self._settings.summaries.engine
        served, count = engine.kind != BUILTIN, sum(texts.values())
        asked = self._requests[stage]
        sent = served * count * (self._input[stage] / asked if asked else unit.input_tokens)
        received = float(served * sum(n * max_tokens for max_tokens, n in texts.items()))
        money = self._limits.prices.money(stage, count * unit.processor_s, sent, received)
        return Amount(money, sent + received)

    def _knows_input(self, stage: Stage) -> bool:
        """Whether it is known how long a request to the stage's served model is; if not, one item shows it."""
        engines = {Stage.CAPTION: self._settings.captions.engine, Stage.SUMMARIZE: self._settings.summaries.engine}
        engine = engines.get(stage)
        return engine is None or engine.kind == BUILTIN or stage in self._units or self._requests[stage] > 0

    def _texts(self, stage: Stage, item: VideoItem) -> dict[int, int]:
        """How many texts of at most that many tokens an item needs, without those that are taken from elsewhere."""
        if stage == Stage.CAPTION:
            longest = captioner(self._settings).sampling.max_tokens
            return {longest: captions_to_ask(self._dataset, item, self._settings)}
        plan, found = summariser(self._settings), Counter[int]()
        for kind, count in summaries_for(self._dataset, item, self._settings).items():
            found[plan.source(kind).sampling.max_tokens] += count
        return found
