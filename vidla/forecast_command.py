"""`vidla plan`: what many videos will take, from what a sample took."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from curation.config import check, merge, read
from curation.dataset.dataset import Dataset
from curation.errors import UsageError
from curation.forecast import RUNNERS, TEXTS, Figure, Forecast, Prices, Target, as_json, assumed, measure
from curation.forecast import plan as make_plan
from curation.rejects import Stage
from curation.settings import resolve
from vidla.console import new_table, wide_console

DAYS = 30.0


def plan(
    videos: Annotated[int, typer.Option("--videos", min=1, help="how many are to be curated")],
    datasets: Annotated[list[str], typer.Option("--dataset", metavar="DIR", help="a sample, made whole; repeatable")],
    config: Annotated[Path | None, typer.Option("--config", metavar="FILE", help="the run's configuration")] = None,
    prices: Annotated[Path | None, typer.Option("--prices", metavar="FILE", help="as docs/prices.toml")] = None,
    days: Annotated[float | None, typer.Option("--days", min=0.01, help="by when; 30, unless --machines")] = None,
    machines: Annotated[int | None, typer.Option("--machines", min=1, help="with so many for media")] = None,
    seconds: Annotated[
        float | None, typer.Option("--seconds", min=0.1, help="mean duration of the videos, if not the sample's")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="one JSON object")] = False,
) -> None:
    """Say what a large run will take: machines, hours, money, storage, requests, by stage, on Flink and on Dataflow.

    From the unit costs in the `usage` table of a sample that `vidla curate` has made, with their spread.

    Example: vidla plan --videos 20000000 --dataset data/sample --config vidla.toml --prices prices.toml --days 60
    """
    if days is not None and machines is not None:
        raise UsageError("give --days or --machines: the other one follows")
    paid = check(Prices, merge(Prices().model_dump(), read(prices, ())))
    wish = Target(videos, None if machines else days or DAYS, machines, seconds)
    sample = measure([Dataset(location) for location in datasets])
    made = make_plan(sample, wish, paid, resolve(config))
    if json_:
        typer.echo(json.dumps(as_json(sample, wish, paid, made)))
        return
    console = wide_console()
    f = made.figures
    console.print(
        f"{videos:,} videos asked for, {short(f['videos'])} of them made, {short(f['clips'])} clips, by what "
        f"{sample.count:,} requests took; in brackets, where 90% of resampled samples lie",
        highlight=False,
    )
    console.print(_stages(made, paid.currency))
    for line in _totals(made, paid.currency):
        console.print(line, highlight=False, soft_wrap=True)
    for heading, lines in (("Bottlenecks", made.bottlenecks), ("Assumed", assumed(sample, wish, paid))):
        console.print(f"[bold]{heading}[/]")
        for line in lines:
            console.print(f"- {line}", highlight=False, soft_wrap=True, markup=False)


def _stages(made: Forecast, currency: str) -> Table:
    f = made.figures
    table = new_table("stage", "machines", "machine-hours", "servers", "server-hours", *RUNNERS, numbers=6)
    for stage in Stage:
        servers = [short(f[f"{stage}.{name}"]) if stage in TEXTS else "–" for name in ("servers", "server_hours")]
        hours = [short(f[f"{stage}.{name}"]) for name in ("machines", "machine_hours")]
        table.add_row(stage, *hours, *servers, *(short(f[f"{runner}.{stage}.money"]) for runner in RUNNERS))
    money = [f"{short(f[f'{runner}.money'])} {currency}" for runner in RUNNERS]
    table.add_row("all", short(f["machines"]), short(f["machine_hours"]), "", "", *money)
    return table


def _totals(made: Forecast, currency: str) -> Iterator[str]:
    f = made.figures
    yield f"time      {short(f['days'])} days"
    yield f"download  {short(f['download.bytes'], 1e12)} TB, {short(f['download.gbit_s'])} Gbit/s all the time"
    for stage in TEXTS:
        asked, went_in, came_out = (f[f"{stage}.{name}"] for name in ("requests", "input_tokens", "output_tokens"))
        yield (f"{stage:9} {short(asked)} requests for texts, {short(went_in)} tokens in, {short(came_out)} tokens out")
    media, tables = short(f["storage.media"], 1e12), short(f["storage.tables"], 1e12)
    yield f"storage   media {media} TB, tables {tables} TB, {short(f['storage.month'])} {currency} a month"


def short(figure: Figure, unit: float = 1.0) -> str:
    """A figure with its bounds, in units of `unit`, three digits each."""
    value, low, high = (_digits(v / unit) for v in (figure.value, figure.low, figure.high))
    return value if low == high == value else f"{value} ({low}–{high})"


def _digits(value: float) -> str:
    for size, name in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if value >= size:
            return f"{value / (1e3 if name == 'k' else size):.3g}{name}"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
