"""A page that never ends has a time of its own, and media a number of requests."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from curation.rejects import Kind, Rejected
from curation.sources.request_bounds import MEDIA_REQUESTS, MEDIA_SITES, UNNAMED_PAUSE_S, RequestBounds
from tests.support.fetching import got, rejected, warmed
from tests.support.web_server import WebServer

HOSTILE_PAGES = ["/drip-page", "/drip-headers", "/drip-redirects/", "/stall-before-headers"]
HOSTILE_PAGES += ["/site/backtracking", "/site/deaf"]


@pytest.mark.hostile("pages")
@pytest.mark.parametrize("path", HOSTILE_PAGES)
def test_a_page_holds_a_slot_for_its_own_time_only(
    web: WebServer, tmp_path: Path, path: str, request: pytest.FixtureRequest
) -> None:
    if path.startswith("/site/"):
        request.getfixturevalue("fake_site")
    begun = time.monotonic()
    error = rejected(web.url(path), tmp_path, page_timeout_s=1.0, timeout_s=3600.0, stall_s=600.0, attempts=3)
    assert error.kind is Kind.TIMEOUT and error.retryable
    assert "tried" not in error.message, "it is not repeated in this run"
    assert ("download.page_timeout_s" in error.message) is (path != "/site/deaf")
    assert time.monotonic() - begun < 60


def test_media_may_take_longer_than_its_page(web: WebServer, media: Path, tmp_path: Path) -> None:
    size = (media / "video.mp4").stat().st_size
    warmed(web, tmp_path)
    begun = time.monotonic()
    got(web.url("/video.mp4"), tmp_path, page_timeout_s=2.5, rate_limit=size // 4)
    assert time.monotonic() - begun > 2.5


@pytest.mark.usefixtures("fake_site")
def test_our_own_pauses_do_not_count_as_the_pages(web: WebServer, tmp_path: Path) -> None:
    warmed(web, tmp_path)
    begun = time.monotonic()
    got(web.url("/site/many-pages"), tmp_path, page_timeout_s=2.5, sleep_requests_s=1.5)
    assert time.monotonic() - begun > 2.5


# --- requests for media ---------------------------------------------------------------------------------------------


def playlist_at(web: WebServer, *urls: str, count: int, seconds: float) -> str:
    return web.url(f"/playlist/x.m3u8?{urlencode({'url': urls, 'count': count, 'seconds': seconds}, doseq=True)}")


@pytest.mark.hostile("pages")
def test_more_segments_than_media_can_have_are_not_begun(web: WebServer, tmp_path: Path) -> None:
    error = rejected(playlist_at(web, "/tiny.ts", count=1000, seconds=0.01), tmp_path)
    assert (error.kind, error.message) == (Kind.REFUSED, "a playlist of 1000 segments for 10 s of media")
    assert not any(path.startswith("/tiny") for path in web.paths())


@pytest.mark.hostile("pages")
def test_segments_that_bring_nothing_end_the_media(web: WebServer, tmp_path: Path) -> None:
    error = rejected(playlist_at(web, "/tiny.ts", count=400, seconds=1), tmp_path)
    assert error.kind is Kind.REFUSED and "brought only" in error.message
    assert sum(path.startswith("/tiny") for path in web.paths()) <= MEDIA_REQUESTS


@pytest.mark.hostile("pages")
def test_a_host_that_only_a_playlist_names_is_not_flooded(web: WebServer, media: Path, tmp_path: Path) -> None:
    with WebServer(media) as stranger:
        begun = time.monotonic()
        got(playlist_at(web, stranger.url("/tiny.ts"), count=8, seconds=1), tmp_path)
        assert len(stranger.asked) == 8
        assert time.monotonic() - begun > 7 * UNNAMED_PAUSE_S


@pytest.mark.hostile("pages")
def test_media_from_more_sites_than_any_has(web: WebServer, media: Path, tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        others = [stack.enter_context(WebServer(media)) for _ in range(MEDIA_SITES + 1)]
        urls = [other.url("/vod0.ts") for other in others]
        error = rejected(playlist_at(web, *urls, count=len(urls), seconds=1), tmp_path)
        assert error.kind is Kind.REFUSED and "sites" in error.message
        assert sum(len(other.asked) for other in others) < MEDIA_SITES + 1


HONEST: dict[str, dict[str, Any]] = {
    "HLS of four hours": {"seconds": 14_400, "segments": 2 * 2_400, "bytes": 20_000},
    "DASH in segments of a second": {"seconds": 14_400, "segments": 2 * 14_400, "bytes": 3_000},
    "a short one": {"seconds": 10, "segments": 20, "bytes": 3_000},
    "much silence": {"seconds": 7_200, "segments": 3_600, "bytes": 1_100},
}


@pytest.mark.parametrize("media", HONEST.values(), ids=HONEST.keys())
def test_honest_media_stays_within_the_bounds(media: dict[str, Any]) -> None:
    bounds = RequestBounds(4 * 3600.0)
    bounds.count_page("example.org")
    bounds.expect_media(media["seconds"], brings_bytes=True)
    bounds.expect_segments(media["segments"], media["seconds"], 0)
    begun = time.monotonic()
    for n in range(media["segments"]):
        bounds.count_media(f"cdn{n % 3}.example" if n % 100 == 0 else "example.org", n * media["bytes"])
    assert time.monotonic() - begun < 5


@pytest.mark.hostile("pages")
@pytest.mark.parametrize("seconds", [None, 0.0, 1e308, float("inf")])
def test_no_stated_duration_lifts_the_bound(seconds: float | None) -> None:
    bounds = RequestBounds(60.0)
    bounds.count_page("example.org")
    bounds.expect_media(seconds, brings_bytes=True)
    with pytest.raises(Rejected):
        for n in range(1_000_000):
            bounds.count_media("example.org", n)
