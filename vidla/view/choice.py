"""Which clips a page shows, and in which order: the query of its URL, and the same as SQL."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple
from urllib.parse import urlencode

from curation.dataset.conditions import one_condition
from curation.dataset.database import literal
from curation.errors import UsageError
from curation.labels import TEXTS
from vidla.view.columns import clips_with, columns

PAGE = 48  # clips
_WORD = re.compile(r'"([^"]*)"|(\S+)')
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
TEXT_COLUMNS = tuple(f"{text}_text" for text in TEXTS)


class Bound(NamedTuple):
    """A number that a column is at least ("from") or at most ("to")."""

    column: str
    side: str
    value: float


@dataclass(frozen=True)
class Choice:
    """What the query of a page says. Columns are those of columns.py."""

    equal: tuple[tuple[str, str], ...] = ()
    """columns with a value that they may have; an empty one stands for null"""
    bounds: tuple[Bound, ...] = ()
    search: str = ""
    where: str = ""
    sort: str = ""
    """a column, after "-" for the largest first; empty for the order of the videos"""
    sample: str = ""
    """a seed: the clips are in an order that depends on it alone"""
    page: int = 1

    @classmethod
    def of(cls, query: Iterable[tuple[str, str]]) -> Choice:
        """That of a URL. Raises UsageError for what no page links to."""
        equal, bounds, words = [], [], {}
        for name, value in query:
            column, _, side = name.partition(".")
            if name in ("q", "where", "sort", "sample", "page"):
                words[name] = value
            elif side in ("from", "to") and value and column in columns():
                bounds.append(Bound(column, side, _number(value)))
            elif not side and column in columns():
                equal.append((column, "" if value == "null" else value))
            elif value:
                raise UsageError(f"no column is called '{column}'")
        return cls(
            tuple(equal),
            tuple(bounds),
            words.get("q", "").strip(),
            words.get("where", "").strip(),
            words.get("sort", ""),
            words.get("sample", ""),
            page_number(words.get("page", "")),
        )

    def on_page(self, page: int) -> Choice:
        return replace(self, page=page)

    @property
    def query(self) -> str:
        """The query of the page's URL."""
        sides = ((f"{bound.column}.{bound.side}", f"{bound.value:.12g}") for bound in self.bounds)
        words = {"q": self.search, "where": self.where, "sort": self.sort, "sample": self.sample}
        given = [(name, value) for name, value in words.items() if value]
        page = [("page", str(self.page))] if self.page > 1 else []
        return urlencode([*((name, value or "null") for name, value in self.equal), *sides, *given, *page])

    # --- as SQL -----------------------------------------------------------------------------------------------------

    def source(self, *further: str) -> str:
        """`from …`, and `where …` if only some clips are chosen, for a query that names `further` columns."""
        named = {name for name, _ in self.equal} | {bound.column for bound in self.bounds}
        named |= {self.sort.removeprefix("-"), *further}
        source = clips_with(frozenset(named.union(_NAME.findall(self.where))))
        conditions = " and ".join(self._conditions())
        return f"from {source}{' where ' * bool(conditions)}{conditions}"

    def _conditions(self) -> Iterator[str]:
        by_column: dict[str, list[str]] = {}
        for name, value in self.equal:
            by_column.setdefault(name, []).append(value)
        for name, values in by_column.items():
            yield _is_one_of(name, values)
        for bound in self.bounds:
            yield f"{quoted(bound.column)} {'>=' if bound.side == 'from' else '<='} {bound.value:.12g}"
        for phrase, word in _WORD.findall(self.search):
            pattern = literal(f"%{_escaped(phrase or word)}%")
            yield "(" + " or ".join(f"{text} ilike {pattern} escape '\\'" for text in TEXT_COLUMNS) + ")"
        if self.where:
            yield one_condition(self.where)

    @property
    def order(self) -> str:
        """`order by …`, which is total, so that pages neither repeat nor miss a clip."""
        if self.sample:
            return f"order by md5(clip_id || {literal(self.sample)})"
        name = self.sort.removeprefix("-")
        if not name:
            return 'order by video_id, start, "end", clip_id'
        if name not in columns():
            raise UsageError(f"no column is called '{name}'")
        return f"order by {quoted(name)} {'desc' if self.sort.startswith('-') else 'asc'} nulls last, clip_id"

    def page_rows(self, *selected: str) -> str:
        """The query for the rows of the page with these columns, and `total`, the number of all clips of the choice.

        The same rows as those of `rows`; it reads the texts of many clips once, and sorts without them.
        """
        by = self.sort.removeprefix("-")
        keys = list(dict.fromkeys(["clip_id", "video_id", "start", "end", *([by] if by else [])]))
        shown = clips_with(frozenset([*selected, *keys]))
        return f"""
            with
                chosen as materialized (select {", ".join(map(quoted, keys))} {self.source(*keys)}),
                page as (select clip_id from chosen {self.order} limit {PAGE} offset {(self.page - 1) * PAGE})
            select {", ".join(map(quoted, selected))}, (select count(*) from chosen) as total
            from {shown} where clip_id in (select clip_id from page) {self.order}"""

    def rows(self, *selected: str) -> str:
        """The query for the rows of the page."""
        offset = f" offset {(self.page - 1) * PAGE}" if self.page > 1 else ""
        return self.first(PAGE, *selected) + offset

    def first(self, number: int, *selected: str) -> str:
        """The query for the first rows of all pages."""
        what = ", ".join(map(quoted, selected)) or "*"
        return f"select {what} {self.source(*selected)} {self.order} limit {number}"

    def command(self, dataset: str) -> str:
        """The command that prints the rows of the page."""
        return f"vidla inspect {shlex.quote(dataset)} --limit 0 --sql {shlex.quote(self.rows())}"


def _is_one_of(name: str, values: list[str]) -> str:
    known = ", ".join(literal(value) for value in values if value)
    either = [f"{quoted(name)} in ({known})"] if known else []
    either += [f"{quoted(name)} is null"] if "" in values else []
    return either[0] if len(either) == 1 else f"({' or '.join(either)})"


def page_number(text: str) -> int:
    """The page that a URL asks for: the first if it is none."""
    return max(1, int(text)) if text.isdecimal() and len(text) < 10 else 1


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise UsageError(f"'{text}' is not a number")
    return number


def quoted(name: str) -> str:
    """A column's name in SQL, in quotes if it is also a word of SQL."""
    return f'"{name}"' if name == "end" else name


def _escaped(text: str) -> str:
    return re.sub(r"([\\%_])", r"\\\1", text)
