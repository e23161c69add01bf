"""Opt-out headers: read one by one, from a real server, and honoured in doubt."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import urlencode

import pytest

from curation.rejects import Kind
from curation.sources.opt_out import opts_out
from tests.support.fetching import got, rejected
from tests.support.web_server import WebServer

ROBOTS = "X-Robots-Tag"
AGENT = "Mozilla/5.0 (compatible; Forest/1.0)"

OPTED_OUT = {
    "plain": [(ROBOTS, "noai")],
    "in capitals": [("x-robots-tag", "NoAI")],
    "after another directive": [(ROBOTS, "nofollow, noimageai")],
    "a line of another agent before it": [(ROBOTS, "otherbot: noindex"), (ROBOTS, "noai")],
    "a line of another agent after it": [(ROBOTS, "noai"), (ROBOTS, "otherbot: noindex")],
    "lines that a proxy has joined": [(ROBOTS, "otherbot: noindex, noai")],
    "after a date with a comma": [(ROBOTS, "unavailable_after: Friday, 25-Jun-10 15:00:00 UTC, noai")],
    "after a date with colons": [(ROBOTS, "unavailable_after: 25 Jun 2010 15:00:00 PST, noai")],
    "a line after a date with a comma": [(ROBOTS, "unavailable_after: Fri, 25 Jun 2010 15:00 GMT"), (ROBOTS, "noai")],
    "after a value": [(ROBOTS, "max-image-preview: large, noai")],
    "after an unknown value": [(ROBOTS, "something: else, noai")],
    "for us": [(ROBOTS, "vidla: noai")],
    "for the agent that we say we are": [(ROBOTS, "forest: noai")],
    "for everyone": [(ROBOTS, "*: noai")],
    "with other separators": [(ROBOTS, "noarchive; noai")],
    "none": [(ROBOTS, "none")],
    "reserved": [("TDM-Reservation", "1")],
    "reserved and not reserved": [("TDM-Reservation", "0"), ("TDM-Reservation", "1")],
    "joined reservations": [("TDM-Reservation", "0, 1")],
    "in the third of many lines": [(ROBOTS, "a: none"), (ROBOTS, "b: none"), (ROBOTS, "noindex"), (ROBOTS, "c: none")],
}
NOT_OPTED_OUT = {
    "nothing": [],
    "for another agent": [(ROBOTS, "otherbot: noai")],
    "for other agents": [(ROBOTS, "otherbot: noai"), (ROBOTS, "anotherbot: noindex")],
    "other directives": [(ROBOTS, "nofollow, noarchive, nosnippet")],
    "a value": [(ROBOTS, "max-image-preview: none"), (ROBOTS, "max-snippet: -1")],
    "a date": [(ROBOTS, "unavailable_after: Friday, 25-Jun-10 15:00:00 UTC")],
    "a value for us": [(ROBOTS, "vidla: max-image-preview: none")],
    "not reserved": [("TDM-Reservation", "0")],
}


def said(web: WebServer, lines: list[tuple[str, str]]) -> str:
    """The URL of a video that is served with these header lines."""
    return web.url(f"/saying/video.mp4?{urlencode(lines)}")


@pytest.mark.hostile("opt-outs")
@pytest.mark.parametrize("lines", OPTED_OUT.values(), ids=OPTED_OUT.keys())
def test_a_server_that_opts_out_is_heard(web: WebServer, tmp_path: Path, lines: list[tuple[str, str]]) -> None:
    assert rejected(said(web, lines), tmp_path, user_agent=AGENT).kind is Kind.OPTED_OUT


@pytest.mark.parametrize("lines", NOT_OPTED_OUT.values(), ids=NOT_OPTED_OUT.keys())
def test_what_opts_nobody_out(web: WebServer, tmp_path: Path, lines: list[tuple[str, str]]) -> None:
    assert got(said(web, lines), tmp_path, user_agent=AGENT).download.opt_out is None


@pytest.mark.hostile("opt-outs")
def test_an_opt_out_that_is_not_honoured_is_kept_as_evidence(web: WebServer, tmp_path: Path) -> None:
    lines = [(ROBOTS, "noai, noimageai"), (ROBOTS, "nofollow"), (ROBOTS, "noindex")]
    row = got(said(web, lines), tmp_path, honour_opt_out=False).download
    seen = json.loads(row.opt_out or "[]")
    assert {(o["header"], o["value"], o["of"]) for o in seen} == {
        (ROBOTS, value, of) for of in ("page", "media") for value in ("noai, noimageai", "noindex")
    }
    assert all(o["time"].endswith("+00:00") for o in seen)


@pytest.mark.hostile("opt-outs")
@pytest.mark.parametrize(
    "path", ["/opted-out", "/opted-out-page", "/opted-out-media", "/opted-out-redirect", "/reserved"]
)
def test_an_opt_out_counts_wherever_it_is_said(web: WebServer, tmp_path: Path, path: str) -> None:
    assert rejected(web.url(path), tmp_path).kind is Kind.OPTED_OUT


@pytest.mark.hostile("opt-outs")
def test_a_long_header_takes_no_time(tmp_path: Path) -> None:
    for value in ("*:" * 30_000, "a " * 30_000, "," * 60_000, "unavailable_after:" * 4_000):
        assert not opts_out(ROBOTS, value, None)
