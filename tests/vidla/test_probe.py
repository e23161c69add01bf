"""`vidla probe`: a random sample of a list's pages, asked without their media."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from curation.dataset.dataset import Dataset
from curation.dataset.writer import Writer
from curation.download_settings import DownloadSettings
from curation.errors import DatasetError
from curation.records import Page, Reject
from curation.rejects import Kind, Rejected, Stage
from curation.shares import interval
from curation.sources import probe
from curation.sources.probe import ask_all, draw
from curation.sources.ytdlp import wait
from tests.support.web_server import WebServer, make_media
from vidla.cli import app

SETTINGS = [f"--set=download.{setting}" for setting in ("allow_private=true", "attempts=1", "stall_s=5")]
VIDEOS = ("lasting-2", "lasting-100", "subtitled", "removed", "private", "bot")


def numbered(count: int) -> Iterator[Reject]:
    why = Rejected(Kind.INVALID_REQUEST, "")
    return (why.row(Stage.DOWNLOAD, str(number), "") for number in range(count))


@given(st.integers(0, 60), st.integers(1, 20), st.integers(0, 9))
def test_a_sample_has_each_row_once_and_is_the_same_for_a_seed(total: int, size: int, seed: int) -> None:
    drawn = draw(numbered(total), size, seed)
    keys = [row.key for row in drawn.rows if isinstance(row, Reject)]
    assert drawn.total == total and len(keys) == min(total, size) == len(set(keys))
    assert draw(numbered(total), size, seed) == drawn


def test_every_row_is_as_likely_as_the_others() -> None:
    seen = [int(row.key) for seed in range(500) for row in draw(numbered(50), 10, seed).rows if isinstance(row, Reject)]
    counts = [seen.count(number) for number in range(50)]
    assert min(counts) > 60 and max(counts) < 150, counts  # 100 each, in the mean; 4 standard deviations


@given(st.integers(0, 1000), st.integers(1, 1000))
def test_an_interval_holds_the_share_that_was_seen(hits: int, others: int) -> None:
    low, high = interval(hits, hits + others)
    assert 0 <= low <= hits / (hits + others) <= high <= 1


def test_ctrl_c_ends_what_is_under_way_and_begins_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[Reject] = []

    def ask(row: Reject, settings: DownloadSettings) -> Page:
        begun.append(row)
        wait(0.0 if len(begun) == 1 else 60.0)
        return Page(request_key=row.key, uri="")

    def interrupt(page: Page) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(probe, "ask", ask)
    before = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        ask_all(list(numbered(20)), DownloadSettings(workers=2), interrupt)
    assert time.monotonic() - before < 30
    assert len(begun) <= 3
    wait(0.0)  # children can be started again


@pytest.mark.slow
def test_answers_are_shown_even_if_another_run_writes_to_the_dataset(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("http://127.0.0.1:9/refused.mp4\n")
    line = ["probe", str(tmp_path / "list.txt"), *SETTINGS, "--dataset", str(tmp_path / "d")]
    with Writer(Dataset(str(tmp_path / "d")), "run", {}):
        found = CliRunner().invoke(app, line, obj=[])
    assert isinstance(found.exception, DatasetError)
    assert "1 of 1 pages asked" in found.output


@pytest.mark.slow
@pytest.mark.usefixtures("fake_site")
def test_a_list_is_described_without_its_media(tmp_path: Path) -> None:
    (tmp_path / "media").mkdir()
    with WebServer(make_media(tmp_path / "media")) as web:
        (tmp_path / "list.txt").write_text("".join(f"{web.url(f'/site/{name}')}\n" for name in VIDEOS))
        line = ["probe", str(tmp_path / "list.txt"), *SETTINGS, "--dataset", str(tmp_path / "d")]
        found = CliRunner().invoke(app, line, obj=[])
    assert found.exit_code == 0, found.output
    assert "6 of 6 pages asked" in found.output
    shown = [line.split() for line in found.output.splitlines()]
    assert ["there", "3", "50%", "19%", "to", "81%"] in shown, found.output
    assert {line[0]: line[1] for line in shown if line and line[0] in set(Kind)} == {
        "not_found": "1",
        "private": "1",
        "bot_check": "1",
    }
    assert "median 51 s, mean 51 s" in found.output and "subtitles by people: de 33%, en 33%" in found.output
    assert not [
        path for path in web.paths() if not path.startswith("/site/") and "robots" not in path and "tdm" not in path
    ]
    kept = Dataset(str(tmp_path / "d")).read("pages").to_pylist()
    assert sorted(page["failure"] or "there" for page in kept) == [
        *("bot_check", "not_found", "private", "there", "there", "there"),
    ]
