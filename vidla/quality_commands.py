"""`vidla score`, which measures the signals of clips."""

from __future__ import annotations

import typer

from vidla.console import counting
from vidla.dataset_commands import open_writer
from vidla.options import DatasetArgument, WaitOption


def score(dataset: DatasetArgument, wait: WaitOption = 0.0) -> None:
    """Measure the signals of every clip, from `timelines` and its texts; what is up to date is not measured again.

    Writes the table `signals` (docs/quality.md). Nothing is decoded or asked for, and no model is needed.

    Example: vidla score data/talks
    """
    from curation.quality.score import score as score_in

    with open_writer(dataset, "score", wait) as writer, counting("clips", None) as advance:
        report = score_in(writer, advance)
    if report.videos:
        typer.echo(f"Measured {report.clips:,} clips of {report.videos:,} videos")
    else:
        typer.echo("Nothing to do: the signals of all clips are up to date.")
