"""The commands that do the work: `vidla curate`, each stage alone, and `vidla retry`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from curation.errors import UsageError
from curation.recipes import Step
from curation.rejects import Kind, Stage
from vidla.options import ConfigOption, DatasetOption, RejectRateOption, SetOption, WaitOption


def curate(
    context: typer.Context,
    dataset: DatasetOption,
    inputs: Annotated[
        list[str] | None, typer.Argument(metavar="INPUT", help="URL, video, folder, playlist or list")
    ] = None,
    config: ConfigOption = None,
    assignments: SetOption = None,
    wait: WaitOption = 0.0,
    max_reject_rate: RejectRateOption = 1.0,
    refresh: Annotated[
        list[Step] | None,
        typer.Option(
            "--refresh",
            metavar="STEP",
            help="remake rows of an older version of STEP: download, media, tilings, captions or summaries; repeatable",
        ),
    ] = None,
    one_job: Annotated[
        bool,
        typer.Option("--one-job", help="run just the next wave, as a single job (what a flex-template launch does)"),
    ] = False,
) -> None:
    """Do the whole job: download, segment, caption, summarize.

    Makes everything that INPUT and the dataset still need. Without INPUT, continues where an earlier run stopped.
    Beam's options follow after -- (docs/deploy.md).

    Example: vidla curate videos.csv --dataset data/talks --set media.lines=480
    """
    _run(
        context,
        tuple(Stage),
        inputs or [],
        dataset,
        config,
        assignments,
        wait,
        max_reject_rate,
        one_job=one_job,
        refresh=frozenset(refresh or ()),
    )


def _stage_command(stage: Stage, does: str, reads: str) -> Callable[..., None]:
    """The command that runs `stage` alone."""

    def command(
        context: typer.Context,
        dataset: DatasetOption,
        config: ConfigOption = None,
        assignments: SetOption = None,
        wait: WaitOption = 0.0,
        max_reject_rate: RejectRateOption = 1.0,
    ) -> None:
        _run(context, (stage,), [], dataset, config, assignments, wait, max_reject_rate)

    scope, example = f"Runs this stage alone, on the {reads} of the dataset.", f"vidla {stage} --dataset data/talks"
    command.__doc__ = f"{does}.\n\n{scope}\n\nExample: {example}"
    return command


download = _stage_command(Stage.DOWNLOAD, "Download the requested videos", "requests")
segment = _stage_command(Stage.SEGMENT, "Decode downloaded videos once and cut them into clips", "downloads")
caption = _stage_command(Stage.CAPTION, "Caption the frames of the clips", "frames")
summarize = _stage_command(
    Stage.SUMMARIZE, "Write the two texts of every clip, from its subtitles and captions", "segments and captions"
)


def retry(
    context: typer.Context,
    dataset: DatasetOption,
    kind: Annotated[str | None, typer.Option("--kind", metavar="KIND", help="only rejects of this kind")] = None,
    config: ConfigOption = None,
    assignments: SetOption = None,
    wait: WaitOption = 0.0,
    max_reject_rate: RejectRateOption = 1.0,
) -> None:
    """Try rejected work again where a retry can help.

    Example: vidla retry --dataset data/talks --kind rate_limited
    """
    if kind is not None and kind not in list(Kind):
        raise UsageError(f"no kind of reject is called '{kind}'; there are {', '.join(Kind)}")
    _run(context, tuple(Stage), [], dataset, config, assignments, wait, max_reject_rate, retry_kind=kind, retry=True)


def _run(
    context: typer.Context,
    stages: tuple[Stage, ...],
    inputs: list[str],
    dataset: str,
    config: Path | None,
    assignments: list[str] | None,
    wait: float,
    max_reject_rate: float,
    retry_kind: str | None = None,
    retry: bool = False,
    one_job: bool = False,
    refresh: frozenset[Step] = frozenset(),
) -> None:
    """Run the stages and exit with the run's status. `context.obj` holds the arguments after --, which are Beam's."""
    from curation.settings import resolve
    from pipelines.driver.curate import curate as run_curate

    settings = resolve(config, assignments or ())
    code = run_curate(
        inputs,
        dataset,
        settings,
        stages,
        context.obj or [],
        wait,
        max_reject_rate,
        retry=retry,
        retry_kind=retry_kind,
        one_job=one_job,
        refresh=refresh,
    )
    raise typer.Exit(code)
