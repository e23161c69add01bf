"""How fast a server is asked, on a clock that the test moves."""

from __future__ import annotations

import pytest

from curation.engines.openai.pace import FIRST_PAUSE_S, LONGEST_PAUSE_S, MISHAPS, Pace, Ticket


def pace(most: int = 256, patience_s: float = 600.0) -> Pace:
    return Pace(most, patience_s, jitter=lambda: 1.0)


def fill(p: Pace, now: float) -> list[Ticket]:
    return [p.sent(now) for _ in range(p.room(now))]


def open_again(p: Pace) -> float:
    return p.opens_at + 0.001


def test_it_begins_at_the_most_and_never_exceeds_it() -> None:
    p = pace(8)
    assert len(fill(p, 0.0)) == 8
    assert p.room(0.0) == 0
    for _ in range(1000):
        p.answered()
        assert p.room(0.0) == 1
        p.sent(0.0)
    assert p.in_flight == 8


def test_what_fails_together_slows_down_once() -> None:
    p = pace(100)
    sent = fill(p, 0.0)
    for one in sent:
        p.failed(one, 1.0, "busy")
    assert p.limit == pytest.approx(80)
    assert p.room(1.0) == 0  # a short pause first
    assert p.opens_at == pytest.approx(1.0 + FIRST_PAUSE_S)
    assert p.room(open_again(p)) == 80


def test_it_settles_at_what_the_server_takes_and_stays_near() -> None:
    """A server that takes 20 at a time and answers in a second."""
    p, now = pace(256), 0.0
    flights: list[tuple[float, Ticket]] = []
    most: list[int] = []
    for step in range(4000):
        now = step * 0.05
        due = [f for f in flights if f[0] <= now]
        flights = [f for f in flights if f[0] > now]
        for _ in due:
            p.answered()
        for _ in range(p.room(now)):
            sent = p.sent(now)
            if len(flights) < 20:
                flights.append((now + 1.0, sent))
            else:
                p.failed(sent, now, "busy")
        if now > 20:
            most.append(p.in_flight)
    assert max(most) <= 22
    assert sum(most) / len(most) > 16


def test_one_at_a_time_is_the_least() -> None:
    p, now = pace(256), 0.0
    for _ in range(50):
        for sent in fill(p, now):
            p.failed(sent, now + 1, "busy")
        now = open_again(p)
        assert p.room(now) >= 1
    assert p.limit == 1


def test_after_a_storm_it_grows_back_within_some_rounds() -> None:
    p, now = pace(256), 0.0
    for _ in range(20):
        for sent in fill(p, now):
            p.failed(sent, now + 1, "busy")
        now = open_again(p)
    rounds = 0
    while p.limit < 150:
        for _ in fill(p, now):
            p.answered()
        now += 1
        rounds += 1
    assert rounds <= 12
    for _ in range(200):
        for _ in fill(p, now):
            p.answered()
    assert p.limit == 256


def test_pauses_grow_until_an_answer() -> None:
    p, now, pauses = pace(4), 0.0, []
    for _ in range(12):
        sent = p.sent(now)
        p.failed(sent, now, "busy")
        pauses.append(p.opens_at - now)
        now = open_again(p)
    assert pauses[:3] == pytest.approx([FIRST_PAUSE_S, 2 * FIRST_PAUSE_S, 4 * FIRST_PAUSE_S])
    assert pauses == pytest.approx(sorted(pauses))
    assert pauses[-1] == pytest.approx(LONGEST_PAUSE_S)
    p.sent(now)
    p.answered()
    p.failed(p.sent(now), now, "busy")
    assert p.opens_at - now == pytest.approx(FIRST_PAUSE_S)


def test_retry_after_holds_for_everybody_and_is_capped_by_patience() -> None:
    p = pace(10, patience_s=60)
    first, second, third, *_ = fill(p, 0.0)
    for _ in range(7):
        p.answered()
    p.failed(first, 1.0, "busy", retry_after=5.0)
    assert p.room(5.9) == 0
    p.failed(second, 2.0, "busy", retry_after=3.0)
    assert p.opens_at == pytest.approx(6.0)  # the longest holds
    p.failed(third, 2.0, "busy", retry_after=3600.0)
    assert p.opens_at == pytest.approx(62.0)
    assert p.room(61.9) == 0
    assert p.room(62.1) > 0


def test_a_server_without_a_connection_is_asked_one_at_a_time_until_it_answers() -> None:
    p = pace(100)
    p.failed(p.sent(0.0), 0.0, "absent")
    assert p.away
    assert p.room(0.0) == 0
    now = open_again(p)
    assert p.room(now) == 1
    p.sent(now)
    assert p.room(now) == 0
    p.answered()
    assert not p.away
    assert p.room(now) == 100  # it was away, not too busy


def test_a_mishap_is_no_outage_but_many_in_a_row_are() -> None:
    p = pace(100)
    sent = fill(p, 0.0)
    for one in sent[: MISHAPS - 1]:
        p.failed(one, 1.0, "broken")
    assert not p.away
    assert p.room(1.0) == MISHAPS - 1
    for one in sent[MISHAPS - 1 :]:
        p.failed(one, 1.0, "broken")
    assert p.away
    assert p.opens_at == pytest.approx(1.0 + FIRST_PAUSE_S)  # one outage, however many it hit
    assert p.limit == 100


def test_answers_between_mishaps_keep_a_server_open() -> None:
    p = pace(100)
    for _ in range(100):
        p.failed(p.sent(0.0), 0.0, "broken")
        p.sent(0.0)
        p.answered()
    assert not p.away
    assert p.limit == 100


def test_a_time_out_slows_down_unless_everyone_else_was_served() -> None:
    p = pace(10)
    slow = p.sent(0.0)
    for _ in range(10):
        p.sent(0.0)
        p.answered()
    p.failed(slow, 300.0, "slow")
    assert p.limit == 10
    assert p.room(300.0) == 10
    slow = p.sent(301.0)
    for _ in range(9):
        p.sent(301.0)
        p.answered()
    p.failed(slow, 600.0, "slow")
    assert p.limit < 10


def test_a_server_that_lets_all_time_out_is_away() -> None:
    p = pace(10)
    for sent in fill(p, 0.0):
        p.failed(sent, 300.0, "slow")
    assert p.away


def test_a_lone_time_out_costs_few_rounds() -> None:
    p = pace(256)
    p.failed(p.sent(0.0), 300.0, "slow")
    now, rounds = open_again(p), 0
    while p.limit < 150:
        for _ in fill(p, now):
            p.answered()
        rounds += 1
    assert rounds < 10


def test_dropped_requests_make_room() -> None:
    p = pace(2)
    fill(p, 0.0)
    p.dropped()
    assert p.room(0.0) == 1
