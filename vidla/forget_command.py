"""`vidla forget`: says what it found, asks, and removes it for good; lists what is forgotten, and takes it back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from curation.dataset.dataset import Dataset
from curation.errors import UsageError
from vidla.dataset_commands import existing, open_writer
from vidla.options import DatasetArgument, WaitOption

if TYPE_CHECKING:
    from curation.dataset.forget import Findings, TargetKind

SHOWN = 5  # ids of videos


def forget(
    dataset: DatasetArgument,
    video: Annotated[str | None, typer.Option("--video", metavar="ID", help="a video_id, with all its ranges")] = None,
    url: Annotated[
        str | None, typer.Option("--url", metavar="URL", help="the URL of a request, or the page it came from")
    ] = None,
    channel: Annotated[
        str | None, typer.Option("--channel", metavar="CHANNEL", help="the name or id of a channel")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
    ahead: Annotated[
        bool, typer.Option("--ahead", help="forbid to fetch it even if the dataset has none of it")
    ] = False,
    list_: Annotated[bool, typer.Option("--list", help="show kind, date and digest of all that is forgotten")] = False,
    undo: Annotated[
        bool, typer.Option("--undo", help="allow to fetch it again, with all that the same call forgot")
    ] = False,
    wait: WaitOption = 0.0,
) -> None:
    """Remove a video, a URL or a channel from every row, file and older version, and never fetch it again.

    Says what it found and asks first. Copies elsewhere, such as exports, are not touched.

    Example: vidla forget data/talks --url https://videos.example/watch/17.mp4
    """
    choices: dict[TargetKind, str | None] = {"video": video, "uri": url, "channel": channel}
    chosen = [(kind, name) for kind, name in choices.items() if name]
    if (list_ and (chosen or undo or ahead)) or (undo and ahead):
        raise UsageError("--list stands alone, and --undo goes without --ahead")
    if list_:
        _list(existing(Dataset(dataset)))
        return
    if len(chosen) != 1:
        raise UsageError("name one of --video, --url and --channel")
    kind, name = chosen[0]
    if undo:
        _undo(dataset, kind, name, wait)
    else:
        _forget(dataset, kind, name, wait, yes=yes, ahead=ahead)


def _forget(location: str, kind: TargetKind, name: str, wait_s: float, *, yes: bool, ahead: bool) -> None:
    from curation.dataset.forget import forget as forget_in
    from curation.dataset.forget import look, nothing_of

    source = existing(Dataset(location))
    found = look(source, kind, name)
    if not found and not ahead:
        raise UsageError(nothing_of(source, kind))
    show_findings(found)
    if not yes and not confirmed("Forget it for good?"):
        raise typer.Exit(1)
    with open_writer(location, "forget", wait_s) as writer:
        report = forget_in(writer, kind, name, ahead=ahead)
    typer.echo(report.line())
    for line in report.warnings():
        typer.echo(line, err=True)


def show_findings(found: Findings) -> None:
    """What there is, and what else it will cost."""
    from curation.dataset.kept_parts import without_it

    typer.echo(
        f"Found {len(found.videos)} video(s){_some(found.videos)} of {len(found.requests)} request(s): ", nl=False
    )
    typer.echo(f"{found.media} media file(s), {found.sources} source(s){', forgotten before' if found.known else ''}")
    for pinned in found.pins:
        typer.echo(without_it(pinned), err=True)
    if found.videos:
        typer.echo(
            "Copies elsewhere stay: repeat `vidla export` into the folder of each export, and forget it in every "
            "dataset that reuses this one",
            err=True,
        )


def _some(ids: Sequence[str]) -> str:
    from vidla.console import some_of

    return f" ({some_of(ids, SHOWN)})" if ids else ""


def confirmed(question: str) -> bool:
    """Ask at the terminal. Raises UsageError if there is none, Interrupted after Ctrl-C."""
    from pipelines.driver.consent import agrees, is_at_terminal

    if not is_at_terminal():
        raise UsageError("nothing was forgotten: repeat it with --yes, or at a terminal")
    return agrees(question, "nothing was forgotten")


def _undo(location: str, kind: TargetKind, name: str, wait_s: float) -> None:
    from curation.dataset.forget import undo

    with open_writer(location, "forget --undo", wait_s) as writer:
        allowed = undo(writer, kind, name)
    numbers = ", ".join(f"{count} {kind}(s)" for kind, count in sorted(allowed.items()))
    typer.echo(f"No longer forgotten: {numbers}. What was deleted stays deleted; request it again to fetch it")


def _list(source: Dataset) -> None:
    for row in source.read("forgotten", ["kind", "created_at", "key"]).sort_by("created_at").to_pylist():
        typer.echo(f"{row['kind']:<8} {row['created_at']:%Y-%m-%d %H:%M} {row['key']}")
