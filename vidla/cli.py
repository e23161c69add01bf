"""The `vidla` command."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from curation import __version__
from curation.errors import UsageError, VidlaError
from curation.rejects import Stage
from curation.settings import Settings, fields, resolve
from pipelines.worker.shutdown import Interrupted
from vidla import dataset_commands, forecast_command, prompt_commands, template_commands, training_commands

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
config_app = typer.Typer(no_args_is_help=True, help="Print, check and show the configuration.", rich_markup_mode=None)
app.add_typer(config_app, name="config")
app.add_typer(prompt_commands.app, name="prompts")
app.add_typer(template_commands.app, name="template")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"vidla {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="print the version")
    ] = False,
) -> None:
    """Turn a list of videos into a video-language training set."""


DatasetOption = Annotated[
    str, typer.Option("--dataset", metavar="DIR", help="a path, or a file://, s3:// or gs:// URI")
]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="TOML; `vidla config template` prints one")
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="SECTION.KEY=VALUE", help="override one key; repeatable")
]
WaitOption = Annotated[float, typer.Option("--wait", metavar="SECONDS", help="wait so long for another writer to end")]
RejectRateOption = Annotated[
    float, typer.Option("--max-reject-rate", min=0.0, max=1.0, help="fail where this share of the work was rejected")
]


def _run(
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
) -> None:
    from pipelines.driver.curate import curate as run_curate

    settings = resolve(config, assignments or ())
    code = run_curate(
        inputs,
        dataset,
        settings,
        stages,
        beam_arguments(),
        wait,
        max_reject_rate,
        retry=retry,
        retry_kind=retry_kind,
        one_job=one_job,
    )
    raise typer.Exit(code)


@app.command()
def curate(
    dataset: DatasetOption,
    inputs: Annotated[
        list[str] | None, typer.Argument(metavar="INPUT", help="URL, video, folder, playlist or list")
    ] = None,
    config: ConfigOption = None,
    assignments: SetOption = None,
    wait: WaitOption = 0.0,
    max_reject_rate: RejectRateOption = 1.0,
    one_job: Annotated[
        bool, typer.Option("--one-job", help="only the next wave, as one job of the runner; a template's launch is one")
    ] = False,
) -> None:
    """Do the whole job: download, segment, caption, summarize.

    Makes everything that INPUT and the dataset still need; without an INPUT, goes on where an earlier run stopped.
    Beam's options follow after -- (docs/deploy.md: Flink).

    Example: vidla curate videos.csv --dataset data/talks --set media.lines=480
    """

    _run(tuple(Stage), inputs or [], dataset, config, assignments, wait, max_reject_rate, one_job=one_job)


def _stage_command(name: Stage, does: str) -> None:
    def command(
        dataset: DatasetOption,
        config: ConfigOption = None,
        assignments: SetOption = None,
        wait: WaitOption = 0.0,
        max_reject_rate: RejectRateOption = 1.0,
    ) -> None:
        _run((name,), [], dataset, config, assignments, wait, max_reject_rate)

    command.__doc__ = (
        f"{does}.\n\nThis stage alone, on what the tables hold.\n\nExample: vidla {name} --dataset data/talks"
    )
    app.command(name)(command)


_stage_command(Stage.DOWNLOAD, "Fetch what was asked for")
_stage_command(Stage.SEGMENT, "Decode downloaded videos once and tile them into clips")
_stage_command(Stage.CAPTION, "Caption the frames of the clips")
_stage_command(Stage.SUMMARIZE, "Make the two texts of every clip")


@app.command()
def retry(
    dataset: DatasetOption,
    kind: Annotated[str | None, typer.Option("--kind", metavar="K", help="only rejects of this kind")] = None,
    config: ConfigOption = None,
    assignments: SetOption = None,
    wait: WaitOption = 0.0,
    max_reject_rate: RejectRateOption = 1.0,
) -> None:
    """Try again what was rejected and a retry can help.

    Example: vidla retry --dataset data/talks --kind rate_limited
    """
    from curation.rejects import Kind

    if kind is not None and kind not in list(Kind):
        raise UsageError(f"no kind of reject is called '{kind}'; there are {', '.join(Kind)}")
    _run(tuple(Stage), [], dataset, config, assignments, wait, max_reject_rate, retry_kind=kind, retry=True)


for _verb in (
    dataset_commands.inspect,
    dataset_commands.export,
    dataset_commands.forget,
    dataset_commands.compact,
    dataset_commands.vacuum,
    dataset_commands.pin,
):
    app.command()(_verb)
app.command()(forecast_command.plan)
app.command()(training_commands.train)
app.command()(training_commands.evaluate)
app.command()(training_commands.hierarchical_set)


@config_app.command()
def template() -> None:
    """Print every key with its default, as TOML.

    Example: vidla config template > vidla.toml
    """
    typer.echo(to_toml(Settings(), comments=True), nl=False)


@config_app.command()
def validate(file: Annotated[Path, typer.Argument(metavar="FILE")]) -> None:
    """Check a configuration file.

    Example: vidla config validate vidla.toml
    """
    resolve(file)
    typer.echo(f"{file} is valid")


@config_app.command()
def show(config: ConfigOption = None, assignments: SetOption = None) -> None:
    """Print the resolved configuration, as a run would use it.

    Example: vidla config show --config vidla.toml --set media.crf=20
    """
    typer.echo(to_toml(resolve(config, assignments or ()), comments=False), nl=False)


def to_toml(settings: Settings, comments: bool) -> str:
    """`settings` as TOML; with `comments`, each key below its description, and keys without a value commented out."""
    import json

    lines: list[str] = []
    section = ""
    for path, value, description in fields(settings):
        above, _, key = path.rpartition(".")
        if above != section:
            section = above
            lines += ["", f"[{section}]"]
        if comments:
            lines.append(f"# {description}")
        if value is not None:
            lines.append(
                f"{key} = {json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)}"
            )
        elif comments:
            lines.append(f"# {key} =")
    return "\n".join(lines).lstrip("\n") + "\n"


# --- the process ----------------------------------------------------------------------------------------------------

_beam: list[str] = []


def beam_arguments() -> list[str]:
    """What stood behind -- on the command line."""
    return list(_beam)


def main() -> None:
    """Run the command. Exit status: 0 all accounted for, 1 a run that failed, 2 misuse."""
    arguments = sys.argv[1:]
    if "--" in arguments:
        cut = arguments.index("--")
        _beam[:] = arguments[cut + 1 :]
        arguments = arguments[:cut]
    try:
        app(args=arguments, prog_name="vidla")
    except Interrupted as error:
        typer.echo(f"vidla: {error}", err=True)
        os._exit(1)  # not to wait for threads that are still in a model or a request
    except VidlaError as error:
        fail(error, error.exit_status)
    except OSError as error:
        fail(error, 1)


def fail(error: Exception, code: int) -> None:
    """Say what is wrong in a line (or one a wrong key), without a traceback."""
    typer.echo(f"vidla: {error}", err=True)
    raise SystemExit(code)
