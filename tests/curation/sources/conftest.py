"""The web server that the tests of sources fetch from, and a site of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from curation.sources.site_limits import forget_sites
from tests.support.web_server import WebServer, make_media


@pytest.fixture(scope="session")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_media(tmp_path_factory.mktemp("media"))


@pytest.fixture
def web(media: Path) -> Iterator[WebServer]:
    with WebServer(media) as server:
        yield server


@pytest.fixture(autouse=True)
def _no_known_sites() -> Iterator[None]:
    """Every test starts without known sites."""
    forget_sites()
    yield
