"""The commands of `vidla` that train and evaluate models.

Modules that need torch are imported where they are used, so that other commands start without it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from curation.dataset.dataset import Dataset
from curation.errors import UsageError
from curation.extras import require
from curation.release.released_dataset import gone_from, held_out_of, open_source
from model.settings import DataSettings, resolve_training
from vidla.options import AllOption, DatasetOption, PolicyOption, SetOption

if TYPE_CHECKING:
    from model.training.pairs import Pairs

MODEL_HELP = (
    "a run (best checkpoint), a checkpoint, a saved VidLA, or a CLIP (a folder, a file, or a name on the hub), for the "
    "zero-shot baseline: the mean of its features of frames"
)


def train(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="a TOML file; docs/training.md lists all keys")],
    dataset: Annotated[
        str | None,
        typer.Option("--dataset", metavar="DIR", help="train on the clips of a dataset, or of a release (DIR@NAME)"),
    ] = None,
    pairs: Annotated[
        str | None,
        typer.Option(
            "--pairs",
            metavar="NAME:FILE",
            help="train on msrvtt, didemo, activitynet, msvd, vatex, kinetics or csv: its file (or FILE,IDS)",
        ),
    ] = None,
    videos: Annotated[
        Path | None,
        typer.Option("--videos", metavar="FOLDER", help="folder with the videos of --pairs"),
    ] = None,
    assignments: SetOption = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="RUN", help="folder of the run [default: runs/ and the name of CONFIG]"),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="describe the run without starting it")] = False,
    policy: PolicyOption = None,
    everything: AllOption = False,
) -> None:
    """Train VidLA on the clips of a dataset, or finetune it on pairs of videos and texts.

    Pins the version of the dataset, and of the policy that chooses its clips (`data.policy`, or --policy). If RUN holds
    an unfinished run of the same CONFIG, it resumes from the latest checkpoint. SIGTERM and SIGUSR1 write a checkpoint
    and end the run with exit status 75. On several GPUs, start one process for each, with RUN in a folder that all of
    them see:

    torchrun --nproc-per-node 8 --no-python vidla train CONFIG --dataset DIR

    Example: vidla train pretraining.toml --dataset data/talks --set model.weights=openai/clip-vit-base-patch32

    Example: vidla train pretraining.toml --dataset data/talks --policy default

    Example: vidla train pretraining.toml --dataset data/talks@v1

    Example: vidla train msrvtt.toml --pairs msrvtt:MSRVTT_data.json,MSRVTT_train.9k.csv --videos MSRVTT/videos
    """
    require("train", "`vidla train`")
    from model.distributed import init_distributed
    from model.training.estimate import describe
    from model.training.pairs import find_pairs
    from model.training.run_folder import METADATA, exclusive
    from model.training.stop_signals import StopSignals
    from model.training.trainer import set_up

    if (dataset is None) == (pairs is None) or (pairs is None) != (videos is None):
        raise UsageError("choose what to train on: --dataset DIR, or --pairs NAME:FILE and --videos FOLDER")
    settings = resolve_training(config, _chosen(assignments, policy, everything=everything))
    found = None if pairs is None or videos is None else find_pairs(pairs, videos)
    source, folder = found or open_source(str(dataset)), out or Path("runs") / config.stem
    if isinstance(source, Dataset):
        if not (folder / METADATA).exists():  # else the run has chosen
            _check_policy(source, settings.data, everything=everything)
        settings = settings.model_copy(update={"data": _split_of(source, settings.data)})
    with init_distributed() as world:
        if world.is_main:
            _say_what_is_read(source)
        if dry_run:
            if world.is_main:
                typer.echo(describe(settings, source, world.size))
            return
        with StopSignals() as signals:
            world.barrier()  # none of them opens the run before all of them note signals
            with exclusive(folder, world):
                trainer = set_up(folder, source, settings, world, signals)
                trainer.train(sys.stderr)
        if world.is_main:
            typer.echo(f"{trainer.steps} steps are done; the model is in {folder / 'checkpoints'}")


def evaluate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help=MODEL_HELP)],
    dataset: Annotated[
        str | None,
        typer.Option("--dataset", metavar="DIR", help="evaluate on the held-out videos of a dataset, or a release"),
    ] = None,
    triplets: Annotated[
        Path | None,
        typer.Option("--triplets", metavar="FILE", help="only on this hierarchical set of the dataset"),
    ] = None,
    annotations: Annotated[
        str | None,
        typer.Option(
            "--annotations",
            metavar="NAME:FILE",
            help="evaluate on msrvtt, didemo, activitynet, msvd, vatex, kinetics or csv: its file (or FILE,IDS)",
        ),
    ] = None,
    videos: Annotated[
        Path | None,
        typer.Option(
            "--videos",
            metavar="FOLDER",
            help="folder with the annotated videos, in any format that `vidla curate` reads",
        ),
    ] = None,
    classes: Annotated[
        Path | None,
        typer.Option("--classes", metavar="FILE", help="list of the classes of kinetics, for zero-shot classification"),
    ] = None,
    templates: Annotated[
        str, typer.Option("--templates", metavar="SET", help="prompt templates for class names: name, photo or actions")
    ] = "actions",
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="SECTION.KEY=VALUE", help="override one key of the run's settings; repeatable"),
    ] = None,
    trained_on: Annotated[
        bool, typer.Option("--trained-on", help="evaluate even on videos that the run was trained on")
    ] = False,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="OUT", help="write all metrics to OUT")] = None,
    policy: PolicyOption = None,
    everything: AllOption = False,
) -> None:
    """Evaluate text-to-video and video-to-text retrieval: R@k and ranks, with and without dual softmax.

    Brackets show 95% intervals. In a dataset, each scale is searched separately. For Kinetics, prints the accuracy of
    zero-shot classification. Videos that the run was trained on are refused. The clips of a dataset are those of the
    policy that the run was trained with, unless --policy or --all is given.

    Example: vidla evaluate runs/pretraining --annotations msrvtt:MSRVTT_JSFUSION_test.csv --videos MSRVTT/videos

    Example: vidla evaluate runs/pretraining --dataset data/talks --triplets triplets.parquet

    Example: vidla evaluate openai/clip-vit-base-patch32 --dataset data/talks --set model.frames=12

    Example: vidla evaluate runs/pretraining --annotations kinetics:val.csv --classes labels.csv --videos K400/val
    """
    require("train", "`vidla evaluate`")
    from model.distributed import init_distributed
    from model.evaluation.benchmark import KINETICS, classify_benchmark, evaluate_benchmark, read_annotations
    from model.evaluation.evaluate import Encoder, Evaluation, evaluate_dataset, evaluate_triplets
    from model.evaluation.hierarchical import read_set
    from model.evaluation.video_files import find_videos
    from model.evaluation.zero_shot import ZeroShotMetrics, get_templates, read_classes
    from model.network.initial import check_vocabulary
    from model.training.run_folder import load_trained
    from model.training.trained_on import check_not_trained_on

    if (dataset is None) == (annotations is None) or (annotations is None) != (videos is None):
        raise UsageError("choose what to evaluate on: --dataset DIR, or --annotations NAME:FILE and --videos FOLDER")
    if triplets is not None and dataset is None:
        raise UsageError("--triplets FILE needs --dataset DIR, the dataset that the set was made from")
    if (classes is not None) != (annotations or "").startswith(f"{KINETICS}:"):
        raise UsageError(f"--classes FILE and --annotations {KINETICS}:FILE need each other")
    if json_file is not None:
        _check_can_be_written(json_file)
    class_names, prompts = () if classes is None else read_classes(classes), get_templates(templates)
    files = None if annotations is None or videos is None else find_videos(read_annotations(annotations), videos)
    triplet_rows = None if triplets is None else read_set(triplets)

    def check(videos: Mapping[str, Path | None] | Collection[str]) -> None:
        if not trained_on:
            check_not_trained_on(run, videos)

    with init_distributed() as world:
        model, settings = load_trained(run, _chosen(assignments, policy, everything=everything))
        check_vocabulary(model, str(run))
        data = settings.data
        source = None if dataset is None else open_source(dataset)
        if source is not None and triplets is None:
            _check_policy(source, data, everything=everything)
        encoder = Encoder(
            model.to(world.device), world, settings.precision, settings.micro_batch, data.workers, data.max_missing
        )
        metrics: Evaluation | ZeroShotMetrics
        if files is not None:
            check({example.video_id: example.path for example in files.examples})
            if world.is_main:
                typer.echo(str(files))
            if class_names:
                metrics = classify_benchmark(encoder, files, class_names, prompts)
            else:
                metrics = evaluate_benchmark(encoder, files)
        elif source is not None and triplet_rows is not None:
            check(set(triplet_rows["video_id"].to_pylist()))
            metrics = evaluate_triplets(encoder, source, triplet_rows, settings.data)
        elif source is not None:
            if world.is_main:
                _say_what_is_read(source)
            metrics = evaluate_dataset(encoder, source, settings.data, check)
        if world.is_main:
            typer.echo(str(metrics))
            if json_file is not None:
                try:
                    json_file.write_text(metrics.to_json(), encoding="utf-8")
                except OSError as error:
                    raise UsageError(f"cannot write {json_file}: {error.strerror}") from None


def _chosen(assignments: list[str] | None, policy: str | None, *, everything: bool) -> list[str]:
    """The assignments, with the one that --policy or --all stands for. Raises UsageError."""
    if policy and everything:
        raise UsageError("choose one: --policy NAME, or --all")
    return [*(assignments or ()), *([f"data.policy={policy or ''}"] if policy or everything else [])]


def _check_policy(dataset: Dataset, data: DataSettings, *, everything: bool) -> None:
    """Say what a policy leaves out undecided. Raises UsageError if it is left open which clips are meant."""
    from curation.quality.chosen_policy import choose, undecided_line

    if not dataset.exists():
        return  # which is said where it is opened
    name = choose(dataset, data.policy, everything=everything)
    if name and (line := undecided_line(dataset, name)):
        typer.echo(f"vidla: {line}", err=True)


def _split_of(source: Dataset, data: DataSettings) -> DataSettings:
    """`data` with the split of a release. Raises UsageError if it asks for another one."""
    from model.data.clips import with_split_of

    held_out_of(source, data.held_out if "held_out" in data.model_fields_set else None, "data.held_out")
    return with_split_of(source, data)


def _say_what_is_read(source: Dataset | Pairs) -> None:
    if isinstance(source, Dataset):
        for line in gone_from(source):
            typer.echo(f"vidla: {line}", err=True)
    else:
        typer.echo(str(source.files))


def _check_can_be_written(file: Path) -> None:
    """Raises UsageError, before any work, for a file that could not be written once it is done."""
    folder = file.absolute().parent
    if not folder.is_dir():
        raise UsageError(f"cannot write {file}: there is no folder {folder}")
    if file.is_dir() or not os.access(file if file.exists() else folder, os.W_OK):
        raise UsageError(f"cannot write {file}: it is {'a folder' if file.is_dir() else 'not allowed'}")


def export_model(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="a run (best checkpoint), a checkpoint, or a saved VidLA")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="a new folder")],
) -> None:
    """Export both towers for transformers: a CLIPModel, the tokenizer, and a card.

    Also converts a CLIP of open_clip or OpenAI. To share the folder, use the hub's own command: hf upload NAME OUT

    Example: vidla export-model runs/pretraining exports/pretraining
    """
    require("train", "`vidla export-model`")
    from model.network.clip_export import export_model as export
    from model.training.run_folder import load_trained

    model, settings = load_trained(run)
    export(model, settings, out)
    typer.echo(f"both towers are in {out}, for CLIPModel and CLIPProcessor of transformers")
    if model.config.video.attention != "frame":
        typer.echo(
            "its image encoder is not the video encoder, which runs in vidla alone: README.md says what it lacks"
        )


def hierarchical_set(
    dataset: DatasetOption,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="a new Parquet file")],
    n: Annotated[int, typer.Option("--n", metavar="N", min=1, help="number of triplets")] = 1000,
    held_out: Annotated[
        float,
        typer.Option(
            "--held-out", metavar="SHARE", min=0.0, max=1.0, help="share of the videos that training holds out"
        ),
    ] = DataSettings().held_out,
) -> None:
    """Choose triplets of a short, a medium and a long clip around one moment, from held-out videos.

    Example: vidla hierarchical-set --dataset data/talks --n 1000 triplets.parquet
    """
    from model.evaluation.hierarchical import choose_triplets, write_set

    chosen = choose_triplets(Dataset(dataset), n, share=held_out)
    write_set(chosen, out)
    typer.echo(f"{chosen}, in {out}" if chosen.triplets == n else f"{chosen}. They are in {out}")
