"""`download.only_where`: what does not meet it waits, costs nothing, is counted, and is done when the gate opens."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from curation.dataset.books import balance
from curation.dataset.dataset import Dataset
from curation.errors import ConfigError
from curation.rejects import Stage
from curation.settings import resolve
from pipelines.driver.curate import curate
from tests.support.web_server import WebServer, make_media

pytestmark = pytest.mark.slow
QUICK = ("allow_private=true", "attempts=1", "stall_s=5")


@pytest.fixture
def web(tmp_path: Path, fake_site: None) -> Iterator[WebServer]:
    """A site with videos of 2 and of 100 seconds (by their pages), and one that was removed."""
    (tmp_path / "media").mkdir()
    with WebServer(make_media(tmp_path / "media")) as server:
        videos = ("lasting-2", "lasting-100", "removed")
        (tmp_path / "list.txt").write_text("".join(f"{server.url(f'/site/{name}')}\n" for name in videos))
        yield server


def downloads(folder: Path, condition: str | None, *inputs: str) -> str:
    """The account of the downloads after a run with this gate."""
    gate = [] if condition is None else [f'download.only_where="{condition}"']
    settings = resolve(None, [*(f"download.{setting}" for setting in QUICK), *gate])
    given = (inputs, str(folder / "d"), settings, (Stage.DOWNLOAD,), [], 0.0, 1.0)
    assert curate(*given, keep_duplicates=True) == 0  # all videos of the site have the same bytes
    return str(balance(Dataset(str(folder / "d"))).accounts[0])


def test_a_request_waits_outside_the_gate_and_is_fetched_when_it_opens(web: WebServer, tmp_path: Path) -> None:
    first = downloads(tmp_path, "duration < 60", str(tmp_path / "list.txt"))
    assert first == "3 requests = 1 downloaded + 1 rejected + 1 gated + 0 pending"
    assert web.times["/video.mp4"] == 1
    pages = Dataset(str(tmp_path / "d")).read("pages").sort_by("duration").to_pylist()
    assert [(p["duration"], p["title"], p["categories"]) for p in pages] == [
        (2.0, "A talk", ["Nature"]),
        (100.0, "A talk", ["Nature"]),
    ]
    asked = len(web.asked)
    for condition in ("duration < 60", "duration < 50 and language = 'en'", "cast(title as integer) > 3"):
        assert downloads(tmp_path, condition) == first
    assert len(web.asked) == asked, "a request outside the gate costs nothing"
    assert downloads(tmp_path, "age_limit = 0") == "3 requests = 2 downloaded + 1 rejected + 0 pending"
    assert len(Dataset(str(tmp_path / "d")).read("pages")) == 2


def test_without_a_gate_what_waited_is_fetched(web: WebServer, tmp_path: Path) -> None:
    downloads(tmp_path, "duration < 60", str(tmp_path / "list.txt"))
    assert downloads(tmp_path, None) == "3 requests = 2 downloaded + 1 rejected + 0 pending"


@pytest.mark.parametrize("condition", ["no_such_column > 1", "duration <", "true; drop table pages", "1); select (1"])
def test_a_condition_that_is_none_is_one_line(condition: str, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("https://example.invalid/a.mp4\n")
    with pytest.raises(ConfigError, match="only_where"):
        downloads(tmp_path, condition, str(tmp_path / "list.txt"))
