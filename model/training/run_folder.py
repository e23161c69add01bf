"""The folder of a training run.

run.json        its settings, dataset and version of the dataset, how many clips it contrasts with each other, and
                where its initial weights were
checkpoints/    checkpoint.py
clips/          the selected clips
log.jsonl       one line per step and evaluation
tensorboard/    the same for TensorBoard, if the settings ask for it (wandb/: for Weights & Biases)
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from curation import __version__
from curation.config import check, merge, read
from curation.dataset.dataset import Dataset
from curation.errors import ConfigError, one_line
from curation.release.released_dataset import release_of
from curation.settings import fields
from model.data.clips import DatasetVersion
from model.distributed import World
from model.network.architecture import ModelError
from model.network.initial import initial_model, is_vidla
from model.network.vidla import VidLA
from model.settings import CHANGEABLE, TrainingError, TrainSettings
from model.training import checkpoint
from model.training.json_record import read_record
from model.training.source import Source, check_exists, pin_version, policy_digest, unpin_version

METADATA, CHECKPOINTS = "run.json", "checkpoints"
TRAIN_CLIPS = "clips/train.arrow"
LEFTOVERS = frozenset((f"{METADATA}.part", "lock"))  # of a run that never began


RESIZED = ("frames", "image_size")
"""The settings of a trained model that may change: its embeddings are interpolated."""


@dataclass(frozen=True)
class RunMetadata:
    """What run.json holds. `contrasted` is unknown of runs that earlier versions began, and so is what they began from.

    `began_from` is the path of their initial weights, absolute; None if these are of the hub, and empty if unknown.
    `policy_digest` identifies the policy that chose the clips; None without one.
    `release` has the name and the digest of the release that was trained on, if it was one.
    """

    settings: dict[str, Any]
    dataset: str
    version: DatasetVersion
    contrasted: int | None = None
    code_version: str = ""
    began_from: str | None = ""
    policy_digest: str | None = None
    release: dict[str, str] | None = None


@dataclass(frozen=True)
class TrainingRun:
    """A run with `settings` in `folder`, which began on `version` of `dataset`: a dataset, or pairs."""

    folder: Path
    dataset: Source
    settings: TrainSettings
    version: DatasetVersion

    @property
    def checkpoints(self) -> Path:
        return self.folder / CHECKPOINTS

    @property
    def log(self) -> Path:
        return self.folder / "log.jsonl"


def open_run(folder: Path, dataset: Source, settings: TrainSettings, world: World) -> TrainingRun:
    """Open the run in `folder`: start a new one, or resume the one that is there. Call it in all processes.

    A run without a checkpoint starts again, with any settings. Raises DatasetError if there is no dataset, ConfigError
    for the folder of another run or with other contents, and TrainingError for a folder that cannot be written to.
    """
    return world.run_on_main(lambda: _open_run(folder, dataset, settings, world.size))


def _open_run(folder: Path, dataset: Source, settings: TrainSettings, processes: int) -> TrainingRun:
    check_exists(dataset)
    metadata = read_metadata(folder)
    try:
        if metadata is None and folder.exists() and {path.name for path in folder.iterdir()} - LEFTOVERS:
            raise ConfigError(f"{folder} is not empty and is not a run's folder: give another --out")
        if metadata is None or not checkpoint.folders(folder / CHECKPOINTS):
            return _create(folder, dataset, settings, processes, metadata)
    except OSError as error:
        raise TrainingError(f"cannot use the folder {folder}: {error.strerror}") from None
    if metadata.dataset != dataset.uri:
        raise ConfigError(f"{folder} holds a run on {metadata.dataset}, not on {dataset.uri}: give another --out")
    old = _settings(metadata, folder)
    changed = [
        f"{name} was {before!r} and is {after!r}"
        for (name, before, _), (_, after, _) in zip(fields(old), fields(settings), strict=True)
        if before != after and name not in CHANGEABLE
    ]
    if changed:
        raise ConfigError(f"{folder} holds another run: {'; '.join(changed)}; give another --out, or change that back")
    _check_contrasted(folder, metadata.contrasted, settings, processes)
    return TrainingRun(folder, dataset, settings, metadata.version)


def _check_contrasted(folder: Path, before: int | None, settings: TrainSettings, processes: int) -> None:
    """Raises ConfigError if the run would contrast another number of clips than `before` (None: it is not known)."""
    now = settings.contrasted(processes)
    if before is None or before == now:
        return
    ways = [f"set micro_batch={before // processes}"] if before % processes == 0 else []
    others = before // settings.micro_batch
    ways += [f"start {others} process{'es' * (others > 1)}"] if before % settings.micro_batch == 0 else []
    ways.append("give another --out")
    raise ConfigError(
        f"{folder} holds a run that contrasts {before:,} clips with each other; micro_batch={settings.micro_batch} on "
        f"{processes} processes would contrast {now:,}, which is another loss: {', or '.join(ways)}"
    )


def _create(
    folder: Path, dataset: Source, settings: TrainSettings, processes: int, before: RunMetadata | None
) -> TrainingRun:
    """Start a run, possibly in place of one without a checkpoint."""
    if before is not None and before.dataset == dataset.uri:
        unpin_version(dataset, before.version.pin)
    folder.mkdir(parents=True, exist_ok=True)
    run = TrainingRun(folder, dataset, settings, pin_version(dataset, folder.resolve().name))
    weights = Path(settings.model.weights)
    metadata = RunMetadata(
        settings.model_dump(mode="json"),
        dataset.uri,
        run.version,
        settings.contrasted(processes),
        __version__,
        str(weights.resolve()) if weights.exists() else None,
        policy_digest(dataset, settings.data, run.version),
        release_of(dataset) if isinstance(dataset, Dataset) else None,
    )
    part = folder / f"{METADATA}.part"
    part.write_text(json.dumps(asdict(metadata), indent=2) + "\n", encoding="utf-8")
    part.replace(folder / METADATA)
    return run


@contextmanager
def exclusive(folder: Path, world: World) -> Iterator[None]:
    """Lock `folder` against other runs. Raises TrainingError if another one holds it."""
    if not world.is_main:
        yield
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise TrainingError(f"cannot use the folder {folder}: {error.strerror}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise TrainingError(f"another process is training in {folder}: wait for it, or give another --out") from None
    finally:
        os.close(descriptor)


def run_folder_of(source: Path) -> Path | None:
    """The folder of the run that `source` is, or is a checkpoint of; None if it is neither, whatever lies around it."""
    if _is_run(source):
        return source
    checkpoints, run = source.resolve().parent, source.resolve().parent.parent
    named = checkpoint.is_name(source.resolve().name) and checkpoints.name == CHECKPOINTS
    return run if named and is_vidla(source) and (run / METADATA).exists() else None


def _is_run(folder: Path) -> bool:
    """Whether `folder` has a run.json of ours, or one that is damaged; other programs write files of that name too."""
    try:
        return read_metadata(folder) is not None
    except ConfigError:
        return (folder / CHECKPOINTS).is_dir() and not any(folder.glob("*config.json"))  # those are of models


def load_trained(folder: Path, assignments: Sequence[str] = ()) -> tuple[VidLA, TrainSettings]:
    """Load the model of a run (its best checkpoint), of a checkpoint, or of any saved VidLA; or a CLIP (a folder, a
    file or a name on the hub, as `model.weights` may be), whose features of a clip are the mean of its frames'.

    The settings are those of the run (the defaults without a run), overridden by `assignments`; of a model that is
    trained, these may change `RESIZED` alone. Raises ModelError and ConfigError.
    """
    given, run = read(None, assignments), run_folder_of(folder)
    if run is None and not is_vidla(folder):
        raw = {"model": {"weights": str(folder), "attention": "frame"}, "precision": "fp32"}
        settings = check(TrainSettings, merge(raw, given))
        return initial_model(settings.model), settings
    stored = {"model": {"weights": str(folder)}, "precision": "fp32"}
    if run is not None and (metadata := read_metadata(run)) is not None:
        stored = _settings(metadata, run).model_dump(mode="json")
    settings = check(TrainSettings, merge(stored, given))
    if fixed := sorted(set(given.get("model", ())) - set(RESIZED)):
        raise ConfigError(
            f"model.{fixed[0]} cannot be set for {folder}, whose model is trained: only "
            f"{' and '.join(f'model.{name}' for name in RESIZED)} can"
        )
    source = checkpoint.best(folder / CHECKPOINTS) if run == folder else folder
    if source is None:
        raise ModelError(f"{folder} has no checkpoint yet: train first")
    sizes = {name: getattr(settings.model, name) for name in RESIZED if name in given.get("model", ())}
    return VidLA.load(source, **sizes), settings


def _settings(metadata: RunMetadata, folder: Path) -> TrainSettings:
    try:
        return check(TrainSettings, metadata.settings)
    except ConfigError as error:
        raise ConfigError(f"{folder} holds a run of another version of vidla: {error}") from None


def read_metadata(folder: Path) -> RunMetadata | None:
    """What the run.json in `folder` holds; None if there is none. Raises ConfigError for another program's."""
    try:
        return read_record(folder / METADATA, RunMetadata)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        reason = one_line(error, 200)
        raise ConfigError(
            f"{folder / METADATA} does not describe a run of vidla ({reason}): use another folder"
        ) from None
