"""`vidla cost`: sums of the usage, checked against figures computed by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from curation.cost import Unit, Workload, expected, spent, unit_costs
from curation.dataset.dataset import Dataset
from curation.prices import Prices
from curation.rejects import Stage
from curation.settings import resolve
from tests.support.dataset_files import make_dataset
from tests.support.scripted_server import ScriptedServer
from tests.support.segmented import CAPTIONS, SUMMARIES, run, segment_videos, settings_for, texts
from vidla.cli import load

PRICES = """
flink_hour = 0.0
caption_flink_hour = 0.0
summarize_flink_hour = 0.0
caption_input_million = 1000000.0
summarize_output_million = 1000000.0
storage_gb_month = 1000000.0
"""


def shown(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    load("cost").main([str(argument) for argument in arguments], standalone_mode=False)
    return capsys.readouterr().out


def test_money_tokens_and_hours_are_summed_by_stage_model_and_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "prices.toml").write_text(PRICES)
    data = tmp_path / "d"
    with ScriptedServer(texts) as server:
        settings = settings_for(server.url)
        dataset = segment_videos(data, settings, range(2))
        assert run(dataset, settings) == 0
        segment_videos(data, settings, range(2, 3))
        capsys.readouterr()
        answer = json.loads(shown(capsys, data, "--json", "--prices", tmp_path / "prices.toml"))
        asked = len(server.asked)
    summaries = dataset.read("summaries").num_rows
    rows = {row["stage"]: row for row in answer["spent"]}
    assert (rows["caption"]["requests"], rows["caption"]["model"]) == (2 * CAPTIONS, "m")
    assert rows["caption"]["input_tokens"] == 7 * 2 * CAPTIONS, "as the server counts them"
    assert rows["caption"]["money"] == 7 * 2 * CAPTIONS, "a unit of money per token"
    assert rows["summarize"]["money"] == rows["summarize"]["output_tokens"]
    assert answer["money"] == rows["caption"]["money"] + rows["summarize"]["money"]
    assert answer["storage_month"] == pytest.approx(answer["stored_bytes"] / 1e3)
    assert answer["stored_bytes"] >= sum(path.stat().st_size for path in data.glob("media/*/*"))
    assert answer["clips"] == 14
    assert answer["money_per_1000_clips"] == pytest.approx(1000 * (answer["money"] + answer["storage_month"]) / 14)
    assert (answer["pending"]["text"], answer["pending"]["download"]) == (1, 0)
    assert answer["pending"]["input_tokens"] == 7 * (CAPTIONS + summaries / 2), (
        "as many texts as each of the others has"
    )
    assert answer["pending"]["money"] > rows["caption"]["money"] / 2
    assert asked == 2 * (CAPTIONS + SUMMARIES), "no server is asked"

    screen = shown(capsys, data)
    assert "openai/m" in screen and "processor-hours" in screen
    left = f"about {7 * (CAPTIONS + summaries // 2)} tokens in"
    assert f"Pending: 0 videos to download, 0 to segment, 1 awaiting texts; {left}" in screen
    assert "1,000 of the 14 clips kept: " in screen


def test_a_dataset_without_runs_or_clips_is_shown_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "Pending: unknown" in shown(capsys, make_dataset(tmp_path / "d").uri)


def test_units_are_what_a_stage_costs_to_do_with_the_engine_that_is_asked_for() -> None:
    built_in = Unit(2.0, 10.0, 5.0)
    served = Unit(1.0, 10.0, 5.0, served=True)
    prices = Prices(caption_input_million=1e6, caption_output_million=0.0, caption_flink_hour=0.0, flink_hour=0.0)
    work = Workload(captions=3)
    assert expected(work, {Stage.CAPTION: built_in}, prices).money == 0
    assert expected(work, {Stage.CAPTION: served}, prices).money == pytest.approx(30)
    unknown = expected(Workload(downloads=1), {Stage.CAPTION: served}, prices)
    assert unknown.unknown == (Stage.DOWNLOAD,) and unknown.line(prices) == ""


def test_units_of_a_dataset(tmp_path: Path) -> None:
    dataset: Dataset = make_dataset(tmp_path / "d")
    units: dict[Stage, Any] = dict(unit_costs(dataset, resolve()))
    assert units[Stage.CAPTION].input_tokens == 100 and not units[Stage.CAPTION].served
    openai = resolve(
        None, [f"captions.engine.{key}" for key in ("kind=openai", "model=m", 'base_urls=["http://h/v1"]')]
    )
    assert Stage.CAPTION not in unit_costs(dataset, openai), "the built-in engine says nothing of a served one"
    assert len(spent(dataset)) == len(Stage)
