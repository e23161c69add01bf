"""The time left: how near it comes, for many shapes of run, and that it does not count up."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import pytest

from pipelines.driver.time_left import RISE_S, ShownTime, StageWork, TimeLeft, in_words, time_left

Interval = tuple[float, float]
STAGES = 4


@dataclass
class Shape:
    """A made-up run: by wave, the units of work of each stage and the seconds that they take.

    `last` is how far the last run's rates were from this one's, by stage; None: there is no last run.
    """

    units: list[tuple[float, float, float, float]]
    seconds: list[tuple[float, float, float, float]]
    last: tuple[float, float, float, float] | None = None
    text_waves: int = 1
    spans: list[list[Interval]] = field(default_factory=list)  # by wave and stage

    def __post_init__(self) -> None:
        media_until, text_until = 0.0, [0.0] * self.text_waves
        for seconds in self.seconds:
            begin = [media_until, media_until + seconds[0]]
            media_until += seconds[0] + seconds[1]
            lane = text_until.index(min(text_until))
            begin.append(max(media_until, text_until[lane]))
            begin.append(begin[2] + seconds[2])
            text_until[lane] = begin[3] + seconds[3]
            self.spans.append([(at, at + took) for at, took in zip(begin, seconds, strict=True)])
        self.ends = max(stages[-1][1] for stages in self.spans)

    def at(self, now: float) -> TimeLeft:
        works = [self._work(stage, now) for stage in range(STAGES)]
        waves = sum(stages[1][1] > now for stages in self.spans)
        lanes = [(stages[2][0], stages[3][1]) for stages in self.spans]
        stages = sum(work.busy_s for work in works[2:])
        return time_left(works[:2], works[2:], waves, _union(lanes, now) / stages if stages else 1.0)

    def _work(self, stage: int, now: float) -> StageWork:
        spans, units = [wave[stage] for wave in self.spans], [wave[stage] for wave in self.units]
        done = sum(u * _share(span, now) for u, span in zip(units, spans, strict=True))
        ready = sum(u for u, wave in zip(units, self.spans, strict=True) if stage == 0 or wave[stage - 1][1] <= now)
        seconds = sum(wave[stage] for wave in self.seconds)
        last = None if self.last is None else self.last[stage] * seconds / sum(units)
        return StageWork(done, _union(spans, now), ready - done, sum(units) - ready, last)


def _share(span: Interval, now: float) -> float:
    begin, end = span
    return 1.0 if now >= end else max(0.0, now - begin) / (end - begin)


def _union(spans: list[Interval], now: float) -> float:
    total, until = 0.0, 0.0
    for begin, end in sorted(spans):
        total += max(0.0, min(end, now) - max(begin, until))
        until = max(until, min(end, now))
    return total


def shape(waves: int, seconds: tuple[float, float, float, float], **more: object) -> Shape:
    """A run of waves of the same kind, but not the same size: 80, 100, 120 % in turn."""
    sizes = [0.8 + 0.2 * (number % 3) for number in range(waves)]
    units = [tuple(100 * size for _ in range(STAGES)) for size in sizes]
    return Shape(units, [tuple(size * s for s in seconds) for size in sizes], **more)  # type: ignore[arg-type]


RIGHT, WRONG = (1.0, 1.0, 1.0, 1.0), (1.5, 0.7, 1.5, 0.7)
SHAPES = {
    "decoding": shape(8, (5, 100, 10, 2)),
    "downloads": shape(8, (200, 20, 10, 2)),
    "texts": shape(8, (5, 20, 100, 60)),
    "texts of a served model": shape(12, (5, 20, 100, 60), text_waves=3),
    "all alike": shape(6, (50, 50, 50, 50)),
    "one wave, as the last run": shape(1, (5, 100, 80, 40), last=RIGHT),
    "one wave, twice as slow as the last run": shape(1, (5, 100, 80, 40), last=(0.5, 0.5, 0.5, 0.5)),
    "two waves, unlike the last run": shape(2, (20, 60, 100, 20), last=WRONG),
    "many waves, unlike the last run": shape(20, (20, 60, 50, 20), last=WRONG),
}


@pytest.mark.parametrize("name", SHAPES)
def test_from_a_quarter_on_the_error_is_at_most_30_percent_of_the_run(name: str) -> None:
    run, shown = SHAPES[name], ShownTime()
    worst = 0.0
    for now in range(int(run.ends) + 1):
        shown = shown.after(run.at(now), float(now))
        assert shown.left is not None
        if now >= run.ends / 4:
            worst = max(worst, abs(shown.left.seconds - (run.ends - now)) / run.ends)
            assert shown.left.is_complete
    assert worst <= 0.3


@pytest.mark.parametrize("name", SHAPES)
def test_after_the_first_minute_it_rises_at_most_once_in_each(name: str) -> None:
    run, shown, rises = SHAPES[name], ShownTime(), list[int]()
    for now in range(int(run.ends) + 1):
        before, shown = shown.left, shown.after(run.at(now), float(now))
        after = shown.left
        assert after is not None
        if before and before.is_complete == after.is_complete and after.seconds > before.seconds and now >= RISE_S:
            rises.append(now)
    assert all(later - earlier >= RISE_S for earlier, later in pairwise(rises))


def test_rejects_are_no_work() -> None:
    alone = StageWork(done=10, busy_s=100, ready=90)
    assert time_left([alone], [], 1).seconds == pytest.approx(900)
    assert time_left([StageWork(done=10, busy_s=100, ready=40)], [], 1).seconds == pytest.approx(400)  # 50 rejected


def test_what_is_not_known_is_said() -> None:
    unknown = StageWork(ready=5)
    assert time_left([StageWork(1, 10, 1, 0)], [unknown], 1) == TimeLeft(10.0, is_complete=False)
    coming = StageWork(done=1, busy_s=1, ready=0, coming=None)
    assert not time_left([StageWork(1, 10, 1, 0)], [coming], 1).is_complete
    assert time_left([], [], 1) == TimeLeft(0.0)


def test_the_last_run_counts_little_once_this_one_has_rates() -> None:
    assert StageWork(ready=100, last_s=3.0).unit_s == pytest.approx(3.0)
    assert StageWork(done=50, busy_s=50, ready=50, last_s=3.0).unit_s == pytest.approx((50 + 10 * 3) / 60)


@pytest.mark.parametrize(("seconds", "words"), [(3, "5 s"), (89, "90 s"), (91, "2 min"), (7190, "2 h 0 min")])
def test_times_in_words(seconds: float, words: str) -> None:
    assert in_words(seconds) == words
