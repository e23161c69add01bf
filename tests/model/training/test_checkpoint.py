"""Checkpoints: they are read as they were written, completely, or not at all."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from model.data.clips import DatasetVersion
from model.distributed import World
from model.network.clip_conversion import from_clip
from model.network.vidla import VidLA
from model.settings import ModelSettings, OptimizerSettings, TrainingError
from model.training.checkpoint import (
    METADATA,
    OPTIMIZER,
    UNFINISHED,
    Checkpoint,
    Progress,
    best,
    latest,
    read,
    record_score,
    restore,
    save,
    scores,
)
from model.training.optimizer import make_optimizer
from tests.support.small_clip import EOS, SIDE, small_clip

ALONE = World(0, 1, torch.device("cpu"))
PROGRESS = Progress(3, DatasetVersion("pin", {"clips": 7}, "digest"), {"batch": 4}, 0.25)


def model_of(folder: Path) -> tuple[VidLA, torch.optim.AdamW]:
    """A small model after three steps."""
    model = from_clip(ModelSettings(weights=str(small_clip(folder)), frames=2, levels=1))
    optimizer = make_optimizer(model, OptimizerSettings(lr=1e-3))
    for _ in range(3):
        make_step(model, optimizer)
    return model, optimizer


def make_step(model: VidLA, optimizer: torch.optim.Optimizer) -> None:
    tokens = torch.randint(3, EOS, (2, 8))
    tokens[:, -1] = EOS
    optimizer.zero_grad()
    video, text = model(torch.randn(2, 2, 3, SIDE, SIDE), tokens)
    (video * text * model.logit_scale).sum().backward()
    optimizer.step()


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of checkpoints of steps 1, 2 and 3."""
    folder = tmp_path_factory.mktemp("checkpoints")
    model, optimizer = model_of(folder / "clip")
    for step in (1, 2, 3):
        save(folder / "all", model, optimizer, dataclasses.replace(PROGRESS, step=step), ALONE, keep=3)
    return folder / "all"


@pytest.fixture
def folder(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "checkpoints"))


def test_goes_on_as_if_it_had_not_stopped(tmp_path: Path) -> None:
    model, optimizer = model_of(tmp_path / "clip")
    save(tmp_path / "all", model, optimizer, PROGRESS, ALONE, keep=1)
    make_step(model, optimizer)  # with random numbers drawn after the checkpoint
    found, faults = latest(tmp_path / "all")
    assert found is not None and found.progress == PROGRESS and not faults
    torch.manual_seed(99)
    other = VidLA.load(found.folder)
    again = make_optimizer(other, OptimizerSettings(lr=1e-3))
    restore(found, other, again, ALONE)
    make_step(other, again)
    for name, value in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], value), name
    for one, two in zip(optimizer.state.values(), again.state.values(), strict=True):
        assert all(torch.equal(one[key], two[key]) for key in ("step", "exp_avg", "exp_avg_sq"))


def test_a_process_that_is_new_has_random_numbers_of_its_own(folder: Path, tmp_path: Path) -> None:
    found, _ = latest(folder)
    assert found is not None
    (found.folder / "random-0.pt").rename(found.folder / "random-1.pt")
    model = VidLA.load(found.folder)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    restore(found, model, make_optimizer(model, OptimizerSettings()), ALONE)
    assert torch.equal(torch.get_rng_state(), before)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def with_metadata(folder: Path, **values: object) -> None:
    metadata = json.loads((folder / METADATA).read_text())
    (folder / METADATA).write_text(json.dumps(metadata | values))


def with_progress(folder: Path, **values: object) -> None:
    progress = json.loads((folder / METADATA).read_text())["progress"]
    with_metadata(folder, progress=progress | values)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "a flipped bit in the weights": lambda step: flip(step / "model.safetensors"),
    "a flipped bit in the optimiser": lambda step: flip(step / OPTIMIZER / "__0_0.distcp"),
    "cut short": lambda step: (step / "random-0.pt").write_bytes((step / "random-0.pt").read_bytes()[:100]),
    "a file is gone": lambda step: (step / OPTIMIZER / ".metadata").unlink(),
    "its description is gone": lambda step: (step / METADATA).unlink(),
    "its description is empty": lambda step: (step / METADATA).write_text(""),
    "its description is of something else": lambda step: (step / METADATA).write_text('{"files": {}, "progress": {}}'),
    "its description is a list": lambda step: (step / METADATA).write_text("[]"),
    "its description is a text": lambda step: (step / METADATA).write_text('"x"'),
    "its list of files is none": lambda step: with_metadata(step, files=[]),
    "its files have no digests": lambda step: with_metadata(step, files={"config.json": None}),
    "its progress is a list": lambda step: with_metadata(step, progress=[]),
    "its version lacks a key": lambda step: with_progress(step, version={"pin": "x"}),
    "its step is a text": lambda step: with_progress(step, step="third"),
    "its score is a text": lambda step: with_progress(step, score="good"),
    "an empty folder": lambda step: (shutil.rmtree(step), step.mkdir()),
}


@pytest.mark.hostile("failures")
@pytest.mark.parametrize("damage", DAMAGE)
def test_one_that_is_not_whole_is_ignored(damage: str, folder: Path) -> None:
    DAMAGE[damage](folder / "step-00000003")
    found, faults = latest(folder)
    assert found is not None and found.progress.step == 2
    assert len(faults) == 1 and "step-00000003 is not a complete checkpoint" in faults[0] and "\n" not in faults[0]
    assert best(folder) is not None  # whatever it says of its score


# --- files that somebody else has written -----------------------------------------------------------------------------


class Runs:
    """A pickle of it calls `function` when it is opened."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


def touch(step: Path) -> Runs:
    return Runs(os.system, f"touch {step.parent / 'it-ran'}")


def with_value(step: Path, value: object) -> None:
    """Put `value` in the place of the first learning rate."""
    description = step / OPTIMIZER / ".metadata"
    metadata = pickle.loads(description.read_bytes())
    place = next(index for index in metadata.storage_data if index.fqn == "optimizer.param_groups.0.lr")
    values = step / OPTIMIZER / "more.distcp"
    torch.save(value, values)
    metadata.storage_data[place] = dataclasses.replace(
        metadata.storage_data[place], relative_path=values.name, offset=0, length=values.stat().st_size
    )
    description.write_bytes(pickle.dumps(metadata))


def with_description(step: Path, change: Callable[[Any], object]) -> None:
    description = step / OPTIMIZER / ".metadata"
    metadata = pickle.loads(description.read_bytes())
    description.write_bytes(pickle.dumps(change(metadata) or metadata))


def elsewhere(metadata: Any) -> None:
    for index, info in metadata.storage_data.items():
        metadata.storage_data[index] = dataclasses.replace(info, relative_path=f"../../../{info.relative_path}")


CRAFTED: dict[str, Callable[[Path], object]] = {
    "a description that runs a command": lambda step: with_description(step, lambda _: touch(step)),
    "one inside its data": lambda step: with_description(step, lambda m: setattr(m, "planner_data", touch(step))),
    "one inside a shape": lambda step: with_description(step, lambda m: m.state_dict_metadata.update(x=touch(step))),
    "eval": lambda step: with_description(step, lambda _: Runs(eval, f"open({str(step.parent / 'it-ran')!r}, 'w')")),
    "any pickle by way of torch": lambda step: with_description(step, lambda _: Runs(torch.load, "x")),
    "a description of other files": lambda step: with_description(step, elsewhere),
    "a description that is none": lambda step: with_description(step, lambda _: {"a": 1}),
    "no pickle at all": lambda step: (step / OPTIMIZER / ".metadata").write_bytes(b"hello"),
    "a learning rate that runs a command": lambda step: with_value(step, touch(step)),
    "betas that hold one that does": lambda step: with_value(step, (0.9, [touch(step)])),
    "a learning rate that is a class": lambda step: with_value(step, Path),
    "a random state that runs a command": lambda step: torch.save(touch(step), step / "random-0.pt"),
    "a random state that holds one": lambda step: torch.save({"cpu": touch(step)}, step / "random-0.pt"),
    "a random state that is none": lambda step: torch.save({"cpu": "x"}, step / "random-0.pt"),
}


@pytest.mark.hostile("neighbours")
@pytest.mark.parametrize("crafted", CRAFTED)
def test_one_that_somebody_made_runs_nothing(crafted: str, folder: Path) -> None:
    """Its digests are right: whoever makes a checkpoint makes them too."""
    step = folder / "step-00000003"
    CRAFTED[crafted](step)
    metadata = json.loads((step / METADATA).read_text())
    files = [path for path in step.rglob("*") if path.is_file() and path.name != METADATA]
    metadata["files"] = {str(path.relative_to(step)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    (step / METADATA).write_text(json.dumps(metadata))
    found, faults = latest(folder)
    assert found is not None and found.folder == step and not faults
    model = VidLA.load(step)
    with pytest.raises(TrainingError, match="cannot be resumed") as raised:
        restore(found, model, make_optimizer(model, OptimizerSettings(lr=1e-3)), ALONE)
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 600
    assert not (folder / "it-ran").exists()


def test_where_there_is_none(tmp_path: Path) -> None:
    assert latest(tmp_path / "nowhere") == (None, [])
    assert best(tmp_path / "nowhere") is None
    (tmp_path / UNFINISHED).mkdir()
    assert latest(tmp_path) == (None, [])


def test_writes_over_one_that_could_not_be_read_and_over_what_a_killed_run_left(folder: Path, tmp_path: Path) -> None:
    flip(folder / "step-00000003" / "model.safetensors")
    (folder / UNFINISHED / OPTIMIZER).mkdir(parents=True)
    (folder / UNFINISHED / "left").write_text("over")
    model, optimizer = model_of(tmp_path / "clip")
    save(folder, model, optimizer, PROGRESS, ALONE, keep=3)
    found, faults = latest(folder)
    assert found is not None and found.progress.step == 3 and not faults
    assert not (folder / UNFINISHED).exists() and not (found.folder / "left").exists()


def test_keeps_the_latest_and_the_best(tmp_path: Path) -> None:
    model, optimizer = model_of(tmp_path / "clip")
    above = tmp_path / "all"
    for step, score in enumerate([0.1, 0.5, None, 0.5, 0.2, None], 1):
        save(above, model, optimizer, Progress(step, PROGRESS.version, {}, score), ALONE, keep=1)
    assert best(above) == above / "step-00000004"  # the latest of equals
    assert list(scores(above).values()) == [0.5, None]
    assert sorted(path.name for path in above.iterdir()) == ["step-00000004", "step-00000006"]


def test_what_else_lies_among_checkpoints_is_the_users(tmp_path: Path) -> None:
    """Copies with a later step or a better score, archives, links: never read, never deleted."""
    model, optimizer = model_of(tmp_path / "clip")
    above = tmp_path / "all"
    save(above, model, optimizer, dataclasses.replace(PROGRESS, step=1), ALONE, keep=1)
    for name in ("step-00000001-keep", "step-00000009 (copy)", "step-1", "step-000000001", "step-٠٠٠٠٠٠٠١"):
        shutil.copytree(above / "step-00000001", above / name)
        with_progress(above / name, score=1.0)
    for name in ("step-00000001.tar", "step-00000008", "step-", "notes"):
        (above / name).write_text("mine")
    shutil.copytree(above / "step-00000001", tmp_path / "elsewhere")
    (above / "step-00000000").symlink_to(tmp_path / "elsewhere")
    mine = {path.name for path in above.iterdir()} - {"step-00000001"}
    for step in (2, 3):
        save(above, model, optimizer, dataclasses.replace(PROGRESS, step=step, score=0.5), ALONE, keep=1)
    assert {path.name for path in above.iterdir()} == mine | {"step-00000003"}
    assert (tmp_path / "elsewhere" / METADATA).exists()
    found, faults = latest(above)
    assert found is not None and found.folder.name == "step-00000003" and not faults
    assert best(above) == above / "step-00000003"


def test_a_score_comes_after_its_checkpoint(folder: Path) -> None:
    with_progress(folder / "step-00000002", score=None)
    record_score(read(folder / "step-00000002"), 0.75)
    assert read(folder / "step-00000002").progress == dataclasses.replace(PROGRESS, step=2, score=0.75)
    assert best(folder) == folder / "step-00000002"
    with pytest.raises(TrainingError, match=r"cannot write the score of .*step-00000002") as raised:
        shutil.rmtree(folder / "step-00000002")
        record_score(Checkpoint(folder / "step-00000002", PROGRESS), 0.5)
    assert "\n" not in str(raised.value)


def test_says_in_one_line_where_it_cannot_write(tmp_path: Path) -> None:
    model, optimizer = model_of(tmp_path / "clip")
    (tmp_path / "all").write_text("a file")
    with pytest.raises(TrainingError, match=r"cannot write a checkpoint into .*Not a directory") as raised:
        save(tmp_path / "all", model, optimizer, PROGRESS, ALONE, keep=1)
    assert "\n" not in str(raised.value)


def test_a_full_disk_costs_no_earlier_checkpoint(small_disk: Path, tmp_path: Path) -> None:
    model, optimizer = model_of(tmp_path / "clip")
    save(small_disk, model, optimizer, dataclasses.replace(PROGRESS, step=1), ALONE, keep=1)
    room = 3 * 2**20 - used(small_disk)
    size = used(small_disk / "step-00000001")
    for there in (0, 2**12, size // 4, size // 2, size * 3 // 4, size - 2**14):  # other writers find it full
        (small_disk / "filler").write_bytes(bytes(room - there - 2**15))
        with pytest.raises(TrainingError, match=rf"^cannot write a checkpoint into {small_disk}: .*No space left") as e:
            save(small_disk, model, optimizer, PROGRESS, ALONE, keep=1)
        assert "\n" not in str(e.value) and len(str(e.value)) < 300
        shutil.rmtree(small_disk / UNFINISHED, ignore_errors=True)
    found, faults = latest(small_disk)
    assert found is not None and found.progress.step == 1 and not faults


def used(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_says_what_is_in_it(folder: Path) -> None:
    metadata = json.loads((folder / "step-00000003" / METADATA).read_text())
    assert metadata["progress"]["version"] == {"pin": "pin", "tables": {"clips": 7}, "configuration": "digest"}
    assert set(metadata["files"]) == {
        "config.json",
        "model.safetensors",
        "optimizer/.metadata",
        "optimizer/__0_0.distcp",
        "random-0.pt",
    }
