"""The command `vidla logs`."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any

import typer
from rich.console import Console

from curation.dataset.dataset import Dataset
from curation.dataset.lease import is_held, read_lease
from curation.errors import UsageError
from curation.storable import printable
from vidla.console import escape
from vidla.dataset_commands import existing
from vidla.options import DatasetArgument

LEVELS = ("debug", "info", "warning", "error", "critical")
LOOK_S = 1.0
_COLOURS = {"warning": "yellow", "error": "red", "critical": "red"}


def logs(
    dataset: DatasetArgument,
    run: Annotated[
        str | None, typer.Option("--run", metavar="ID", help="the log of this run, not the last one")
    ] = None,
    video: Annotated[
        str | None, typer.Option("--video", metavar="ID", help="what is about this video (in all runs, without --run)")
    ] = None,
    level: Annotated[str, typer.Option("--level", metavar="LEVEL", help=f"from {', '.join(LEVELS)} on")] = "info",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="go on until the run has ended")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print the lines as they are, JSON objects")] = False,
) -> None:
    """Print the log of the last run.

    Example: vidla logs data/talks --follow

    Example: vidla logs data/talks --video youtube-dQw4w9WgXcQ --level warning
    """
    source = existing(Dataset(dataset, patient=False))
    if level not in LEVELS:
        raise UsageError(f"no level is called '{level}'; there are {', '.join(LEVELS)}")
    names = sorted(path.removeprefix("logs/").removesuffix(".jsonl") for path, _, _ in source.list("logs/"))
    if run is not None and run not in names:
        raise UsageError(f"no run '{run}' has a log; `vidla inspect {dataset}` lists runs")
    chosen = [run] if run else names if video else names[-1:]
    console = Console(soft_wrap=True)
    lines = (line for name in chosen for line in _lines(source, f"logs/{name}.jsonl", follow and name == chosen[-1]))
    for line in lines:
        about = str(line.get("subject", ""))
        if LEVELS.index(line.get("level", "info")) < LEVELS.index(level) or (video and not _is_about(video, about)):
            continue
        if as_json:
            console.out(json.dumps(line, ensure_ascii=False), highlight=False)
        else:
            _show(line, about, console)


def _is_about(video: str, subject: str) -> bool:
    return video in subject.split()


def _show(line: Mapping[str, Any], about: str, console: Console) -> None:
    level = line.get("level", "info")
    colour = _COLOURS.get(level, "dim")
    when, message = str(line.get("time", ""))[:19].replace("T", " "), printable(str(line.get("message", "")))
    subject = f"[dim]{escape(about)}[/] " if about else ""
    console.print(f"[dim]{escape(when)}[/] [{colour}]{level}[/] {subject}{escape(message)}", highlight=False)
    for row in str(line.get("traceback", "")).splitlines():
        console.print(f"    [dim]{escape(row)}[/]", highlight=False)


def _lines(dataset: Dataset, path: str, follow: bool) -> Iterator[Mapping[str, Any]]:
    """The lines of a log; with `follow`, those to come too, for as long as a writer is alive."""
    read, begun = 0, b""
    while True:
        goes_on = follow and is_held(read_lease(dataset))
        with contextlib.suppress(FileNotFoundError):
            for block in dataset.blocks(path, read):
                read += len(block)
                *whole, begun = (begun + block).split(b"\n")
                yield from _parsed(whole)
        if not goes_on:
            return
        time.sleep(LOOK_S)


def _parsed(texts: Iterable[bytes]) -> Iterator[Mapping[str, Any]]:
    for text in texts:
        with contextlib.suppress(ValueError):  # a line that a kill has cut
            line = json.loads(text)
            if isinstance(line, dict):
                yield line
