"""The web server that the tests of sources fetch from, and a site of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from curation import guard
from curation.sources import host_limits
from tests.support.project import FAKE_SITE
from tests.support.web_server import WebServer, make_media


@pytest.fixture(scope="session")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_media(tmp_path_factory.mktemp("media"))


@pytest.fixture
def web(media: Path) -> Iterator[WebServer]:
    with WebServer(media) as server:
        yield server


@pytest.fixture(autouse=True)
def _no_known_hosts() -> Iterator[None]:
    """Every test starts without known hosts."""
    host_limits._hosts.clear()
    yield


@pytest.fixture
def fake_site(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """yt-dlp with tests/support/fake_site as a plugin, in child processes started for this test."""
    monkeypatch.syspath_prepend(str(FAKE_SITE))
    guard.stop_all()
    guard.resume()
    yield
    guard.stop_all()
    guard.resume()
