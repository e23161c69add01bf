"""The verbs of `vidla` that look at a dataset, copy from it, or clear it; vidla/cli.py puts them on the command."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from curation.dataset.compact import compact as compact_in
from curation.dataset.dataset import Dataset
from curation.dataset.forget import What
from curation.dataset.forget import forget as forget_in
from curation.dataset.pins import pin as pin_in
from curation.dataset.pins import pins, unpin
from curation.dataset.vacuum import vacuum as vacuum_in
from curation.dataset.writer import Writer
from curation.errors import DatasetError, UsageError
from vidla.inspect import select, show, show_rows

PLAIN_INTERVAL_S = 5.0

Location = Annotated[str, typer.Argument(metavar="DIR", help="the dataset: a path, or a file://, s3:// or gs:// URI")]
Where = Annotated[str | None, typer.Option("--where", metavar="SQL", help="a condition, in DuckDB's SQL")]
Wait = Annotated[float, typer.Option("--wait", metavar="SECONDS", help="wait so long for another writer to end")]


def inspect(
    dataset: Location,
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
    if table is None:
        if where or columns or as_json:
            raise UsageError("--where, --columns and --json go with a TABLE: vidla inspect DIR TABLE …")
        show(at, Console())
        return
    names = [name.strip() for name in columns.split(",")] if columns else None
    show_rows(select(at, table, where, names, limit), Console(), as_json)


def export(
    dataset: Location,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="a new folder, or that of the same export")],
    form: Annotated[str, typer.Option("--format", help="mp4, webdataset or parquet")],
    where: Where = None,
    scale: Annotated[str | None, typer.Option("--scale", help="short, medium or long")] = None,
    shard_clips: Annotated[int, typer.Option("--shard-clips", min=1, help="clips in a webdataset's shard")] = 1000,
) -> None:
    """Cut clips out by packet copy and put their texts beside them; or copy the tables as plain folders of Parquet.

    Repeat the command to go on with an export that was cut short, or to bring it up to date.

    Example: vidla export data/talks shards --format webdataset --scale short --where "language = 'en'"
    """
    from curation.export import FORMATS, Selection, count_clips
    from curation.export import export as export_to

    at, selection = Dataset(dataset), Selection(where, scale)
    if form not in FORMATS:
        raise UsageError(f"no format is called '{form}'; there are {', '.join(FORMATS)}")
    total = None if form == "parquet" else count_clips(at, selection)
    counted = "rows" if form == "parquet" else "clips"
    with _progress(counted, total) as advance:
        exported = export_to(at, out, form, selection, shard_clips, advance)
    for line in exported.failed:
        typer.echo(f"vidla: {line}", err=True)
    failed = f", {len(exported.failed)} could not be cut" if exported.failed else ""
    typer.echo(f"{exported.there} {counted} in {out}, {exported.kept} of them from before{failed}")
    if exported.failed:
        raise typer.Exit(1)


@contextmanager
def _progress(what: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Gives what is to be told of progress: a bar on a terminal shows it, else a plain line every few seconds."""
    console = Console(stderr=True)
    if console.is_terminal:
        columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task("", total=total)
            yield lambda more: bar.advance(task, more)
        return
    done, told = 0, time.monotonic()

    def plain(more: int) -> None:
        nonlocal done, told
        done += more
        if time.monotonic() - told >= PLAIN_INTERVAL_S:
            told = time.monotonic()
            typer.echo(f"{done} of {total or '?'} {what}", err=True)

    yield plain


def forget(
    dataset: Location,
    video: Annotated[str | None, typer.Option("--video", metavar="ID", help="a video_id, all its ranges")] = None,
    url: Annotated[str | None, typer.Option("--url", help="what was asked for, or the page it came from")] = None,
    channel: Annotated[str | None, typer.Option("--channel", metavar="C", help="a channel's name or id")] = None,
    wait: Wait = 0.0,
) -> None:
    """Take a video, or all of a URL or channel, out of every row, file and older version, and never fetch it again.

    Example: vidla forget data/talks --url https://videos.example/watch/17.mp4
    """
    choices: dict[What, str | None] = {"video": video, "uri": url, "channel": channel}
    chosen = [(what, name) for what, name in choices.items() if name]
    if len(chosen) != 1:
        raise UsageError("name one of --video, --url and --channel")
    with _writer(dataset, "forget", wait) as writer:
        forgot = forget_in(writer, *chosen[0])
    typer.echo(
        f"Forgotten, and not to be fetched again: {forgot.videos} video(s) of {forgot.requests} request(s). "
        f"Deleted: {forgot.parts} parts, {forgot.media} media file(s), {forgot.sources} source(s)"
    )
    for name in forgot.broken:
        typer.echo(f"What is pinned as '{name}' held some of it and cannot be read any more: pin a new one", err=True)


def vacuum(dataset: Location, wait: Wait = 0.0) -> None:
    """Delete what was superseded: parts, stored media and sources that neither the tables nor a pinned version need.

    Example: vidla vacuum data/talks
    """
    with _writer(dataset, "vacuum", wait) as writer:
        cleared = vacuum_in(writer)
    typer.echo(
        f"Deleted: {cleared.parts} parts, {cleared.media} media file(s), {cleared.sources} source(s), "
        f"{cleared.size / 1e6:,.1f} MB in all"
    )
    if cleared.kept:
        names = ", ".join(pins(Dataset(dataset)))
        typer.echo(f"{cleared.kept} superseded parts are kept for what is pinned ({names}): read through the log")


def compact(dataset: Location, wait: Wait = 0.0) -> None:
    """Merge small parts into parts of 64 MB or more, in one commit; `vidla vacuum` then deletes the old ones.

    Rows stay as they are, and so does what is pinned. Do so between runs where a table has thousands of parts.

    Example: vidla compact data/talks
    """
    with _writer(dataset, "compact", wait) as writer:
        compacted = compact_in(writer)
    before, after = compacted.parts
    if before:
        typer.echo(
            f"Merged {before:,} parts of {len(compacted.merged)} tables into {after:,} in one commit "
            f"({compacted.size / 1e6:,.1f} MB); `vidla vacuum` deletes the old ones"
        )
    else:
        typer.echo("Nothing to do: no table has two parts of less than 64 MB.")


def pin(
    dataset: Location,
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="without it, what is pinned is listed")] = None,
    remove: Annotated[bool, typer.Option("--remove", help="let go of it")] = False,
) -> None:
    """Keep the tables as they stand under a name, so that vacuum spares what they hold.

    Example: vidla pin data/talks first-training
    """
    at = Dataset(dataset)
    if name is None:
        for known, versions in pins(_existing(at)).items():
            typer.echo(f"{known}: {_versions(versions)}")
    elif remove:
        unpin(at, name)
    else:
        typer.echo(f"{name}: {_versions(pin_in(_existing(at), name))}")


def _versions(versions: Mapping[str, int]) -> str:
    return ", ".join(f"{table} {version}" for table, version in versions.items())


def _writer(location: str, command: str, wait_s: float) -> Writer:
    run_id = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(2)}"
    return Writer(_existing(Dataset(location)), run_id, {"command": command}, wait_s)


def _existing(dataset: Dataset) -> Dataset:
    """`dataset`, if it is one: opening for writing would make it."""
    if not dataset.exists():
        raise DatasetError(f"no vidla dataset at {dataset.uri}")
    return dataset
