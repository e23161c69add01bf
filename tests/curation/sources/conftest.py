"""The web server that the tests of sources fetch from, and a site of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from curation.sources import host_limits
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
