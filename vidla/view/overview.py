"""The first page: the books, what there is by scale, language and source, every number's histogram, runs, rejects."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from curation.dataset.books import Books, balance
from curation.dataset.lease import holder_text, is_held, read_lease
from curation.rejects import stage_order
from vidla.inspect import runs
from vidla.view.choice import Choice, quoted
from vidla.view.columns import columns
from vidla.view.tables import LiveTables, Row

_OWN = re.compile(r"(?<!run)(?<!channel)_id$|_uri$|_text$|_original$|digest$|^uri$|^words$")
"""Columns whose values are a clip's or video's own."""
BINS = 40
FACETS = 12  # values shown of a column
FEW = 50  # a column with more values than this is not shown by its values
SAMPLED = 20_000  # clips by which the number of a column's values is judged
RUNS = 8
EXAMPLES = 3  # rejects of a kind


@dataclass(frozen=True)
class Histogram:
    """Of a column, over `len(counts)` bins of equal width between `low` and `high`."""

    column: str
    low: float
    high: float
    counts: tuple[int, ...]
    nulls: int

    def bars(self) -> Iterator[tuple[float, int, float, float]]:
        """For each bin: its height as a share of the highest, its count, and where it begins and ends."""
        highest, width = max(self.counts), (self.high - self.low) / len(self.counts)
        for number, count in enumerate(self.counts):
            yield count / highest, count, self.low + number * width, self.low + (number + 1) * width


@dataclass(frozen=True)
class Facet:
    """A column's most frequent values, with their counts; null is an empty text."""

    column: str
    values: Sequence[tuple[str, int]]


def histograms(tables: LiveTables, choice: Choice) -> list[Histogram]:
    """Those of every number that the chosen clips have. Columns without any are left out."""
    names = [column.name for column in columns().values() if column.kind == "number"]
    bounds = ", ".join(f"min({quoted(n)}) as low_{n}, max({quoted(n)}) as high_{n}" for n in names)
    (found,) = tables.rows(f"select {bounds} {choice.source(*names)}")
    ranges = {n: (float(found[f"low_{n}"]), float(found[f"high_{n}"])) for n in names if found[f"low_{n}"] is not None}
    if not ranges:
        return []
    binned = ", ".join(f"{_bin(name, *bounds)} as {quoted(name)}" for name, bounds in ranges.items())
    counted = " union all ".join(
        f"select '{name}' as name, {quoted(name)} as bin, count(*) as count from binned group by all" for name in ranges
    )
    rows = tables.rows(f"with binned as (select {binned} {choice.source(*ranges)}) {counted}")
    return [_histogram(name, *bounds, [row for row in rows if row["name"] == name]) for name, bounds in ranges.items()]


def _bin(name: str, low: float, high: float) -> str:
    width = (high - low) / BINS or 1.0
    return f"least(floor(({quoted(name)} - {low!r}) / {width!r}), {BINS - 1})::int"


def _histogram(name: str, low: float, high: float, rows: Sequence[Row]) -> Histogram:
    counts = {row["bin"]: row["count"] for row in rows}
    return Histogram(name, low, high, tuple(counts.get(bin_, 0) for bin_ in range(BINS)), counts.get(None, 0))


def facets(tables: LiveTables, choice: Choice) -> list[Facet]:
    """The columns of text that have few values, by those of some of the clips, with the counts of the chosen ones."""
    names = [column.name for column in columns().values() if column.kind == "text" and not _OWN.search(column.name)]
    counted = ", ".join(f"count(distinct {quoted(name)}) as {quoted(name)}" for name in names)
    (found,) = tables.rows(f"select {counted} from (select * {Choice().source(*names)} limit {SAMPLED})")
    few = [name for name in names if 0 < found[name] <= FEW]
    queries = [
        f"select {quoted(name)} as value, count(*) as count {choice.source(name)} "
        f"group by all order by count desc, value limit {FACETS}"
        for name in few
    ]
    answers = tables.rows_of_each(queries) if queries else []
    return [
        Facet(name, [(row["value"] or "", row["count"]) for row in rows])
        for name, rows in zip(few, answers, strict=True)
    ]


_SCALES = """
    select scale, count(*) as clips, sum("end" - start) / 3600 as hours from clips group by scale order by hours desc"""
_STORED = "select count(*) as videos, sum(duration) / 3600 as hours, sum(media_bytes) / 1e6 as megabytes from videos"
_REJECTS = f"""
    select stage, kind, count(*) as count, count(*) filter (retryable) as retryable,
        list({{'uri': uri, 'message': message}} order by key)[:{EXAMPLES}] as examples
    from rejects group by stage, kind order by count desc"""


def state(tables: LiveTables) -> Mapping[str, Any]:
    """What changes while a run writes: the books, the clips by scale, the latest runs and the rejects."""
    tables.now()
    found = _counted(tables, tables.commit)
    return {**found, "standing": list(_standing(tables, found["books"]))}


@functools.lru_cache(4)
def _counted(tables: LiveTables, commit: int) -> Mapping[str, Any]:
    """What only a commit changes, which takes seconds for millions of clips."""
    books = balance(tables.now())
    scales, (stored,), rejects = tables.rows_of_each([_SCALES, _STORED, _REJECTS])
    return {
        "books": books,
        "accounts": books.accounts,
        "has_gated": any(account.gated for account in books.accounts),
        "is_balanced": not books.imbalances(),
        "scales": scales,
        "stored": stored,
        "rejects": sorted(rejects, key=lambda row: stage_order(row["stage"])),
        "runs": runs(tables.dataset, RUNS)[::-1],
    }


def _standing(tables: LiveTables, books: Books) -> Iterator[str]:
    lease = read_lease(tables.dataset)
    if is_held(lease):
        yield f"{holder_text(lease['holder'])} is writing to the dataset"
    yield from (*books.notes, *books.outdated, *books.imbalances())
    if any(account.pending for account in books.accounts):
        yield "`vidla curate` continues with what is pending"
