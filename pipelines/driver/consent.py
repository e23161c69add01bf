"""Questions at a terminal."""

from __future__ import annotations

import sys

import typer

from curation.errors import Interrupted


def is_at_terminal() -> bool:
    """Whether somebody can be asked."""
    return sys.stdin.isatty()


def agrees(question: str, otherwise: str) -> bool:
    """Whether the answer at the terminal is yes. After Ctrl-C, raises Interrupted with what holds `otherwise`."""
    try:
        return typer.confirm(question, err=True)
    except typer.Abort:
        typer.echo(err=True)  # behind the question
        raise Interrupted(f"stopped; {otherwise}") from None
