"""`download.cookies_from_browser`: the cookies of a browser's profile are sent to the site that set them."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from curation.rejects import Kind
from tests.support.fetching import got, rejected
from tests.support.web_server import WebServer


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    """A profile of Firefox with a cookie of 127.0.0.1, in the form of the browser's own database."""
    folder = tmp_path / "profile"
    folder.mkdir()
    with sqlite3.connect(folder / "cookies.sqlite") as database:
        database.execute(
            "create table moz_cookies (id integer primary key, originAttributes text default '', name text, value text,"
            " host text, path text, expiry integer, lastAccessed integer, creationTime integer, isSecure integer,"
            " isHttpOnly integer)"
        )
        database.execute(
            "insert into moz_cookies (name, value, host, path, expiry, isSecure) values (?, ?, ?, ?, ?, ?)",
            ("session", "let-me-in", "127.0.0.1", "/", 4102444800, 0),
        )
    return folder


@pytest.mark.slow
def test_the_cookies_of_a_browser_are_sent(web: WebServer, profile: Path, tmp_path: Path) -> None:
    got(web.url("/video.mp4"), tmp_path, cookies_from_browser=f"firefox:{profile}")
    sent = [headers.get("Cookie") for path, headers in web.asked if path == "/video.mp4"]
    assert sent and set(sent) == {"session=let-me-in"}


@pytest.mark.slow
def test_a_browser_that_is_not_there_is_a_reject_that_says_so(web: WebServer, tmp_path: Path) -> None:
    error = rejected(web.url("/video.mp4"), tmp_path, cookies_from_browser=f"firefox:{tmp_path / 'nobody'}")
    assert error.kind is Kind.INVALID_REQUEST and "name a file: download.cookies_file" in error.message
    assert not web.asked
