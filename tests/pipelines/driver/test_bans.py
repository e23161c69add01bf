"""Sites that ban an address: their videos wait and are lost to nobody, while the run goes on with others."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from curation.dataset.books import balance
from curation.dataset.dataset import Dataset
from curation.errors import Interrupted, SiteError
from curation.rejects import Stage
from curation.settings import resolve
from curation.sources.site_limits import REFUSALS, RESTS
from pipelines.driver.curate import curate
from pipelines.worker.worker_process import this_process
from tests.support.watching import wait_until
from tests.support.web_server import WebServer, make_media

pytestmark = [pytest.mark.slow, pytest.mark.hostile("pages")]
VIDEOS = 12


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_media(tmp_path_factory.mktemp("media"))


@pytest.fixture
def sites(media: Path, tmp_path: Path) -> Iterator[tuple[WebServer, WebServer]]:
    """A strict site and a friendly one, and a list with videos of both."""
    with WebServer(media) as strict, WebServer(media) as friendly:
        urls = [url for n in range(VIDEOS) for url in (strict.url(f"/strict?{n}"), friendly.url(f"/video.mp4?{n}"))]
        (tmp_path / "list.txt").write_text("\n".join(urls))
        yield strict, friendly


def download(folder: Path, retry_wait_s: float, *inputs: str) -> None:
    options = ("allow_private=true", "attempts=1", f"retry_wait_s={retry_wait_s}", "per_host=1")
    settings = resolve(None, [*(f"download.{option}" for option in options), "run.wave_videos=16"])
    curate(inputs, str(folder / "d"), settings, (Stage.DOWNLOAD,), [], 0.0, 1.0)


def account(folder: Path) -> str:
    return str(balance(Dataset(str(folder / "d"))).accounts[0])


def refused(h: Any) -> None:
    h.answer(429, b"too many requests")


def test_a_ban_that_is_lifted_costs_a_few_rejects_and_no_other_item(
    sites: tuple[WebServer, WebServer], tmp_path: Path
) -> None:
    strict, friendly = sites
    asked_at: list[float] = []
    friends: list[int] = []  # the requests to the other site, at each of these times

    def ban(h: Any) -> None:
        asked_at.append(time.monotonic())
        friends.append(len(friendly.asked))
        refused(h) if 4 < len(asked_at) <= 4 + REFUSALS else h.video()

    strict.strict = ban
    download(tmp_path, 0.25, str(tmp_path / "list.txt"))
    assert account(tmp_path) == f"24 requests = {24 - REFUSALS} downloaded + {REFUSALS} rejected + 0 pending"
    assert asked_at[4 + REFUSALS] - asked_at[3 + REFUSALS] > 15, "60 times download.retry_wait_s"
    assert friends[4 + REFUSALS] == len(friendly.asked), "the run went on with the other site, in both waves"


def test_a_ban_that_stays_ends_the_run_when_all_else_is_done(
    sites: tuple[WebServer, WebServer], tmp_path: Path
) -> None:
    strict, _ = sites
    strict.strict = refused
    with pytest.raises(SiteError, match=r"docs/youtube.md") as error:
        download(tmp_path, 0.001, str(tmp_path / "list.txt"))
    tried = REFUSALS + RESTS
    assert f"127.0.0.1:{strict.url('').rpartition(':')[2]} ({VIDEOS - tried} videos left)" in str(error.value)
    assert "\n" not in str(error.value)
    assert len(strict.asked) == tried
    assert account(tmp_path) == f"24 requests = 12 downloaded + {tried} rejected + {VIDEOS - tried} pending"
    strict.strict = lambda h: h.video()
    download(tmp_path, 0.001)
    assert account(tmp_path) == f"24 requests = {24 - tried} downloaded + {tried} rejected + 0 pending"


def test_a_run_is_stopped_while_a_site_rests(sites: tuple[WebServer, WebServer], tmp_path: Path) -> None:
    strict, _ = sites
    strict.strict = refused

    def stop() -> None:
        wait_until(lambda: len(strict.asked) == REFUSALS and this_process.tally.get("download", "done") == VIDEOS)
        this_process.halt(Interrupted("stopped"))

    threading.Thread(target=stop).start()
    with pytest.raises(Interrupted, match="stopped"):
        download(tmp_path, 60.0, str(tmp_path / "list.txt"))
