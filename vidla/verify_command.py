"""`vidla verify`: checking every file of a dataset, and repairing it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from curation.dataset.dataset import Dataset
from curation.ids import new_run_id
from vidla.console import counting
from vidla.options import DatasetArgument, WaitOption

if TYPE_CHECKING:
    from curation.dataset.faults import VerifyReport
    from curation.dataset.repair import RepairReport
    from curation.dataset.verify import Verification

SHOWN = 10  # faults of a kind


def verify(
    dataset: DatasetArgument,
    repair: Annotated[
        bool, typer.Option("--repair", help="set damaged files aside, and let the next run make again what is lost")
    ] = False,
    sample: Annotated[
        int | None, typer.Option("--sample", metavar="N", min=1, help="check only N parts and N media files, at random")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="another seed draws another sample")] = 0,
    wait: WaitOption = 0.0,
) -> None:
    """Check every file of a dataset against what is known of it: parts, media, sources, logs, commits and pins.

    Exits with 1 if something is missing, damaged or contradictory.

    Example: vidla verify data/talks

    Example: vidla verify s3://bucket/talks --sample 1000

    Example: vidla verify data/talks --repair
    """
    from curation.dataset.verify import Verification

    found = Verification(Dataset(dataset), sample, seed, counting)
    report = found.run()
    _show_counts(report, seed if sample is not None else None)
    _show_faults(report)
    if not report.faults:
        typer.echo("Nothing is missing or damaged.")
    elif not repair:
        typer.echo(f"`vidla verify {found.dataset.uri} --repair` mends what can be mended.")
        raise typer.Exit(1)
    else:
        _repair(found, wait)


def _show_counts(report: VerifyReport, seed: int | None) -> None:
    for unit, checked in report.checked.items():
        total = report.total[unit]
        sampled = f" of {total:,}, chosen at random (seed {seed})" if checked < total else ""
        noted = f", {report.without_digest:,} without digest" if unit == "parts" and report.without_digest else ""
        typer.echo(f"{checked:,} {unit}{sampled}{noted}")
    if report.unchecked:
        typer.echo(f"{report.unchecked:,} logs have no recorded checksum yet")
    if report.unfinished:
        typer.echo(
            f"A writer died before commit {report.unfinished} was in all tables: the next run, or `vidla vacuum`, "
            f"finishes it, and only then are rows checked against each other"
        )
    if report.uncommitted:
        typer.echo(f"{report.uncommitted:,} files are uncommitted: a run or `vidla vacuum` deletes them")


def _show_faults(report: VerifyReport) -> None:
    for kind, faults in report.by_kind().items():
        typer.echo(f"{len(faults):,} {kind}:")
        for fault in faults[:SHOWN]:
            typer.echo(f"  {fault}")
        if len(faults) > SHOWN:
            typer.echo(f"  … and {len(faults) - SHOWN:,} more")


def _repair(found: Verification, wait_s: float) -> None:
    from curation.dataset.repair import RepairWriter, repair

    about = {"command": "verify --repair"}
    with RepairWriter(found, new_run_id(), about, wait_s) as writer:
        done = repair(writer)
    _show_repair(done, found.dataset.uri)
    if done.remaining:
        raise typer.Exit(1)


def _show_repair(done: RepairReport, uri: str) -> None:
    typer.echo(f"Repaired: {len(done.restored):,} files written again; damaged ones are in quarantine/.")
    for table, rows in done.lost_rows.items():
        typer.echo(f"  {rows:,} rows of {table} are lost{_WAYS_BACK.get(table, '')}")
    if done.pending or done.lost_rows:
        typer.echo(f"{len(done.pending):,} videos are pending: `vidla curate --dataset {uri}` makes them again.")
    for fault in done.remaining:
        typer.echo(f"  not mended: {fault}", err=True)


_WAYS_BACK = {
    "requests": ": give their lists to `vidla curate` again",
    "usage": ", and with them what some work has cost",
    "forgotten": ": forget again what must not be fetched",
    "labels": ", and with them what people said of clips",
}
