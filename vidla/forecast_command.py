"""`vidla plan`: an estimate of the time and cost of a large run, from a sample that has been curated."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from curation.dataset.dataset import Dataset
from curation.errors import UsageError
from curation.forecast import Figure, Forecast, Target, as_json, assumed, measure
from curation.forecast import plan as make_plan
from curation.prices import RUNNERS, TEXT_STAGES, read_prices
from curation.rejects import Stage
from curation.settings import resolve
from vidla.console import new_table, wide_console
from vidla.options import PricesOption

DAYS = 30.0


def plan(
    videos: Annotated[int, typer.Option("--videos", metavar="N", min=1, help="number of videos to curate")],
    datasets: Annotated[
        list[str],
        typer.Option("--dataset", metavar="DIR", help="a sample that has been curated end to end; repeatable"),
    ],
    config: Annotated[
        Path | None, typer.Option("--config", metavar="FILE", help="the configuration of the run")
    ] = None,
    prices: PricesOption = None,
    days: Annotated[
        float | None, typer.Option("--days", metavar="DAYS", min=0.01, help="days available; 30 without --machines")
    ] = None,
    machines: Annotated[
        int | None, typer.Option("--machines", metavar="N", min=1, help="number of machines for media")
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option(
            "--seconds", metavar="SECONDS", min=0.1, help="mean duration of a video; the sample's if not given"
        ),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> None:
    """Estimate a large run: machines, hours, money, storage and requests, by stage, on Flink and on Dataflow.

    Scales up the costs in the `usage` table of a sample, and shows how far they vary from video to video.

    Example: vidla plan --videos 20000000 --dataset data/sample --config vidla.toml --prices prices.toml --days 60
    """
    if days is not None and machines is not None:
        raise UsageError("give --days or --machines, not both: each determines the other")
    costs = read_prices(prices)
    target = Target(videos, None if machines else days or DAYS, machines, seconds)
    sample = measure([Dataset(location) for location in datasets])
    forecast = make_plan(sample, target, costs, resolve(config))
    if json_:
        typer.echo(json.dumps(as_json(sample, target, costs, forecast)))
        return
    console = wide_console()
    f = forecast.figures
    console.print(
        f"{videos:,} requested videos, {short(f['videos'])} of them curated, {short(f['clips'])} clips; estimated from "
        f"{sample.count:,} requests, with 90% intervals in brackets",
        highlight=False,
    )
    console.print(_stages(forecast, costs.currency))
    for line in _totals(forecast, costs.currency):
        console.print(line, highlight=False, soft_wrap=True)
    for heading, lines in (("Bottlenecks", forecast.bottlenecks), ("Assumed", assumed(sample, target, costs))):
        console.print(f"[bold]{heading}[/]")
        for line in lines:
            console.print(f"- {line}", highlight=False, soft_wrap=True, markup=False)


def _stages(forecast: Forecast, currency: str) -> Table:
    f = forecast.figures
    table = new_table("stage", "machines", "machine-hours", "servers", "server-hours", *RUNNERS, numbers=6)
    for stage in Stage:
        servers = [short(f[f"{stage}.{name}"]) if stage in TEXT_STAGES else "–" for name in ("servers", "server_hours")]
        hours = [short(f[f"{stage}.{name}"]) for name in ("machines", "machine_hours")]
        table.add_row(stage, *hours, *servers, *(short(f[f"{runner}.{stage}.money"]) for runner in RUNNERS))
    money = [f"{short(f[f'{runner}.money'])} {currency}" for runner in RUNNERS]
    table.add_row("all", short(f["machines"]), short(f["machine_hours"]), "", "", *money)
    return table


def _totals(forecast: Forecast, currency: str) -> Iterator[str]:
    f = forecast.figures
    yield f"time      {short(f['days'])} days"
    yield f"download  {short(f['download.bytes'], 1e12)} TB, {short(f['download.gbit_s'])} Gbit/s sustained"
    for stage in TEXT_STAGES:
        requests, sent, received = (f[f"{stage}.{name}"] for name in ("requests", "input_tokens", "output_tokens"))
        yield (f"{stage:9} {short(requests)} requests for texts, {short(sent)} tokens in, {short(received)} tokens out")
    media, tables = short(f["storage.media"], 1e12), short(f["storage.tables"], 1e12)
    yield f"storage   media {media} TB, tables {tables} TB, {short(f['storage.month'])} {currency} a month"


def short(figure: Figure, unit: float = 1.0) -> str:
    """A figure with its bounds, in units of `unit`, with three digits.

    >>> short(Figure(1234.0, 1200.0, 1300.0)), short(Figure(2e12, 2e12, 2e12), unit=1e12)
    ('1,234 (1,200–1,300)', '2')
    """
    value, low, high = (_digits(v / unit) for v in (figure.value, figure.low, figure.high))
    return value if low == high == value else f"{value} ({low}–{high})"


def _digits(value: float) -> str:
    for size, name in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if value >= size:
            return f"{value / (1e3 if name == 'k' else size):.3g}{name}"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
