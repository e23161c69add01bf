"""Runs a notebook as Jupyter would, in this process: each cell in turn, and the value of its last line is shown.

    python -m tests.support.notebook FILE

Figures that are open after a cell are written to `cell-<id>.png`, and closed.
"""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path
from typing import Any


def cells(notebook: Path) -> list[dict[str, Any]]:
    """The cells of code."""
    return [cell for cell in json.loads(notebook.read_text())["cells"] if cell["cell_type"] == "code"]


def run(notebook: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    names: dict[str, Any] = {"__name__": "__main__"}
    for cell in cells(notebook):
        steps = ast.parse("".join(cell["source"]), cell["id"]).body
        last = steps.pop() if isinstance(steps[-1], ast.Expr) else None
        exec(compile(ast.Module(steps, []), cell["id"], "exec"), names)  # noqa: S102  # the project's own
        if isinstance(last, ast.Expr):
            show(eval(compile(ast.Expression(last.value), cell["id"], "eval"), names))  # noqa: S307
        for number in plt.get_fignums():
            plt.figure(number).savefig(f"cell-{cell['id']}.png")
        plt.close("all")


def show(value: Any) -> None:
    if value is not None:
        sys.stdout.write(f"{value._repr_html_() if hasattr(value, '_repr_html_') else value!r}\n")


if __name__ == "__main__":
    run(Path(sys.argv[1]))
