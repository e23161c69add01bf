"""`vidla probe`: what a list holds, before anything is downloaded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from statistics import median
from typing import TYPE_CHECKING, Annotated

import typer

from vidla.options import ConfigOption, SetOption, WaitOption

if TYPE_CHECKING:
    from rich.table import Table

    from curation.records import Page
    from curation.settings import Settings

_LANGUAGES = 6  # named in one line


def probe(
    inputs: Annotated[list[str], typer.Argument(metavar="INPUT", help="URL, playlist, channel or list")],
    sample: Annotated[int, typer.Option("--sample", metavar="N", min=1, help="ask N pages, drawn at random")] = 100,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="another seed draws other pages")] = 0,
    dataset: Annotated[
        str | None,
        typer.Option("--dataset", metavar="DIR", help="keep the answers in the table `pages` of this dataset"),
    ] = None,
    config: ConfigOption = None,
    assignments: SetOption = None,
    wait: WaitOption = 0.0,
) -> None:
    """Ask some pages of a list for metadata alone: how many videos are there, how long, with which subtitles.

    Shares are given with their 95 % interval for the whole list. Nothing is downloaded.

    Example: vidla probe videos.csv --sample 100 --set download.preset=careful
    """
    from curation.settings import resolve
    from curation.sources.probe import ask_all, draw
    from curation.sources.requests import read_inputs
    from vidla.console import wide_console

    settings = resolve(config, assignments or [])
    drawn = draw(read_inputs(inputs, settings.download), sample, seed)
    if not drawn.rows:
        typer.echo("The list is empty.")
        return
    pages = ask_all(drawn.rows, settings.download, show_progress(len(drawn.rows)))
    console = wide_console()
    console.print(f"{len(pages):,} of {drawn.total:,} pages asked")
    console.print(_outcomes(pages))
    for line in _descriptions([page for page in pages if page.failure is None], drawn.total, len(pages)):
        console.print(line)
    if dataset is not None:  # last: another run may be writing to it
        _keep(dataset, pages, settings, wait)


def show_progress(total: int) -> Callable[[Page], None]:
    """A line on stderr, brought up to date with each page."""
    done: Counter[bool] = Counter()

    def report(page: Page) -> None:
        done[page.failure is None] += 1
        asked = sum(done.values())
        typer.echo(f"\r{asked}/{total} asked, {done[True]} there", err=True, nl=asked == total)

    return report


def _keep(location: str, pages: Sequence[Page], settings: Settings, wait_s: float) -> None:
    from curation.dataset.dataset import Dataset
    from curation.dataset.page_rows import keep_pages
    from curation.dataset.writer import Writer
    from curation.ids import new_run_id

    with Writer(Dataset(location), new_run_id(), {"command": "probe"}, wait_s) as writer:
        keep_pages(writer, pages, settings.run.part_bytes)


def _outcomes(pages: Sequence[Page]) -> Table:
    from curation.shares import interval
    from vidla.console import escape, new_table

    counts = Counter(page.failure or "there" for page in pages)
    examples = {page.failure: page.message for page in pages if page.failure}
    table = new_table("", "pages", "share", "95 %", "for example", numbers=3)
    for outcome, count in sorted(counts.items(), key=lambda item: (item[0] != "there", -item[1])):
        low, high = interval(count, len(pages))
        shares = f"{count / len(pages):.0%}", f"{low:.0%} to {high:.0%}"
        table.add_row(outcome, str(count), *shares, escape(examples.get(outcome) or ""))
    return table


def _descriptions(there: Sequence[Page], total: int, asked: int) -> list[str]:
    """What the videos that are there are like, one line each."""
    lines = []
    if lengths := [page.duration for page in there if page.duration is not None]:
        mean = sum(lengths) / len(lengths)
        hours = mean * total * len(there) / asked / 3600
        lines.append(
            f"duration: median {median(lengths):,.0f} s, mean {mean:,.0f} s; the whole list about {hours:,.0f} h"
        )
    for what, values in (
        ("subtitles by people", (page.subtitles for page in there)),
        ("automatic subtitles", (page.automatic_subtitles for page in there)),
        ("spoken language as stated", ([page.language] if page.language else [] for page in there)),
        ("licence", ([page.licence_spdx or page.licence] if page.licence else [] for page in there)),
        ("training permitted to", (page.training for page in there)),
        ("categories", (page.categories for page in there)),
    ):
        if text := _most_common(values, len(there)):
            lines.append(f"{what}: {text}")
    return lines


def _most_common(values: Iterable[Iterable[str | None]], of: int) -> str:
    from vidla.console import escape

    counts = Counter(value for each in values for value in set(each) if value)
    common = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{escape(value)} {count / of:.0%}" for value, count in common[:_LANGUAGES])
