"""The output of `vidla inspect`: a dataset on one screen, or as JSON."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from curation.dataset.books import Books, balance
from curation.dataset.commits import unfinished
from curation.dataset.dataset import Dataset
from curation.dataset.epochs import Epoch, latest_epochs
from curation.dataset.lease import holder_text, is_held, is_here, read_lease
from curation.dataset.snapshots import DatasetSnapshot
from curation.errors import VidlaError, one_line
from curation.recipes import RECIPES, STEP_OF, older_rows
from curation.records import SCALES
from curation.rejects import stage_order
from vidla.console import escape, new_table

BINS = 24
RUNS = 5

Row = Mapping[str, Any]

# --- the dataset on one screen --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Look:
    """What `vidla inspect` tells of a dataset: rows by section, and lines."""

    books: Books
    stored: Row
    sections: Mapping[str, Sequence[Row]]
    runs: Sequence[Row]
    lines: Sequence[tuple[str, str]]
    """with the colour of each"""


def _look(dataset: Dataset) -> _Look:
    now = DatasetSnapshot.now(dataset.uri)
    if not now.exists():
        raise dataset.missing()
    books = balance(now)
    queries = [_STORED, *(query for query, _ in _SECTIONS.values())]
    (stored,), *answers = (answer.to_pylist() for answer in now.sql_each(queries))
    sections = dict(zip(_SECTIONS, answers, strict=True))
    return _Look(books, stored, sections, runs(now, RUNS), list(_standing(now, books)))


def show(dataset: Dataset, console: Console) -> Books:
    """Print the state of `dataset` on one screen. Raises DatasetError if there is no dataset."""
    look = _look(dataset)
    console.print(f"[bold]{escape(dataset.uri)}[/]  {_stored(look.stored)}")
    sections = (section(look.sections[name]) for name, (_, section) in _SECTIONS.items())
    for table in (_accounts(look.books), *sections, _runs(look.runs)):
        if table.row_count:
            console.print(table)
    for line, colour in look.lines:
        console.print(f"[{colour}]{escape(line)}[/]" if colour else escape(line))
    return look.books


def show_json(dataset: Dataset, console: Console) -> Books:
    """Print the same as one JSON object."""
    look = _look(dataset)
    columns = ("subject", "outcome", "wanted", "made", "rejected", "gated", "pending")
    found = {
        "uri": dataset.uri,
        "stored": look.stored,
        "books": [{name: getattr(account, name) for name in columns} for account in look.books.accounts],
        **look.sections,
        "runs": look.runs,
        "notes": [line for line, _ in look.lines],
        "balances": not look.books.imbalances(),
    }
    console.out(json.dumps(found, ensure_ascii=False, default=str), highlight=False)
    return look.books


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


_POLICIES = """
    select
        policy, count(*) as clips, count(*) filter (kept) as kept,
        count(*) filter (kept and subtitle_kept) as subtitles, count(*) filter (kept and caption_kept) as captions,
        any_value(policies.digest) as digest,
        (select count(*) from clips) - count(clips.clip_id) as undecided
    from policies left join (select clip_id from clips) as clips using (clip_id) group by policy order by policy"""


def _policies(rows: Sequence[Row]) -> Table:
    names = ("kept", "of clips", "with subtitle", "with caption", "not decided on")
    table = new_table("policy", *names, "digest", numbers=names)
    for row in rows:
        counts = (row[name] for name in ("kept", "clips", "subtitles", "captions", "undecided"))
        table.add_row(escape(row["policy"]), *(f"{count:,}" for count in counts), row["digest"][:12])
    return table


_SECTIONS: Mapping[str, tuple[str, Callable[[Sequence[Row]], Table]]] = {
    "rejects": (_REJECTS, _rejects),
    "clips": (_CLIPS, _clips),
    "texts": (_TEXTS, _texts),
    "made_by": (_MAKERS, _makers),
    "asked": (_SPENT, _spent),
    "policies": (_POLICIES, _policies),
}


def runs(dataset: Dataset, most: int) -> list[dict[str, Any]]:
    """Up to `most` of the latest runs, the last one last."""
    return [_run(epoch) for epoch in itertools.islice(latest_epochs(dataset), most)][::-1]


def _run(epoch: Epoch) -> dict[str, Any]:
    opening = epoch.opening
    command, holder = opening["about"].get("command", ""), opening["holder"]
    began, ended = (record["created_at"][:16].replace("T", " ") for record in (opening, epoch.last))
    return {
        "run_id": opening["run_id"],
        "command": command if isinstance(command, str) else " ".join(command),
        "began": began,
        "last": epoch.last_number,
        "last_commit": ended,
        "commits": epoch.last_number - epoch.number,
        "by": f"{holder['pid']}@{holder['host']}",
        "version": opening["code_version"],
    }


def _runs(rows: Sequence[Row]) -> Table:
    table = new_table("run", "command", "last commit", "commits", "by", "vidla", numbers=("commits",))
    for row in rows:
        cells = (row["run_id"], row["command"], row["last_commit"], str(row["commits"]), row["by"], row["version"])
        table.add_row(*map(escape, cells))
    return table


def _standing(dataset: Dataset, books: Books) -> Iterator[tuple[str, str]]:
    """The writer, unfinished commits, rows of older recipes, outdated ones, and whether the books balance."""
    lease = read_lease(dataset)
    writing = is_held(lease)
    if writing:
        doubt = "" if is_here(lease) else ", or has died there"
        yield f"{holder_text(lease['holder'])} is writing to the dataset{doubt}", ""
    pending_commits = unfinished(dataset)
    if pending_commits:
        state = "under way" if writing else "left unfinished by a writer that died; the next run finishes it"
        yield f"commit {', '.join(map(str, pending_commits))} is {state}", "yellow"
    yield from ((line, "") for line in _older(dataset))
    yield from ((line, "yellow") for line in (*books.notes, *books.outdated))
    if not writing:
        yield from ((line, "yellow") for line in _made_again(dataset))
    imbalances = books.imbalances()
    yield from ((line, "red") for line in imbalances)
    pending = sum(account.pending for account in books.accounts)
    if not imbalances:
        more = " Run `vidla curate` to continue with what is pending." if pending else ""
        yield f"The books balance.{more}", "green"


def _made_again(dataset: Dataset) -> Iterator[str]:
    """Rows of other settings than the last run's."""
    from pipelines.driver.outlook import made_again  # slow to import

    try:
        line = made_again(dataset)
    except (VidlaError, OSError) as error:  # such as prompts that are not on this machine
        line = f"What the last run's settings would make again is not known here: {one_line(error)}"
    if line:
        yield line


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
