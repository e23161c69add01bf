"""Fetch from the web server on loopback, as the download stage does."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest

from curation.download_settings import DownloadSettings
from curation.rejects import Rejected
from curation.sources.fetch import Fetched, fetch
from curation.sources.requests import read_inputs
from curation.sources.targets import FetchTarget
from tests.support.web_server import WebServer

QUICK = DownloadSettings(allow_private=True, attempts=3, retry_wait_s=0.05, stall_s=5.0, timeout_s=60.0)


def ask(url: str, **row: Any) -> FetchTarget:
    """A target like that of a row in a list."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "list.jsonl")
        path.write_text(json.dumps({"url": url, **row}))
        (asked,) = read_inputs([str(path)], QUICK)
    assert isinstance(asked, FetchTarget), asked
    return asked


def got(asked: FetchTarget | str, folder: Path, settings: DownloadSettings = QUICK, **changes: Any) -> Fetched:
    target = folder / "download"
    target.mkdir()
    return fetch(ask(asked) if isinstance(asked, str) else asked, settings.model_copy(update=changes), target)


def rejected(asked: FetchTarget | str, folder: Path, **changes: Any) -> Rejected:
    with pytest.raises(Rejected) as caught:
        got(asked, folder, **changes)
    return caught.value


def warmed(web: WebServer, folder: Path) -> Path:
    """`folder`, after a fetch into it: the next one uses a child process in which all modules are loaded."""
    got(web.url("/video.mp4"), folder)
    (folder / "download").rename(folder / "before")
    return folder
