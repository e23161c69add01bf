"""The folder of a training run: what it is told, which version of which dataset it reads, what it writes.

run.json        what it was told when it began
checkpoints/    checkpoint.py
clips/          the clips that are selected, as they are read
log.jsonl       a line a step and an evaluation; tensorboard/ has the same
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
from curation.dataset.pins import pins, unpin
from curation.errors import ConfigError, DatasetError
from curation.settings import fields
from model.data.clips import DatasetVersion, pin_version
from model.distributed import Processes
from model.network.architecture import ModelError
from model.network.vidla import VidLA
from model.settings import CHANGEABLE, TrainingError, TrainSettings
from model.training import checkpoint

ABOUT, CHECKPOINTS = "run.json", "checkpoints"
OWN = frozenset((f"{ABOUT}.part", "lock"))  # what may lie there though the run has not begun


@dataclass(frozen=True)
class TrainingRun:
    """A run of `settings` on `dataset`, in the folder `folder`, which began with `version` of it."""

    folder: Path
    dataset: Dataset
    settings: TrainSettings
    version: DatasetVersion

    @property
    def checkpoints(self) -> Path:
        return self.folder / CHECKPOINTS

    @property
    def log(self) -> Path:
        return self.folder / "log.jsonl"


def begin(folder: Path, dataset: Dataset, settings: TrainSettings, processes: Processes) -> TrainingRun:
    """The run in `folder`: a new one, or the one that is there, to go on with. To be called by all processes.

    One that has written no checkpoint begins anew, and may be told anything. Raises DatasetError where there is no
    dataset, ConfigError for the folder of another run, or of something else, and TrainingError for one that cannot be
    written to.
    """
    return processes.first_does(lambda: _begin(folder, dataset, settings))


def _begin(folder: Path, dataset: Dataset, settings: TrainSettings) -> TrainingRun:
    if not dataset.exists():
        raise DatasetError(f"there is no dataset at {dataset.uri}")
    about = _read(folder)
    try:
        if about is None and folder.exists() and {path.name for path in folder.iterdir()} - OWN:
            raise ConfigError(f"{folder} is not empty and holds no run: give another --out")
        if about is None or not any((folder / CHECKPOINTS).glob("step-*")):
            return _new(folder, dataset, settings, about)
    except OSError as error:
        raise TrainingError(f"cannot use the folder {folder}: {error.strerror}") from None
    if about["dataset"] != dataset.uri:
        raise ConfigError(f"{folder} holds a run on {about['dataset']}, not on {dataset.uri}: give another --out")
    before = _settings(about, folder)
    changed = [
        f"{name} was {was!r} and is {now!r}"
        for (name, was, _), (_, now, _) in zip(fields(before), fields(settings), strict=True)
        if was != now and name not in CHANGEABLE
    ]
    if changed:
        raise ConfigError(f"{folder} holds another run: {'; '.join(changed)}; give another --out, or change that back")
    return TrainingRun(folder, dataset, settings, DatasetVersion(**about["version"]))


def _new(folder: Path, dataset: Dataset, settings: TrainSettings, before: dict[str, Any] | None) -> TrainingRun:
    """A run that begins, maybe in place of one that has written no checkpoint."""
    if before is not None and before["dataset"] == dataset.uri and before["version"]["pin"] in pins(dataset):
        unpin(dataset, before["version"]["pin"])
    folder.mkdir(parents=True, exist_ok=True)
    run = TrainingRun(folder, dataset, settings, pin_version(dataset, folder.resolve().name))
    about = {
        "settings": settings.model_dump(mode="json"),
        "dataset": dataset.uri,
        "version": asdict(run.version),
        "code_version": __version__,
    }
    part = folder / f"{ABOUT}.part"
    part.write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    part.replace(folder / ABOUT)
    return run


@contextmanager
def alone(folder: Path, processes: Processes) -> Iterator[None]:
    """The only run in `folder` meanwhile. Raises TrainingError."""
    if not processes.first:
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
        raise TrainingError(f"another process trains in {folder}: wait for it, or give another --out") from None
    finally:
        os.close(descriptor)


def trained(folder: Path, assignments: Sequence[str] = ()) -> tuple[VidLA, TrainSettings]:
    """The model of a run (that of its best checkpoint), of a checkpoint, or that lies in `folder` by itself.

    With what the run was told, and `assignments`; where there is no run, with the defaults. Raises ModelError and
    ConfigError.
    """
    of_run = folder if (folder / ABOUT).exists() else folder.resolve().parent.parent
    about = _read(of_run) or {"settings": {"model": {"weights": str(folder)}, "precision": "fp32"}}
    settings = check(TrainSettings, merge(about["settings"], read(None, assignments)))
    source = folder if of_run != folder else checkpoint.best(folder / CHECKPOINTS)
    if source is None:
        raise ModelError(f"{folder} holds no checkpoint yet: train first")
    return VidLA.load(source), settings


def _settings(about: dict[str, Any], folder: Path) -> TrainSettings:
    try:
        return check(TrainSettings, about["settings"])
    except ConfigError as error:
        raise ConfigError(f"{folder} holds a run of another version of vidla: {error}") from None


def _read(folder: Path) -> dict[str, Any] | None:
    try:
        about: dict[str, Any] = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError:
        raise ConfigError(f"{folder / ABOUT} cannot be read: give another --out") from None
    return about
