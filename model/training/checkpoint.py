"""Checkpoints, written atomically: a run that is killed leaves a complete one or none.

A checkpoint is a folder such as `step-00001000` and a saved VidLA (model.safetensors and config.json), so that another
run can start from it. It also has the optimiser's state, each process's random state, and `checkpoint.json` with the
run's progress and the digest of each file. It is written under another name and renamed at the end. All processes must
see the folder.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from safetensors import SafetensorError
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict, set_optimizer_state_dict

from curation.errors import one_line
from model.data.clips import DatasetVersion
from model.distributed import World
from model.network.vidla import VidLA
from model.settings import TrainingError
from model.training.safe_reader import SafePlanner, SafeReader, load_plain

METADATA, OPTIMIZER = "checkpoint.json", "optimizer"
UNFINISHED = ".unfinished"


@dataclass(frozen=True)
class Progress:
    """The progress of a run: `step` steps are done, on a version of the dataset.

    Checkpoints are compared by `score`; it is None if the model was not evaluated at this step.
    """

    step: int
    version: DatasetVersion
    settings: Mapping[str, Any]
    score: float | None = None


@dataclass(frozen=True)
class Checkpoint:
    """A complete checkpoint."""

    folder: Path
    progress: Progress


def save(
    checkpoints: Path, model: VidLA, optimizer: torch.optim.Optimizer, progress: Progress, world: World, keep: int
) -> None:
    """Write a checkpoint into the folder `checkpoints`, and delete all but the latest `keep` and the best.

    Call it in all processes. Raises TrainingError.
    """
    final, temporary = checkpoints / f"step-{progress.step:08}", checkpoints / UNFINISHED
    try:
        if world.is_main:
            shutil.rmtree(temporary, ignore_errors=True)
            (temporary / OPTIMIZER).mkdir(parents=True)
        world.barrier()
        state = {"optimizer": get_optimizer_state_dict(model, optimizer)}
        with _quiet():
            dcp.save(state, checkpoint_id=temporary / OPTIMIZER, no_dist=world.size == 1)
        torch.save(_random_state(world), temporary / f"random-{world.rank}.pt")
        world.barrier()
        if world.is_main:
            model.save(temporary)
            _seal(temporary, progress)
            if final.exists():  # one that could not be read
                shutil.rmtree(final)
            temporary.rename(final)
            _sync(checkpoints)
            _prune(checkpoints, keep)
        world.barrier()
    except (OSError, CheckpointException, SafetensorError, RuntimeError) as error:  # the last from torch's writers
        reason = one_line(error, 300)
        raise TrainingError(f"cannot write a checkpoint into {checkpoints}: {reason}") from error


def latest(checkpoints: Path) -> tuple[Checkpoint | None, list[str]]:
    """The latest complete checkpoint in `checkpoints`, and one line for each later one that is not complete."""
    faults: list[str] = []
    for folder in sorted(checkpoints.glob("step-*"), reverse=True):
        try:
            return read(folder), faults
        except TrainingError as error:
            faults.append(str(error))
    return None, faults


def scores(checkpoints: Path) -> dict[Path, float | None]:
    """The scores of the checkpoints in `checkpoints`, from the first to the latest."""
    by_folder: dict[Path, float | None] = {}
    for folder in sorted(checkpoints.glob("step-*")):
        with suppress(OSError, ValueError, KeyError, TypeError):
            by_folder[folder] = json.loads((folder / METADATA).read_text(encoding="utf-8"))["progress"]["score"]
    return by_folder


def best(checkpoints: Path) -> Path | None:
    """The checkpoint with the highest score, the latest of equals; the latest if none has a score."""
    ranked = [(-math.inf if score is None else score, folder) for folder, score in scores(checkpoints).items()]
    return max(ranked)[1] if ranked else None


def read(folder: Path) -> Checkpoint:
    """Read a checkpoint and verify the digest of every file. Raises TrainingError if it is not complete."""
    try:
        metadata = json.loads((folder / METADATA).read_text(encoding="utf-8"))
        damaged = [name for name, digest in metadata["files"].items() if _digest(folder / name) != digest]
        progress = Progress(**metadata["progress"] | {"version": DatasetVersion(**metadata["progress"]["version"])})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrainingError(f"{folder} is not a complete checkpoint: {' '.join(str(error).split())}") from None
    if damaged:
        raise TrainingError(f"{folder} is not a complete checkpoint: {damaged[0]} is not as it was written")
    return Checkpoint(folder, progress)


def restore(checkpoint: Checkpoint, model: VidLA, optimizer: torch.optim.Optimizer, world: World) -> None:
    """Restore the optimiser's and this process's random state; `model` is already loaded from the checkpoint.

    A rank that did not exist when the checkpoint was written keeps its own random state. Runs nothing that the files
    may hold. Raises TrainingError for files that do not hold such a state.
    """
    try:
        _restore(checkpoint, model, optimizer, world)
    except (Exception, CheckpointException) as error:  # for crafted files torch raises almost anything
        causes = [cause for cause, _ in error.failures.values()] if isinstance(error, CheckpointException) else [error]
        raise TrainingError(
            f"{checkpoint.folder} cannot be resumed: its files do not hold the state of an optimiser "
            f"({one_line(causes[0], 200)})"
        ) from None


def _restore(checkpoint: Checkpoint, model: VidLA, optimizer: torch.optim.Optimizer, world: World) -> None:
    state = {"optimizer": get_optimizer_state_dict(model, optimizer)}
    with _quiet():
        reader = SafeReader(checkpoint.folder / OPTIMIZER)
        dcp.load(state, storage_reader=reader, planner=SafePlanner(), no_dist=world.size == 1)
    set_optimizer_state_dict(model, optimizer, state["optimizer"])
    random = checkpoint.folder / f"random-{world.rank}.pt"
    if random.exists():
        states = load_plain(random)
        torch.set_rng_state(states["cpu"])
        if world.device.type == "cuda" and "cuda" in states:
            torch.cuda.set_rng_state(states["cuda"], world.device)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the warning that torch.distributed is not used in a single process."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled")
        yield


def _random_state(world: World) -> dict[str, torch.Tensor]:
    state = {"cpu": torch.get_rng_state()}
    if world.device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(world.device)
    return state


def _seal(folder: Path, progress: Progress) -> None:
    """Write checkpoint.json with the digest of each file, and flush all files to disk."""
    files = {str(path.relative_to(folder)): _digest(path) for path in _files(folder)}
    metadata = {"progress": asdict(progress), "files": files}
    (folder / METADATA).write_text(json.dumps(metadata, indent=2) + "\n", encoding="utf-8")
    for path in _files(folder):
        _sync(path)
    _sync(folder / OPTIMIZER)
    _sync(folder)


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _prune(checkpoints: Path, keep: int) -> None:
    kept = {*sorted(checkpoints.glob("step-*"))[-keep:], best(checkpoints)}
    for folder in checkpoints.glob("step-*"):
        if folder not in kept:
            shutil.rmtree(folder)
