"""What a run spends: counted from every answer, written as rows, kept as history, shown by inspect and at the end."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from rich.console import Console

from curation.dataset.dataset import Dataset
from curation.dataset.forget import forget
from curation.dataset.writer import Writer
from curation.engines.interface import Completion, Failure
from curation.engines.load import load
from curation.engines.usage import UsageMeter
from pipelines.driver.progress_view import ProgressView
from pipelines.driver.stage_progress import RunProgress
from pipelines.worker.tally import Tally
from tests.support.begun_runs import begun_run
from tests.support.dataset_files import download_of
from tests.support.scripted_engine import ScriptedEngine
from tests.support.scripted_server import Asked, ScriptedServer, first, status
from tests.support.segmented import CAPTIONS, SUMMARIES, run, segment_videos, settings_for, texts
from vidla.inspect import show


def test_answers_add_up() -> None:
    engine, spent = ScriptedEngine(lambda *_: ""), UsageMeter()
    nothing = spent.row("caption", "v", "v", 0.5, 0.25)
    assert (nothing.requests, nothing.engine, nothing.first_token_s, nothing.in_flight) == (0, None, None, None)
    streamed = Completion("1", "a", input_tokens=100, output_tokens=7, first_token_s=0.5, in_flight=4, retries=2)
    whole = Completion("2", "b", input_tokens=50, output_tokens=5, in_flight=2)
    spent.add(engine, [streamed, whole])
    spent.add(engine, [Failure("3", "no", retryable=True, retries=3)])
    row = spent.row("caption", "v", "v", 2.5, 0.25)
    assert (row.requests, row.failures, row.retries, row.input_tokens, row.output_tokens) == (3, 1, 5, 150, 12)
    assert (row.first_token_s, row.in_flight, row.seconds, row.processor_s) == (0.5, 3.0, 2.5, 0.25)
    assert (row.engine, row.model) == ("scripted", "scripted")


def rows(dataset: Dataset, what: str) -> list[dict[str, Any]]:
    return [dict(row) for row in dataset.sql(f"select {what}").to_pylist()]


@pytest.mark.slow
def test_every_request_of_a_run_is_in_its_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    videos = 5
    busy_once = first(1, status(503, "busy", Retry_After="0"), texts)

    async def script(asked: Asked) -> web.StreamResponse:
        return await (busy_once if "where flowers are" in asked.words else texts)(asked)  # one request, asked twice

    with ScriptedServer(script) as server:
        settings = settings_for(server.url)
        dataset = segment_videos(tmp_path / "d", settings, range(videos))
        assert run(dataset, settings) == 0
        said = capsys.readouterr().out
        assert f"{videos * (CAPTIONS + SUMMARIES):,} requests answered, 1 sent again" in said
        assert "servers busy" in said
        per_stage = "stage, count(*) videos, sum(requests) asked, sum(retries) again, sum(input_tokens) went_in"
        wanted = {"videos": videos, "model": "m", "engine": "openai"}
        found = rows(
            dataset, f"{per_stage}, any_value(engine) engine, any_value(model) model from usage group by stage"
        )
        assert sorted(found, key=lambda row: str(row["stage"])) == [
            {"stage": "caption", "asked": 4 * videos, "again": 0, "went_in": 7 * 4 * videos, **wanted},
            {"stage": "summarize", "asked": 4 * videos, "again": 1, "went_in": 7 * 4 * videos, **wanted},
        ]
        (spread,) = rows(
            dataset, "min(in_flight) low, max(in_flight) high, min(seconds) s, min(first_token_s) t from usage"
        )
        assert 1 <= spread["low"] <= spread["high"] <= 16
        assert spread["s"] > 0 and spread["t"] > 0

        # a redo adds to the history, and forgetting takes a video's out of it
        redone = settings_for(server.url, assignments=["captions.max_tokens=20"])
        assert run(dataset, redone) == 0
        assert rows(dataset, "count(*) n, count(distinct run_id) runs from usage") == [{"n": 4 * videos, "runs": 2}]
    with Writer(dataset, "forget", {}) as writer:
        forget(writer, "video", download_of(0).video_id)
    assert rows(dataset, "count(*) n, count(distinct video_id) v from usage") == [
        {"n": 4 * videos - 4, "v": videos - 1}
    ]
    with (console := Console(width=140)).capture() as shown:
        assert not show(dataset, console).strays
    assert ["caption", "openai/m", "32", "0", "0", "224", "224"] in [line.split() for line in shown.get().splitlines()]


@pytest.mark.slow
def test_the_view_shows_servers_while_they_are_in_use(tmp_path: Path) -> None:
    with ScriptedServer(texts) as server:
        settings = settings_for(server.url)
        dataset = segment_videos(tmp_path / "d", settings, range(2))
        assert run(dataset, settings) == 0
        used = load.snapshot()
        with begun_run(dataset, settings) as begun:
            view = ProgressView(RunProgress(begun, Tally()), sys.stderr)
            load.asked(1)
            load.sent()
            line = view.line()
            load.repeated()
            load.asked(-1)
    assert used.requests and "1 requests in flight, servers busy" in line
