"""A forecast for many videos from a sample: machines, hours, money, storage, requests.

Pure arithmetic. A sample is a matrix with one row per request and one column per quantity; every figure of a forecast
is a function of the column means. It is computed from the means, and again from the means of samples drawn from the
sample (bootstrap), which gives each figure a 90% interval. That is the spread between videos; assumptions have none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from curation.dataset.dataset import Dataset
from curation.errors import DatasetError
from curation.prices import RUNNERS, STARTING_SHARE, TEXT_STAGES, Prices
from curation.rejects import Stage
from curation.schema import TABLES
from curation.settings import Settings

MEASURES = ("processor_s", "seconds", "requests", "input_tokens", "output_tokens", "bytes")
COLUMNS = (*(f"{stage}.{measure}" for stage in Stage for measure in MEASURES), "videos", "duration", "media", "clips")
SPENT = ("processor_s", "input_tokens", "output_tokens")  # what has a price
JOBS_PER_WAVE = 2  # on the critical path: a wave's texts are made during the next wave's media
DRAWS = 1000
Array = npt.NDArray[np.float64]


# --- the sample -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sample:
    """The measurements: `rows` has one row for each of n requests and one column for each of COLUMNS.

    `tables` is the bytes of all Parquet parts; `engines` names the engines by stage.
    """

    rows: Array  # (n, columns)
    tables: int
    engines: Mapping[str, str]

    @property
    def count(self) -> int:
        return len(self.rows)


_USAGE_QUERY = """
    select
        coalesce(downloads.request_key, usage.key) as request, usage.stage, {measures}, made_by
    from (
        select *, row_number() over (
            partition by stage, key order by bytes > 0 desc, made_by = newest desc, requests desc, created_at desc
        ) as nth
        from (
            select *, coalesce(engine || '/' || model, '') as made_by, first_value(made_by) over (
                partition by stage, key order by requests > 0 desc, created_at desc
            ) as newest
            from usage
        )
    ) as usage
    left join (select video_id, min(request_key) as request_key from downloads group by video_id) as downloads
        on usage.stage <> 'download' and downloads.video_id = usage.key
    where nth = 1"""

_VIDEOS_QUERY = """
    select downloads.request_key as request, 1 as videos, duration, media_bytes as media, coalesce(n, 0) as clips
    from videos
    join (select video_id, min(request_key) as request_key from downloads group by video_id) as downloads
        using (video_id)
    left join (select video_id, count(*) as n from clips group by video_id) using (video_id)"""


def measure(datasets: Sequence[Dataset]) -> Sample:
    """The cost of every stage for every request of `datasets`, from their `usage`. Raises DatasetError.

    A repeated stage counts once, at what it costs to do: the last time that it read media; for texts, the time at which
    the last model was asked for the most.
    """
    rows: list[Array] = []
    engines: dict[str, set[str]] = {}
    for dataset in datasets:
        requests = dataset.read("requests", ["request_key"])["request_key"].to_pylist()
        found = np.zeros((len(requests), len(COLUMNS)))
        number = {key: at for at, key in enumerate(requests)}
        for row in dataset.sql(_USAGE_QUERY.format(measures=", ".join(MEASURES))).to_pylist():
            if row["processor_s"] is None:
                raise DatasetError(f"{dataset.uri} was made by an older vidla, which did not measure processor time")
            if row["request"] not in number:
                continue
            for name in MEASURES:
                found[number[row["request"]], COLUMNS.index(f"{row['stage']}.{name}")] += row[name]
            engines.setdefault(row["stage"], set()).update({row["made_by"]} - {""})
        for row in dataset.sql(_VIDEOS_QUERY).to_pylist():
            found[number[row["request"]], -4:] += [row[name] for name in COLUMNS[-4:]]
        rows.append(found)
    sample = Sample(
        np.concatenate(rows),
        sum(part.size for dataset in datasets for table in TABLES for part in dataset.live_parts(table).values()),
        {stage: ", ".join(sorted(names)) for stage, names in engines.items() if names},
    )
    where = " and ".join(dataset.uri for dataset in datasets)
    for stage in Stage:
        if not sample.rows[:, COLUMNS.index(f"{stage}.seconds")].any():
            raise DatasetError(f"{where} has no usage of '{stage}': a sample must be curated end to end")
    if sample.count < 2:
        raise DatasetError(f"{where} has one request: at least two are needed for a spread")
    return sample


def resampled(rows: Array, draws: int = DRAWS, seed: int = 0) -> Array:
    """Column means of samples of the same size, drawn from `rows` with replacement: (draws, columns)."""
    random = np.random.default_rng(seed)
    return np.stack([rows[random.integers(len(rows), size=len(rows))].mean(axis=0) for _ in range(draws)])


# --- the plan -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Target:
    """The number of videos, and either days or machines; `seconds` is their mean length, by default the sample's."""

    videos: int
    days: float | None = None
    machines: int | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Figure:
    """A value, and the bounds of 90% of the resampled ones."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Forecast:
    """Figures by name (`flink.download.money`, …), and bottlenecks, one line each."""

    figures: Mapping[str, Figure]
    bottlenecks: Sequence[str]


def plan(sample: Sample, target: Target, prices: Prices, settings: Settings) -> Forecast:
    """The forecast for `target`, from the means of `sample`."""
    rows, tables = served(sample, prices), sample.tables / sample.count
    means = dict(zip(COLUMNS, rows.mean(axis=0)[:, None], strict=True))
    drawn = dict(zip(COLUMNS, resampled(rows).T, strict=True))
    values = figures(means, tables, target, prices, settings)
    spread = figures(drawn, tables, target, prices, settings)
    bounds = {name: np.quantile(spread[name], (0.05, 0.95)) for name in values}
    all_figures = {name: Figure(float(v[0]), *map(float, bounds[name])) for name, v in values.items()}
    return Forecast(all_figures, bottlenecks(all_figures, settings))


def served(sample: Sample, prices: Prices) -> Array:
    """The sample's rows as if servers had made all texts: assumed costs replace those of the built-in engine."""
    rows = sample.rows.copy()
    for stage in TEXT_STAGES:
        if is_builtin(sample, stage):
            requests = rows[:, COLUMNS.index(f"{stage}.requests")]
            rows[:, COLUMNS.index(f"{stage}.output_tokens")] = requests * getattr(prices, f"{stage}_tokens")
            rows[:, COLUMNS.index(f"{stage}.processor_s")] = requests * prices.request_processor_s
    return rows


def is_builtin(sample: Sample, stage: str) -> bool:
    return sample.engines.get(stage, "").startswith("builtin")


def figures(
    means: Mapping[str, Array], tables: float, target: Target, prices: Prices, settings: Settings
) -> dict[str, Array]:
    """Every figure of a forecast, elementwise: `means` has the means per request of k samples, (k,), by column.

    `tables` is the bytes of Parquet per request.
    """
    duration, videos = means["duration"], means["videos"]
    seconds = duration if target.seconds is None else target.seconds * videos
    longer = np.divide(seconds, duration, out=np.ones_like(duration), where=duration > 0)
    total = {name: target.videos * mean * longer for name, mean in means.items() if name not in ("videos", "duration")}
    found: dict[str, Array] = {"videos": target.videos * videos, "clips": total["clips"]}
    for stage in Stage:
        found[f"{stage}.machine_hours"] = prices.machine_hours(total[f"{stage}.processor_s"])
    machine_hours = sum((found[f"{stage}.machine_hours"] for stage in Stage), np.zeros(1))
    hours = (
        machine_hours / target.machines if target.machines else np.full_like(machine_hours, 24 * (target.days or 0.0))
    )
    found |= {"days": hours / 24, "machine_hours": machine_hours, "machines": np.ceil(machine_hours / hours)}
    for stage in Stage:
        found[f"{stage}.machines"] = found[f"{stage}.machine_hours"] / hours
    for stage in TEXT_STAGES:
        for name in ("requests", "input_tokens", "output_tokens"):
            found[f"{stage}.{name}"] = total[f"{stage}.{name}"]
        found[f"{stage}.server_hours"] = prices.server_hours(stage, total[f"{stage}.output_tokens"])
        found[f"{stage}.servers"] = np.ceil(found[f"{stage}.server_hours"] / hours)
    for runner in RUNNERS:
        for stage in Stage:
            spent, sent, received = (total[f"{stage}.{name}"] for name in SPENT)
            found[f"{runner}.{stage}.money"] = prices.money(stage, spent, sent, received, runner)
        found[f"{runner}.money"] = sum((found[f"{runner}.{stage}.money"] for stage in Stage), np.zeros(1))
        starting_s = JOBS_PER_WAVE * getattr(prices, f"{runner}_start_s")
        found[f"{runner}.wave_videos"] = np.ceil(target.videos * starting_s / (STARTING_SHARE * hours * 3600))
        found[f"{runner}.starting_days"] = target.videos / settings.run.wave_videos * starting_s / 86400 + 0 * hours
    found["download.bytes"] = total["download.bytes"]
    found["download.gbit_s"] = total["download.bytes"] * 8 / 1e9 / (hours * 3600)
    found["download.at_a_time"] = total["download.seconds"] / (hours * 3600)
    found["download.addresses"] = np.ceil(found["download.at_a_time"] / settings.download.per_host)
    found["storage.media"] = total["media"]
    found["storage.tables"] = target.videos * tables * longer + 0 * hours
    found["storage.month"] = (found["storage.media"] + found["storage.tables"]) / 1e9 * prices.storage_gb_month
    return found


def bottlenecks(found: Mapping[str, Figure], settings: Settings) -> list[str]:
    """The limits and the largest costs of the plan, one line each."""
    lines = []
    at_a_time, addresses = found["download.at_a_time"].value, found["download.addresses"].value
    lines.append(
        f"downloads: {at_a_time:,.0f} concurrent; if one site has all videos and allows "
        f"{settings.download.per_host} per address (download.per_host), from {addresses:,.0f} addresses"
    )
    money = {stage: found[f"flink.{stage}.money"].value for stage in Stage}
    dearest = max(money, key=lambda stage: money[stage])
    share = money[dearest] / (found["flink.money"].value or 1.0)
    lines.append(f"money: '{dearest}' takes {share:.0%}")
    for stage in TEXT_STAGES:
        rate = found[f"{stage}.output_tokens"].value / (found["days"].value * 86400)
        lines.append(f"texts: '{stage}' needs {rate:,.0f} output tokens per second throughout")
    for runner in RUNNERS:
        needed, days = found[f"{runner}.wave_videos"].value, found[f"{runner}.starting_days"].value
        if needed > settings.run.wave_videos:
            lines.append(
                f"waves on {runner}: with {settings.run.wave_videos} videos (run.wave_videos) they would spend "
                f"{days:,.0f} days on starting; with {needed:,.0f} it is below {STARTING_SHARE:.0%}, as assumed here"
            )
    return lines


def assumed(sample: Sample, target: Target, prices: Prices) -> list[str]:
    """The assumptions of a plan, one line each."""
    lines = [
        f"prices and speeds of machines as of {prices.as_of}, from the prices file or our rough defaults",
        "that a processor of these machines is as fast as one of those that curated the sample",
        f"that {prices.utilisation:.0%} of the processors are kept busy",
        "that the list resembles the sample: the same share of rejects, the same sites",
    ]
    if target.seconds is not None:
        lines.append("that every cost is proportional to a video's duration")
    for stage in TEXT_STAGES:
        rate, tokens = getattr(prices, f"{stage}_tokens_s"), getattr(prices, f"{stage}_tokens")
        lines.append(f"that a server for '{stage}' generates {rate:,.0f} output tokens per second ({stage}_tokens_s)")
        if is_builtin(sample, stage):
            lines.append(
                f"that a server, instead of the built-in engine, generates {tokens:g} tokens per request of '{stage}', "
                f"each taking {prices.request_processor_s:g} s of our processors; input tokens are as in the sample"
            )
    return lines


def as_json(sample: Sample, target: Target, prices: Prices, forecast: Forecast) -> dict[str, Any]:
    """The plan as a JSON object."""
    return {
        "videos": target.videos,
        "sample": {"requests": sample.count, "engines": dict(sample.engines)},
        "figures": {name: [f.value, f.low, f.high] for name, f in forecast.figures.items()},
        "bottlenecks": list(forecast.bottlenecks),
        "assumed": assumed(sample, target, prices),
        "prices": prices.model_dump(mode="json"),
    }
