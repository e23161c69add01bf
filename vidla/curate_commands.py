"""The commands that do the work: `vidla curate`, each stage alone, and `vidla retry`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from curation.errors import UsageError
from curation.recipes import Step
from curation.rejects import Kind, Stage
from vidla.options import (
    ConfigOption,
    DatasetOption,
    DryRunOption,
    LogFormatOption,
    MaxCostOption,
    MaxHoursOption,
    MaxTokensOption,
    MetricsPortOption,
    PricesOption,
    QuietOption,
    RejectRateOption,
    SetOption,
    VerboseOption,
    WaitOption,
    YesOption,
)

if TYPE_CHECKING:
    from pipelines.driver.run_output import RunOutput

LOG_FORMATS = ("text", "json")


class Shown(NamedTuple):
    """What a run shows of itself, as the options say."""

    quiet: bool
    verbose: bool
    log_format: str
    metrics_port: int | None

    def output(self) -> RunOutput:
        """Raises UsageError."""
        from pipelines.driver.run_output import RunOutput

        if self.quiet and self.verbose:
            raise UsageError("-q prints less and -v prints more: leave out one of them")
        if self.log_format not in LOG_FORMATS:
            raise UsageError(f"no --log-format is called '{self.log_format}'; there are {', '.join(LOG_FORMATS)}")
        metrics = None if self.metrics_port is None else f"127.0.0.1:{self.metrics_port}"
        return RunOutput(self.quiet, self.verbose, events=self.log_format == "json", metrics=metrics)


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
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    prices: PricesOption = None,
    max_cost: MaxCostOption = None,
    max_tokens: MaxTokensOption = None,
    max_hours: MaxHoursOption = None,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
    log_format: LogFormatOption = "text",
    metrics_port: MetricsPortOption = None,
    refresh: Annotated[
        list[Step] | None,
        typer.Option(
            "--refresh",
            metavar="STEP",
            help=f"remake rows of an older version of STEP ({', '.join(Step)}); repeatable",
        ),
    ] = None,
    files_under: Annotated[
        Path | None,
        typer.Option("--files-under", metavar="DIR", help="let lists name files below DIR, links resolved"),
    ] = None,
    prune: Annotated[
        bool, typer.Option("--prune", help="show the requests that no INPUT names, and remove them if you agree")
    ] = False,
    keep_duplicates: Annotated[
        bool, typer.Option("--keep-duplicates", help="make the same bytes under two ids twice")
    ] = False,
    one_job: Annotated[
        bool,
        typer.Option("--one-job", help="run just the next wave, as a single job (what a flex-template launch does)"),
    ] = False,
) -> None:
    """Do the whole job: download, segment, caption, summarize.

    Makes everything that INPUT and the dataset still need. Without INPUT, continues where an earlier run stopped.
    Beam's options follow after -- (docs/deploy.md).

    Example: vidla curate videos.csv --dataset data/talks --set media.lines=480

    Example: vidla curate videos.csv --dataset data/talks -q --log-format json --metrics-port 9464
    """
    shown = Shown(quiet, verbose, log_format, metrics_port)
    run = _run_of(wait, max_reject_rate, yes, dry_run, prices, (max_cost, max_tokens, max_hours), shown)
    run(
        context,
        tuple(Stage),
        dataset,
        config,
        assignments,
        inputs=inputs or [],
        one_job=one_job,
        refresh=frozenset(refresh or ()),
        files_under=files_under,
        prune=prune,
        keep_duplicates=keep_duplicates,
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
        yes: YesOption = False,
        dry_run: DryRunOption = False,
        prices: PricesOption = None,
        max_cost: MaxCostOption = None,
        max_tokens: MaxTokensOption = None,
        max_hours: MaxHoursOption = None,
        quiet: QuietOption = False,
        verbose: VerboseOption = False,
        log_format: LogFormatOption = "text",
        metrics_port: MetricsPortOption = None,
    ) -> None:
        shown = Shown(quiet, verbose, log_format, metrics_port)
        run = _run_of(wait, max_reject_rate, yes, dry_run, prices, (max_cost, max_tokens, max_hours), shown)
        run(context, (stage,), dataset, config, assignments)

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
    kind: Annotated[
        str | None,
        typer.Option("--kind", metavar="KIND", help=f"rejects of this kind, promising or not: {', '.join(Kind)}"),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="rejects of every kind, promising or not")] = False,
    url: Annotated[
        list[str] | None, typer.Option("--url", metavar="URL", help="only what came of this URL or file; repeatable")
    ] = None,
    subtitles: Annotated[
        bool, typer.Option("--subtitles", help="no rejects, but downloads that lack subtitles: ask for those alone")
    ] = False,
    config: ConfigOption = None,
    assignments: SetOption = None,
    wait: WaitOption = 0.0,
    max_reject_rate: RejectRateOption = 1.0,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    prices: PricesOption = None,
    max_cost: MaxCostOption = None,
    max_tokens: MaxTokensOption = None,
    max_hours: MaxHoursOption = None,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
    log_format: LogFormatOption = "text",
    metrics_port: MetricsPortOption = None,
) -> None:
    """Try rejected work again where a retry can help, or where --kind or --force says so.

    What waits behind download.only_where, and what was forgotten, stays out. Missing subtitles are asked for without
    the media; a video whose words are others then is cut again from its stored media.

    Example: vidla retry --dataset data/talks --kind rate_limited
    """
    from pipelines.driver.known_rows import Retry

    if kind is not None and kind not in list(Kind):
        raise UsageError(f"no kind of reject is called '{kind}'; there are {', '.join(Kind)}")
    if subtitles and (kind or force):
        raise UsageError("--subtitles tries no rejects again: leave out --kind and --force")
    retried = Retry(kind, force, _keys_of(dataset, url) if url else None, subtitles)
    shown = Shown(quiet, verbose, log_format, metrics_port)
    run = _run_of(wait, max_reject_rate, yes, dry_run, prices, (max_cost, max_tokens, max_hours), shown)
    run(context, tuple(Stage), dataset, config, assignments, retry=retried)


def _keys_of(location: str, urls: Sequence[str]) -> frozenset[str]:
    """The keys of the requests with one of these URLs, and of the videos that they led to. Raises UsageError."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from curation.dataset.dataset import Dataset
    from vidla.dataset_commands import existing

    uris = [_stored(url) for url in urls]
    dataset = existing(Dataset(location))
    requests = dataset.read("requests", ["request_key", "uri"])
    requests = requests.filter(pc.is_in(requests["uri"], pa.array(uris, pa.string())))
    if unknown := set(uris).difference(requests["uri"].to_pylist()):
        raise UsageError(f"no request of this dataset is for {min(unknown)}")
    downloads = dataset.read("downloads", ["request_key", "video_id"])
    videos = downloads.filter(pc.is_in(downloads["request_key"], requests["request_key"].combine_chunks()))["video_id"]
    return frozenset([*requests["request_key"].to_pylist(), *videos.to_pylist()])


def _stored(url: str) -> str:
    """The form in which a URL, or the path of a file, is in the table of requests. Raises UsageError."""
    from curation.uris import InvalidUri, canonical, path_of

    try:
        if url.startswith("file:"):
            return path_of(url).resolve().as_uri()
        return canonical(url) if "://" in url else Path(url).resolve().as_uri()
    except InvalidUri as error:
        raise UsageError(f"--url: {error}") from None


def _run_of(
    wait_s: float,
    max_reject_rate: float,
    yes: bool,
    dry_run: bool,
    prices: Path | None,
    limits: tuple[float | None, int | None, float | None],
    shown: Shown,
) -> Callable[..., None]:
    """The function that runs stages with the options that all these commands have, and exits with the run's status."""

    def run(
        context: typer.Context,
        stages: tuple[Stage, ...],
        dataset: str,
        config: Path | None,
        assignments: list[str] | None,
        inputs: Sequence[str] = (),
        **kind: Any,
    ) -> None:
        from curation.dataset.dataset import Dataset
        from curation.dataset.last_settings import last_run
        from curation.prices import read_prices
        from curation.settings import resolve
        from pipelines.driver.budget import RunLimits
        from pipelines.driver.curate import curate as run_curate

        output = shown.output()
        with output.opened():
            last = None if config else last_run(Dataset(dataset))
            asks = not {Stage.CAPTION, Stage.SUMMARIZE}.isdisjoint(stages)
            settings = resolve(config, assignments or (), last.settings if last else None, asks_servers=asks)
            beam_arguments = context.obj or []  # those after --
            where = (inputs, dataset, settings, stages, beam_arguments, wait_s, max_reject_rate)
            bounds = RunLimits(*limits, read_prices(prices))
            status = run_curate(*where, yes=yes, dry=dry_run, limits=bounds, output=output, **kind)
        raise typer.Exit(status)

    return run
