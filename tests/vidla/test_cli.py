"""The command as a whole: what it imports, its help screens, and the ways to start it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from curation import __version__
from vidla.cli import COMMANDS, app, load

Vidla = Callable[..., subprocess.CompletedProcess[str]]
HEAVY = {
    *("apache_beam", "av", "cv2", "deltalake", "duckdb", "jinja2", "jsonschema", "numpy", "obstore", "pandas"),
    *("pyarrow", "pydantic", "rich", "scenedetect", "torch", "transformers", "yt_dlp"),
    *("curation.settings", "pipelines", "model"),
}
HELP_WIDTH = 78 - 6 - max(map(len, COMMANDS))  # of a line of help in a terminal of 80 columns


def imported_by(*arguments: str) -> set[str]:
    """The modules that `vidla` imports for these arguments."""
    program = """
import sys
from vidla.cli import run
assert not run()
print("imported:", *sys.modules)
"""
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    return set(done.stdout.rpartition("imported:")[2].split())


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_and_version_import_nothing_heavy(option: str) -> None:
    modules = imported_by(option)
    assert "vidla.cli" in modules
    assert not HEAVY & modules


def test_importing_vidla_imports_nothing_heavy() -> None:
    program = "import sys, vidla; vidla.open, vidla.VidlaError; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    assert not HEAVY & set(done.stdout.split())


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command below `command`, with the words that name it."""
    for name in getattr(command, "commands", {}):
        child = load(name) if not path else command.commands[name]
        yield (*path, name), child
        yield from commands(child, (*path, name))


ALL = dict(commands(typer.main.get_command(app)))


def test_every_command_is_in_the_help_of_vidla_in_one_line() -> None:
    shown = CliRunner().invoke(app, ["--help"]).stdout
    for name, command in COMMANDS.items():
        assert len(command.help) <= HELP_WIDTH, name
        assert f"  {name} " in shown
        assert command.help in shown


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_help_describes_every_command_and_option(words: tuple[str, ...]) -> None:
    command = ALL[words]
    shown = CliRunner().invoke(app, [*words, "--help"])
    assert shown.exit_code == 0
    assert shown.stdout.startswith(f"Usage: root {' '.join(words)} ") or f"{' '.join(words)} " in shown.stdout
    assert all(parameter.help for parameter in command.params)
    if not hasattr(command, "commands"):
        assert "Example: vidla " + " ".join(words) in " ".join(shown.stdout.split())


@pytest.mark.parametrize("words", [words for words, command in ALL.items() if not hasattr(command, "commands")])
def test_the_examples_of_the_help_name_options_that_exist(words: tuple[str, ...]) -> None:
    options = {option for parameter in ALL[words].params for option in parameter.opts}
    for example in ALL[words].help.split("Example: ")[1:]:
        assert {word for word in example.split() if word.startswith("--")} <= options


def test_a_misspelt_command_is_corrected(vidla: Vidla) -> None:
    done = vidla("inpect")
    assert done.returncode == 2
    assert "No such command 'inpect'. Did you mean 'inspect'?" in done.stderr


def test_the_package_runs_as_the_command() -> None:
    command = [sys.executable, "-m", "vidla", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout) == (0, f"vidla {__version__}\n")


def test_what_stands_behind_two_dashes_is_for_beam(vidla: Vidla, tmp_path: Path) -> None:
    done = vidla("curate", "--dataset", tmp_path / "data", "--", "--runner=NoSuchRunner")
    assert done.returncode == 2
    assert "NoSuchRunner" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (("help",), "Commands:"),
        (("-h",), "Commands:"),
        (("help", "inspect"), "Example: vidla inspect"),
        (("inspect", "-h"), "requests, pages, downloads"),
        (("retry", "-h"), "not_found"),
        (("help", "config", "diff"), "Usage: vidla config diff"),
    ],
)
def test_help_is_where_people_look_for_it(arguments: tuple[str, ...], shown: str, vidla: Vidla) -> None:
    done = vidla(*arguments)
    assert done.returncode == 0 and shown in " ".join(done.stdout.split())


@pytest.mark.parametrize(
    ("words", "completed"),
    [("vidla ver", "verify"), ("vidla inspect --order", "--order-by"), ("vidla config di", "diff")],
)
def test_the_shell_completes_commands_and_options(words: str, completed: str) -> None:
    asked = {"_VIDLA_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
    command = [sys.executable, "-m", "vidla"]
    done = subprocess.run(command, env=os.environ | asked, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.split() == [completed]
