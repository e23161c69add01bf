"""What a dataset has cost so far, by its table `usage`, and what more work on it can be expected to cost.

Texts of the built-in engine cost processor time alone; those of a served model also what its tokens cost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from curation.dataset.dataset import Dataset
from curation.prices import Prices
from curation.rejects import Stage
from curation.schema import TABLES
from curation.settings import EngineSettings, Settings

BUILTIN = "builtin"
_SPENT = """
    select
        run_id, stage, coalesce(engine, '') as engine, coalesce(model, '') as model, count(*) as items,
        sum(requests)::bigint as requests, sum(input_tokens)::bigint as input_tokens,
        sum(output_tokens)::bigint as output_tokens, coalesce(sum(processor_s), 0.0) as processor_s,
        sum(seconds) as seconds
    from usage group by run_id, stage, usage.engine, usage.model order by min(created_at), stage, model"""


@dataclass(frozen=True)
class Spending:
    """What one run spent on one stage, with one engine and model if it made texts; times are sums over items."""

    run_id: str
    stage: str
    engine: str
    model: str
    items: int
    requests: int
    input_tokens: int
    output_tokens: int
    processor_s: float
    seconds: float

    def money(self, prices: Prices) -> float:
        served = float(self.engine not in ("", BUILTIN))
        return prices.money(self.stage, self.processor_s, served * self.input_tokens, served * self.output_tokens)


def spent(dataset: Dataset) -> list[Spending]:
    """All that was spent on `dataset`, the oldest run first."""
    return [Spending(**row) for row in dataset.sql(_SPENT).to_pylist()]


def stored_bytes(dataset: Dataset) -> int:
    """The bytes of stored media and of the tables, without superseded files."""
    (media,) = dataset.sql("select coalesce(sum(media_bytes), 0)::bigint as bytes from videos").to_pylist()
    parts = (part for table in TABLES for part in dataset.live_parts(table).values())
    return int(media["bytes"]) + sum(part.size for part in parts)


# --- forecasts ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Workload:
    """Work to do: numbers of media to fetch and to decode, and of texts to make."""

    downloads: float = 0.0
    segmentations: float = 0.0
    captions: float = 0.0
    summaries: float = 0.0

    def by_stage(self) -> dict[Stage, float]:
        return dict(zip(Stage, (self.downloads, self.segmentations, self.captions, self.summaries), strict=True))


@dataclass(frozen=True)
class Unit:
    """The mean cost of one piece of work: of a download or a segmentation, or of a request for a text."""

    processor_s: float
    input_tokens: float = 0.0
    output_tokens: float = 0.0
    served: bool = False

    def money(self, stage: str, prices: Prices) -> float:
        return prices.money(stage, self.processor_s, self.served * self.input_tokens, self.served * self.output_tokens)


_UNITS = """
    select
        stage, coalesce(engine, '') as engine, coalesce(model, '') as model,
        avg(coalesce(processor_s, 0.0)) filter (bytes > 0) as media_s,
        sum(coalesce(processor_s, 0.0)) / nullif(sum(requests), 0) as request_s,
        sum(input_tokens) / nullif(sum(requests), 0) as input_tokens,
        sum(output_tokens) / nullif(sum(requests), 0) as output_tokens, sum(requests) as requests
    from usage where bytes > 0 or requests > 0 group by usage.stage, usage.engine, usage.model"""


def unit_costs(dataset: Dataset, settings: Settings) -> dict[Stage, Unit]:
    """The unit costs of each stage that `dataset` is a sample of, with the engines of `settings`.

    Of a model that has made no text yet, another served one stands in for it.
    """
    rows = dataset.sql(_UNITS).to_pylist()
    units: dict[Stage, Unit] = {}
    for row in rows:
        if row["media_s"] is not None and row["stage"] in (Stage.DOWNLOAD, Stage.SEGMENT):
            units[Stage(row["stage"])] = Unit(row["media_s"])
    for stage, engine in ((Stage.CAPTION, settings.captions.engine), (Stage.SUMMARIZE, settings.summaries.engine)):
        asked = [row for row in rows if row["stage"] == stage and row["requests"]]
        if found := max(asked, key=lambda row: (*_likeness(row, engine), row["requests"]), default=None):
            served = found["engine"] != BUILTIN
            if served == (engine.kind != BUILTIN):
                units[stage] = Unit(found["request_s"], found["input_tokens"], found["output_tokens"], served)
    return units


def _likeness(row: Mapping[str, object], engine: EngineSettings) -> tuple[bool, bool, bool]:
    """How well a row's costs stand for those of an engine."""
    return (
        (row["engine"] == BUILTIN) == (engine.kind == BUILTIN),
        row["engine"] == engine.kind,
        row["model"] == engine.model,
    )


@dataclass(frozen=True)
class Expected:
    """What some work can be expected to cost; `unknown` are its stages without a sample."""

    input_tokens: float
    output_tokens: float
    machine_hours: float
    money: float
    unknown: tuple[Stage, ...]

    def line(self, prices: Prices) -> str:
        """In one line; empty if nothing is known."""
        if not self.money and self.unknown:
            return ""
        without = f", not counting {', '.join(self.unknown)} (none done yet)" if self.unknown else ""
        return (
            f"about {self.input_tokens:,.0f} tokens in, {self.output_tokens:,.0f} out, {self.machine_hours:.2g} "
            f"machine-hours, {self.money:,.2f} {prices.currency}{without}"
        )


def expected(work: Workload, units: Mapping[Stage, Unit], prices: Prices) -> Expected:
    """What `work` costs at these units' costs."""
    known = [(stage, count, units[stage]) for stage, count in work.by_stage().items() if stage in units]
    return Expected(
        sum(count * unit.input_tokens for _, count, unit in known),
        sum(count * unit.output_tokens for _, count, unit in known),
        prices.machine_hours(sum((count * unit.processor_s for _, count, unit in known), 0.0)),
        sum((count * unit.money(stage, prices) for stage, count, unit in known), 0.0),
        tuple(stage for stage, count in work.by_stage().items() if count and stage not in units),
    )
