"""The `vidla` command: its list of commands, and the process around them."""

from __future__ import annotations

import atexit
import contextlib
import importlib
import io
import os
import sys
from collections import Counter
from typing import Annotated, Any, NamedTuple, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup

from curation.errors import Interrupted, Superseded, UsageError, VidlaError
from curation.redaction import redact
from vidla.options import HELP


class Command(NamedTuple):
    """Where a command's function or Typer application is defined ("module:name"), and its line in `vidla --help`."""

    origin: str
    help: str


COMMANDS = {
    "curate": Command("vidla.curate_commands:curate", "Do the whole job: download, segment, caption, summarize."),
    "download": Command("vidla.curate_commands:download", "Download the requested videos."),
    "segment": Command("vidla.curate_commands:segment", "Decode downloaded videos and cut them into clips."),
    "caption": Command("vidla.curate_commands:caption", "Caption the frames of the clips."),
    "summarize": Command("vidla.curate_commands:summarize", "Write the two texts of every clip."),
    "score": Command("vidla.quality_commands:score", "Measure the signals of clips, to choose by."),
    "filter": Command("vidla.quality_commands:filter_clips", "Choose clips by a policy; delete nothing."),
    "retry": Command("vidla.curate_commands:retry", "Try rejected work again where a retry can help."),
    "inspect": Command("vidla.dataset_commands:inspect", "Show the state of a dataset, or the rows of a table."),
    "view": Command("vidla.view_command:view", "Look at a dataset in the browser."),
    "export": Command("vidla.dataset_commands:export", "Export clips with their texts, or the tables."),
    "release": Command("vidla.release_command:app", "Freeze clips under a name; compare releases."),
    "rebuild": Command("vidla.rebuild_command:rebuild", "Make a dataset from the recipe of a release."),
    "report": Command("vidla.view_command:report", "Write a dataset's overview as one page."),
    "card": Command("vidla.dataset_commands:card", "Print a dataset's card."),
    "forget": Command("vidla.forget_command:forget", "Remove a video, URL or channel for good."),
    "logs": Command("vidla.logs_command:logs", "Print the log of a run."),
    "compact": Command("vidla.dataset_commands:compact", "Merge small parts into larger ones."),
    "vacuum": Command("vidla.dataset_commands:vacuum", "Delete superseded parts, media and sources."),
    "verify": Command("vidla.verify_command:verify", "Check every file of a dataset, and repair it."),
    "pin": Command("vidla.dataset_commands:pin", "Keep the current version under a name."),
    "probe": Command("vidla.probe_command:probe", "Ask some pages of a list what is there."),
    "refresh": Command("vidla.refresh_command:refresh", "Ask whether videos are still on their sites."),
    "plan": Command("vidla.forecast_command:plan", "Estimate the time and cost of a large run."),
    "cost": Command("vidla.cost_command:cost", "Show what a dataset has cost, and will cost."),
    "train": Command("vidla.training_commands:train", "Train VidLA on the clips of a dataset."),
    "evaluate": Command("vidla.training_commands:evaluate", "Evaluate a model on retrieval or classification."),
    "export-model": Command("vidla.training_commands:export_model", "Export a model's towers for transformers."),
    "hierarchical-set": Command(
        "vidla.training_commands:hierarchical_set", "Choose triplets of nested clips to evaluate on."
    ),
    "config": Command("vidla.config_commands:app", "Print, check and show the configuration."),
    "prompts": Command("vidla.prompt_commands:app", "List, show and try the prompts."),
    "template": Command("vidla.template_commands:app", "Make and check a flex template for Dataflow."),
}


class LazyGroup(TyperGroup):
    """A group whose commands are imported only when they run or print their own help.

    So `vidla --help` is quick, though some commands need Arrow, Beam or torch.
    """

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name, stub, rest = super().resolve_command(ctx, args)
        return name, load(name) if name else stub, rest


class OneValueCommand(TyperCommand):
    """A command that refuses a second value of an option, unless it takes several, rather than silently use it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        _, _, order = self.make_parser(ctx).parse_args(list(args))
        given = Counter(option.opts[0] for option in order if takes_one_value(option))
        for name, count in given.items():
            if count > 1:
                raise UsageError(f"`vidla {self.name}` takes one {name}, but it is given more than once")
        return super().parse_args(ctx, args)


def takes_one_value(parameter: Any) -> bool:
    """Whether a parameter of a command is an option with a value, and one alone."""
    return parameter.param_type_name == "option" and not (parameter.multiple or parameter.is_flag or parameter.count)


def load(name: str) -> Any:
    """The click command of this name, its module imported."""
    module, _, attribute = COMMANDS[name].origin.partition(":")
    command = getattr(importlib.import_module(module), attribute)
    if not isinstance(command, typer.Typer):
        function = command
        command = typer.Typer(add_completion=False, rich_markup_mode=None, context_settings=HELP)
        command.command(name, cls=OneValueCommand)(function)
    loaded: Any = typer.main.get_command(command)
    for each in (loaded, *getattr(loaded, "commands", {}).values()):
        each.help = each.help.replace("Example: ", "\b\nExample: ")  # not wrapped, so that it can be copied
    return loaded


app = typer.Typer(
    cls=LazyGroup,
    no_args_is_help=True,
    context_settings=HELP,
    epilog="`vidla help COMMAND` describes a command; `vidla --install-completion` lets the shell complete.",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for _name, _command in COMMANDS.items():
    app.command(_name, help=_command.help)(lambda: None)  # LazyGroup runs the real one


def _print_version(requested: bool) -> None:
    if requested:
        from curation import __version__

        typer.echo(f"vidla {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="print the version")
    ] = False,
) -> None:
    """Turn a list of videos into a video-language training set."""


def main() -> None:
    """Run the command, and exit."""
    leave(run())


def run() -> int:
    """Run the command. Returns the exit status: 0 done, 1 failed, 2 misuse, 130 stopped (docs/running.md)."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that is not UTF-8 shows what it can
    arguments, beam_arguments = sys.argv[1:], []
    if "--" in arguments:
        cut = arguments.index("--")
        arguments, beam_arguments = arguments[:cut], arguments[cut + 1 :]
    if arguments[:1] == ["help"]:
        arguments = [*arguments[1:], "--help"]
    try:
        app(args=arguments, prog_name="vidla", obj=beam_arguments)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except (Interrupted, Superseded) as error:
        typer.echo(f"vidla: {error}", err=True)
        os._exit(error.exit_status)  # without waiting for threads that are still in a model or a request
    except VidlaError as error:
        return fail(error, error.exit_status)
    except OSError as error:
        return fail(error, 1)
    return 0


def leave(status: int) -> NoReturn:
    """Exit; where Arrow was used, as Python does but for its client of S3, which stays open.

    Its threads may still read ahead for a query that has ended; closing it under them aborts the process.
    """
    if "pyarrow.fs" not in sys.modules:
        raise SystemExit(status)
    from pyarrow.fs import ensure_s3_finalized

    atexit.unregister(ensure_s3_finalized)
    atexit._run_exitfuncs()
    with contextlib.suppress(OSError):  # nobody reads on
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)


def fail(error: Exception, status: int) -> int:
    """Print the error in one line (one per wrong key), without a traceback and secrets; returns the exit status."""
    typer.echo(f"vidla: {redact(str(error))}", err=True)
    return status
