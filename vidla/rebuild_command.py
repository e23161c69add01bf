"""`vidla rebuild`: makes a dataset from a recipe, and says how much of it came back."""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from curation.dataset.dataset import Dataset
from curation.rejects import Stage
from vidla.console import escape, new_table, wide_console
from vidla.options import ConfigOption, SetOption, WaitOption, YesOption

if TYPE_CHECKING:
    from curation.release.rebuilt import RebuildReport
    from curation.release.recipe_file import Recipe
    from curation.settings import Settings


def rebuild(
    context: typer.Context,
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="the .parquet file, with its .json beside it")],
    dataset: Annotated[str, typer.Argument(metavar="DIR", help="the dataset to make, or to go on with")],
    make_texts: Annotated[
        bool, typer.Option("--make-texts", help="make texts by the settings instead of taking those of the recipe")
    ] = False,
    tolerance: Annotated[
        float, typer.Option("--tolerance", metavar="SECONDS", min=0, help="a clip may begin and end so much elsewhere")
    ] = 0.5,
    as_json: Annotated[bool, typer.Option("--json", help="print the report as JSON")] = False,
    config: ConfigOption = None,
    assignments: SetOption = None,
    wait: WaitOption = 0.0,
    yes: YesOption = False,
) -> None:
    """Download the videos of a recipe, cut them as it says, and give the clips its texts; say how much came back.

    Without --config, videos are cut by the settings in the recipe. No model is asked, unless --make-texts is given.
    Repeat the command to try again what is missing. Exits with 1 if nothing came back.

    Example: vidla rebuild talks-v1.parquet data/talks-again
    """
    from curation.release.recipe_file import read_recipe
    from curation.settings import resolve

    told = read_recipe(recipe)
    settings = resolve(config, assignments or (), None if config else told.settings, asks_servers=make_texts)
    stages = tuple(Stage) if make_texts else (Stage.DOWNLOAD, Stage.SEGMENT)
    with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
        _curate(recipe, dataset, settings, stages, context.obj or [], wait, yes=yes)
    report = _report(recipe, told, dataset, tolerance, wait, make_texts=make_texts)
    if as_json:
        typer.echo(json.dumps(report.to_json(), ensure_ascii=False))
    else:
        _show(told, report)
    if not report.back:
        raise typer.Exit(1)


def _curate(
    recipe: Path,
    location: str,
    settings: Settings,
    stages: tuple[Stage, ...],
    beam_arguments: list[str],
    wait_s: float,
    *,
    yes: bool,
) -> None:
    """Download and cut the videos of the recipe. What is rejected is a part of the report, and no failure."""
    from curation.release.rebuilt import write_list
    from pipelines.driver.curate import curate

    with tempfile.TemporaryDirectory(prefix="vidla-rebuild-") as folder:
        videos = Path(folder) / f"{recipe.stem}.jsonl"
        write_list(recipe, videos)
        curate([str(videos)], location, settings, stages, beam_arguments, wait_s, 1.0, yes=yes)


def _report(
    recipe: Path, told: Recipe, location: str, tolerance_s: float, wait_s: float, *, make_texts: bool
) -> RebuildReport:
    from curation.release.rebuilt import compare, take_texts
    from vidla.dataset_commands import existing, open_writer

    if make_texts:
        return compare(existing(Dataset(location)), recipe, tolerance_s)
    with open_writer(location, "rebuild", wait_s) as writer:
        return take_texts(writer, recipe, told, tolerance_s)


def _show(recipe: Recipe, report: RebuildReport) -> None:
    typer.echo(f"release {escape(recipe.release)}, digest {recipe.release_digest[:16]}")
    for line in report.lines():
        typer.echo(line)
    table = new_table("missing because of", "clips", "such as", numbers=("clips",))
    for reason, count in sorted(report.missing.items(), key=lambda each: -each[1].clips):
        table.add_row(escape(reason), f"{count.clips:,}", escape(", ".join(count.examples)))
    if table.rows:
        wide_console().print(table)
