"""The verbs of `vidla` that train and evaluate; pipelines/cli.py puts them on the command.

What needs torch is imported where it is used, so that the other verbs start without it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from curation.tables import Dataset
from model.settings import DataSettings


def hierarchical_set(
    dataset: Annotated[str, typer.Option("--dataset", metavar="DIR", help="a path, or a file://, s3:// or gs:// URI")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="a new Parquet file")],
    n: Annotated[int, typer.Option("--n", min=1, help="triplets")] = 1000,
    held_out: Annotated[
        float, typer.Option("--held-out", min=0.0, max=1.0, help="share of the videos that training holds out")
    ] = DataSettings().held_out,
) -> None:
    """Choose triplets of a short, a medium and a long clip around one moment, from videos held out from training.

    Example: vidla hierarchical-set --dataset data/talks --n 1000 triplets.parquet
    """
    from model.hierarchical import hierarchical_set as choose
    from model.hierarchical import write

    made = choose(Dataset(dataset), n, share=held_out)
    write(made, out)
    typer.echo(f"{made}, in {out}" if made.triplets == n else f"{made}. They are in {out}")
