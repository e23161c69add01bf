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
from curation.errors import ConfigError
from curation.settings import fields
from model.data.clips import DatasetVersion
from model.distributed import World
from model.network.architecture import ModelError
from model.network.initial import initial_model, is_vidla
from model.network.vidla import VidLA
from model.settings import CHANGEABLE, TrainingError, TrainSettings
from model.training import checkpoint
from model.training.source import Source, check_exists, pin_version, unpin_version

METADATA, CHECKPOINTS = "run.json", "checkpoints"
BEGAN_FROM = "began_from"
"""The key of run.json with the absolute path of the initial weights; null if they came from the hub."""
TRAIN_CLIPS = "clips/train.arrow"
LEFTOVERS = frozenset((f"{METADATA}.part", "lock"))  # of a run that never began


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
    metadata = _read(folder)
    try:
        if metadata is None and folder.exists() and {path.name for path in folder.iterdir()} - LEFTOVERS:
            raise ConfigError(f"{folder} is not empty and is not a run's folder: give another --out")
        if metadata is None or not any((folder / CHECKPOINTS).glob("step-*")):
            return _create(folder, dataset, settings, processes, metadata)
    except OSError as error:
        raise TrainingError(f"cannot use the folder {folder}: {error.strerror}") from None
    if metadata["dataset"] != dataset.uri:
        raise ConfigError(f"{folder} holds a run on {metadata['dataset']}, not on {dataset.uri}: give another --out")
    old = _settings(metadata, folder)
    changed = [
        f"{name} was {before!r} and is {after!r}"
        for (name, before, _), (_, after, _) in zip(fields(old), fields(settings), strict=True)
        if before != after and name not in CHANGEABLE
    ]
    if changed:
        raise ConfigError(f"{folder} holds another run: {'; '.join(changed)}; give another --out, or change that back")
    _check_contrasted(folder, metadata.get("contrasted"), settings, processes)
    return TrainingRun(folder, dataset, settings, DatasetVersion(**metadata["version"]))


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
    folder: Path, dataset: Source, settings: TrainSettings, processes: int, before: dict[str, Any] | None
) -> TrainingRun:
    """Start a run, possibly in place of one without a checkpoint."""
    if before is not None and before["dataset"] == dataset.uri:
        unpin_version(dataset, before["version"]["pin"])
    folder.mkdir(parents=True, exist_ok=True)
    run = TrainingRun(folder, dataset, settings, pin_version(dataset, folder.resolve().name))
    weights = Path(settings.model.weights)
    metadata = {
        "settings": settings.model_dump(mode="json"),
        BEGAN_FROM: str(weights.resolve()) if weights.exists() else None,
        "contrasted": settings.contrasted(processes),
        "dataset": dataset.uri,
        "version": asdict(run.version),
        "code_version": __version__,
    }
    part = folder / f"{METADATA}.part"
    part.write_text(json.dumps(metadata, indent=2) + "\n", encoding="utf-8")
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


def run_folder_of(folder: Path) -> Path:
    """The run that `folder` is, or is a checkpoint of; any other folder if it is neither."""
    return folder if (folder / METADATA).exists() else folder.resolve().parent.parent


def load_trained(folder: Path, assignments: Sequence[str] = ()) -> tuple[VidLA, TrainSettings]:
    """Load the model of a run (its best checkpoint), of a checkpoint, or of any saved VidLA; or a CLIP (a folder, a
    file or a name on the hub, as `model.weights` may be), whose features of a clip are the mean of its frames'.

    The settings are those of the run (the defaults without a run), overridden by `assignments`. Raises ModelError and
    ConfigError.
    """
    run_folder = run_folder_of(folder)
    metadata = _read(run_folder)
    if metadata is None and not is_vidla(folder):
        raw = {"model": {"weights": str(folder), "attention": "frame"}, "precision": "fp32"}
        settings = check(TrainSettings, merge(raw, read(None, assignments)))
        return initial_model(settings.model), settings
    metadata = metadata or {"settings": {"model": {"weights": str(folder)}, "precision": "fp32"}}
    settings = check(TrainSettings, merge(metadata["settings"], read(None, assignments)))
    source = folder if run_folder != folder else checkpoint.best(folder / CHECKPOINTS)
    if source is None:
        raise ModelError(f"{folder} has no checkpoint yet: train first")
    return VidLA.load(source), settings


def _settings(metadata: dict[str, Any], folder: Path) -> TrainSettings:
    try:
        return check(TrainSettings, metadata["settings"])
    except ConfigError as error:
        raise ConfigError(f"{folder} holds a run of another version of vidla: {error}") from None


def _read(folder: Path) -> dict[str, Any] | None:
    try:
        metadata: dict[str, Any] = json.loads((folder / METADATA).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError:
        raise ConfigError(f"{folder / METADATA} cannot be read: give another --out") from None
    return metadata
