"""Checkpoints: whole or not there at all, whenever the run is killed.

One is a folder, `step-00001000`, and a saved VidLA: model.safetensors and config.json, so that another run can start
from it. Beside them lie the optimiser's state, the state of the random numbers of each process, and `checkpoint.json`,
which says how far the run is and what is in each file. All of it is written to a folder of another name, which is
renamed at the end. The folder must be one that all processes see.
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
from torch.distributed.checkpoint import FileSystemReader
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict, set_optimizer_state_dict

from model.data.clips import DatasetVersion
from model.distributed import Processes
from model.network.vidla import VidLA
from model.settings import TrainingError

ABOUT, OPTIMIZER = "checkpoint.json", "optimizer"
UNFINISHED = ".unfinished"


@dataclass(frozen=True)
class Progress:
    """How far a run is: `step` steps are done, of the version of the dataset that it reads.

    `score` is what checkpoints are compared by, and None where the model was not evaluated at this step.
    """

    step: int
    version: DatasetVersion
    settings: Mapping[str, Any]
    score: float | None = None


@dataclass(frozen=True)
class Checkpoint:
    """A whole checkpoint."""

    folder: Path
    progress: Progress


def save(
    above: Path, model: VidLA, optimizer: torch.optim.Optimizer, progress: Progress, processes: Processes, keep: int
) -> None:
    """Write a checkpoint into the folder `above`, and delete those that are neither the latest `keep` nor the best.

    To be called by all processes. Raises TrainingError.
    """
    final, temporary = above / f"step-{progress.step:08}", above / UNFINISHED
    try:
        if processes.first:
            shutil.rmtree(temporary, ignore_errors=True)
            (temporary / OPTIMIZER).mkdir(parents=True)
        processes.wait()
        state = {"optimizer": get_optimizer_state_dict(model, optimizer)}
        with _quiet():
            dcp.save(state, checkpoint_id=temporary / OPTIMIZER, no_dist=processes.size == 1)
        torch.save(_random_state(processes), temporary / f"random-{processes.rank}.pt")
        processes.wait()
        if processes.first:
            model.save(temporary)
            _seal(temporary, progress)
            if final.exists():  # one that could not be read
                shutil.rmtree(final)
            temporary.rename(final)
            _sync(above)
            _prune(above, keep)
        processes.wait()
    except (OSError, CheckpointException, SafetensorError, RuntimeError) as error:  # torch's writers raise the last
        reason = " ".join(str(error).split())[:300]
        raise TrainingError(f"cannot write a checkpoint into {above}: {reason}") from error


def latest(above: Path) -> tuple[Checkpoint | None, list[str]]:
    """The latest whole checkpoint in the folder `above`, and a line for each later one that is not."""
    faults: list[str] = []
    for folder in sorted(above.glob("step-*"), reverse=True):
        try:
            return read(folder), faults
        except TrainingError as error:
            faults.append(str(error))
    return None, faults


def scores(above: Path) -> dict[Path, float | None]:
    """The checkpoints in the folder `above`, from the first to the latest, with what they are compared by."""
    found: dict[Path, float | None] = {}
    for folder in sorted(above.glob("step-*")):
        with suppress(OSError, ValueError, KeyError, TypeError):
            found[folder] = json.loads((folder / ABOUT).read_text(encoding="utf-8"))["progress"]["score"]
    return found


def best(above: Path) -> Path | None:
    """The checkpoint in the folder `above` with the highest score, the latest of equals; without scores the latest."""
    ranked = [(-math.inf if score is None else score, folder) for folder, score in scores(above).items()]
    return max(ranked)[1] if ranked else None


def read(folder: Path) -> Checkpoint:
    """A checkpoint, after a look at every byte of it. Raises TrainingError where it is not whole."""
    try:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        wrong = [name for name, digest in about["files"].items() if _digest(folder / name) != digest]
        progress = Progress(**about["progress"] | {"version": DatasetVersion(**about["progress"]["version"])})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrainingError(f"{folder} is no whole checkpoint: {' '.join(str(error).split())}") from None
    if wrong:
        raise TrainingError(f"{folder} is no whole checkpoint: {wrong[0]} is not what was written")
    return Checkpoint(folder, progress)


def restore(checkpoint: Checkpoint, model: VidLA, optimizer: torch.optim.Optimizer, processes: Processes) -> None:
    """Put the state of the optimiser and of this process's random numbers back; `model` is the checkpoint's already.

    A process that was not there when the checkpoint was written keeps the random numbers that it has.
    """
    state = {"optimizer": get_optimizer_state_dict(model, optimizer)}
    with _quiet():
        reader = FileSystemReader(checkpoint.folder / OPTIMIZER)
        dcp.load(state, storage_reader=reader, no_dist=processes.size == 1)
    set_optimizer_state_dict(model, optimizer, state["optimizer"])
    random = checkpoint.folder / f"random-{processes.rank}.pt"
    if random.exists():
        states = torch.load(random, weights_only=True)
        torch.set_rng_state(states["cpu"])
        if processes.device.type == "cuda" and "cuda" in states:
            torch.cuda.set_rng_state(states["cuda"], processes.device)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the warning that one process is one process."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled")
        yield


def _random_state(processes: Processes) -> dict[str, torch.Tensor]:
    state = {"cpu": torch.get_rng_state()}
    if processes.device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(processes.device)
    return state


def _seal(folder: Path, progress: Progress) -> None:
    """Write down what is in each file, and have all of them on the disk."""
    files = {str(path.relative_to(folder)): _digest(path) for path in _files(folder)}
    about = {"progress": asdict(progress), "files": files}
    (folder / ABOUT).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
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


def _prune(above: Path, keep: int) -> None:
    kept = {*sorted(above.glob("step-*"))[-keep:], best(above)}
    for folder in above.glob("step-*"):
        if folder not in kept:
            shutil.rmtree(folder)
