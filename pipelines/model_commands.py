"""The verbs of `vidla` that train and evaluate; pipelines/cli.py puts them on the command.

What needs torch is imported where it is used, so that the other verbs start without it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from curation.tables import Dataset
from model.settings import DataSettings, resolve_training

DatasetOption = Annotated[
    str, typer.Option("--dataset", metavar="DIR", help="a path, or a file://, s3:// or gs:// URI")
]


def train(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="TOML; docs/training.md has every key")],
    dataset: DatasetOption,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="SECTION.KEY=VALUE", help="override one key; repeatable")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="RUN", help="folder of the run; runs/NAME of CONFIG's if not given"),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="print what the run would be, and end")] = False,
) -> None:
    """Train VidLA on the clips of a dataset.

    The version of the dataset is pinned. Where RUN holds a run of the same CONFIG that was ended, it goes on from its
    latest checkpoint. On several GPUs, one process each (and RUN in a folder that all of them see):

    torchrun --nproc-per-node 8 --no-python vidla train CONFIG --dataset DIR

    Example: vidla train pretraining.toml --dataset data/talks --set model.weights=openai/clip-vit-base-patch32
    """
    from model import runs
    from model.estimate import describe
    from model.processes import join
    from model.train import Trainer

    settings = resolve_training(config, assignments or ())
    source, folder = Dataset(dataset), out or Path("runs") / config.stem
    with join() as processes:
        if dry_run:
            if processes.first:
                typer.echo(describe(settings, source, processes.size))
            return
        with runs.alone(folder, processes):
            trainer = Trainer(runs.begin(folder, source, settings, processes), processes)
            trainer.train(sys.stderr)
        if processes.first:
            typer.echo(f"{trainer.steps} steps are done; {folder / 'checkpoints'} holds the model")


def hierarchical_set(
    dataset: DatasetOption,
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
