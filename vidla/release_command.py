"""`vidla release`: freezes clips of one or several datasets under a name, and says what has become of releases."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from curation.dataset.dataset import Dataset
from curation.errors import UsageError
from vidla.console import counting, escape, new_table, wide_console
from vidla.dataset_commands import existing
from vidla.options import HELP, ReleaseArgument, WhereOption

if TYPE_CHECKING:
    from curation.release.release import Release
    from curation.release.release_diff import ReleaseDiff
    from curation.release.released_dataset import ReleasedDataset

FREEZE = "freeze"


class FreezeByDefault(TyperGroup):
    """Commands of which `freeze` need not be named: `vidla release DIR --name NAME`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in (*self.commands, *HELP["help_option_names"]):
            args = [FREEZE, *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=FreezeByDefault,
    no_args_is_help=True,
    add_completion=False,
    help=(
        "Freeze clips under a name, and say what has become of them.\n\n"
        "Example: vidla release data/talks --name v1 --where \"scale = 'short'\"\n\n"
        "A release is named DIR@NAME, or by its file, wherever a command takes one."
    ),
    rich_markup_mode=None,
    context_settings=HELP,
)


@app.command(FREEZE)
def freeze(
    datasets: Annotated[list[str], typer.Argument(metavar="DIR...", help="the datasets; the first holds the release")],
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="the name of the release")],
    where: WhereOption = None,
    held_out: Annotated[
        float, typer.Option("--held-out", metavar="SHARE", min=0, max=1, help="videos that are not trained on")
    ] = 0.02,
    recipe: Annotated[
        Path | None, typer.Option("--recipe", metavar="FILE", help="write its recipe, a .parquet file, too")
    ] = None,
) -> None:
    """Freeze the clips that satisfy a condition: versions of the tables, the split, and a digest over all rows.

    `train`, `evaluate`, `export` and `card` take DIR@NAME where they take a dataset. What is forgotten, or opts out,
    is not given out any more. The word `freeze` may be left out.

    Example: vidla release freeze data/talks data/lectures --name v1 --where "language = 'en'" --recipe v1.parquet
    """
    from curation.release.freeze import freeze as freeze_in
    from curation.release.recipe_file import check_new
    from curation.release.released_dataset import ReleasedDataset

    if recipe is not None:
        check_new(recipe)
    sources = [existing(Dataset(location)) for location in datasets]
    with counting("clips", None) as advance:
        release = freeze_in(sources, name, where, held_out, advance)
    typer.echo(described(sources[0].uri, release))
    if recipe is not None:
        _write_recipe(ReleasedDataset(release), recipe, allow_private=False)


@app.command("recipe")
def recipe_of(
    release: ReleaseArgument,
    out: Annotated[Path, typer.Option("-o", metavar="FILE", help="a new .parquet file; a .json is written beside it")],
    allow_private: Annotated[
        bool, typer.Option("--allow-private", help="with addresses of private networks, for use inside of one")
    ] = False,
) -> None:
    """Write a release without its media: URLs, times on the source's clock, texts and licences.

    Left out are clips that nobody else could fetch: of local files, of private networks, and of URLs with secrets.
    `vidla rebuild` makes a dataset from it.

    Example: vidla release recipe data/talks@v1 -o talks-v1.parquet
    """
    _write_recipe(opened(release), out, allow_private=allow_private)


def _write_recipe(source: ReleasedDataset, out: Path, *, allow_private: bool) -> None:
    from curation.release.recipe_file import beside_of, write_recipe

    with counting("clips", source.release.clips) as advance:
        recipe = write_recipe(source, out, allow_private=allow_private, progress=advance)
    typer.echo(f"{recipe.clips:,} clips of {recipe.videos:,} videos in {out}, described in {beside_of(out)}")
    for reason, clips in sorted(recipe.left_out.items()):
        typer.echo(f"vidla: {clips:,} clips are left out: {reason}", err=True)


@app.command("list")
def list_(dataset: Annotated[str, typer.Argument(metavar="DIR", help="the dataset")]) -> None:
    """List the releases that a dataset holds.

    Example: vidla release list data/talks
    """
    from curation.release.release import names_of_releases, read_release

    source = existing(Dataset(dataset))
    for name in names_of_releases(source):
        typer.echo(described(source.uri, read_release(source, name)))


@app.command()
def check(release: ReleaseArgument) -> None:
    """Compare a release with its digest, and say which clips went. Exits with 1 if any did.

    Example: vidla release check data/talks@v1
    """
    from curation.release.freeze import state_of

    source = opened(release)
    with counting("clips", source.release.clips) as advance:
        state = state_of(source, advance)
    typer.echo(described(source.members[0].uri, source.release))
    for line in state.lines():
        typer.echo(line)
    if not state.is_whole:
        raise typer.Exit(1)


@app.command()
def diff(
    before: Annotated[str, typer.Argument(metavar="A", help="a release: DIR@NAME, or its file")],
    after: Annotated[str, typer.Argument(metavar="B", help="another one")],
    as_json: Annotated[bool, typer.Option("--json", help="print it as JSON")] = False,
) -> None:
    """Say which clips came, went or changed from A to B, and why.

    Example: vidla release diff data/talks@v1 data/talks@v2
    """
    from curation.release.release_diff import diff as compare
    from curation.release.released_dataset import gone_from

    a, b = opened(before), opened(after)
    with counting("clips", None) as advance:
        found = compare(a, b, advance)
    if as_json:
        about = {"a": dataclasses.asdict(a.release), "b": dataclasses.asdict(b.release)}
        typer.echo(json.dumps({**about, **found.to_json()}, ensure_ascii=False))
        return
    for source in (a, b):
        typer.echo(described(source.members[0].uri, source.release))
        for line in gone_from(source):
            typer.echo(line)
    _show_differences(found)


def _show_differences(found: ReleaseDiff) -> None:
    typer.echo(f"{found.same:,} clips are the same")
    table = new_table("", "why", "clips", "columns", "such as", numbers=("clips",))
    for kind, counts in (("came", found.came), ("went", found.went), ("changed", found.changed)):
        for reason, count in sorted(counts.items()):
            columns = ", ".join(f"{name} {number:,}" for name, number in count.columns.most_common())
            table.add_row(kind, reason, f"{count.clips:,}", columns, escape("\n".join(count.examples)))
    if table.rows:
        wide_console().print(table)


@app.command()
def remove(release: ReleaseArgument) -> None:
    """Remove a release; the next `vidla vacuum` deletes what only it needed.

    Example: vidla release remove data/talks@v1
    """
    from curation.release.freeze import remove as remove_in

    source = opened(release)
    remove_in(source.members[0], source.release.name)


def opened(location: str) -> ReleasedDataset:
    """The release that `location` names. Raises UsageError, DatasetError."""
    from curation.release.released_dataset import ReleasedDataset, open_source

    source = open_source(location)
    if not isinstance(source, ReleasedDataset):
        raise UsageError(f"'{location}' is not a release: name it DIR@NAME, or name its file")
    return source


def described(dataset_uri: str, release: Release) -> str:
    """A release in one line."""
    return (
        f"{dataset_uri}@{release.name}: {release.clips:,} clips of {release.videos:,} videos, "
        f"{release.seconds / 3600:,.2f} h, {release.held_out:.2%} held out, digest {release.digest[:16]}"
    )
