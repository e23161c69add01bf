"""What a run prints: events as they are documented, nothing when it is to be quiet, and rejects with the way out."""

from __future__ import annotations

import contextlib
import io
import json
import re
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from curation.dataset.books import balance, rejected_kinds
from curation.dataset.dataset import Dataset
from curation.errors import DatasetError
from curation.rejects import Stage
from curation.settings import Settings
from pipelines.driver.account import reject_lines
from pipelines.driver.curate import curate
from pipelines.driver.progress_view import ProgressView
from pipelines.driver.run_output import RunOutput
from pipelines.driver.stage_progress import RunProgress
from pipelines.worker.tally import Tally
from tests.support.begun_runs import begun_run
from tests.support.project import ROOT
from tests.support.scripted_server import Asked, ScriptedServer, status
from tests.support.segmented import image_of, segment_videos, settings_for, texts

VIDEOS, FRAMES, CLIPS = 3, 4, 7
Events = list[dict[str, Any]]


async def one_refused(asked: Asked) -> Any:
    """Refuses the first image that it is shown, and answers all else."""
    image = image_of(asked)
    if image is not None:
        refused.setdefault("image", image)
        if image == refused["image"]:
            return await status(400, "cannot identify image file")(asked)
    return await texts(asked)


refused: dict[str, str] = {}


def events_of(dataset: Dataset, settings: Settings, capsys: pytest.CaptureFixture[str]) -> tuple[int, Events, str]:
    """The exit status of a run, its events and what it printed on standard error."""
    output = RunOutput(events=True)
    capsys.readouterr()
    with output.opened():
        code = curate([], dataset.uri, settings, tuple(Stage), [], 0.0, 1.0, output=output)
    printed = capsys.readouterr()
    return code, [json.loads(line) for line in printed.out.splitlines()], printed.err


def documented() -> dict[str, set[str]]:
    """The fields of each event, and of all, as the guide has them."""
    guide = (ROOT / "docs" / "running.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| (.*) \|$", guide, re.MULTILINE)
    return {name: set(re.findall(r"`(\w+)`", fields)) for name, fields in rows}


def test_events_are_all_that_is_on_standard_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused.clear()
    with ScriptedServer(one_refused) as server:
        settings = settings_for(server.url, assignments=["run.wave_videos=2"])
        dataset = segment_videos(tmp_path / "d", settings, range(VIDEOS))
        code, events, printed = events_of(dataset, settings, capsys)
    assert code == 0
    assert [e["event"] for e in events[:2]] == ["run_begun", "planned"]
    assert Counter(e["event"] for e in events) == {
        "run_begun": 1,
        "planned": 1,
        "stage_begun": 4,  # two waves, two stages
        "stage_ended": 4,
        "run_ended": 1,
    }
    assert len({e["run_id"] for e in events}) == 1 and all(e["time"] for e in events)
    ended = [e for e in events if e["event"] == "stage_ended"]
    assert sum(e["captions"] for e in ended) == VIDEOS * FRAMES - 1
    assert {(e["stage"], e["wave"], e["waves"], e["items"]) for e in ended} == {
        (stage, wave, 2, items) for stage in ("caption", "summarize") for wave, items in ((1, 2), (2, 1))
    }
    assert sum(e["output_tokens"] for e in ended) > 0 and all(e["seconds"] > 0 for e in ended)

    last = events[-1]
    assert last["event"] == "run_ended" and last["status"] == 0
    books = {account["stage"]: account for account in last["books"]}
    assert (books["caption"]["made"], books["caption"]["rejected"]) == (VIDEOS * FRAMES - 1, 1)
    (reject,) = last["rejects"]
    assert (reject["stage"], reject["kind"], reject["count"]) == ("caption", "unreadable", 1)
    assert f"{VIDEOS * FRAMES} frames = {VIDEOS * FRAMES - 1} captioned + 1 rejected + 0 pending" in printed
    assert "Rejected at caption: 1 unreadable, for example " in printed

    fields = documented()
    common = {"event", "time", "run_id"}
    in_full = {"stage_ended": fields["stage_begun"] | fields["stage_ended"]}
    for event in events:
        name = event["event"]
        named = in_full.get(name, fields[name])
        assert event.keys() - common <= named, name
        assert name == "run_ended" or named - {"curate", "retry"} <= event.keys(), name


def test_a_run_that_cannot_be_is_an_event_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(DatasetError):
        events_of(Dataset(str(tmp_path / "nowhere")), settings_for("http://127.0.0.1:9/v1"), capsys)
    (event,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (event["event"], event["status"], event["run_id"]) == ("run_ended", 1, None)
    assert event["error"].startswith("no vidla dataset at ")


def test_a_quiet_run_prints_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with ScriptedServer(texts) as server:
        settings = settings_for(server.url)
        dataset = segment_videos(tmp_path / "d", settings, range(1))
        capsys.readouterr()
        code = curate([], dataset.uri, settings, tuple(Stage), [], 0.0, 1.0, output=RunOutput(quiet=True))
    assert (code, *capsys.readouterr()) == (0, "", "")


def test_a_verbose_run_prints_what_is_logged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused.clear()
    with ScriptedServer(one_refused) as server:
        settings = settings_for(server.url)
        dataset = segment_videos(tmp_path / "d", settings, range(1))
        curate([], dataset.uri, settings, tuple(Stage), [], 0.0, 1.0, output=RunOutput(verbose=True))
    printed = capsys.readouterr().err
    (log,) = (Path(str(dataset.folder)) / "logs").glob("*.jsonl")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    about = [line for line in lines if "subject" in line]
    assert all(f"info {line['subject']}: {line['message']}" in printed for line in about if line["level"] == "info")


def test_the_counts_of_rejects_are_those_of_the_books(curated_with_rejects: Dataset) -> None:
    kinds = rejected_kinds(curated_with_rejects)
    accounts = {account.stage: account.rejected for account in balance(curated_with_rejects).accounts}
    for stage, rejected in accounts.items():
        assert sum(kind.count for kind in kinds if kind.stage == stage) == rejected
    assert {kind.stage for kind in kinds} >= {Stage.CAPTION}
    lines = list(reject_lines(kinds, "DIR"))
    assert len(lines) == 2 * len(kinds)


@pytest.fixture
def curated_with_rejects(tmp_path: Path) -> Dataset:
    refused.clear()
    with ScriptedServer(one_refused) as server:
        settings = settings_for(server.url)
        dataset = segment_videos(tmp_path / "d", settings, range(2))
        curate([], dataset.uri, settings, tuple(Stage), [], 0.0, 1.0, output=RunOutput(quiet=True))
    return dataset


def test_nothing_else_is_drawn_between_the_lines_of_the_table(tmp_path: Path) -> None:
    settings = settings_for("http://127.0.0.1:9/v1")
    dataset = segment_videos(tmp_path / "d", settings, range(1))
    terminal, elsewhere, done = io.StringIO(), io.StringIO(), threading.Event()
    with begun_run(dataset, settings) as run:
        view = ProgressView(RunProgress(run, Tally()), terminal)
        view.console._force_terminal = True

        def print_bars() -> None:
            for share in range(10):
                sys.stderr.write(f"\rLoading weights: {10 * share}%\n")
                sys.stdout.write("a stray line\n")
            done.set()

        with contextlib.redirect_stderr(elsewhere), contextlib.redirect_stdout(elsewhere):
            timer = threading.Timer(0.3, print_bars)
            timer.start()
            view.show_until(done)
    assert "caption" in terminal.getvalue()
    assert "Loading" not in terminal.getvalue() and "stray" not in terminal.getvalue()
    assert "Loading weights: 90%" in elsewhere.getvalue()
