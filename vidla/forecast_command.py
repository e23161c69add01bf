"""`vidla plan`: an estimate of the time and cost of a large run, from a sample that has been curated."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from curation.dataset.dataset import Dataset
from curation.errors import UsageError
from curation.forecast import Figure, Forecast, Sample, Target, as_json, assumed, measure
from curation.forecast import plan as make_plan
from curation.prices import RUNNERS, TEXT_STAGES, Prices, read_prices
from curation.rejects import Stage
from curation.settings import resolve
from vidla.console import new_table, wide_console
from vidla.options import PricesOption

DAYS = 30.0
BOUNDS_WIDTH = 78  # columns that the table takes with the bounds of its figures


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
    show_plan(wide_console(), sample, target, costs, forecast)


def show_plan(console: Console, sample: Sample, target: Target, prices: Prices, forecast: Forecast) -> None:
    """Print a plan, in the columns that there are: below BOUNDS_WIDTH, the table is without bounds."""
    f = forecast.figures
    _print(
        console,
        f"{target.videos:,} requested videos, {short(f['videos'])} of them curated, {short(f['clips'])} clips; "
        f"estimated from {sample.count:,} requests, with 90% intervals in brackets, or below a figure",
    )
    console.print(_stages(forecast, prices.currency, _cell if console.width >= BOUNDS_WIDTH else _value))
    for line in _totals(forecast, prices.currency):
        _print(console, line, indent=10)
    for heading, lines in (("Bottlenecks", forecast.bottlenecks), ("Assumed", assumed(sample, target, prices))):
        console.print(f"[bold]{heading}[/]")
        for line in lines:
            _print(console, f"- {line}", indent=2)


def _print(console: Console, line: str, indent: int = 0) -> None:
    """Print a line, in as many as the terminal needs; those after the first begin further right."""
    folded = textwrap.fill(line, console.width, subsequent_indent=" " * indent, break_on_hyphens=False)
    console.print(folded, highlight=False, soft_wrap=True, markup=False)


def _stages(forecast: Forecast, currency: str, cell: Callable[[Figure], str]) -> Table:
    """A row for each figure, a column for each stage and one for all."""
    f, stages = forecast.figures, tuple(Stage)
    table = new_table("", *stages, "all", numbers=len(stages) + 1)
    table.padding = (0, 2, 0, 0)
    for heading, name in (("machines", "machines"), ("machine\nhours", "machine_hours")):
        table.add_row(heading, *(cell(f[f"{stage}.{name}"]) for stage in stages), cell(f[name]))
    for heading, name in (("servers", "servers"), ("server\nhours", "server_hours")):
        table.add_row(heading, *(cell(f[f"{s}.{name}"]) if s in TEXT_STAGES else "–" for s in stages), "")
    for runner in RUNNERS:
        money = [cell(f[f"{runner}.{stage}.money"]) for stage in stages]
        table.add_row(f"{runner},\n{currency}", *money, cell(f[f"{runner}.money"]))
    return table


def _cell(figure: Figure) -> str:
    """A figure, and its bounds in a line below."""
    value, low, high = (_digits(v) for v in (figure.value, figure.low, figure.high))
    return value if low == high == value else f"{value}\n{low}–{high}"


def _value(figure: Figure) -> str:
    return _digits(figure.value)


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
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}" if value >= 0.1 or not value else f"{value:.2g}"
