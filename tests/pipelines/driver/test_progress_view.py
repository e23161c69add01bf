"""What is shown of a run: numbers that begin where the dataset is, in as many columns as there are."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from curation.dataset.books import balance
from curation.dataset.dataset import Dataset
from curation.rejects import Stage
from curation.work_done import measured_by
from pipelines.driver.progress_view import ProgressView
from pipelines.driver.run import Run
from pipelines.driver.stage_progress import RunProgress
from pipelines.driver.time_left import TimeLeft
from pipelines.worker.tally import TEXTS, LastReject, Tally
from tests.support.begun_runs import begun_run
from tests.support.scripted_server import ScriptedServer
from tests.support.segmented import run as curate
from tests.support.segmented import segment_videos, settings_for, texts

FRAMES, CLIPS = 4, 7  # of one of these videos


@pytest.fixture(scope="module")
def half_done(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Dataset, str]]:
    """Two videos with texts and one that waits for them, and a server that could make them."""
    with ScriptedServer(texts) as server:
        settings = settings_for(server.url)
        dataset = segment_videos(tmp_path_factory.mktemp("half") / "d", settings, range(2))
        assert curate(dataset, settings) == 0
        segment_videos(Path(str(dataset.folder)), settings, range(2, 3))
        yield dataset, server.url


@pytest.fixture
def begun(half_done: tuple[Dataset, str]) -> Iterator[Run]:
    dataset, url = half_done
    with begun_run(dataset, settings_for(url)) as run:
        yield run


def shown(view: ProgressView, width: int) -> list[str]:
    console = Console(width=width, file=io.StringIO(), force_terminal=True, color_system=None)
    view.console = console
    console.print(view.table())
    return str(console.file.getvalue()).splitlines()  # type: ignore[attr-defined]


def test_counters_begin_where_the_dataset_is_and_end_as_its_books(begun: Run) -> None:
    tally = Tally()
    progress = RunProgress(begun, tally)
    stages = {s.stage: (s.done, s.rejected, s.wanted, s.subject) for s in progress.now()}
    assert stages == {
        Stage.DOWNLOAD: (3, 0, 3, "requests"),
        Stage.SEGMENT: (3, 0, 3, "videos"),
        Stage.CAPTION: (2 * FRAMES, 0, 3 * FRAMES, "frames"),
        Stage.SUMMARIZE: (2 * CLIPS, 0, 3 * CLIPS, "clips"),
    }
    tally.record(Stage.CAPTION, "token", {"a": {"done": 1, "captions": 3, "rejected_frames": 1}})
    caption = progress.now()[2]
    assert (caption.done, caption.rejected, caption.wanted) == (2 * FRAMES + 3, 1, 3 * FRAMES)
    progress.end(balance(begun.dataset).accounts)
    caption = progress.now()[2]
    assert (caption.done, caption.rejected, caption.wanted) == (2 * FRAMES, 0, 3 * FRAMES)


def test_the_last_run_says_how_long_texts_take(begun: Run) -> None:
    progress = RunProgress(begun, Tally())
    assert progress.time_left().is_complete
    assert 0 < progress.time_left().seconds < 600
    works = {stage.stage: stage.work for stage in progress.now()}
    assert works[Stage.CAPTION].ready == FRAMES and works[Stage.CAPTION].last_s
    assert works[Stage.DOWNLOAD].left_s == 0.0


def test_another_model_does_not_take_as_long_as_the_last_one(half_done: tuple[Dataset, str]) -> None:
    dataset, url = half_done
    other = settings_for(url, assignments=["captions.engine.model=other"])
    with begun_run(dataset, other) as run:
        progress = RunProgress(run, Tally())
        works = {stage.stage: stage.work for stage in progress.now()}
    assert works[Stage.CAPTION].last_s is None and works[Stage.SUMMARIZE].last_s
    assert works[Stage.CAPTION].ready == 3 * FRAMES  # all of them are made again
    assert not progress.time_left().is_complete


def test_while_a_stage_waits_its_time_left_stays(begun: Run) -> None:
    now = [0.0]
    tally = Tally(lambda: now[0])
    progress = RunProgress(begun, tally, lambda: now[0])
    with tally.active(TEXTS), tally.active(Stage.CAPTION):
        now[0] = 60.0
        tally.add(Stage.CAPTION, "captions", 2)
        before = progress.time_left()
        now[0] = 6000.0  # its server is silent
        assert progress.time_left() == before
        tally.add(Stage.CAPTION, "captions")  # it answers at last
        assert progress.time_left().seconds > before.seconds


@pytest.mark.parametrize("width", [120, 80, 60, 46, 30])
def test_it_fits_the_terminal(begun: Run, width: int) -> None:
    tally = Tally()
    view = ProgressView(RunProgress(begun, tally), io.StringIO())
    name = "content-80c78087e2139d52e3911282b0607baf \x1b[2J and\nmore"
    tally.rejected(Stage.DOWNLOAD, LastReject(name, "not_found: HTTP 404 for the page", time.time()))
    tally.record(Stage.CAPTION, "t", {"a": {"captions": 3, "output_tokens": 30_000_000, "requests": 3}})
    with tally.working(Stage.CAPTION, name, 0):
        lines = shown(view, width)
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    assert "\x1b[2J" not in text
    assert next(line.split() for line in lines if line.startswith("caption"))[:3] == ["caption", "11", "0"]
    assert any(line.startswith("longest at work: 0:00:00 for") for line in lines)
    assert any(line.startswith("last reject: download not_") for line in lines)
    assert ("a second" in text) == (width >= 80) and ("tokens" in text) == (width >= 80)


def test_what_is_done_of_items_under_way_counts_as_work(begun: Run) -> None:
    tally = Tally()
    progress = RunProgress(begun, tally)
    with tally.working(Stage.CAPTION, "video", 0), measured_by(lambda: 3.0):
        caption = progress.now()[2]
        assert (caption.done, caption.finished, caption.work.ready) == (2 * FRAMES, 2 * FRAMES + 3, FRAMES - 3)
        tally.add(Stage.CAPTION, "captions")
        assert progress.now()[2].work.done == 1.0  # after the first three
    with tally.working(Stage.SEGMENT, "video", 1000), measured_by(lambda: 0.25):
        assert progress.now()[1].work.done == 250.0
    assert progress.now()[1].under_way.items == 0


def test_elsewhere_it_is_lines_at_growing_intervals(begun: Run) -> None:
    file, done = io.StringIO(), threading.Event()
    view = ProgressView(RunProgress(begun, Tally()), file)
    assert view.line().startswith("[0:00:00] wave 0 of 0 | download 3/3 requests | segment 3/3 videos | caption 8/12")
    assert "\n" not in view.line() and "about" in view.line()
    done.set()
    view.show_until(done)
    assert file.getvalue() == ""


def test_at_the_end_it_says_so(begun: Run) -> None:
    progress = RunProgress(begun, Tally())
    view = ProgressView(progress, io.StringIO())
    progress.end(balance(begun.dataset).accounts)
    assert shown(view, 80)[0].endswith("complete")
    assert progress.time_left() == TimeLeft(progress.time_left().seconds)
