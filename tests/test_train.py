"""Training end to end on a small dataset: what a run writes, how it goes on, and what it refuses."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
import torch

from curation.tables import Dataset
from model import runs
from model.processes import Processes
from model.train import Trainer
from model.vidla import VidLA
from tests.small_training import training_clip, training_dataset, training_settings

ALONE = Processes(0, 1, torch.device("cpu"))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return training_dataset(tmp_path_factory.mktemp("train") / "dataset")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return training_clip(tmp_path_factory.mktemp("train") / "clip")


def trainer_of(folder: Path, dataset: Dataset, clip: Path, *assignments: str) -> Trainer:
    return Trainer(runs.begin(folder, dataset, training_settings(clip, *assignments), ALONE), ALONE)


def log_of(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_a_run_of_three_steps(dataset: Dataset, clip: Path, tmp_path: Path) -> None:
    trainer = trainer_of(tmp_path / "run", dataset, clip, "epochs=0.5", "optimizer.lr=0.01")
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    shown = io.StringIO()
    trainer.train(shown)
    assert trainer.steps == trainer.step == 3  # 28 clips, 7 steps an epoch
    after = VidLA.load(tmp_path / "run" / "checkpoints" / "step-00000003").state_dict()
    assert all(torch.equal(after[name], value) for name, value in trainer.model.state_dict().items())
    assert not torch.equal(after["video.mst"], before["video.mst"])
    assert [line["step"] for line in log_of(tmp_path / "run")] == [1, 2, 3]
    assert "step 3/3 | loss" in shown.getvalue() and "waiting for data" in shown.getvalue()
