"""`vidla refresh`: which videos of a dataset are still on their sites."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from curation.dataset.dataset import Dataset
from curation.rejects import Stage
from curation.settings import resolve
from pipelines.driver.curate import curate
from tests.support.web_server import WebServer, make_media
from vidla.cli import app

pytestmark = pytest.mark.slow
SETTINGS = ("download.allow_private=true", "download.attempts=1", "download.stall_s=5")
VIDEOS = ("stays", "removed", "hidden", "unclear")


@pytest.fixture
def web(tmp_path: Path, fake_site: None) -> Iterator[WebServer]:
    """A site from which a dataset was downloaded."""
    (tmp_path / "media").mkdir()
    with WebServer(make_media(tmp_path / "media")) as server:
        rows: list[dict[str, Any]] = [{"url": server.url(f"/strict?{name}"), "id": name} for name in VIDEOS]
        rows.append({"url": server.url("/strict?removed"), "id": "removed", "start": 0, "end": 1})
        rows.append({"url": server.url("/site/lasting-2")})
        (tmp_path / "list.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        inputs = [str(tmp_path / "list.jsonl")]
        given = (inputs, str(tmp_path / "d"), resolve(None, SETTINGS), (Stage.DOWNLOAD,), [], 0.0, 0.1)
        assert curate(*given, keep_duplicates=True) == 0  # all videos of the site have the same bytes
        server.strict = changed
        yield server


def changed(h: Any) -> None:
    """The site as it is some time later."""
    name = h.path.partition("?")[2]
    if name == "removed":
        h.answer(410)
    elif name == "hidden":
        h.answer(403, b"This is a private video")
    elif name == "unclear":
        h.answer(503)
    else:
        h.video()


def refresh(folder: Path, *arguments: str) -> str:
    line = ["refresh", str(folder / "d"), *(f"--set={setting}" for setting in SETTINGS), *arguments]
    found = CliRunner().invoke(app, line, obj=[])
    assert found.exit_code == 0, found.output
    return found.output


def held(folder: Path) -> list[str]:
    return sorted(row["video_id"] for row in Dataset(str(folder / "d")).read("downloads").to_pylist())


def test_a_table_says_what_is_there_by_site_and_age(web: WebServer, tmp_path: Path) -> None:
    before = held(tmp_path)
    output = refresh(tmp_path)
    site = web.url("").removeprefix("http://")
    shown = [line.split() for line in output.splitlines()]
    assert [site, "unknown", "4", "1", "2", "1", "67%", "21%", "to", "94%"] in shown, output
    assert [site, *["2", "to", "5", "years", "1", "1", "0", "0", "0%", "0%", "to", "79%"]] in shown, output
    assert "gone: list-hidden, list-removed" in output
    assert "5 of 5 videos asked" in output, "the two ranges of one video are asked once"
    assert held(tmp_path) == before
    pages = {page["uri"].partition("?")[2]: page for page in Dataset(str(tmp_path / "d")).read("pages").to_pylist()}
    assert {name: page["failure"] for name, page in pages.items() if name in VIDEOS} == {
        "stays": None,
        "removed": "not_found",
        "hidden": "private",
        "unclear": None,
    }
    assert pages["removed"]["extractor"], "what was known of a page is kept"


def test_the_gone_are_forgotten_and_never_fetched_again(web: WebServer, tmp_path: Path) -> None:
    output = refresh(tmp_path, "--forget-gone", "--yes")
    assert "2 gone, asked twice: list-hidden, list-removed" in output
    assert "2 video(s)" not in output and "3 video(s) of 3 request(s)" in output, "with the range"
    assert held(tmp_path) == ["fakesite-lasting-2", "list-stays", "list-unclear"]
    web.strict = lambda h: h.video()
    curate([str(tmp_path / "list.jsonl")], str(tmp_path / "d"), resolve(None, SETTINGS), (Stage.DOWNLOAD,), [], 0, 1)
    assert held(tmp_path) == ["fakesite-lasting-2", "list-stays", "list-unclear"]


def test_nothing_is_forgotten_without_a_yes(web: WebServer, tmp_path: Path) -> None:
    line = ["refresh", str(tmp_path / "d"), *(f"--set={setting}" for setting in SETTINGS), "--forget-gone"]
    found = CliRunner().invoke(app, line, obj=[])
    assert found.exit_code == 2 or "nothing was forgotten" in str(found.exception)
    assert "list-removed" in held(tmp_path)


def test_what_is_back_when_asked_again_is_kept(web: WebServer, tmp_path: Path) -> None:
    flaky = {"removed", "hidden"}

    def once(h: Any) -> None:
        name = h.path.partition("?")[2]
        if name in flaky:
            flaky.remove(name)
            h.answer(404)
        else:
            h.video()

    web.strict = once
    assert "nothing is forgotten" in refresh(tmp_path, "--forget-gone", "--yes")
    assert "list-removed" in held(tmp_path)


def test_a_video_that_is_still_at_another_url_is_kept(web: WebServer, tmp_path: Path) -> None:
    copies = [web.url(f"/strict?{name}") for name in ("removed-copy", "copy", "removed-too")]
    web.strict = lambda h: h.video()
    given = copies, str(tmp_path / "d"), resolve(None, SETTINGS), (Stage.DOWNLOAD,), [], 0.0, 0.1
    curate(*given, keep_duplicates=True)
    copied = [video for video in held(tmp_path) if video.startswith("content-")]
    assert len(copied) == 3 and len(set(copied)) == 1, "the same content, and so one video"
    web.strict = lambda h: h.answer(404) if "removed" in h.path else h.video()
    output = refresh(tmp_path, "--forget-gone", "--yes")
    assert "6 of 6 videos asked" in output
    assert copied[0] in held(tmp_path) and "list-removed" not in held(tmp_path)
    pages = {page["uri"]: page["failure"] for page in Dataset(str(tmp_path / "d")).read("pages").to_pylist()}
    assert pages[copies[1]] is None
