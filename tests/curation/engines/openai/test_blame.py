"""Who is at fault for failed exchanges, on a clock that the test moves."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.engines.openai.blame import (
    CRAMPED,
    FIRST_PAUSE_S,
    REFUSALS,
    SINGLED_OUT,
    TRIES,
    WARN_S,
    Blame,
    RequestHistory,
    Silence,
    Verdict,
)
from curation.engines.openai.pace import LONGEST_PAUSE_S, Trouble

PATIENCE_S = 600.0
FAULTS: tuple[Trouble, ...] = ("broken", "slow")


def blame(patience_s: float = PATIENCE_S) -> Blame:
    judge = Blame(patience_s, jitter=lambda: 1.0)
    judge.silence.asked(0.0)
    return judge


def sent(judge: Blame, number: int, now: float = 0.0) -> RequestHistory:
    request = RequestHistory(number)
    judge.sent(request, now)
    return request


def test_a_request_is_repeated_after_pauses_that_grow_and_fails_after_some_tries() -> None:
    judge = blame()
    request = sent(judge, 0)
    verdicts = [judge.failed(request, "broken", 0.0) for _ in range(TRIES)]
    assert [v.action for v in verdicts] == ["repeat"] * (TRIES - 1) + ["fail"]
    pauses = [v.pause_s for v in verdicts[:-1]]
    assert pauses[:3] == pytest.approx([FIRST_PAUSE_S, 2 * FIRST_PAUSE_S, 4 * FIRST_PAUSE_S])
    assert pauses == sorted(pauses)
    assert max(pauses) == LONGEST_PAUSE_S


@pytest.mark.parametrize("trouble", ["busy", "absent"])
def test_a_busy_or_absent_server_costs_no_tries(trouble: Trouble) -> None:
    judge = blame()
    request = sent(judge, 0)
    for _ in range(10 * TRIES):
        assert judge.failed(request, trouble, 1.0) == Verdict("repeat", 1.0)
    assert request.tries == 0


def test_a_request_fails_alone_once_patience_is_over_while_others_are_served() -> None:
    judge = blame()
    request = sent(judge, 0)
    for now in (100.0, PATIENCE_S - 1):
        judge.succeeded(now)
        assert judge.failed(request, "busy", now).action == "repeat"
    judge.succeeded(PATIENCE_S)
    assert judge.failed(request, "busy", PATIENCE_S).action == "fail"


def test_time_without_a_connection_does_not_count_against_the_request() -> None:
    judge = blame()
    request = sent(judge, 0)
    judge.failed(request, "absent", 1.0)
    judge.succeeded(PATIENCE_S)
    judge.sent(request, PATIENCE_S)
    assert judge.failed(request, "busy", PATIENCE_S + 1).action == "repeat"


@pytest.mark.parametrize("trouble", FAULTS)
def test_a_request_that_fails_while_others_are_served_is_to_blame(trouble: Trouble) -> None:
    judge = blame()
    request = sent(judge, 0)
    verdicts = []
    for _ in range(SINGLED_OUT):
        judge.succeeded(0.0)
        verdicts.append(judge.failed(request, trouble, 0.0))
    assert [v.request_at_fault for v in verdicts] == [False] * (SINGLED_OUT - 1) + [True]


def test_all_is_given_up_after_a_silence_in_which_two_requests_failed() -> None:
    judge = blame()
    one, two = sent(judge, 1), sent(judge, 2)
    assert judge.failed(one, "slow", PATIENCE_S - 1).action == "repeat"
    assert judge.failed(two, "slow", PATIENCE_S).action == "give up"


def test_a_lone_request_that_breaks_is_no_reason_to_give_up_on_all() -> None:
    judge = blame()
    request = sent(judge, 0)
    assert judge.failed(request, "broken", PATIENCE_S + 1).action == "fail"


@pytest.mark.parametrize("trouble", ["busy", "absent"])
def test_one_busy_or_absent_server_is_enough_to_give_up(trouble: Trouble) -> None:
    judge = blame()
    assert judge.failed(sent(judge, 0), trouble, PATIENCE_S).action == "give up"


def test_a_warning_is_due_once_in_a_silence() -> None:
    judge = blame()
    request = sent(judge, 0)

    def warns(now: float) -> bool:
        return judge.failed(request, "busy", now).warn

    assert [warns(now) for now in (WARN_S - 1, WARN_S, WARN_S + 1)] == [False, True, False]
    judge.answered(WARN_S + 2)
    assert [warns(WARN_S + 2 + after) for after in (WARN_S - 1, WARN_S, WARN_S + 1)] == [False, True, False]


def test_rejections_are_suspicious_until_one_request_succeeds() -> None:
    judge = blame()
    for _ in range(REFUSALS):
        assert not judge.suspicious
        judge.refused(0.0)
    assert judge.suspicious
    judge.forget_refusals()
    assert not judge.suspicious
    judge.succeeded(0.0)
    for _ in range(2 * REFUSALS):
        judge.refused(0.0)
    assert not judge.suspicious


def test_silence_is_time_that_servers_were_asked_in_vain() -> None:
    silence = Silence()
    assert silence.seconds(5.0) == 0
    silence.asked(10.0)
    silence.asked(12.0)  # more of it
    assert silence.seconds(15.0) == 5
    silence.idle(15.0)
    assert silence.seconds(100.0) == 5  # nothing was asked since
    silence.asked(200.0)
    assert silence.seconds(201.0) == 6
    silence.broken(201.0)
    assert silence.seconds(203.0) == 2
    silence.idle(203.0)
    silence.broken(204.0)
    assert silence.seconds(300.0) == 0


# --- any order of events --------------------------------------------------------------------------------------------

Event = tuple[int, str, float]  # a request, the outcome of its exchange, the seconds until then


def test_requests_that_do_not_fit_are_suspicious_whenever_they_come_in_a_row() -> None:
    judge = blame()
    judge.succeeded(0.0)
    for _ in range(3):
        for _ in range(CRAMPED - 1):
            judge.cramped(0.0)
        assert not judge.suspicious
        judge.succeeded(0.0)
    for _ in range(CRAMPED):
        judge.cramped(0.0)
    assert judge.suspicious
    judge.forget_refusals()
    assert not judge.suspicious


OUTCOMES = ("succeeded", "refused", "busy", "slow", "broken", "absent")
EVENTS = st.lists(
    st.tuples(st.integers(0, 5), st.sampled_from(OUTCOMES), st.floats(0, PATIENCE_S / 3)), min_size=1, max_size=200
)


@dataclass
class Replay:
    """Exchanges one after another, until all are given up; requests that are done are not sent again."""

    judge: Blame = field(default_factory=blame)
    requests: dict[int, RequestHistory] = field(default_factory=dict)
    done: set[int] = field(default_factory=set)
    now: float = 0.0
    answered_at: float = 0.0

    def verdict(self, event: Event) -> Verdict | None:
        """The verdict on one more exchange; None after an answer, or where its request was done before."""
        number, outcome, after_s = event
        if number in self.done:
            return None
        request = self.requests.setdefault(number, RequestHistory(number))
        self.judge.sent(request, self.now)
        self.now += after_s
        if outcome in ("succeeded", "refused"):
            (self.judge.succeeded if outcome == "succeeded" else self.judge.refused)(self.now)
            self.answered_at = self.now
            self.done.add(number)
            return None
        verdict = self.judge.failed(request, outcome, self.now)  # type: ignore[arg-type]
        if verdict.action == "fail":
            self.done.add(number)
        return verdict


@given(EVENTS)
def test_no_verdict_contradicts_what_happened(events: list[Event]) -> None:
    replay = Replay()
    for event in events:
        verdict = replay.verdict(event)
        if verdict is None:
            continue
        request, (_, outcome, _) = replay.requests[event[0]], event
        assert verdict.silent_s == pytest.approx(replay.now - replay.answered_at)
        assert request.singled_out <= request.tries <= TRIES
        assert 0 <= verdict.pause_s <= LONGEST_PAUSE_S
        if verdict.request_at_fault:
            assert outcome in FAULTS and verdict.action != "give up" and not verdict.warn
        if verdict.warn:
            assert verdict.silent_s >= WARN_S
        if verdict.action == "give up":
            assert verdict.silent_s >= PATIENCE_S
            break
        if verdict.action == "repeat":
            assert request.tries < TRIES
        if verdict.action == "fail":
            assert request.tries == TRIES or request.reached_at is not None


@given(st.lists(st.sampled_from(OUTCOMES[2:]), min_size=1), st.integers(1, 30))
def test_every_request_is_settled_in_the_end_if_servers_stay_silent(troubles: list[Trouble], step_s: int) -> None:
    """Whatever the trouble, nobody waits longer than patience and one more exchange."""
    replay = Replay()
    for turn in range(10_000):
        trouble = troubles[turn % len(troubles)]
        verdict = replay.verdict((turn % 2, trouble, float(step_s)))
        if (verdict and verdict.action == "give up") or len(replay.done) == 2:
            break
    assert replay.now <= PATIENCE_S + 3 * step_s
