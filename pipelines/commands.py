"""The verbs of `vidla` that look at a dataset, copy from it, or clear it; pipelines/cli.py puts them on the command."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from curation.tables import Dataset, Misuse
from pipelines.inspect import select, show, show_rows

Folder = Annotated[str, typer.Argument(metavar="DIR", help="the dataset: a path, or a file://, s3:// or gs:// URI")]
Where = Annotated[str | None, typer.Option("--where", metavar="SQL", help="a condition, in DuckDB's SQL")]


def inspect(
    dataset: Folder,
    table: Annotated[str | None, typer.Argument(metavar="TABLE", help="show rows of this table instead")] = None,
    where: Where = None,
    columns: Annotated[str | None, typer.Option("--columns", metavar="A,B", help="only these columns")] = None,
    limit: Annotated[int, typer.Option("--limit", min=0, help="rows at most; 0 for all")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object a line")] = False,
) -> None:
    """Show what was asked for, made and rejected, and whether the books balance; or the rows of a table.

    Example: vidla inspect data/talks clips --where "scale = 'short'" --columns clip_id,caption_text --limit 5
    """
    at = Dataset(dataset)
    console = Console()
    if table is None:
        if where or columns or as_json:
            raise Misuse("--where, --columns and --json go with a TABLE: vidla inspect DIR TABLE …")
        show(at, console)
        return
    names = [name.strip() for name in columns.split(",")] if columns else None
    show_rows(select(at, table, where, names, limit), console, as_json)
