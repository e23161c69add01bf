"""The progress of a run: counted where the work is done, shown while it runs."""

from __future__ import annotations

import threading
import time
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from math import inf
from typing import TextIO

from rich.console import Console
from rich.live import Live
from rich.table import Table

from curation.engines.load import Snapshot, load
from curation.sources.site_limits import resting

PLAIN_INTERVAL_S = 5.0
LIVE_INTERVAL_S = 0.5
RATE_S = 15.0  # over which the rate of tokens is measured
Counts = Mapping[str, int]  # by name: "done" or "rejected", "clips", "captions"


class Tally:
    """Counts by stage and name, kept in this process; safe to use from several threads.

    While a stage runs, outcomes are kept by the keys of its items, so that an item done twice counts once. `token`
    names the stage of a wave; its commit settles the counts.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: defaultdict[tuple[str, str], int] = defaultdict(int)
        self._outcomes: defaultdict[str, dict[str, Counts]] = defaultdict(dict)  # by token, then key

    def add(self, stage: str, name: str, count: int = 1) -> None:
        with self._lock:
            self._counts[stage, name] += count

    def get(self, stage: str, name: str) -> int:
        with self._lock:
            return self._counts.get((stage, name), 0)

    def record(self, stage: str, token: str, outcomes: Mapping[str, Counts]) -> None:
        """Count the outcomes of items, by key, in place of their earlier ones."""
        with self._lock:
            known = self._outcomes[token]
            for key, counts in outcomes.items():
                self._add(stage, known.get(key, {}), -1)
                self._add(stage, counts)
                known[key] = counts

    def outcomes(self, token: str) -> dict[str, Counts]:
        with self._lock:
            return dict(self._outcomes.get(token, {}))

    def settle(self, stage: str, token: str, counts: Counts) -> None:
        """Replace the outcomes of a stage's items by the counts that were committed."""
        with self._lock:
            for before in self._outcomes.pop(token, {}).values():
                self._add(stage, before, -1)
            self._add(stage, counts)

    def clear(self) -> None:
        with self._lock:
            self._counts.clear()
            self._outcomes.clear()

    def _add(self, stage: str, counts: Counts, sign: int = 1) -> None:
        for name, count in counts.items():
            self._counts[stage, name] += sign * count


class ProgressView:
    """Shows a tally: as a live table on a terminal, else as a plain line every few seconds."""

    def __init__(self, tally: Tally, stages: Sequence[str], total: int, file: TextIO) -> None:
        self._count = tally.get
        self.stages = stages
        self.total = total
        self.console = Console(file=file)
        self._begun = time.monotonic()
        self._loads: deque[Snapshot] = deque()

    def show_until(self, done: threading.Event) -> None:
        live = Live(self._table(), console=self.console, auto_refresh=False) if self.console.is_terminal else None
        with live or nullcontext():
            interval = LIVE_INTERVAL_S if live else PLAIN_INTERVAL_S
            while not done.wait(interval):
                if live:
                    live.update(self._table(), refresh=True)
                else:
                    self.console.print(self.line(), markup=False, highlight=False, soft_wrap=True)
            if live:
                live.update(self._table(), refresh=True)

    def line(self) -> str:
        """Everything in one plain line."""
        parts = [
            f"{stage} {self._count(stage, 'done')}/{self._count(stage, 'wanted')}"
            + (f" ({rejected} rejected)" if (rejected := self._count(stage, "rejected")) else "")
            for stage in self.stages
        ]
        return f"[{_clock(self._elapsed())}] wave {self._wave()} | {' | '.join(parts)} | {self._outlook()}"

    def _table(self) -> Table:
        table = Table(title=f"vidla · wave {self._wave()} · {_clock(self._elapsed())} · {self._outlook()}")
        for heading in ("stage", "done", "rejected", "of", "a minute"):
            table.add_column(heading, justify="left" if heading == "stage" else "right")
        for stage in self.stages:
            done, rejected, wanted = (self._count(stage, name) for name in ("done", "rejected", "wanted"))
            rate = 60 * (done + rejected) / self._elapsed()
            table.add_row(stage, str(done), str(rejected), str(wanted), f"{rate:.1f}")
        return table

    def _wave(self) -> str:
        return f"{self._count('run', 'wave')}/{self._count('run', 'waves')}"

    def _elapsed(self) -> float:
        return max(1e-3, time.monotonic() - self._begun)

    def _outlook(self) -> str:
        """Clips so far, the time left at the pace so far, and the load of the text servers, and sites that rest."""
        finished = self._count(self.stages[-1], "done") + sum(self._count(stage, "rejected") for stage in self.stages)
        left = _clock(self._elapsed() / finished * max(0, self.total - finished)) if finished else "?"
        clips = max(self._count(stage, "clips") for stage in self.stages)
        return f"{clips} clips | about {left} left{self._served()}{_resting()}"

    def _served(self) -> str:
        """The load of the text servers; empty if none is in use."""
        now = load.snapshot()
        if not now.in_flight and not now.requests:
            return ""
        self._loads.append(now)
        while now.elapsed_s - self._loads[0].elapsed_s > RATE_S:
            self._loads.popleft()
        before = self._loads[0] if len(self._loads) > 1 else Snapshot()
        tokens = now.output_tokens - before.output_tokens
        rate = tokens / max(1e-3, now.elapsed_s - before.elapsed_s)
        return f" | {rate:,.0f} tokens/s, {now.in_flight} in flight, {_busy(now)}"


def _resting() -> str:
    """The sites that are left alone; empty if none is."""
    times = {site: f" for {_clock(seconds)}" if seconds < inf else "" for site, seconds in resting().items()}
    return "".join(f" | {site} is left alone{time}" for site, time in times.items())


def spent_on_texts() -> str | None:
    """The requests, tokens and load of this run's text servers, in one line; None if none was in use."""
    total = load.snapshot()
    if not total.requests and not total.failures:
        return None
    rate = total.output_tokens / max(1e-3, total.elapsed_s)
    again = f", {total.retries} sent again" if total.retries else ""
    return (
        f"{total.requests:,} requests answered{again}: {total.input_tokens:,} tokens in, {total.output_tokens:,} out, "
        f"{rate:,.0f} a second; {_busy(total)} of {_clock(total.elapsed_s)}"
    )


def _busy(load: Snapshot) -> str:
    return f"servers busy {load.busy_s / max(1e-3, load.elapsed_s):.0%}"


def _clock(seconds: float) -> str:
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}"
