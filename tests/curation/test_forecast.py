"""Plans for many videos: the arithmetic, checked against cases computed by hand; the spread; and a real sample."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from curation.dataset.commits import Replacement
from curation.dataset.dataset import Dataset
from curation.dataset.writer import Writer
from curation.errors import DatasetError
from curation.forecast import COLUMNS, Sample, Target, figures, measure, plan, resampled
from curation.prices import TEXT_STAGES, Prices
from curation.rejects import Stage
from curation.settings import fields, resolve
from tests.support.dataset_files import commit_rows, make_dataset, usage_of
from tests.support.project import ROOT
from vidla.forecast_command import show_plan

PRICES = Prices(
    processors=10,
    utilisation=0.5,
    flink_hour=2.0,
    dataflow_hour=3.0,
    flink_start_s=18.0,
    dataflow_start_s=180.0,
    caption_tokens_s=100.0,
    caption_flink_hour=4.0,
    caption_dataflow_hour=5.0,
    summarize_tokens_s=200.0,
    summarize_flink_hour=6.0,
    summarize_dataflow_hour=7.0,
    storage_gb_month=0.5,
)


def means(**given: float) -> dict[str, np.ndarray]:
    """Column means of one sample: only the given ones (`stage__measure`), for videos of 100 s that all succeeded."""
    names = {name.replace("__", "."): value for name, value in given.items()}
    return {name: np.array([names.get(name, 0.0)]) for name in COLUMNS} | {
        "videos": np.array([1.0]),
        "duration": np.array([100.0]),
    }


def test_machines_follow_from_processor_seconds() -> None:
    # 1,000,000 videos of 17.1 s: 17.1e6 s; a machine gives 10 * 0.5 * 0.95 * 3600 = 17,100 s an hour: 1,000 hours
    found = figures(means(segment__processor_s=17.1), 0.0, Target(1_000_000, days=2.0), PRICES, resolve())
    assert found["segment.machine_hours"] == pytest.approx(1000)
    assert found["machine_hours"] == pytest.approx(1000)
    assert found["segment.machines"] == pytest.approx(1000 / 48)
    assert found["machines"] == 21  # of 20.8
    assert found["flink.segment.money"] == pytest.approx(2000)
    assert found["dataflow.money"] == pytest.approx(3000)


def test_days_follow_from_machines() -> None:
    wish = Target(1_000_000, machines=10)
    found = figures(means(segment__processor_s=17.1), 0.0, wish, PRICES, resolve())
    assert found["days"] == pytest.approx(100 / 24)
    assert found["machines"] == 10


def test_servers_follow_from_output_tokens() -> None:
    # 40 tokens a video, 1,000,000 videos, 100 tokens a second for 95% of the time: 40e6 / 342,000 = 116.96 hours
    given = means(caption__output_tokens=40, caption__input_tokens=400, caption__requests=4, segment__processor_s=1)
    found = figures(given, 0.0, Target(1_000_000, days=1.0), PRICES, resolve())
    assert found["caption.server_hours"] == pytest.approx(40e6 / 342_000)
    assert found["caption.servers"] == 5  # of 4.87
    assert found["caption.requests"] == 4e6
    assert found["caption.input_tokens"] == 400e6
    assert found["flink.caption.money"] == pytest.approx(4 * 40e6 / 342_000)
    assert found["dataflow.caption.money"] == pytest.approx(5 * 40e6 / 342_000)
    assert found["summarize.servers"] == 0


def test_texts_of_the_built_in_engine_count_as_a_server_would_make_them() -> None:
    rows = np.zeros((2, len(COLUMNS)))
    rows[:, -4:-2] = (1.0, 100.0)
    rows[:, COLUMNS.index("caption.requests")] = 4.0
    rows[:, COLUMNS.index("caption.processor_s")] = 99.0
    rows[:, COLUMNS.index("segment.processor_s")] = 1.0
    made = plan(Sample(rows, 0, {"caption": "builtin/tags"}), Target(1000, days=1.0), PRICES, resolve())
    assert made.figures["caption.output_tokens"].value == 1000 * 4 * 15
    assert made.figures["caption.machine_hours"].value == pytest.approx(1000 * 4 * 0.005 / 17_100)
    asked = plan(Sample(rows, 0, {"caption": "openai/m"}), Target(1000, days=1.0), PRICES, resolve())
    assert asked.figures["caption.output_tokens"].value == 0
    assert asked.figures["caption.machine_hours"].value == pytest.approx(1000 * 99 / 17_100)


def test_models_may_be_paid_by_the_token() -> None:
    by_token = PRICES.model_copy(
        update={"caption_input_million": 2.0, "caption_output_million": 10.0, "caption_flink_hour": 0.0}
    )
    given = means(caption__output_tokens=40, caption__input_tokens=400, segment__processor_s=1)
    found = figures(given, 0.0, Target(1_000_000, days=1.0), by_token, resolve())
    assert found["flink.caption.money"] == pytest.approx(400 * 2 + 40 * 10)
    assert found["flink.summarize.money"] == 0


def test_downloads_take_addresses_and_bandwidth() -> None:
    # 864,000 downloads of 20 s and 1 MB in 10 days: 20 at a time, 8 Mbit/s; two an address
    given = means(download__seconds=20, download__bytes=1e6, segment__processor_s=1)
    found = figures(given, 0.0, Target(864_000, days=10.0), PRICES, resolve())
    assert found["download.at_a_time"] == pytest.approx(20)
    assert found["download.addresses"] == 10
    assert found["download.bytes"] == pytest.approx(864e9)
    assert found["download.gbit_s"] == pytest.approx(0.008)


def test_storage_and_waves() -> None:
    # 864,000 videos in waves of 64: 13,500 times two stages of 18 s to start, 5.625 days; 5% of ten days is 43,200 s
    given = means(media=2e6, segment__processor_s=1)
    found = figures(given, 1e6, Target(864_000, days=10.0), PRICES, resolve())
    assert found["storage.media"] == pytest.approx(1728e9)
    assert found["storage.tables"] == pytest.approx(864e9)
    assert found["storage.month"] == pytest.approx(2592 / 2)
    assert found["flink.starting_days"] == pytest.approx(5.625)
    assert found["flink.wave_videos"] == 864_000 * 36 / 43_200
    assert found["dataflow.wave_videos"] == 10 * found["flink.wave_videos"]


def test_longer_videos_cost_more_in_proportion() -> None:
    given = means(segment__processor_s=17.1, media=2e6, clips=8, caption__output_tokens=40)
    short = figures(given, 1e6, Target(1000, days=1.0), PRICES, resolve())
    long = figures(given, 1e6, Target(1000, days=1.0, seconds=300.0), PRICES, resolve())
    for name in ("machine_hours", "storage.media", "storage.tables", "clips", "caption.server_hours", "flink.money"):
        assert long[name] == pytest.approx(3 * short[name]), name
    assert long["videos"] == short["videos"]


def test_one_failed_request_in_two_halves_the_results() -> None:
    rows = np.zeros((2, len(COLUMNS)))
    rows[0, COLUMNS.index("videos")], rows[0, COLUMNS.index("duration")] = 1.0, 100.0
    rows[:, COLUMNS.index("segment.processor_s")] = 1.0
    made = plan(Sample(rows, 100, {}), Target(1000, days=1.0, seconds=200.0), PRICES, resolve())
    assert made.figures["videos"].value == 500
    assert made.figures["machine_hours"].value == pytest.approx(2 * 1000 / 17_100)


def test_the_spread_is_that_of_means() -> None:
    random = np.random.default_rng(1)
    rows = np.zeros((400, len(COLUMNS)))
    rows[:, -4:-2] = (1.0, 100.0)
    at = COLUMNS.index("segment.processor_s")
    rows[:, at] = random.exponential(10.0, 400)
    drawn = resampled(rows)[:, at]
    assert drawn.std() == pytest.approx(rows[:, at].std() / 20, rel=0.1)  # the error of a mean of 400
    made = plan(Sample(rows, 0, {}), Target(1000, days=1.0), PRICES, resolve()).figures["machine_hours"]
    assert made.low < made.value < made.high
    half = 1.645 * rows[:, at].std() / 20 * 1000 / 17_100  # 90% of a normal distribution
    assert (made.high - made.low) / 2 == pytest.approx(half, rel=0.15)
    same = np.tile(rows.mean(axis=0), (10, 1))
    alike = plan(Sample(same, 0, {}), Target(1000, days=1.0), PRICES, resolve()).figures["machine_hours"]
    assert alike.low == pytest.approx(alike.high)


def test_bottlenecks_are_named() -> None:
    rows = np.zeros((2, len(COLUMNS)))
    rows[:, -4:-2] = (1.0, 100.0)
    rows[:, COLUMNS.index("download.seconds")] = 60.0
    rows[:, COLUMNS.index("segment.processor_s")] = 1.0
    rows[:, COLUMNS.index("caption.output_tokens")] = 400.0
    made = plan(Sample(rows, 0, {"caption": "openai/m"}), Target(20_000_000, days=30.0), PRICES, resolve())
    lines = "\n".join(made.bottlenecks)
    assert "downloads: 463 concurrent" in lines
    assert "from 232 addresses" in lines
    assert "money: 'caption' takes 98%" in lines
    assert "'caption' needs 3,086 output tokens per second" in lines
    assert "waves on flink: with 64 videos" in lines
    roomy = plan(Sample(rows, 0, {}), Target(20_000, days=30.0), PRICES, resolve(None, ["run.wave_videos=1000"]))
    assert "waves" not in "\n".join(roomy.bottlenecks)


def test_a_sample_is_read_from_the_usage_table(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data", videos=3)
    with pytest.raises(DatasetError, match="older vidla"):
        measure([dataset])  # its rows have no processor seconds


def test_a_stage_counts_at_what_it_costs_to_do_not_at_its_cheapest_redo(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data", videos=2)
    runs = [  # the model, texts asked for, bytes of media read, and processor seconds
        ("another", 9, 10, 30.0),
        ("tags", 4, 10, 40.0),
        ("tags", 1, 0, 1.0),  # another tiling: no media is decoded, and one new frame is captioned
        ("tags", 0, 0, 0.5),
    ]
    for number, (model, asked, size, processor_s) in enumerate(runs):
        rows = [
            dataclasses.replace(
                usage_of(video, stage),
                processor_s=processor_s,
                requests=asked * (stage in TEXT_STAGES),
                bytes=size * (stage not in TEXT_STAGES),
                model=model if stage in TEXT_STAGES else None,
                engine="openai" if stage in TEXT_STAGES else None,
            )
            for video in range(2)
            for stage in Stage
        ]
        with Writer(dataset, f"run-{number}", {}) as writer:
            old = frozenset({("run-1",)}) if number == 0 else frozenset[tuple[str, ...]]()
            parts = frozenset(dataset.live_parts("usage"))
            commit_rows(writer, f"run-{number}", {"usage": rows}, [Replacement("usage", ("run_id",), old, parts)])
    sample = measure([dataset])
    spent = dict(zip(COLUMNS, sample.rows.sum(axis=0), strict=True))
    assert (spent["segment.processor_s"], spent["download.processor_s"]) == (80, 80)
    assert (spent["caption.requests"], spent["caption.processor_s"]) == (8, 80)
    assert spent["videos"] == 2
    assert sample.engines["caption"] == "openai/tags"


def test_the_prices_in_the_docs_are_the_defaults() -> None:
    text = (ROOT / "docs" / "prices.toml").read_text()
    assert Prices(**tomllib.loads(text)) == Prices()
    for name, _, description in fields(Prices()):
        assert f"# {description}\n{name} = " in text


@pytest.mark.parametrize("columns", [120, 80, 60])
def test_a_plan_fits_the_terminal(columns: int) -> None:
    target = Target(20_000_000, days=60.0)
    sample = Sample(np.random.default_rng(3).gamma(0.3, 30.0, (6, len(COLUMNS))), 10**6, {})
    forecast = plan(sample, target, PRICES, resolve())
    with (console := Console(width=columns)).capture() as shown:
        show_plan(console, sample, target, PRICES, forecast)
    lines = shown.get().splitlines()
    assert max(map(len, lines)) <= columns
    below = lines[next(n for n, line in enumerate(lines) if line.startswith("machines")) + 1]
    assert ("–" in below) == (columns >= 80)
    assert not any(heading in line for line in lines for heading in ("downloa ", "machine-"))


@pytest.mark.slow
def test_a_plan_from_a_real_sample(
    tmp_path: Path, videos: list[Path], vidla: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    data = tmp_path / "data"
    gone = tmp_path / "list.txt"
    gone.write_text("https://127.0.0.1:1/gone.mp4\n")
    made = vidla("curate", videos[0].parent, gone, "--dataset", data, "--set", "download.attempts=1")
    assert made.returncode == 0, made.stderr
    sample = measure([Dataset(str(data))])
    assert sample.rows.shape == (4, len(COLUMNS))
    spent = dict(zip(COLUMNS, sample.rows.T, strict=True))
    assert spent["videos"].tolist().count(1.0) == 3
    assert spent["duration"].sum() == pytest.approx(15 + 27 + 48, abs=1.0)
    assert sorted(spent["segment.processor_s"])[1] > 0.05, "the child's processor time counts"
    assert sorted(spent["download.bytes"])[1:] == sorted(path.stat().st_size for path in videos)
    stored = sum(path.stat().st_size for path in data.glob("media/*/*"))
    assert spent["media"].sum() == stored

    planned = vidla("plan", "--videos", "20000000", "--dataset", data, "--seconds", "327", "--json")
    assert planned.returncode == 0, planned.stderr
    answer = json.loads(planned.stdout)
    assert answer["figures"]["videos"][0] == 15_000_000
    assert answer["figures"]["days"] == [30.0, 30.0, 30.0]
    low, high = answer["figures"]["flink.money"][1:]
    assert 0 < low < answer["figures"]["flink.money"][0] < high
    hours = spent["segment.processor_s"].mean() * 20e6 * 327 / (spent["duration"].sum() / 3) / (3600 * 16 * 0.85 * 0.95)
    assert answer["figures"]["segment.machine_hours"][0] == pytest.approx(hours)

    table = vidla("plan", "--videos", "20000000", "--dataset", data, "--machines", "100")
    assert table.returncode == 0
    for word in ("download", "segment", "caption", "summarize", "flink", "dataflow", "Bottlenecks", "Assumed"):
        assert word in table.stdout
    prices = tmp_path / "prices.toml"
    prices.write_text("flink_hours = 1.0\n")
    wrong = vidla("plan", "--videos", "10", "--dataset", data, "--prices", prices)
    assert (wrong.returncode, wrong.stderr) == (2, "vidla: unknown key 'flink_hours'; did you mean 'flink_hour'?\n")
    both = vidla("plan", "--videos", "10", "--dataset", data, "--days", "3", "--machines", "3")
    assert (both.returncode, both.stderr) == (
        2,
        "vidla: give --days or --machines, not both: each determines the other\n",
    )
    nowhere = vidla("plan", "--videos", "10", "--dataset", tmp_path / "nowhere")
    assert nowhere.returncode == 1
    assert nowhere.stderr.startswith("vidla: no vidla dataset at ")


def test_a_stage_that_was_not_run_is_reported(tmp_path: Path) -> None:
    dataset = Dataset(str(tmp_path / "data"))
    with Writer(dataset, "r", {}), pytest.raises(DatasetError, match="has no usage of 'download'"):
        measure([dataset])
