"""How busy the servers are: sums over a clock that the test moves."""

from __future__ import annotations

import threading

from curation.engines.interface import Completion, Failure
from curation.engines.load import Load, Snapshot


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def answer(**more: int) -> Completion:
    return Completion("1", "text", **more)  # type: ignore[arg-type]


def test_nothing_has_happened_before_the_first_request() -> None:
    clock = Clock()
    load = Load(clock)
    clock.now += 50
    assert load.snapshot() == Snapshot()


def test_time_counts_while_something_is_in_flight() -> None:
    clock = Clock()
    load = Load(clock)
    assert load.sent() == 1
    clock.now += 1
    assert load.sent() == 2
    clock.now += 2
    load.ended(answer(input_tokens=10, output_tokens=3))
    clock.now += 4
    load.ended(answer(input_tokens=20, output_tokens=4))
    clock.now += 8  # idle
    assert load.sent() == 1
    clock.now += 16
    total = load.snapshot()
    assert (total.requests, total.failures, total.retries) == (2, 0, 0)
    assert (total.input_tokens, total.output_tokens, total.in_flight) == (30, 7, 1)
    assert (total.elapsed_s, total.busy_s, total.in_flight_s) == (31, 23, 1 + 2 * 2 + 4 + 16)


def test_outcomes_are_told_apart() -> None:
    load = Load(Clock())
    for _ in range(4):
        load.sent()
    load.repeated()
    load.ended(Failure("1", "no", retryable=True, retries=1))
    load.ended(None)  # broken off
    total = load.snapshot()
    assert (total.requests, total.failures, total.retries, total.in_flight) == (0, 1, 1, 1)


def test_clearing_keeps_what_is_in_flight() -> None:
    clock = Clock()
    load = Load(clock)
    load.sent()
    load.sent()
    load.ended(answer(output_tokens=5))
    clock.now += 5
    load.clear()
    clock.now += 3
    assert load.snapshot() == Snapshot(in_flight=1, busy_s=3, in_flight_s=3, elapsed_s=3)
    load.ended(answer(output_tokens=5))
    load.clear()
    clock.now += 3
    assert load.snapshot() == Snapshot()


def test_threads_lose_nothing() -> None:
    load = Load()

    def work() -> None:
        for _ in range(2000):
            load.sent()
            load.ended(answer(output_tokens=1))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(180)
    total = load.snapshot()
    assert (total.requests, total.output_tokens, total.in_flight) == (16000, 16000, 0)
    assert 0 < total.busy_s <= total.elapsed_s
