"""The progress of a run as people see it: a table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from math import inf
from typing import TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from curation.engines.load import load
from curation.sources.site_limits import resting
from curation.storable import TEXT_CHARS, printable
from curation.uris import redact
from pipelines.driver.stage_progress import RunProgress, StageProgress, since
from pipelines.driver.time_left import in_words
from pipelines.worker.logs import subject
from pipelines.worker.tally import LastReject

LIVE_INTERVAL_S = 0.5
RATE_S = 60.0  # over which rates are measured
LONG_S = 30.0  # for which an item has to be worked on before plain lines name it
_COLUMNS = (("done", 0), ("rejected", 0), ("of", 46), ("a minute", 56), ("a second", 70), ("left", 36))
"""The headings after the stage, and the columns that a terminal needs for each to be shown."""


class ProgressView:
    """Shows how far a run is. `clock` is in seconds."""

    def __init__(self, progress: RunProgress, file: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._progress = progress
        self._clock = clock
        self.console = Console(file=file)
        self._begun = clock()
        self._samples: deque[tuple[float, tuple[StageProgress, ...]]] = deque()
        self._measured()

    def show_until(self, done: threading.Event) -> None:
        """Show the progress until the event. Nobody else writes to the terminal meanwhile."""
        live = None
        if self.console.is_terminal:  # what others print is not drawn in between
            live = Live(
                self.table(), console=self.console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
            )
        with live or nullcontext():
            while not done.wait(LIVE_INTERVAL_S if live else plain_interval_s(self._elapsed())):
                if live:
                    live.update(self.table(), refresh=True)
                else:
                    self.console.print(self.line(), markup=False, highlight=False, soft_wrap=True)
            if live:
                live.update(self.table(), refresh=True)

    # --- what is shown ----------------------------------------------------------------------------------------------

    def line(self) -> str:
        """Everything in one plain line."""
        stages = self._measured()
        parts = [
            f"{s.stage} {s.done:,}/{s.wanted:,} {s.subject}" + (f" ({s.rejected:,} rejected)" if s.rejected else "")
            for s in stages
        ]
        long = _longest(stages, LONG_S)
        ends = [self._left(), *self._load(), *([f"longest at work: {long}"] if long else [])]
        return f"[{_clock(self._elapsed())}] {self._wave()} | {' | '.join([*parts, *ends])}"

    def table(self) -> RenderableType:
        """Everything on a terminal, in as many columns as it has."""
        stages, width = self._measured(), self.console.width
        headings = [name for name, needed in _COLUMNS if width >= needed]
        table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
        table.add_column("", no_wrap=True)
        for name in headings:
            table.add_column(name, justify="right", no_wrap=True)
        for stage in stages:
            cells = self._cells(stage)
            table.add_row(f"{stage.stage}", *(cells[name] for name in headings))
        head = f"vidla · {self._wave()} · {_clock(self._elapsed())} · {self._left()}"
        lines = [head, *self._load()] if width >= 60 else [head]
        long, reject = _longest(stages), _last_reject(stages)
        feet = [*([f"longest at work: {long}"] if long else []), *([f"last reject: {reject}"] if reject else [])]
        return Group(*map(_one_line, lines), table, *map(_one_line, feet))

    def _cells(self, stage: StageProgress) -> Mapping[str, str]:
        before, seconds = self._before(stage)
        rate = 60 * (stage.finished - before.finished) / seconds
        left = stage.work.left_s
        return {
            "done": f"{stage.done:,}",
            "rejected": f"{stage.rejected:,}",
            "of": f"{stage.wanted:,}",
            "a minute": f"{rate:,.1f}" if rate > 0 else "–",
            "a second": _volume(stage, before, seconds),
            "left": "?" if left is None else in_words(left) if left else "–",
        }

    def _wave(self) -> str:
        wave, waves = self._progress.wave()
        return f"wave {wave} of {waves}"

    def _left(self) -> str:
        if self._progress.is_over:
            return "complete"
        left = self._progress.time_left()
        if not left.is_complete and left.seconds < 1:
            return "time left not known yet"
        return f"{'about' if left.is_complete else 'more than'} {in_words(left.seconds)} left"

    def _load(self) -> Iterator[str]:
        """The load of the text servers, and the sites that are left alone."""
        now = load.snapshot()
        if now.requests or now.in_flight:
            yield f"{now.in_flight} requests in flight, servers busy {now.busy_s / max(1e-3, now.elapsed_s):.0%}"
        for site, seconds in resting().items():
            yield f"{site} is left alone{f' for {_clock(seconds)}' if seconds < inf else ''}"

    # --- rates ------------------------------------------------------------------------------------------------------

    def _measured(self) -> tuple[StageProgress, ...]:
        """The stages now, which later rates are measured from."""
        stages = self._progress.now()
        self._samples.append((self._clock(), stages))
        while len(self._samples) > 2 and self._samples[1][0] <= self._samples[-1][0] - RATE_S:
            self._samples.popleft()
        return stages

    def _before(self, stage: StageProgress) -> tuple[StageProgress, float]:
        """The stage as it was a minute ago, and the seconds since then."""
        at, stages = self._samples[0]
        before = next(each for each in stages if each.stage == stage.stage)
        return before, max(1e-3, self._clock() - at)

    def _elapsed(self) -> float:
        return max(1e-3, self._clock() - self._begun)


class LogToView(logging.Handler):
    """Prints what is logged above the table, or between the lines, of a view."""

    def __init__(self, console: Console) -> None:
        super().__init__(logging.INFO)
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        when = time.strftime("%H:%M:%S", time.localtime(record.created))
        about = f"{of}: " if (of := subject.get()) else ""
        message = printable(redact(f"{about}{record.getMessage()[:TEXT_CHARS]}"))
        text = f"{when} {record.levelname.lower()} {message}"
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


def plain_interval_s(elapsed_s: float) -> float:
    """The seconds between plain lines: few at the beginning, when most is new.

    >>> [plain_interval_s(s) for s in (0.0, 100.0, 10000.0)]
    [5.0, 15.0, 60.0]
    """
    return 5.0 if elapsed_s < 60 else 15.0 if elapsed_s < 900 else 60.0


def _volume(stage: StageProgress, before: StageProgress, seconds: float) -> str:
    """The bytes, or the tokens of answers, of a second."""
    tokens = (stage.output_tokens - before.output_tokens) / seconds
    if tokens > 0:
        return f"{tokens:,.0f} tokens"
    size = (stage.bytes - before.bytes) / seconds
    return "–" if size <= 0 else f"{size / 1e6:,.1f} MB" if size >= 1e5 else f"{size / 1e3:,.1f} kB"


def _longest(stages: tuple[StageProgress, ...], at_least_s: float = 0.0) -> str:
    """The item that has been worked on for longest."""
    busy = [stage for stage in stages if stage.under_way.items]
    if not busy:
        return ""
    stage = min(busy, key=lambda each: each.under_way.since)
    seconds = since(stage.under_way.since)
    return f"{_clock(seconds)} for {stage.stage} {printable(stage.under_way.longest)}" if seconds >= at_least_s else ""


def _last_reject(stages: tuple[StageProgress, ...]) -> str:
    found = ((stage.stage, stage.last_reject or LastReject()) for stage in stages)
    stage, reject = max(found, key=lambda each: each[1].at)
    return f"{stage} {printable(reject.why)} ({printable(reject.name)})" if reject.at else ""


def _one_line(text: str) -> Text:
    return Text(text, no_wrap=True, overflow="ellipsis")


def _clock(seconds: float) -> str:
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}"
