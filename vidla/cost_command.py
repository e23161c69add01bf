"""`vidla cost`: what a dataset has cost so far, what its pending work will take, and the price of its clips."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from curation.dataset.dataset import Dataset
from vidla.dataset_commands import existing
from vidla.options import DatasetArgument, PricesOption

if TYPE_CHECKING:
    from rich.table import Table

    from curation.cost import Expected, Spending
    from curation.prices import Prices
    from pipelines.driver.plan import Plan

_SHOWN = 20  # of the runs
_SUMS = ("requests", "input_tokens", "output_tokens", "processor_s", "seconds")


def cost(
    dataset: DatasetArgument,
    prices: PricesOption = None,
    json_: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> None:
    """Show what a dataset has cost so far by stage, model and run, and what its pending work will take.

    At last, the price of 1,000 clips that are kept, with the storage of a month. Money is at your prices for machines
    of a cluster and for servers, wherever the work was done.

    Example: vidla cost data/talks --prices prices.toml
    """
    from curation.cost import spent, stored_bytes
    from curation.dataset.rehearsal import RehearsedDataset
    from curation.prices import read_prices
    from pipelines.driver.outlook import pending
    from vidla.console import wide_console

    figures, source = read_prices(prices), RehearsedDataset(existing(Dataset(dataset)).uri)
    found = spent(source)
    plan, expected = pending(source, figures) or (None, None)
    clips = int(source.sql("select count(*) as n from clips").to_pylist()[0]["n"])
    size = stored_bytes(source)
    money = sum(each.money(figures) for each in found)
    month = size / 1e9 * figures.storage_gb_month
    if json_:
        answer = {
            "spent": [{**dataclasses.asdict(each), "money": each.money(figures)} for each in found],
            "pending": {**_counts(plan), **(dataclasses.asdict(expected) if expected else {})},
            "clips": clips,
            "stored_bytes": size,
            "storage_month": month,
            "money": money,
            "money_per_1000_clips": 1000 * (money + month) / clips if clips else None,
            "prices": figures.model_dump(mode="json"),
        }
        typer.echo(json.dumps(answer))
        return
    console = wide_console()
    for table in (_by_stage(found, figures), _by_run(found, figures)):
        console.print(table)
    for line in _lines(plan, expected, figures, clips, money, month, size):
        console.print(line, highlight=False, soft_wrap=True, markup=False)


def _by_stage(found: Sequence[Spending], prices: Prices) -> Table:
    from curation.rejects import stage_order
    from vidla.console import escape, new_table

    table = new_table("stage", "model", *_HEADINGS, numbers=_HEADINGS)
    keys = list(dict.fromkeys((each.stage, each.engine, each.model) for each in found))
    for stage, engine, model in sorted(keys, key=lambda key: stage_order(key[0])):
        rows = [each for each in found if (each.stage, each.engine, each.model) == (stage, engine, model)]
        table.add_row(escape(stage), escape(f"{engine}/{model}") if engine else "", *_cells(rows, prices))
    table.add_row("all", "", *_cells(found, prices))
    return table


def _by_run(found: Sequence[Spending], prices: Prices) -> Table:
    from vidla.console import escape, new_table

    table = new_table("run", *_HEADINGS, numbers=_HEADINGS)
    runs = list(dict.fromkeys(each.run_id for each in found))
    if len(runs) > _SHOWN:
        older = set(runs[:-_SHOWN])
        table.add_row(f"{len(older):,} older runs", *_cells([e for e in found if e.run_id in older], prices))
    for run_id in runs[-_SHOWN:]:
        table.add_row(escape(run_id), *_cells([each for each in found if each.run_id == run_id], prices))
    return table


_HEADINGS = ("requests", "tokens in", "tokens out", "processor-hours", "hours", "money")


def _cells(rows: Iterable[Spending], prices: Prices) -> Iterator[str]:
    rows = list(rows)
    requests, sent, received, processor_s, seconds = (sum(getattr(row, name) for row in rows) for name in _SUMS)
    yield from (f"{count:,}" if count else "" for count in (requests, sent, received))
    yield from (f"{value / 3600:,.3f}" for value in (processor_s, seconds))
    yield f"{sum(row.money(prices) for row in rows):,.2f}"


def _lines(
    plan: Plan | None, expected: Expected | None, prices: Prices, clips: int, money: float, month: float, size: int
) -> Iterator[str]:
    if plan is None:
        yield "Pending: unknown, as no run has recorded its settings"
    else:
        what = expected.line(prices) if expected else ""
        yield f"Pending: {plan}{f'; {what}' if what and plan else ''}"
    if clips:
        price = 1000 * (money + month) / clips
        yield (
            f"1,000 of the {clips:,} clips kept: {price:,.2f} {prices.currency}, of which {1000 * month / clips:,.3f} "
            f"store them for a month ({size / 1e9:,.3f} GB in all)"
        )
    yield f"Money at prices as of {prices.as_of}, in {prices.currency}: --prices FILE gives yours"


def _counts(plan: Plan | None) -> dict[str, int]:
    return (
        {} if plan is None else {"download": len(plan.downloads), "segment": len(plan.segment), "text": len(plan.text)}
    )
