"""What `vidla inspect` shows: a dataset on one screen, or the rows of one table."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
from rich import box
from rich.console import Console
from rich.markup import escape as escape_markup
from rich.table import Table

from curation.dataset.books import Books, balance
from curation.dataset.commits import recent_commits, unfinished
from curation.dataset.dataset import Dataset
from curation.dataset.lease import LEASE, holder_text, is_alive
from curation.errors import UsageError
from curation.recipes import RECIPES, STEP_OF, older_rows
from curation.records import SCALES
from curation.rejects import Stage
from curation.schema import TABLES

BINS = 24
RUNS = 5
COMMITS_LOOKED_AT = 200
WIDE = 8  # a table with more columns is shown a line a value

# --- the dataset on one screen --------------------------------------------------------------------------------------


def show(dataset: Dataset, console: Console) -> Books:
    """Print the account of `dataset` on one screen. Raises DatasetError where there is none."""
    books = balance(dataset)
    console.print(f"[bold]{escape(dataset.uri)}[/]  {_stored(dataset)}")
    console.print(_accounts(books))
    for section in (_rejects, _clips, _texts, _makers, _spent, _runs):
        table = section(dataset)
        if table.row_count:
            console.print(table)
    for line in _standing(dataset, books):
        console.print(line)
    return books


def _stored(dataset: Dataset) -> str:
    query = "select count(*), sum(duration) / 3600, sum(media_bytes) / 1e6 from videos"
    count, hours, megabytes = dataset.sql(query).to_pylist()[0].values()
    return f"{count} videos stored, {hours or 0:.2f} h, {megabytes or 0:,.1f} MB"


def _accounts(books: Books) -> Table:
    table = new_table("", "wanted", "made", "rejected", "pending", numbers=4)
    for a in books.accounts:
        table.add_row(f"{a.subject} {a.outcome}", *map(str, (a.wanted, a.made, a.rejected, a.pending)))
    return table


def _rejects(dataset: Dataset) -> Table:
    table = new_table("rejected at", "kind", "count", "retryable", "for example", numbers=("count", "retryable"))
    query = """
        select stage, kind, count(*) as count, count(*) filter (retryable) as retryable, min(message) as message
        from rejects group by stage, kind order by stage, count desc, kind"""
    for row in sorted(dataset.sql(query).to_pylist(), key=lambda row: _order(row["stage"])):
        message = escape(row["message"] if len(row["message"]) <= 60 else row["message"][:59] + "…")
        table.add_row(row["stage"], row["kind"], str(row["count"]), str(row["retryable"]), message)
    return table


def _order(stage: str) -> int:
    stages = list(Stage)
    return stages.index(Stage(stage)) if stage in stages else len(stages)


def _clips(dataset: Dataset) -> Table:
    query = 'select scale, "end" - start as duration from clips'
    longest = dataset.sql(f"select max(duration) as longest from ({query})").to_pylist()[0]["longest"] or 0.0
    width = max(1.0, longest / BINS)
    table = new_table("clips", "count", "hours", "mean s", f"durations from 0 to {BINS * width:.0f} s", numbers=3)
    counted = f"""
        select
            scale, least(floor(duration / {width}), {BINS - 1})::int as bin, count(*) as count, sum(duration) as seconds
        from ({query}) group by all"""
    rows = dataset.sql(counted).to_pylist()
    for scale in SCALES:
        bins = {row["bin"]: row for row in rows if row["scale"] == scale}
        count = sum(row["count"] for row in bins.values())
        seconds = sum(row["seconds"] for row in bins.values())
        if count:
            bars = _bars([bins[b]["count"] if b in bins else 0 for b in range(BINS)])
            table.add_row(scale, str(count), f"{seconds / 3600:.2f}", f"{seconds / count:.1f}", bars)
    return table


def _bars(counts: Sequence[int]) -> str:
    """A histogram in one line; what is there at all shows."""
    highest = max(counts)
    return "".join("·" if not c else "▁▂▃▄▅▆▇█"[round(7 * c / highest)] for c in counts)


def _texts(dataset: Dataset) -> Table:
    table = new_table("texts of clips", "source", "status", "count", numbers=("count",))
    for kind in ("subtitle", "caption"):
        query = f"""
            select coalesce({kind}_source, '–') as source, coalesce({kind}_status, 'none') as status, count(*) as count
            from clips group by all order by count desc, source, status"""
        for row in dataset.sql(query).to_pylist():
            table.add_row(kind, escape(row["source"]), row["status"], str(row["count"]))
    return table


def _makers(dataset: Dataset) -> Table:
    table = new_table("made by", "engine", "model", "revision", "prompt", "count", numbers=("count",))
    columns = "engine, model, revision, prompt_digest"
    query = f"""
        select 'captions' as texts, {columns}, count(*) as count from captions group by all union all
        select 'summaries of ' || kind, {columns}, count(*) from summaries group by all order by all"""
    for row in dataset.sql(query).to_pylist():
        revision, prompt = row["revision"][:12], row["prompt_digest"][:12]
        table.add_row(row["texts"], *map(escape, (row["engine"], row["model"], revision, prompt)), str(row["count"]))
    return table


def _spent(dataset: Dataset) -> Table:
    table = new_table("asked at", "model", "requests", "sent again", "reused", "tokens in", "tokens out", numbers=6)
    query = """
        select
            stage, coalesce(engine || '/' || model, '–') as model, sum(requests)::int as requests,
            sum(retries)::int as retries, sum(reused)::int as reused, sum(input_tokens)::int as went_in,
            sum(output_tokens)::int as came_out
        from usage group by all having sum(requests) + sum(reused) > 0 order by stage, model"""
    for row in dataset.sql(query).to_pylist():
        counts = (row[name] for name in ("requests", "retries", "reused", "went_in", "came_out"))
        table.add_row(row["stage"], escape(row["model"]), *(f"{count:,}" for count in counts))
    return table


def _runs(dataset: Dataset) -> Table:
    table = new_table("run", "what", "last commit", "commits", "by", "vidla", numbers=("commits",))
    runs: list[list[Mapping[str, Any]]] = []
    for _, record in recent_commits(dataset, COMMITS_LOOKED_AT):
        if record["kind"] == "open":
            runs.append([record])
        elif runs:
            runs[-1].append(record)
    for opening, *commits in runs[-RUNS:]:
        command = opening["about"].get("command", "")
        what = command if isinstance(command, str) else " ".join(command)
        last = [opening, *commits][-1]["created_at"][:16].replace("T", " ")
        who = (f"{opening['holder']['pid']}@{opening['holder']['host']}", opening["code_version"])
        cells = (opening["run_id"], what, last, str(len(commits)), *who)
        table.add_row(*map(escape, cells))
    return table


def _standing(dataset: Dataset, books: Books) -> Iterator[str]:
    """How it stands: who writes, what is unfinished, whether the books balance."""
    lease = dataset.get_json(LEASE) or {}
    writing = bool(lease.get("open")) and is_alive(lease)
    if writing:
        yield f"{escape(holder_text(lease['holder']))} is writing to it"
    behind = unfinished(dataset)
    if behind:
        left = "under way" if writing else "left unfinished by a writer that died; the next run finishes it"
        yield f"[yellow]commit {', '.join(map(str, behind))} is {left}[/]"
    yield from _older(dataset)
    wrong = books.imbalances()
    yield from (f"[red]{escape(line)}[/]" for line in wrong)
    pending = sum(account.pending for account in books.accounts)
    if not wrong:
        yield "[green]The books balance.[/]" + (" What is pending, `vidla curate` goes on with." if pending else "")


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


def new_table(*headings: str, numbers: Sequence[str] | int = ()) -> Table:
    """A table whose columns `numbers` (by name, or so many behind the first) are set to the right."""
    right = headings[1 : 1 + numbers] if isinstance(numbers, int) else numbers
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, justify="right" if heading in right else "left", overflow="fold")
    return table


def escape(text: str) -> str:
    """`text` from anywhere, without orders to the terminal or to rich."""
    return escape_markup(re.sub(r"[\x00-\x1f\x7f-\x9f]+", " ", text))


# --- the rows of one table ------------------------------------------------------------------------------------------


def select(
    dataset: Dataset, name: str, where: str | None = None, columns: Sequence[str] | None = None, limit: int = 0
) -> Iterator[Mapping[str, Any]]:
    """Rows of a table, bytes as their size; `limit` 0 stands for all. Raises UsageError."""
    if name not in TABLES:
        raise UsageError(f"no table is called '{name}'; {_nearest(name, TABLES)}")
    schema = TABLES[name].schema
    unknown = next((c for c in columns or () if c not in schema.names), None)
    if unknown is not None:
        raise UsageError(f"{name} has no column '{unknown}'; {_nearest(unknown, schema.names)}")
    wanted = ", ".join(_shown(schema.field(c)) for c in columns or schema.names)
    query = f"select {wanted} from {name}"
    query += f" where ({where}\n)" if where else ""
    query += f" limit {limit}" if limit else ""
    for batch in dataset.stream(query):
        yield from batch.to_pylist()


def _shown(field: pa.Field) -> str:
    quoted = f'"{field.name}"'
    return f"octet_length({quoted}) || ' bytes' as {quoted}" if pa.types.is_binary(field.type) else quoted


def _nearest(name: str, known: Mapping[str, Any] | Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean '{near[0]}'?" if near else f"there are {', '.join(known)}"


def show_rows(rows: Iterator[Mapping[str, Any]], console: Console, as_json: bool) -> None:
    """Print rows as they come: JSON lines, or a table, or a line a value where there are many columns."""
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
