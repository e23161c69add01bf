"""Rests of a site that refuses us: when they begin, how they grow, and what ends them."""

from __future__ import annotations

import math
import time

import pytest

from curation.download_settings import DownloadSettings
from curation.rejects import Kind
from curation.sources import site_limits
from curation.sources.site_limits import REFUSALS, RESTS, Site, SiteRests, at_site

SETTINGS = DownloadSettings(retry_wait_s=1.0)
pytestmark = pytest.mark.hostile("pages")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which passes only when a test says so."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def refuse(times: int, kind: Kind = Kind.BOT_CHECK, retry_after: float | None = None) -> None:
    for _ in range(times):
        with at_site("a.example", SETTINGS) as site:
            site.record(kind, time.monotonic(), retry_after)


def rest() -> float:
    """The seconds for which the site is left alone now."""
    try:
        with at_site("a.example", SETTINGS):
            return 0.0
    except SiteRests as error:
        return error.seconds


def test_rests_grow_and_then_the_site_is_given_up(clock: list[float]) -> None:
    refuse(REFUSALS - 1)
    assert rest() == 0
    refuse(1)
    rests = []
    while (seconds := rest()) < math.inf:
        rests.append(seconds)
        clock[0] += seconds
        refuse(1)  # one refusal after a rest is enough
    assert rests == [60.0 * 2**n for n in range(RESTS)]


def test_a_success_ends_the_growth(clock: list[float]) -> None:
    refuse(REFUSALS)
    clock[0] += rest()
    with at_site("a.example", SETTINGS) as site:
        site.record(None, time.monotonic())
    refuse(REFUSALS - 1)
    assert rest() == 0
    refuse(1)
    assert rest() == 60.0


def test_a_site_may_ask_for_a_longer_rest(clock: list[float]) -> None:
    refuse(REFUSALS, Kind.RATE_LIMITED, retry_after=500.0)
    assert rest() == 500.0


def test_a_site_that_asks_for_more_than_a_download_may_take_is_left_for_another_run(clock: list[float]) -> None:
    refuse(REFUSALS, Kind.RATE_LIMITED, retry_after=SETTINGS.timeout_s + 1)
    assert rest() == math.inf


@pytest.mark.parametrize("kind", sorted(site_limits._SAYS_NOTHING))
def test_a_broken_connection_is_neither_a_refusal_nor_a_success(kind: Kind, clock: list[float]) -> None:
    refuse(REFUSALS - 1)
    refuse(10, kind)
    assert rest() == 0
    refuse(1)
    assert rest() > 0


@pytest.mark.parametrize("kind", [Kind.NOT_FOUND, Kind.PRIVATE, Kind.GATED, None])
def test_any_answer_of_the_site_shows_that_it_talks_to_us(kind: Kind | None, clock: list[float]) -> None:
    refuse(REFUSALS - 1)
    with at_site("a.example", SETTINGS) as site:
        site.record(kind, time.monotonic())
    refuse(REFUSALS - 1)
    assert rest() == 0


def test_refusals_that_were_under_way_when_a_rest_began_do_not_lengthen_it(clock: list[float]) -> None:
    with at_site("a.example", SETTINGS) as site:
        begun = time.monotonic()
        refuse(REFUSALS)
        clock[0] += 10.0
        site.record(Kind.BOT_CHECK, begun)
        assert rest() == 50.0
        clock[0] += 50.0
        site.record(Kind.BOT_CHECK, begun)
        assert rest() == 0


def test_other_sites_go_on(clock: list[float]) -> None:
    refuse(REFUSALS)
    with at_site("b.example", SETTINGS) as site:
        assert isinstance(site, Site)
    assert site_limits.resting() == {"a.example": 60.0}


def test_a_rest_that_all_workers_are_due_is_taken_once(clock: list[float]) -> None:
    refuse(1)
    site_limits.rest_with_others({"a.example": 1})
    assert rest() == 60.0
    clock[0] += 60.0
    site_limits.rest_with_others({"a.example": 1})
    assert rest() == 0
    assert site_limits.refusals() == {"a.example": (0, 1)}
