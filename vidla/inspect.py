"""The output of `vidla inspect`: a dataset on one screen, or the rows of one table."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
from rich.console import Console
from rich.table import Table

from curation.dataset.books import Books, balance
from curation.dataset.commits import recent_commits, unfinished
from curation.dataset.conditions import one_condition
from curation.dataset.dataset import Dataset
from curation.dataset.lease import holder_text, is_alive, is_here, read_lease
from curation.dataset.snapshots import as_of_one_commit
from curation.errors import UsageError
from curation.recipes import RECIPES, STEP_OF, older_rows
from curation.records import SCALES
from curation.rejects import stage_order
from curation.schema import TABLES
from vidla.console import escape, new_table

BINS = 24
RUNS = 5
COMMITS_READ = 200  # the latest ones, in which the runs are found
WIDE = 8  # a table with more columns is shown with one line per value

Row = Mapping[str, Any]

# --- the dataset on one screen --------------------------------------------------------------------------------------


def show(dataset: Dataset, console: Console) -> Books:
    """Print the state of `dataset` on one screen. Raises DatasetError if there is no dataset."""
    if not dataset.exists():
        raise dataset.missing()
    now = as_of_one_commit(dataset)
    books = balance(now)
    stored, *answers = (answer.to_pylist() for answer in now.sql_each([_STORED, *(query for query, _ in _SECTIONS)]))
    console.print(f"[bold]{escape(dataset.uri)}[/]  {_stored(stored[0])}")
    sections = (section(rows) for (_, section), rows in zip(_SECTIONS, answers, strict=True))
    for table in (_accounts(books), *sections, _runs(dataset)):
        if table.row_count:
            console.print(table)
    for line in _standing(now, books):
        console.print(line)
    return books


_STORED = "select count(*) as count, sum(duration) / 3600 as hours, sum(media_bytes) / 1e6 as megabytes from videos"


def _stored(row: Row) -> str:
    return f"{row['count']} videos stored, {row['hours'] or 0:.2f} h, {row['megabytes'] or 0:,.1f} MB"


def _accounts(books: Books) -> Table:
    columns = ["wanted", "made", "rejected", *(["gated"] if any(a.gated for a in books.accounts) else []), "pending"]
    table = new_table("", *columns, numbers=len(columns))
    for a in books.accounts:
        table.add_row(f"{a.subject} {a.outcome}", *(str(getattr(a, column)) for column in columns))
    return table


_REJECTS = """
    select stage, kind, count(*) as count, count(*) filter (retryable) as retryable, min(message) as message
    from rejects group by stage, kind order by stage, count desc, kind"""


def _rejects(rows: Sequence[Row]) -> Table:
    table = new_table("rejected at", "kind", "count", "retryable", "for example", numbers=("count", "retryable"))
    for row in sorted(rows, key=lambda row: stage_order(row["stage"])):
        message = escape(row["message"] if len(row["message"]) <= 60 else row["message"][:59] + "…")
        table.add_row(row["stage"], row["kind"], str(row["count"]), str(row["retryable"]), message)
    return table


_CLIPS = f"""
    with
        durations as (select scale, "end" - start as duration from clips),
        bins as (select greatest(1::double, max(duration) / {BINS}) as width from durations)
    select
        scale, least(floor(duration / width), {BINS - 1})::bigint as bin, count(*) as count, sum(duration) as seconds,
        any_value(width) as width
    from durations, bins group by scale, bin"""


def _clips(rows: Sequence[Row]) -> Table:
    longest = BINS * rows[0]["width"] if rows else 0.0
    table = new_table("clips", "count", "hours", "mean s", f"durations from 0 to {longest:.0f} s", numbers=3)
    for scale in SCALES:
        bins = {row["bin"]: row for row in rows if row["scale"] == scale}
        count = sum(row["count"] for row in bins.values())
        seconds = sum(row["seconds"] for row in bins.values())
        if count:
            bars = _bars([bins[b]["count"] if b in bins else 0 for b in range(BINS)])
            table.add_row(scale, str(count), f"{seconds / 3600:.2f}", f"{seconds / count:.1f}", bars)
    return table


def _bars(counts: Sequence[int]) -> str:
    """A histogram in one line. Every count above zero has a visible bar.

    >>> _bars([0, 1, 50, 100])
    '·▁▅█'
    """
    highest = max(counts)
    return "".join("·" if not c else "▁▂▃▄▅▆▇█"[round(7 * c / highest)] for c in counts)


_TEXTS = " union all ".join(
    f"""
    select '{kind}' as kind, coalesce({kind}_source, '–') as source, coalesce({kind}_status, 'none') as status,
        count(*) as count
    from clips group by all"""
    for kind in ("subtitle", "caption")
)


def _texts(rows: Sequence[Row]) -> Table:
    table = new_table("texts of clips", "source", "status", "count", numbers=("count",))
    ordered = sorted(rows, key=lambda row: (row["kind"] != "subtitle", -row["count"], row["source"], row["status"]))
    for row in ordered:
        table.add_row(row["kind"], escape(row["source"]), row["status"], str(row["count"]))
    return table


_MAKERS = """
    select 'captions' as texts, engine, model, revision, prompt_digest, count(*) as count
    from captions group by all
    union all
    select 'summaries of ' || kind, engine, model, revision, prompt_digest, count(*)
    from summaries group by all
    order by all"""


def _makers(rows: Sequence[Row]) -> Table:
    table = new_table("made by", "engine", "model", "revision", "prompt", "count", numbers=("count",))
    for row in rows:
        revision, prompt = row["revision"][:12], row["prompt_digest"][:12]
        table.add_row(row["texts"], *map(escape, (row["engine"], row["model"], revision, prompt)), str(row["count"]))
    return table


_SPENT = """
    select
        stage, coalesce(engine || '/' || model, '–') as model, sum(requests)::bigint as requests,
        sum(retries)::bigint as retries, sum(reused)::bigint as reused, sum(input_tokens)::bigint as input_tokens,
        sum(output_tokens)::bigint as output_tokens
    from usage group by all having sum(requests) + sum(reused) > 0 order by stage, model"""


def _spent(rows: Sequence[Row]) -> Table:
    table = new_table("asked at", "model", "requests", "sent again", "reused", "tokens in", "tokens out", numbers=6)
    for row in rows:
        counts = (row[name] for name in ("requests", "retries", "reused", "input_tokens", "output_tokens"))
        table.add_row(row["stage"], escape(row["model"]), *(f"{count:,}" for count in counts))
    return table


_SECTIONS: Sequence[tuple[str, Callable[[Sequence[Row]], Table]]] = (
    (_REJECTS, _rejects),
    (_CLIPS, _clips),
    (_TEXTS, _texts),
    (_MAKERS, _makers),
    (_SPENT, _spent),
)


def _runs(dataset: Dataset) -> Table:
    table = new_table("run", "command", "last commit", "commits", "by", "vidla", numbers=("commits",))
    runs: list[list[Row]] = []
    for _, record in recent_commits(dataset, COMMITS_READ):
        if record["kind"] == "open":
            runs.append([record])
        elif runs:
            runs[-1].append(record)
    for opening, *commits in runs[-RUNS:]:
        command = opening["about"].get("command", "")
        words = command if isinstance(command, str) else " ".join(command)
        last = [opening, *commits][-1]["created_at"][:16].replace("T", " ")
        writer = f"{opening['holder']['pid']}@{opening['holder']['host']}"
        cells = (opening["run_id"], words, last, str(len(commits)), writer, opening["code_version"])
        table.add_row(*map(escape, cells))
    return table


def _standing(dataset: Dataset, books: Books) -> Iterator[str]:
    """The writer, unfinished commits, rows of older recipes, outdated ones, and whether the books balance."""
    lease = read_lease(dataset)
    writing = bool(lease.get("open")) and is_alive(lease)
    if writing:
        doubt = "" if is_here(lease) else ", or has died there"
        yield f"{escape(holder_text(lease['holder']))} is writing to the dataset{doubt}"
    pending_commits = unfinished(dataset)
    if pending_commits:
        state = "under way" if writing else "left unfinished by a writer that died; the next run finishes it"
        yield f"[yellow]commit {', '.join(map(str, pending_commits))} is {state}[/]"
    yield from _older(dataset)
    yield from (f"[yellow]{escape(line)}[/]" for line in (*books.notes, *books.outdated))
    imbalances = books.imbalances()
    yield from (f"[red]{escape(line)}[/]" for line in imbalances)
    pending = sum(account.pending for account in books.accounts)
    if not imbalances:
        more = " Run `vidla curate` to continue with what is pending." if pending else ""
        yield f"[green]The books balance.[/]{more}"


def _older(dataset: Dataset) -> Iterator[str]:
    """Rows of older recipes, by step."""
    for step in (step for step, recipe in RECIPES.items() if recipe > 1):
        tables = [table for table, of in STEP_OF.items() if of == step]
        counts = [
            dataset.sql(f"select count(*) as n from {t} where {older_rows(t)}").to_pylist()[0]["n"] for t in tables
        ]
        rows = ", ".join(f"{count:,} {table}" for count, table in zip(counts, tables, strict=True) if count)
        if rows:
            yield f"{rows} made by an older recipe: `vidla curate --refresh {step}` makes them again"
    query = "select count(*) as n from videos where video_id not in (select video_id from timelines)"
    if count := dataset.sql(query).to_pylist()[0]["n"]:
        yield f"{count:,} videos without a timeline: `vidla curate --refresh timelines` measures their stored media"


# --- the rows of one table ------------------------------------------------------------------------------------------


def select(
    dataset: Dataset, name: str, where: str | None = None, columns: Sequence[str] | None = None, limit: int = 0
) -> Iterator[Mapping[str, Any]]:
    """Rows of a table, with the size of bytes instead of their value; all rows if `limit` is 0. Raises UsageError."""
    if name not in TABLES:
        raise UsageError(f"no table is called '{name}'; {_nearest(name, TABLES)}")
    schema = TABLES[name].schema
    unknown = next((c for c in columns or () if c not in schema.names), None)
    if unknown is not None:
        raise UsageError(f"{name} has no column '{unknown}'; {_nearest(unknown, schema.names)}")
    selected = ", ".join(_expression(schema.field(c)) for c in columns or schema.names)
    query = f"select {selected} from {name}"
    query += f" where {one_condition(where)}" if where else ""
    query += f" limit {limit}" if limit else ""
    for batch in dataset.stream(query):
        yield from batch.to_pylist()


def _expression(field: pa.Field) -> str:
    quoted = f'"{field.name}"'
    return f"octet_length({quoted}) || ' bytes' as {quoted}" if pa.types.is_binary(field.type) else quoted


def _nearest(name: str, known: Mapping[str, Any] | Sequence[str]) -> str:
    matches = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean '{matches[0]}'?" if matches else f"there are {', '.join(known)}"


def show_rows(rows: Iterator[Mapping[str, Any]], console: Console, as_json: bool) -> None:
    """Print rows as JSON lines, as they come; or as a table, with one line per value if there are many columns."""
    if as_json:
        for row in rows:
            console.out(json.dumps(row, ensure_ascii=False, default=str), highlight=False)
        return
    listed = list(rows)
    if not listed:
        console.print("no rows")
    elif len(listed[0]) > WIDE:
        for number, row in enumerate(listed):
            console.rule(f"row {number + 1}", align="left")
            for name, value in row.items():
                console.print(f"[bold]{name}[/] {escape(_brief(value, 500))}", highlight=False)
    else:
        table = new_table(*listed[0])
        for row in listed:
            table.add_row(*(escape(_brief(value, 200)) for value in row.values()))
        console.print(table)


def _brief(value: Any, length: int) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, list | dict) else str(value)
    return text if len(text) <= length else text[: length - 1] + "…"
