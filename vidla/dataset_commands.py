"""The commands that look at a dataset, copy from it, or delete from it.

Each imports its work when it runs, so that `vidla inspect` is quick.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from curation.dataset.dataset import Dataset
from curation.errors import UsageError
from curation.ids import new_run_id
from curation.schema import TABLES
from vidla.console import counting, wide_console
from vidla.options import AllOption, DatasetArgument, PolicyOption, SourceArgument, WaitOption, WhereOption

if TYPE_CHECKING:
    from curation.dataset.writer import Writer


def inspect(
    dataset: DatasetArgument,
    table: Annotated[
        str | None, typer.Argument(metavar="TABLE", help=f"show rows of this table instead: {', '.join(TABLES)}")
    ] = None,
    where: WhereOption = None,
    columns: Annotated[str | None, typer.Option("--columns", metavar="A,B", help="only these columns")] = None,
    order_by: Annotated[
        str | None, typer.Option("--order-by", metavar="A,B", help='in this order, such as "scale, start desc"')
    ] = None,
    sample: Annotated[int | None, typer.Option("--sample", metavar="N", min=1, help="N rows drawn at random")] = None,
    seed: Annotated[int, typer.Option("--seed", metavar="S", help="of the sample: the same draws the same")] = 0,
    policy: PolicyOption = None,
    sql: Annotated[
        str | None, typer.Option("--sql", metavar="SELECT", help="the rows of a query on the tables")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=0, help="up to N rows; 0 for all")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object per line")] = False,
    image: Annotated[str | None, typer.Option("--image", metavar="FRAME", help="write the image of a frame")] = None,
    clip: Annotated[str | None, typer.Option("--clip", metavar="ID", help="write the media of a clip")] = None,
    out: Annotated[Path | None, typer.Option("-o", metavar="FILE", help="where --image or --clip is written")] = None,
) -> None:
    """Show what was requested, made and rejected, and whether the books balance; or rows; or write an image or a clip.

    Example: vidla inspect data/talks clips --where "scale = 'short'" --columns clip_id,caption_text --limit 5

    Example: vidla inspect data/talks clips --sample 10 --seed 1 --order-by "start desc"

    Example: vidla inspect data/talks clips --policy default --columns clip_id,caption_text

    Example: vidla inspect data/talks --sql "select language, count(*) from videos group by all"
    """
    from curation.dataset.copies import CopiedDataset
    from curation.quality.chosen_policy import digest_of_policy
    from vidla import rows
    from vidla.inspect import show, show_json

    source = Dataset(dataset)
    if image or clip:
        _write(source, image, clip, out)
        return
    if out is not None:
        raise UsageError("-o needs --image FRAME or --clip ID; --json > FILE keeps rows or the overview")
    if table is None and (where or columns or order_by or sample or policy):
        options = "--where, --columns, --order-by, --sample and --policy"
        raise UsageError(f"{options} need a TABLE: vidla inspect DIR TABLE …")
    console = wide_console()
    if table is None and sql is None:
        books = show_json(source, console) if as_json else show(source, console)
        if books.imbalances():
            raise typer.Exit(1)
        return
    if table is not None and sql is not None:
        raise UsageError("choose one: rows of a TABLE, or --sql")
    names = [name.strip() for name in columns.split(",")] if columns else None
    if policy is not None:
        digest_of_policy(source, policy)
    query = sql or rows.of_table(table or "", where, names, order_by, sample, seed, policy)
    first = f"{query} limit {limit}" if limit and not sql else query
    any_rows = table is not None and not (where or order_by or sample or policy)
    read = CopiedDataset(dataset, first_rows=limit if any_rows and limit else None)
    shown = rows.show_rows(rows.read(read, first, limit), console, as_json)
    if shown and shown == limit and not as_json:
        total = rows.count_all(read, table) if any_rows and table else rows.count(read, query)
        if total > shown:
            typer.echo(f"{shown} of {total:,} rows; --limit N shows more, 0 all")


def _write(dataset: Dataset, frame_id: str | None, clip_id: str | None, out: Path | None) -> None:
    from vidla.reader import DatasetReader

    if out is None or (frame_id and clip_id):
        raise UsageError("write one thing at a time: --image FRAME -o FILE, or --clip ID -o FILE")
    reader = DatasetReader(dataset.uri)
    if clip_id:
        reader.cut(clip_id, out)
    elif frame_id:
        out.write_bytes(reader.image(frame_id))
    typer.echo(f"{out} has {out.stat().st_size / 1e6:,.2f} MB")


def export(
    dataset: Annotated[
        str | None, typer.Argument(metavar="DIR", help="the dataset: a path, or a URI; or a release, DIR@NAME")
    ] = None,
    out: Annotated[
        Path | None, typer.Argument(metavar="OUT", help="a new folder, or the folder of the same export")
    ] = None,
    form: Annotated[
        str | None, typer.Option("--format", metavar="FORMAT", help="mp4, webdataset, hf or parquet")
    ] = None,
    where: WhereOption = None,
    scale: Annotated[str | None, typer.Option("--scale", metavar="SCALE", help="short, medium or long")] = None,
    policy: PolicyOption = None,
    everything: AllOption = False,
    shard_clips: Annotated[
        int, typer.Option("--shard-clips", metavar="N", min=1, help="clips in each shard of webdataset and hf")
    ] = 1000,
    held_out: Annotated[
        float | None,
        typer.Option(
            "--held-out", metavar="SHARE", min=0, max=1, help="videos in the split test of hf [default: 0.02]"
        ),
    ] = None,
    check: Annotated[
        Path | None, typer.Option("--check", metavar="OUT", help="read all of an export instead, wherever it is now")
    ] = None,
) -> None:
    """Export clips, cut by packet copy, with their texts; or the tables as plain folders of Parquet.

    Repeat the command to continue an interrupted export, or to bring it up to date. Where policies have been applied,
    choose one, or --all.

    Example: vidla export data/talks shards --format webdataset --scale short --where "language = 'en'"

    Example: vidla export data/talks shards --format webdataset --policy default

    Example: vidla export data/talks@v1 talks-hf --format hf

    Example: vidla export --check shards
    """
    from curation.export.export import FORMATS
    from curation.export.export import export as export_to
    from curation.export.selection import Selection, count_clips
    from curation.quality.chosen_policy import choose, undecided_line
    from curation.release.released_dataset import gone_from, open_source

    if check is not None:
        _check_export(check)
        return
    if dataset is None or out is None or form is None:
        raise UsageError("name a dataset, a folder and a format: vidla export DIR OUT --format FORMAT")
    if form not in FORMATS:
        raise UsageError(f"no format is called '{form}'; there are {', '.join(FORMATS)}")
    source = open_source(dataset)
    selection = Selection(where, scale, choose(source, policy, everything=everything))
    if policy is not None and (line := undecided_line(source, policy)):
        typer.echo(f"vidla: {line}", err=True)
    total = None if form == "parquet" else count_clips(source, selection)
    unit = "rows" if form == "parquet" else "clips"
    with counting(unit, total) as advance:
        report = export_to(source, out, form, selection, shard_clips, held_out, advance)
    for line in (*gone_from(source), *report.failed):
        typer.echo(f"vidla: {line}", err=True)
    failed = f", {len(report.failed)} could not be cut" if report.failed else ""
    typer.echo(f"{report.present} {unit} in {out}, {report.kept} of them from an earlier run{failed}")
    if report.failed:
        raise typer.Exit(1)


def _check_export(out: Path) -> None:
    from curation.export.sums import check

    with counting("files", None) as advance:
        report = check(out, advance)
    for line in report.faults:
        typer.echo(f"vidla: {line}", err=True)
    clips = f", {report.clips:,} clips" if report.clips else ""
    typer.echo(f"{report.files:,} files, {report.size / 1e6:,.1f} MB{clips}: {len(report.faults) or 'no'} faults")
    if report.faults:
        raise typer.Exit(1)


def card(
    dataset: SourceArgument,
    out: Annotated[Path | None, typer.Option("-o", metavar="FILE", help="write it there instead")] = None,
    where: WhereOption = None,
) -> None:
    """Print the data card: sources, licences, models, prompts, settings, counts and limits, from the tables.

    With -o, Croissant metadata is written beside it, as croissant.json.

    Example: vidla card data/talks -o README.md
    """
    from curation.card import card as card_of
    from curation.croissant import CROISSANT, write_croissant
    from curation.export.selection import Selection
    from curation.release.released_dataset import gone_from, open_source

    source = existing(open_source(dataset))
    text = card_of(source, Selection(where))
    for line in gone_from(source):
        typer.echo(f"vidla: {line}", err=True)
    if out is None:
        typer.echo(text, nl=False)
    else:
        out.write_text(text, encoding="utf-8")
        write_croissant(source, out.with_name(CROISSANT), Selection(where))


def vacuum(dataset: DatasetArgument, wait: WaitOption = 0.0) -> None:
    """Delete superseded files: parts, stored media and sources that neither the tables nor a pinned version need.

    Example: vidla vacuum data/talks
    """
    from curation.dataset.pins import pins
    from curation.dataset.vacuum import vacuum as vacuum_in

    with open_writer(dataset, "vacuum", wait) as writer:
        report = vacuum_in(writer)
    typer.echo(
        f"Deleted: {report.parts} parts, {report.media} media file(s), {report.sources} source(s), "
        f"{report.size / 1e6:,.1f} MB in all"
    )
    if report.kept:
        names = ", ".join(pins(Dataset(dataset)))
        typer.echo(f"Kept {report.kept} superseded parts that pinned versions need ({names}): read through the log")


def compact(dataset: DatasetArgument, wait: WaitOption = 0.0) -> None:
    """Merge small parts into parts of 64 MB or more, in one commit; `vidla vacuum` then deletes the old ones.

    Rows and pinned versions stay as they are. Useful between runs once a table has thousands of parts.

    Example: vidla compact data/talks
    """
    from curation.dataset.compact import compact as compact_in

    with open_writer(dataset, "compact", wait) as writer:
        report = compact_in(writer)
    before, after = report.parts
    if before:
        typer.echo(
            f"Merged {before:,} parts of {len(report.merged)} tables into {after:,} in one commit "
            f"({report.size / 1e6:,.1f} MB); `vidla vacuum` deletes the old ones"
        )
    else:
        typer.echo("Nothing to do: no table has two parts of less than 64 MB.")


def pin(
    dataset: DatasetArgument,
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="the pin's name; without it, pins are listed")
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="remove the pin")] = False,
) -> None:
    """Keep the current version of the tables under a name, so that vacuum spares its files.

    Example: vidla pin data/talks first-training
    """
    from curation.dataset.pins import pin as pin_in
    from curation.dataset.pins import pins, unpin

    source = Dataset(dataset)
    if name is None:
        for pinned, versions in pins(existing(source)).items():
            typer.echo(f"{pinned}: {_versions(versions)}")
    elif remove:
        unpin(source, name)
    else:
        typer.echo(f"{name}: {_versions(pin_in(existing(source), name))}")


def _versions(versions: Mapping[str, int]) -> str:
    return ", ".join(f"{table} {version}" for table, version in versions.items())


def open_writer(location: str, command: str, wait_s: float) -> Writer:
    """The writer of an existing dataset, not yet entered. Raises DatasetError."""
    from curation.dataset.writer import Writer

    run_id = new_run_id()
    return Writer(existing(Dataset(location)), run_id, {"command": command}, wait_s)


def existing(dataset: Dataset) -> Dataset:
    """`dataset`, if there is one at its URI: opening for writing would create it. Raises DatasetError."""
    if not dataset.exists():
        raise dataset.missing()
    return dataset
