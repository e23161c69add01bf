"""Questions at a terminal."""

from __future__ import annotations

import sys

import typer

from curation.errors import Interrupted


def is_at_terminal() -> bool:
    """Whether somebody can be asked."""
    return sys.stdin.isatty()


def agrees(question: str, otherwise: str) -> bool:
    """Whether the answer at the terminal is yes. Ctrl-C raises Interrupted, whose message ends with `otherwise`."""
    try:
        return typer.confirm(question, err=True)
    except typer.Abort:
        typer.echo(err=True)  # behind the question
        raise Interrupted(f"stopped; {otherwise}") from None
