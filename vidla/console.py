"""The terminal: its width, tables, progress, and text that is safe to print."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import typer
from rich import box
from rich.console import Console
from rich.markup import escape as escape_markup
from rich.table import Table

from curation.storable import printable

PLAIN_INTERVAL_S = 5.0
PIPED_WIDTH = 160  # columns, where the output is not a terminal


def wide_console() -> Console:
    """A console as wide as the terminal, or PIPED_WIDTH columns wide where the output is not a terminal."""
    console = Console()
    return console if console.is_terminal else Console(width=PIPED_WIDTH)


def new_table(*headings: str, numbers: Sequence[str] | int = (), lines: bool = False) -> Table:
    """An empty table. Columns in `numbers` (names, or the first N after the heading) are right-aligned.

    `lines` draws a line between rows.
    """
    right = headings[1 : 1 + numbers] if isinstance(numbers, int) else numbers
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold", show_lines=lines)
    for heading in headings:
        table.add_column(heading, justify="right" if heading in right else "left", overflow="fold")
    return table


def escape(text: str) -> str:
    r"""`text` from anywhere, made harmless: neither the terminal nor rich finds commands in it.

    >>> escape("\x1b[2J [red]a[/red]")
    ' [2J \\[red]a\\[/red]'
    """
    return escape_markup(printable(text))


def some_of(ids: Sequence[str], most: int) -> str:
    """The first of these ids in one line, up to `most`, and a sign that there are more.

    >>> some_of(["a", "b", "c"], 2)
    'a, b, …'
    """
    return ", ".join([printable(each) for each in ids[:most]] + ["…"] * (len(ids) > most))


@contextmanager
def counting(unit: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Yields a function that counts progress: a bar on a terminal, else a plain line every few seconds."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if console.is_terminal:
        columns = (TextColumn(unit), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task("", total=total)
            yield lambda more: bar.advance(task, more)
        return
    done, printed = 0, time.monotonic()

    def print_line(more: int) -> None:
        nonlocal done, printed
        done += more
        if time.monotonic() - printed >= PLAIN_INTERVAL_S:
            printed = time.monotonic()
            typer.echo(f"{done} of {total or '?'} {unit}", err=True)

    yield print_line
