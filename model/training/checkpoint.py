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
import re
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from safetensors import SafetensorError
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict, set_optimizer_state_dict

from curation.errors import causes, one_line
from model.data.clips import DatasetVersion
from model.distributed import World
from model.network.vidla import VidLA
from model.settings import TrainingError
from model.training.json_record import read_record
from model.training.safe_reader import SafePlanner, SafeReader, load_plain

METADATA, OPTIMIZER = "checkpoint.json", "optimizer"
UNFINISHED = ".unfinished"
_NAME = re.compile(r"step-[0-9]{8}")


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


@dataclass(frozen=True)
class _Metadata:
    """What checkpoint.json holds: the progress, and the SHA-256 of each other file by its path in the folder."""

    progress: Progress
    files: Mapping[str, str]


def is_name(name: str) -> bool:
    """Whether the folder of a checkpoint may have this name; all else in its place is the user's.

    >>> is_name("step-00001000"), is_name("step-00001000-keep"), is_name("step-00001000.tar")
    (True, False, False)
    """
    return _NAME.fullmatch(name) is not None


def folders(checkpoints: Path) -> list[Path]:
    """The folders of checkpoints in `checkpoints`, complete or not, from the first step to the latest."""
    return sorted(path for path in checkpoints.glob("step-*") if is_name(path.name) and path.is_dir())


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
        raise TrainingError(f"cannot write a checkpoint into {checkpoints}: {_reason(error, 300)}") from error


def record_score(checkpoint: Checkpoint, score: float) -> None:
    """Write the score of a checkpoint that was written before its evaluation, atomically. Raises TrainingError."""
    path = checkpoint.folder / METADATA
    try:
        metadata = read_record(path, _Metadata)
        part = path.with_suffix(".part")
        _write(part, replace(metadata, progress=replace(metadata.progress, score=score)))
        _sync(part)
        part.replace(path)
        _sync(checkpoint.folder)
    except (OSError, ValueError) as error:
        raise TrainingError(f"cannot write the score of {checkpoint.folder}: {one_line(error, 300)}") from error


def latest(checkpoints: Path) -> tuple[Checkpoint | None, list[str]]:
    """The latest complete checkpoint in `checkpoints`, and one line for each later one that is not complete."""
    faults: list[str] = []
    for folder in reversed(folders(checkpoints)):
        try:
            return read(folder), faults
        except TrainingError as error:
            faults.append(str(error))
    return None, faults


def scores(checkpoints: Path) -> dict[Path, float | None]:
    """The scores of the checkpoints in `checkpoints`, from the first to the latest."""
    by_folder: dict[Path, float | None] = {}
    for folder in folders(checkpoints):
        with suppress(OSError, ValueError):
            by_folder[folder] = read_record(folder / METADATA, _Metadata).progress.score
    return by_folder


def best(checkpoints: Path) -> Path | None:
    """The checkpoint with the highest score, the latest of equals; the latest if none has a score."""
    ranked = [(-math.inf if score is None else score, folder) for folder, score in scores(checkpoints).items()]
    return max(ranked)[1] if ranked else None


def read(folder: Path) -> Checkpoint:
    """Read a checkpoint and verify the digest of every file. Raises TrainingError if it is not complete."""
    try:
        metadata = read_record(folder / METADATA, _Metadata)
        damaged = [name for name, digest in metadata.files.items() if _digest(folder / name) != digest]
    except (OSError, ValueError) as error:
        raise TrainingError(f"{folder} is not a complete checkpoint: {one_line(error)}") from None
    if damaged:
        raise TrainingError(f"{folder} is not a complete checkpoint: {damaged[0]} is not as it was written")
    return Checkpoint(folder, metadata.progress)


def restore(checkpoint: Checkpoint, model: VidLA, optimizer: torch.optim.Optimizer, world: World) -> None:
    """Restore the optimiser's and this process's random state; `model` is already loaded from the checkpoint.

    A rank that did not exist when the checkpoint was written keeps its own random state. Runs nothing that the files
    may hold. Raises TrainingError for files that do not hold such a state.
    """
    try:
        _restore(checkpoint, model, optimizer, world)
    except (Exception, CheckpointException) as error:  # for crafted files torch raises almost anything
        raise TrainingError(
            f"{checkpoint.folder} cannot be resumed: its files do not hold the state of an optimiser "
            f"({_reason(error, 200)})"
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


def _reason(error: BaseException, most: int) -> str:
    """Why a checkpoint cannot be written or read.

    torch gathers the errors of all processes, with their tracebacks; its writer covers the system's error by its own.
    """
    found = [cause for cause, _ in error.failures.values()] if isinstance(error, CheckpointException) else [error]
    return one_line(next((cause for cause in causes(found[0]) if isinstance(cause, OSError)), found[0]), most)


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
    _write(folder / METADATA, _Metadata(progress, files))
    for path in _files(folder):
        _sync(path)
    _sync(folder / OPTIMIZER)
    _sync(folder)


def _write(path: Path, metadata: _Metadata) -> None:
    path.write_text(json.dumps(asdict(metadata), indent=2) + "\n", encoding="utf-8")


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
    written = folders(checkpoints)
    kept = {*written[-keep:], best(checkpoints)}
    for folder in written:
        if folder not in kept and not folder.is_symlink():  # a link is the user's
            shutil.rmtree(folder)
