"""The rows of a table, or of a query, for `vidla inspect`."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import pyarrow as pa
from rich.console import Console
from rich.table import Table

from curation.dataset.conditions import one_condition, one_select
from curation.dataset.database import literal
from curation.dataset.dataset import Dataset
from curation.errors import UsageError
from curation.schema import TABLES
from vidla.console import escape, new_table

WIDE = 8  # a table with more columns is shown with one line per value
WHOLE = 40  # characters of a word that is not broken, if there is room elsewhere
_SPACE = re.compile(r"\s")

Row = Mapping[str, Any]


def of_table(
    name: str,
    where: str | None = None,
    columns: Sequence[str] | None = None,
    order_by: str | None = None,
    sample: int | None = None,
    seed: int = 0,
    policy: str | None = None,
) -> str:
    """The query for rows of a table, with the size of bytes instead of their value. Raises UsageError.

    With `policy`, those of clips that it keeps, or of their videos.

    A sample's rows, and their order, depend on their keys and the seed alone.
    """
    if name not in TABLES:
        raise UsageError(f"no table is called '{name}'; {_nearest(name, TABLES)}")
    schema, key = TABLES[name].schema, TABLES[name].key
    for column in columns or ():
        _check_column(name, column)
    selected = ", ".join(_expression(schema.field(column)) for column in columns or schema.names)
    conditions = [one_condition(where)] if where else []
    conditions += [_kept(name, policy)] if policy else []
    condition = f" where {' and '.join(conditions)}" if conditions else ""
    if sample is None:
        return f"select {selected} from {name}{condition}{_order(name, order_by)}"
    drawn = f"md5({' || '.join(key)} || '{seed}'), {', '.join(key)}"
    chosen = f"(select * from {name}{condition} order by {drawn} limit {sample}) as {name}"
    return f"select {selected} from {chosen}{_order(name, order_by) or f' order by {drawn}'}"


def _kept(table: str, policy: str) -> str:
    """The condition that a row is of a clip, or of the video of one, that a policy keeps. Raises UsageError."""
    for column in ("clip_id", "video_id"):
        if column in TABLES[table].schema.names:
            return f"{column} in (select {column} from policies where policy = {literal(policy)} and kept)"
    raise UsageError(f"--policy chooses clips, and {table} has neither clips nor videos")


def _order(table: str, order_by: str | None) -> str:
    """ "order by" the columns of a list such as "scale, start desc"; equal rows are in the order of their keys."""
    if order_by is None:
        return ""
    terms = []
    for term in order_by.split(","):
        column, *direction = term.split()[:3] or [""]
        if direction and (len(direction) > 1 or direction[0].lower() not in ("asc", "desc")):
            raise UsageError(f"'{term.strip()}' is no order; write a column, and asc or desc if you like")
        _check_column(table, column)
        terms.append(" ".join([f'"{column}"', *direction, "nulls last"]))
    return f" order by {', '.join([*terms, *TABLES[table].key])}"


def _check_column(table: str, column: str) -> None:
    if column not in (names := TABLES[table].schema.names):
        raise UsageError(f"{table} has no column '{column}'; {_nearest(column, names)}")


def _expression(field: pa.Field) -> str:
    quoted = f'"{field.name}"'
    return f"octet_length({quoted}) || ' bytes' as {quoted}" if pa.types.is_binary(field.type) else quoted


def _nearest(name: str, known: Mapping[str, Any] | Sequence[str]) -> str:
    matches = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean '{matches[0]}'?" if matches else f"there are {', '.join(known)}"


def read(dataset: Dataset, query: str, limit: int) -> Iterator[Row]:
    """The first `limit` rows of a query (0: all), as they come. Raises UsageError if it is not one SELECT."""
    found = (row for batch in dataset.stream(one_select(query)) for row in batch.to_pylist())
    return islice(found, limit or None)


def count(dataset: Dataset, query: str) -> int:
    """How many rows a query has."""
    found: int = dataset.sql(f"select count(*) as count from ({one_select(query)}\n)")["count"][0].as_py()
    return found


def count_all(dataset: Dataset, table: str) -> int:
    """How many rows a table has, by its log."""
    return sum(part.rows for part in dataset.live_parts(table).values())


# --- showing them ---------------------------------------------------------------------------------------------------


def show_rows(rows: Iterable[Row], console: Console, as_json: bool) -> int:
    """Print rows as JSON lines, as they come; or as a table, with one line per value if there are many columns.

    Returns their number.
    """
    if as_json:
        number = 0
        for number, row in enumerate(rows, 1):  # noqa: B007  # it is returned
            line = json.dumps({name: _printable(value) for name, value in row.items()}, ensure_ascii=False, default=str)
            console.out(line, highlight=False)
        return number
    listed = list(rows)
    if not listed:
        console.print("no rows")
    elif len(listed[0]) > WIDE:
        for number, row in enumerate(listed):
            console.rule(f"row {number + 1}", align="left")
            for name, value in row.items():
                console.print(f"[bold]{escape(name)}[/] {escape(_brief(value, 500))}", highlight=False)
    else:
        console.print(_table(listed))
    return len(listed)


def _table(rows: Sequence[Row]) -> Table:
    """Rows as a table: numbers to the right; ids and other single words are whole where the terminal is wide enough."""
    cells = [[_brief(value, 200) for value in row.values()] for row in rows]
    numbers = [name for name in rows[0] if all(_is_number(row[name]) for row in rows)]
    table = new_table(*map(escape, rows[0]), numbers=[escape(name) for name in numbers])
    for number, column in enumerate(table.columns):
        column.no_wrap = all(len(line[number]) <= WHOLE and not _SPACE.search(line[number]) for line in cells)
    for line in cells:
        table.add_row(*map(escape, line))
    return table


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _printable(value: Any) -> Any:
    return f"{len(value)} bytes" if isinstance(value, bytes) else value


def _brief(value: Any, length: int) -> str:
    if value is None or isinstance(value, bool):
        return {None: "–", True: "true", False: "false"}[value]
    value = _printable(value)
    text = json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, list | dict) else str(value)
    return text if len(text) <= length else text[: length - 1] + "…"
