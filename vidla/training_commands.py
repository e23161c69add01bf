"""The verbs of `vidla` that train and evaluate; vidla/cli.py puts them on the command.

What needs torch is imported where it is used, so that the other verbs start without it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from curation.dataset.dataset import Dataset
from curation.errors import UsageError
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
    from model.distributed import join
    from model.training import run_folder
    from model.training.estimate import describe
    from model.training.trainer import Trainer

    settings = resolve_training(config, assignments or ())
    source, folder = Dataset(dataset), out or Path("runs") / config.stem
    with join() as processes:
        if dry_run:
            if processes.first:
                typer.echo(describe(settings, source, processes.size))
            return
        with run_folder.alone(folder, processes):
            trainer = Trainer(run_folder.begin(folder, source, settings, processes), processes)
            trainer.train(sys.stderr)
        if processes.first:
            typer.echo(f"{trainer.steps} steps are done; {folder / 'checkpoints'} holds the model")


def evaluate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="a run (its best checkpoint), a checkpoint, or any VidLA")],
    dataset: Annotated[
        str | None, typer.Option("--dataset", metavar="DIR", help="evaluate on what training on it holds out")
    ] = None,
    triplets: Annotated[
        Path | None,
        typer.Option("--triplets", metavar="FILE", help="of the dataset, a hierarchical set alone (hierarchical-set)"),
    ] = None,
    annotations: Annotated[
        str | None,
        typer.Option(
            "--annotations",
            metavar="NAME:FILE",
            help="evaluate on msrvtt, didemo, activitynet, msvd, vatex or kinetics, by its own file (or FILE,IDS)",
        ),
    ] = None,
    videos: Annotated[
        Path | None, typer.Option("--videos", metavar="FOLDER", help="where the videos of the annotations are")
    ] = None,
    classes: Annotated[
        Path | None,
        typer.Option("--classes", metavar="FILE", help="classify the videos of kinetics: its list of classes"),
    ] = None,
    templates: Annotated[
        str, typer.Option("--templates", metavar="SET", help="what class names are put into: name, photo or actions")
    ] = "actions",
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="SECTION.KEY=VALUE", help="override one key of the run; repeatable"),
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="OUT", help="write all figures there")] = None,
) -> None:
    """Say how well a model finds clips by texts and texts by clips: R@k and ranks, with and without dual softmax.

    Brackets hold 95% intervals. Of a dataset the clips of one scale are searched at a time. Of Kinetics it says how
    often a video's class is the nearest of all (zero-shot classification).

    Example: vidla evaluate runs/pretraining --annotations msrvtt:MSRVTT_JSFUSION_test.csv --videos MSRVTT/videos

    Example: vidla evaluate runs/pretraining --dataset data/talks --triplets triplets.parquet

    Example: vidla evaluate runs/pretraining --annotations kinetics:val.csv --classes labels.csv --videos K400/val
    """
    from model.distributed import join
    from model.evaluation.annotations import find_videos
    from model.evaluation.benchmark import KINETICS, classify_benchmark, evaluate_benchmark, read_annotations
    from model.evaluation.evaluate import Encoder, Evaluation, evaluate_dataset, evaluate_triplets
    from model.evaluation.hierarchical import read
    from model.evaluation.zero_shot import ZeroShot, read_classes, templates_of
    from model.training.run_folder import trained

    if (dataset is None) == (annotations is None) or (annotations is None) != (videos is None):
        raise UsageError("name what to evaluate on: --dataset DIR, or --annotations NAME:FILE and --videos FOLDER")
    if triplets is not None and dataset is None:
        raise UsageError("--triplets FILE goes with --dataset DIR, of which the set was made")
    if (classes is not None) != (annotations or "").startswith(f"{KINETICS}:"):
        raise UsageError(f"--classes FILE goes with --annotations {KINETICS}:FILE, and neither without the other")
    names, prompts = () if classes is None else read_classes(classes), templates_of(templates)
    found = None if annotations is None or videos is None else find_videos(read_annotations(annotations), videos)
    chosen = None if triplets is None else read(triplets)
    with join() as processes:
        model, settings = trained(run, assignments or ())
        encoder = Encoder(
            model.to(processes.device), processes, settings.precision, settings.micro_batch, settings.data.workers
        )
        figures: Evaluation | ZeroShot
        if found is not None:
            if processes.first:
                typer.echo(str(found))
            figures = (
                classify_benchmark(encoder, found, names, prompts) if names else evaluate_benchmark(encoder, found)
            )
        elif chosen is not None:
            figures = evaluate_triplets(encoder, Dataset(str(dataset)), chosen, settings.data)
        else:
            figures = evaluate_dataset(encoder, Dataset(str(dataset)), settings.data)
        if processes.first:
            typer.echo(str(figures))
            if json_file is not None:
                json_file.write_text(figures.to_json(), encoding="utf-8")


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
    from model.evaluation.hierarchical import hierarchical_set as choose
    from model.evaluation.hierarchical import write

    made = choose(Dataset(dataset), n, share=held_out)
    write(made, out)
    typer.echo(f"{made}, in {out}" if made.triplets == n else f"{made}. They are in {out}")
