"""Training end to end on a small dataset: a run's files, resuming, and errors."""

from __future__ import annotations

import io
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from torch._dynamo.utils import counters

from curation import extras
from curation.clip_tokenizer import encode
from curation.dataset.dataset import Dataset
from curation.dataset.pins import pins
from curation.dataset.writer import Writer
from curation.errors import ConfigError, DatasetError, UsageError
from model.data.frame_buffer import FrameBuffer
from model.data.loader import StoredBatch, store_batches
from model.data.sampler import TrainBatchSampler
from model.distributed import World
from model.network.flops import count_parameters, text_flops, training_memory, video_flops
from model.network.vidla import VidLA
from model.settings import TrainingError, TrainSettings
from model.training import checkpoint, run_folder
from model.training.estimate import describe
from model.training.pieces import Pieces
from model.training.stop_signals import StopSignals, TrainingStopped
from model.training.trainer import Trainer
from tests.conftest import VIDLA
from tests.support.project import ROOT
from tests.support.ranks import together
from tests.support.small_clip import small_clip
from tests.support.small_training import FAST, add_video, training_clip, training_dataset, training_settings
from vidla.cli import run as run_vidla

ALONE = World(0, 1, torch.device("cpu"))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return training_dataset(tmp_path_factory.mktemp("train") / "dataset")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return training_clip(tmp_path_factory.mktemp("train") / "clip")


def trainer_of(folder: Path, dataset: Dataset, clip: Path, *assignments: str) -> Trainer:
    return Trainer(run_folder.open_run(folder, dataset, training_settings(clip, *assignments), ALONE), ALONE)


def log_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def weights_of(run: Path, step: int) -> dict[str, torch.Tensor]:
    return VidLA.load(run / "checkpoints" / f"step-{step:08}").state_dict()


def same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


# --- a run ----------------------------------------------------------------------------------------------------------


def test_a_run_of_three_steps(dataset: Dataset, clip: Path, tmp_path: Path) -> None:
    trainer = trainer_of(tmp_path / "run", dataset, clip, "epochs=0.5", "optimizer.lr=0.01")
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    shown = io.StringIO()
    trainer.train(shown)
    assert trainer.steps == trainer.step == 3  # 28 clips, 7 steps an epoch
    after = weights_of(tmp_path / "run", 3)
    assert same(after, trainer.model.state_dict())
    assert not torch.equal(after["video.mst"], before["video.mst"])
    log = log_of(tmp_path / "run")
    assert [line["step"] for line in log] == [1, 2, 3]
    assert all(line["clips"] == 4 and 0 <= line["waiting"] <= line["seconds"] for line in log)
    assert "step 3/3 | loss" in shown.getvalue() and "waiting for data" in shown.getvalue()


def test_writes_for_tensorboard(dataset: Dataset, clip: Path, tmp_path: Path) -> None:
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    trainer_of(tmp_path / "run", dataset, clip, "epochs=0.3", "tracker=tensorboard").train(io.StringIO())
    found = events.EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    losses = [(event.step, event.value) for event in found.Scalars("train/loss")]
    assert losses == [(line["step"], pytest.approx(line["loss"])) for line in log_of(tmp_path / "run")]


def test_sends_metrics_to_weights_and_biases(
    dataset: Dataset, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    trainer_of(tmp_path / "run", dataset, clip, "epochs=0.3", "tracker=wandb").train(io.StringIO())
    (log,) = (tmp_path / "run" / "wandb").glob("offline-run-*/run-*.wandb")
    data = log.read_bytes()
    assert b"train/loss" in data and b"speed/tflops" in data and b"optimizer" in data
    assert trainer_of(tmp_path / "run", dataset, clip, "epochs=0.3").version.pin.encode() in data


def test_a_tracker_that_is_not_installed_is_named_in_a_line(
    dataset: Dataset, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(extras.MODULES, "wandb", ("no_such_module",))
    with pytest.raises(UsageError, match=r"^tracker=wandb needs no_such_module: pip install 'vidla\[wandb\]'$"):
        trainer_of(tmp_path / "run", dataset, clip, "epochs=0.3", "tracker=wandb").train(io.StringIO())


def test_evaluates_on_videos_that_are_held_out(dataset: Dataset, clip: Path, tmp_path: Path) -> None:
    settings = ("data.held_out=0.4", "epochs=0.7", "evaluate_every=1", "checkpoint_every=9", "keep=1")
    trainer = trainer_of(tmp_path / "run", dataset, clip, *settings)
    assert len(trainer.held_out) == 7 and len(trainer.clips) == 21 and trainer.steps == 3
    shown = io.StringIO()
    trainer.train(shown)
    found = [line["evaluation"] for line in log_of(tmp_path / "run") if "evaluation" in line]
    assert len(found) == 3 and all(0 <= one["score"] <= 1 for one in found)
    assert "step 3, held-out clips: R@1" in shown.getvalue()
    scores = checkpoint.scores(tmp_path / "run" / "checkpoints")
    assert max(score or 0 for score in scores.values()) == max(one["score"] for one in found)  # the best is kept


def test_too_few_held_out_clips_do_not_end_a_run(dataset: Dataset, clip: Path, tmp_path: Path) -> None:
    trainer = trainer_of(
        tmp_path / "run", dataset, clip, "data.held_out=0.4", 'data.where="scale = \'long\'"', "batch=2",
        "micro_batch=2", "epochs=1",
    )  # fmt: skip
    shown = io.StringIO()
    trainer.train(shown)
    assert trainer.step == 1
    assert "is not evaluated: 1 held-out clips are too few" in shown.getvalue()


def test_with_a_gradient_cache_the_size_of_pieces_does_not_matter(dataset: Dataset, clip: Path, tmp_path: Path) -> None:
    losses = {}
    for name, settings in {
        "whole": ("micro_batch=4",),
        "cached": ("micro_batch=2", "gradient_cache=true"),
        "pieces": ("micro_batch=2",),
    }.items():
        trainer = trainer_of(tmp_path / name, dataset, clip, "epochs=0.15", "precision=fp32", *settings)
        trainer.train(io.StringIO())
        assert trainer.step == 1
        losses[name] = log_of(tmp_path / name)[0]
    for figure in ("loss", "gradient_norm"):
        assert losses["cached"][figure] == pytest.approx(losses["whole"][figure], rel=1e-5)
    assert losses["pieces"]["loss"] != pytest.approx(losses["whole"]["loss"], rel=1e-2)  # contrasted in pairs


def test_clips_that_are_right_for_each_other_are_not_contrasted(dataset: Dataset, clip: Path, tmp_path: Path) -> None:
    """The dataset has four texts of each kind for 28 clips of four videos, so that all batches repeat some."""
    losses = {}
    for name, settings in {
        "all": ("mask_equal_texts=false",),
        "texts": ("mask_equal_texts=true",),
        "videos": ("mask_equal_texts=true", "mask_same_video=true"),
        "pieces": ("mask_equal_texts=true", "mask_same_video=true", "gradient_cache=true", "micro_batch=4"),
    }.items():
        told = ("batch=12", "micro_batch=12", "steps=1", "precision=fp32", *settings)
        trainer_of(tmp_path / name, dataset, clip, *told).train(io.StringIO())
        losses[name] = log_of(tmp_path / name)[0]["loss"]
    assert losses["all"] > losses["texts"] > losses["videos"] > 0
    assert losses["pieces"] == pytest.approx(losses["videos"], rel=1e-5)


@pytest.mark.parametrize("cached", ["false", "true"])
def test_pieces_are_computed_as_they_come_and_never_all_in_memory(
    cached: str, dataset: Dataset, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = trainer_of(tmp_path / "run", dataset, clip, "batch=24", "micro_batch=4", f"gradient_cache={cached}")
    batches = TrainBatchSampler(trainer.sampler, 0, 1, 4)
    held = 6 if cached == "true" else 0
    stream = store_batches(trainer._clip_dataset(trainer.clips, True), batches, 1, held)
    events: list[str] = []
    loaded: list[weakref.ref[Any]] = []
    encode, read = trainer.encode, FrameBuffer.read

    def reading() -> Iterator[StoredBatch]:
        for piece in stream:
            events.append("read")
            yield piece

    def encoding(piece: StoredBatch) -> torch.Tensor:
        events.append("encode")
        return encode(piece)

    def alive(*arguments: Any) -> torch.Tensor:
        frames = read(*arguments).numpy().copy()  # it lives as long as a tensor on it
        loaded.append(weakref.ref(frames))
        assert sum(one() is not None for one in loaded) == 1
        return torch.from_numpy(frames)

    monkeypatch.setattr(trainer, "encode", encoding)
    monkeypatch.setattr(FrameBuffer, "read", alive)
    trainer.train_step(Pieces(reading(), 6))
    assert events == ["read", "encode"] * 6 + ["encode"] * held
    assert len(loaded) == 6 + held


COMPILER = pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler here: g++")


@COMPILER
@pytest.mark.long
@pytest.mark.timeout(3600)  # half a minute when the compiler has two CPUs to itself
def test_compiled_it_trains_the_same(dataset: Dataset, clip: Path, tmp_path: Path) -> None:
    told = ("epochs=0.6", "precision=fp32", "optimizer.lr=0.01", "data.held_out=0.4", "evaluate_every=1")
    torch._dynamo.reset()
    counters.clear()
    for name in ("false", "true"):
        trainer_of(tmp_path / name, dataset, clip, *told, f"compile={name}").train(io.StringIO())
    plain, compiled = log_of(tmp_path / "false"), log_of(tmp_path / "true")
    assert len(plain) == len(compiled) == 6  # three steps, each with an evaluation
    for before, after in zip(plain, compiled, strict=True):
        for figure in before.keys() & {"loss", "gradient_norm"}:
            assert after[figure] == pytest.approx(before[figure], rel=1e-4)
    assert counters["stats"]["unique_graphs"] == 2  # a layer of each tower, for all of its layers and steps


@pytest.mark.slow
def test_without_a_compiler_it_says_so_in_a_line(dataset: Dataset, clip: Path, tmp_path: Path) -> None:
    """In a separate process, since torch looks for the compiler when it is imported."""
    program = (
        "import sys\nfrom tests.model.training.test_trainer import *\n"
        "trainer = trainer_of(Path(sys.argv[1]), Dataset(sys.argv[2]), Path(sys.argv[3]), 'compile=true')\n"
        "try: trainer.train(io.StringIO())\n"
        "except TrainingError as error: print(error)"
    )
    arguments = [sys.executable, "-c", program, tmp_path / "run", dataset.uri, clip]
    environment = os.environ | {"CXX": "no-such-compiler", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")}
    ran = subprocess.run(arguments, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert ran.stdout.startswith("the model cannot be compiled (") and ran.stdout.endswith("): set compile=false\n")
    assert ran.stdout.count("\n") == 1


def test_trains_in_bfloat16(dataset: Dataset, clip: Path, tmp_path: Path) -> None:
    losses = {}
    for precision in ("bf16", "fp32"):
        trainer = trainer_of(tmp_path / precision, dataset, clip, "epochs=0.15", f"precision={precision}")
        trainer.train(io.StringIO())
        losses[precision] = log_of(tmp_path / precision)[0]["loss"]
        assert {p.dtype for p in trainer.model.parameters()} == {torch.float32}
    assert losses["bf16"] != losses["fp32"]
    assert losses["bf16"] == pytest.approx(losses["fp32"], rel=0.1)


def test_the_temperature_is_clamped(dataset: Dataset, clip: Path, tmp_path: Path) -> None:
    trainer = trainer_of(tmp_path / "run", dataset, clip, "epochs=0.3")
    with torch.no_grad():
        trainer.model.logit_scale.fill_(9.0)
    trainer.train(io.StringIO())
    assert trainer.model.logit_scale.exp().item() <= 100.01
    assert log_of(tmp_path / "run")[-1]["temperature"] >= 0.00999


# --- a loss that is not finite --------------------------------------------------------------------------------------


def poisoned(trainer: Trainer) -> set[str]:
    """Give one text features that are not finite, through a word that only it has. Returns the clips with that text."""
    _, word, _ = encode("hive")
    with torch.no_grad():
        trainer.model.text.token_embedding.weight[word] = math.nan
    rows = (trainer.clips[index] for index in range(len(trainer.clips)))
    return {row.clip_id for row in rows if row.subtitle and "hive" in row.subtitle}


def test_a_loss_that_is_not_finite_stops_the_run(dataset: Dataset, clip: Path, tmp_path: Path) -> None:
    trainer = trainer_of(tmp_path / "run", dataset, clip, "epochs=1")
    bad = poisoned(trainer)
    with pytest.raises(TrainingError, match=r"has a loss of nan .*; its clips are .*non_finite=skip") as raised:
        trainer.train(io.StringIO())
    assert "\n" not in str(raised.value)
    assert any(name in str(raised.value) for name in bad)
    event = log_of(tmp_path / "run")[-1]
    assert event["event"] == "not_finite" and len(event["clips"]) == 4 and bad & set(event["clips"])
    assert checkpoint.latest(tmp_path / "run" / "checkpoints")[0] is None


def test_or_its_step_is_skipped(dataset: Dataset, clip: Path, tmp_path: Path) -> None:
    trainer = trainer_of(tmp_path / "run", dataset, clip, "epochs=1", "non_finite=skip", "optimizer.lr=0.001")
    bad = poisoned(trainer)
    trainer.train(io.StringIO())
    log = log_of(tmp_path / "run")
    skipped = [line for line in log if line.get("event") == "not_finite"]
    assert [line["step"] for line in log] == list(range(1, 8))
    assert 0 < len(skipped) < 7 and all(bad & set(line["clips"]) for line in skipped)
    assert all(math.isfinite(line["loss"]) for line in log if "loss" in line)
    for name, value in trainer.model.state_dict().items():
        assert name == "text.token_embedding.weight" or bool(torch.isfinite(value).all())


# --- going on -------------------------------------------------------------------------------------------------------


def test_a_run_that_is_over_does_nothing_more(dataset: Dataset, clip: Path, tmp_path: Path) -> None:
    for _ in range(2):
        trainer = trainer_of(tmp_path / "run", dataset, clip, "epochs=0.15")
        trainer.train(io.StringIO())
        assert trainer.step == 1
    assert len(log_of(tmp_path / "run")) == 1


def test_refuses_a_dataset_that_has_changed(dataset: Dataset, clip: Path, tmp_path: Path) -> None:
    assert dataset.folder is not None
    mine = Dataset(str(shutil.copytree(dataset.folder, tmp_path / "dataset")))
    before = set(pins(mine))
    trainer_of(tmp_path / "run", mine, clip, "epochs=0.15").train(io.StringIO())
    (pinned,) = set(pins(mine)) - before
    with Writer(mine, "run-3", {}) as writer:
        add_video(writer, 9)
    with pytest.raises(DatasetError, match=r"have changed since the checkpoint .*data.allow_changed=true") as raised:
        trainer_of(tmp_path / "run", mine, clip, "epochs=0.15")
    assert "\n" not in str(raised.value)
    trainer = trainer_of(tmp_path / "run", mine, clip, "epochs=0.15", "data.allow_changed=true")
    assert trainer.version.pin == pinned and len(trainer.clips) == 28 and trainer.step == 1


def test_begins_anew_without_a_checkpoint(dataset: Dataset, clip: Path, tmp_path: Path) -> None:
    before = set(pins(dataset))
    first = run_folder.open_run(tmp_path / "run", dataset, training_settings(clip, "seed=1"), ALONE)
    second = run_folder.open_run(tmp_path / "run", dataset, training_settings(clip, "seed=2"), ALONE)
    assert second.settings.seed == 2 and first.version.pin != second.version.pin
    assert set(pins(dataset)) - before == {second.version.pin}


def test_what_may_change_and_what_may_not(dataset: Dataset, clip: Path, tmp_path: Path) -> None:
    first = trainer_of(tmp_path / "run", dataset, clip, "epochs=0.15")
    first.train(io.StringIO())
    again = trainer_of(tmp_path / "run", dataset, clip, "epochs=0.15", "keep=9", "data.workers=1")
    assert again.settings.keep == 9 and again.version == first.version
    with pytest.raises(ConfigError, match=r"seed was 0 and is 2; give another --out, or change that back"):
        trainer_of(tmp_path / "run", dataset, clip, "epochs=0.15", "seed=2")


def test_resumes_with_groups_of_parameters(dataset: Dataset, clip: Path, tmp_path: Path) -> None:
    told = ('optimizer.lr_factors={new = 10, text = 0, "video.layers.0" = 0.5}', "optimizer.lr=0.001", "epochs=0.6")
    told = (*told, "checkpoint_every=2", "precision=fp32")
    whole = trainer_of(tmp_path / "run", dataset, clip, *told)
    before = {name: value.clone() for name, value in whole.model.state_dict().items()}
    whole.train(io.StringIO())
    assert whole.steps == 4
    expected = weights_of(tmp_path / "run", 4)
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "step-00000004")
    resumed = trainer_of(tmp_path / "run", dataset, clip, *told)
    assert resumed.step == 2
    resumed.train(io.StringIO())
    assert same(weights_of(tmp_path / "run", 4), expected)
    assert all(torch.equal(before[name], value) == name.startswith("text.") for name, value in expected.items())


# --- killed ---------------------------------------------------------------------------------------------------------

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--no-python", str(VIDLA)]
KILLED = ("epochs=1", "checkpoint_every=2", "keep=1", "optimizer.lr=0.001", "precision=fp32", "data.held_out=0")


@pytest.fixture(scope="module")
def uninterrupted(dataset: Dataset, clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that is not killed."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    begun = vidla_train(folder, dataset, clip, [str(VIDLA)])
    assert begun.wait(800) == 0
    return folder


def vidla_train(
    folder: Path, dataset: Dataset, clip: Path, command: list[str], *more: str, **options: Any
) -> subprocess.Popen[bytes]:
    config = folder.parent / "small.toml"
    config.write_text(f'[model]\nweights = "{clip}"\n')
    settings = [f"--set={assignment}" for assignment in (*FAST, *KILLED, *more)]
    arguments = ["train", str(config), "--dataset", dataset.uri, "--out", str(folder), *settings]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen([*command, *arguments], cwd=ROOT, env=environment, **options)


def killing(number: int, event: str, fragment: str) -> list[str]:
    return [sys.executable, "-m", "tests.support.killed_training", str(number), event, fragment]


@pytest.mark.slow
def test_killed_in_a_step_and_before_a_checkpoint(
    dataset: Dataset, clip: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    process = vidla_train(run, dataset, clip, [str(VIDLA)])
    wait_for_steps(run, process, 3)
    process.kill()
    assert process.wait(180) == -signal.SIGKILL
    process = vidla_train(run, dataset, clip, killing(1, "os.mkdir", ".unfinished/optimizer"))
    assert process.wait(360) == -signal.SIGKILL
    assert vidla_train(run, dataset, clip, [str(VIDLA)]).wait(360) == 0
    assert same(weights_of(run, 7), weights_of(uninterrupted, 7))
    story = [(line["step"], line["loss"]) for line in log_of(run)]
    assert story == [(line["step"], line["loss"]) for line in log_of(uninterrupted)]  # no step twice


@pytest.mark.long  # in short runs the tests around it kill a run at one of these writes
def test_killed_while_a_checkpoint_is_written(
    dataset: Dataset, clip: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    run, checkpoints = tmp_path / "run", tmp_path / "run" / "checkpoints"
    # a checkpoint takes three renames: the weights, their configuration, and the folder
    for (number, event, fragment), left in {
        (1, "open", ".unfinished/checkpoint.json"): [".unfinished"],
        (6, "os.rename", "checkpoints/.unfinished"): [".unfinished", "step-00000002"],
        (1, "shutil.rmtree", "checkpoints/step-"): ["step-00000002", "step-00000004"],
    }.items():
        process = vidla_train(run, dataset, clip, killing(number, event, fragment))
        assert process.wait(360) == -signal.SIGKILL
        assert sorted(path.name for path in checkpoints.iterdir()) == left
    assert vidla_train(run, dataset, clip, [str(VIDLA)]).wait(360) == 0
    assert same(weights_of(run, 7), weights_of(uninterrupted, 7))
    assert [path.name for path in checkpoints.iterdir()] == ["step-00000007"]


@pytest.mark.long  # in short runs two processes go on with the run of one, below
def test_two_processes_by_torchrun_train_as_one_does(dataset: Dataset, clip: Path, tmp_path: Path) -> None:
    cached = ("epochs=0.5", "gradient_cache=true", "micro_batch=2", "data.held_out=0.4")
    for name, command in {"one": [str(VIDLA)], "two": TORCHRUN}.items():
        assert vidla_train(tmp_path / name, dataset, clip, command, *cached).wait(800) == 0
    one, two = log_of(tmp_path / "one"), log_of(tmp_path / "two")
    assert len(one) == len(two) == 3  # two steps and an evaluation
    for before, after in zip(one[:2], two[:2], strict=True):
        assert after["loss"] == pytest.approx(before["loss"], rel=1e-4)
        assert after["gradient_norm"] == pytest.approx(before["gradient_norm"], rel=1e-3)
    files = {path.name for path in (tmp_path / "two" / "checkpoints" / "step-00000002").iterdir()}
    assert {"random-0.pt", "random-1.pt"} < files


@pytest.mark.slow
def test_goes_on_with_another_number_of_processes(
    dataset: Dataset, clip: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    run, cached = tmp_path / "run", ("gradient_cache=true", "micro_batch=2")
    process = vidla_train(run, dataset, clip, killing(6, "os.rename", "checkpoints/.unfinished"), *cached)
    assert process.wait(360) == -signal.SIGKILL
    assert vidla_train(run, dataset, clip, TORCHRUN, *cached).wait(800) == 0
    one, two = log_of(uninterrupted), log_of(run)
    assert [line["step"] for line in two] == list(range(1, 8))
    for before, after in zip(one, two, strict=True):
        assert after["loss"] == pytest.approx(before["loss"], rel=1e-3)


# --- asked to stop --------------------------------------------------------------------------------------------------


def wait_for_steps(run: Path, process: subprocess.Popen[bytes], steps: int) -> None:
    deadline = time.monotonic() + 360
    while process.poll() is None and not ((run / "log.jsonl").exists() and len(log_of(run)) >= steps):
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_writes_a_checkpoint_and_ends_with_its_own_status(
    number: signal.Signals, dataset: Dataset, clip: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    """To the whole process group, as some schedulers send it: to the worker too."""
    run, more = tmp_path / "run", ("checkpoint_every=100", "data.workers=1")
    process = vidla_train(run, dataset, clip, [str(VIDLA)], *more, start_new_session=True)
    wait_for_steps(run, process, 2)
    os.killpg(process.pid, number)
    assert process.wait(180) == 75
    (written,) = (run / "checkpoints").iterdir()
    assert written.name == f"step-{len(log_of(run)):08}" and 2 <= len(log_of(run)) < 7
    assert vidla_train(run, dataset, clip, [str(VIDLA)], *more).wait(360) == 0
    assert same(weights_of(run, 7), weights_of(uninterrupted, 7))


@pytest.mark.slow
def test_processes_stop_at_the_same_step_when_one_is_asked_to_and_torch_warns_of_nothing(
    dataset: Dataset, clip: Path, tmp_path: Path
) -> None:
    more = ("epochs=200", "checkpoint_every=1000", "micro_batch=2", "data.held_out=0.4", "evaluate_every=2")
    run = tmp_path / "run"
    for turn in (1, 2):  # the second one resumes
        before = len(log_of(run)) if turn == 2 else 0
        process = vidla_train(run, dataset, clip, TORCHRUN, *more, stderr=subprocess.PIPE)
        wait_for_steps(run, process, before + 4)
        workers = [p for p in psutil.Process(process.pid).children() if "train" in p.cmdline()]
        assert len(workers) == 2
        workers[1].send_signal(signal.SIGUSR1)
        _, shown = process.communicate(timeout=180)
        assert "exitcode  : 75" in shown.decode()
        assert "Warning" not in shown.decode()
        *_, last = sorted((run / "checkpoints").iterdir())
        assert last.name == f"step-{log_of(run)[-1]['step']:08}" and (last / "random-1.pt").exists()


def test_a_signal_in_the_middle_of_a_step_or_of_an_evaluation(dataset: Dataset, clip: Path, tmp_path: Path) -> None:
    told = ("data.held_out=0.4", "epochs=2", "evaluate_every=2", "checkpoint_every=100", "micro_batch=2")
    for name, step in {"encode": 1, "_evaluate": 2}.items():
        trainer = trainer_of(tmp_path / name, dataset, clip, *told)
        method, calls = getattr(trainer, name), []

        def asked(*arguments: Any, name: str = name, method: Any = method, calls: list[int] = calls) -> Any:
            calls.append(1)
            if name == "_evaluate" or len(calls) == 4:  # in the second of two pieces of the second step
                os.kill(os.getpid(), signal.SIGTERM)
            return method(*arguments)

        setattr(trainer, name, asked)
        before = signal.getsignal(signal.SIGTERM)
        with pytest.raises(TrainingStopped, match=rf"^stopped by SIGTERM after step {step} of \d+; the same command"):
            trainer.train(io.StringIO())
        assert signal.getsignal(signal.SIGTERM) is before and TrainingStopped.exit_status == 75
        found, _ = checkpoint.latest(tmp_path / name / "checkpoints")
        assert found is not None and found.progress.step == step == trainer.step


@pytest.mark.parametrize("stopped_at", [2, 4])
def test_a_stopped_evaluation_is_made_up(stopped_at: int, dataset: Dataset, clip: Path, tmp_path: Path) -> None:
    told = ("data.held_out=0.4", "steps=4", "evaluate_every=2", "checkpoint_every=1", "keep=9", "precision=fp32")
    told = (*told, "optimizer.lr=0.01")
    trainer_of(tmp_path / "whole", dataset, clip, *told).train(io.StringIO())
    run = tmp_path / "run"
    for _ in range(2):  # the second time, what is made up is stopped
        trainer = trainer_of(run, dataset, clip, *told)
        evaluate = trainer._measure

        def measure(trainer: Trainer = trainer, evaluate: Any = evaluate) -> float | None:
            if trainer.step == stopped_at:
                os.kill(os.getpid(), signal.SIGTERM)
            return evaluate()

        trainer._measure = measure  # type: ignore[method-assign]
        with pytest.raises(TrainingStopped, match=f"after step {stopped_at} of 4; the same command goes on from there"):
            trainer.train(io.StringIO())
        found, _ = checkpoint.latest(run / "checkpoints")
        assert found is not None and (found.progress.step, found.progress.score) == (stopped_at, None)
    for _ in range(2):  # the second time, nothing is left to do
        trainer = trainer_of(run, dataset, clip, *told)
        trainer.train(io.StringIO())
        figures = [(line["step"], line["evaluation"]["score"]) for line in log_of(run) if "evaluation" in line]
        assert [step for step, _ in figures] == [2, 4]
    scores = {name: checkpoint.scores(tmp_path / name / "checkpoints") for name in ("whole", "run")}
    assert list(scores["run"].values()) == list(scores["whole"].values()) == [None, figures[0][1], None, figures[1][1]]
    assert trainer._best == max(score for _, score in figures)
    assert same(weights_of(run, 4), weights_of(tmp_path / "whole", 4))


def test_a_known_score_is_kept_when_a_run_is_stopped_later(dataset: Dataset, clip: Path, tmp_path: Path) -> None:
    told = ("data.held_out=0.4", "steps=3", "evaluate_every=1", "checkpoint_every=9")
    trainer = trainer_of(tmp_path / "run", dataset, clip, *told)
    trainer._best = 2.0  # none is better, so that none is saved
    encode = trainer.encode

    def asked(piece: StoredBatch) -> torch.Tensor:
        if trainer.step == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return encode(piece)

    trainer.encode = asked  # type: ignore[method-assign]
    with pytest.raises(TrainingStopped, match="after step 2 of 3"):
        trainer.train(io.StringIO())
    (score,) = checkpoint.scores(tmp_path / "run" / "checkpoints").values()
    assert score == log_of(tmp_path / "run")[-1]["evaluation"]["score"]


@pytest.mark.parametrize(
    ("phase", "number", "is_left_off"),
    [
        ("trainer.open_run", signal.SIGTERM, False),  # it pins a version and writes that down
        ("checkpoint.latest", signal.SIGUSR1, True),
        ("trainer.load_model", signal.SIGTERM, True),
        ("trainer.make_optimizer", signal.SIGUSR1, False),
        ("trainer.select_clips", signal.SIGTERM, True),
        ("trainer.open_tracker", signal.SIGUSR1, False),
    ],
)
def test_a_signal_before_the_first_step(
    phase: str,
    number: signal.Signals,
    is_left_off: bool,
    dataset: Dataset,
    clip: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = tmp_path / "small.toml"
    config.write_text(f'[model]\nweights = "{clip}"\n')
    told = [f"--set={each}" for each in (*FAST, "steps=1", "data.held_out=0", "tracker=tensorboard")]
    arguments = ["vidla", "train", str(config), "--dataset", dataset.uri, "--out", str(tmp_path / "run"), *told]
    monkeypatch.setattr(sys, "argv", arguments)
    before = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGUSR1)}
    place, _, name = f"model.training.{phase}".rpartition(".")
    work, finished = getattr(sys.modules[place], name), list[int]()

    def asked(*arguments: Any, **more: Any) -> Any:
        try:
            os.kill(os.getpid(), number)
        except Exception as error:  # as libraries do
            raise ValueError("it did not work") from error
        os.kill(os.getpid(), number)
        finished.append(1)
        return work(*arguments, **more)

    with monkeypatch.context() as patched:
        patched.setattr(sys.modules[place], name, asked)
        assert run_vidla() == 75
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith(f"vidla: stopped by {number.name} ") and "the same command goes on" in said
    assert bool(finished) != is_left_off
    assert {each: signal.getsignal(each) for each in before} == before
    assert run_vidla() == 0


def stopped_early(rank: int, size: int) -> dict[str, str]:
    """What each of several processes raises when rank 1 receives a signal while something is done."""
    world, found = World(rank, size, torch.device("cpu")), {}

    def work(asked: int) -> Callable[[], None]:
        def run() -> None:
            if rank == asked:
                os.kill(os.getpid(), signal.SIGTERM)

        return run

    for name, asked in {"nobody": 9, "the main one": 0, "another": 1}.items():
        for way in ("run", "run_on_main"):
            with StopSignals() as signals:
                try:
                    if way == "run_on_main":
                        work(1 if asked == 1 else 9)()
                    getattr(signals, way)(work(asked), world)
                except TrainingStopped as stopped:
                    found[f"{name}, {way}"] = str(stopped)
    return found


@pytest.mark.slow
def test_before_the_first_step_all_processes_stop_when_one_is_asked_to() -> None:
    itself, another = "stopped by SIGTERM", "stopped by a signal that another process has received"
    main, other = together(stopped_early, 2)
    assert main == {
        "the main one, run": itself,
        "the main one, run_on_main": itself,
        "another, run": another,
        "another, run_on_main": another,
    }
    assert other == {
        "the main one, run": another,
        "the main one, run_on_main": itself,  # as it says itself
        "another, run": itself,
        "another, run_on_main": itself,
    }


def test_checkpoints_by_time(dataset: Dataset, clip: Path, tmp_path: Path) -> None:
    every = ("checkpoint_every=100", "checkpoint_minutes=0.00001", "keep=9", "epochs=0.8")
    trainer = trainer_of(tmp_path / "run", dataset, clip, *every)
    trainer.train(io.StringIO())
    assert len(list((tmp_path / "run" / "checkpoints").iterdir())) == trainer.steps == 5


# --- what is contrasted -----------------------------------------------------------------------------------------------


def test_says_and_records_how_many_clips_are_contrasted(dataset: Dataset, clip: Path, tmp_path: Path) -> None:
    for cached, count in {"false": 2, "true": 4}.items():
        told = ("epochs=0.15", "micro_batch=2", f"gradient_cache={cached}")
        shown = io.StringIO()
        trainer_of(tmp_path / cached, dataset, clip, *told).train(shown)
        assert f"contrasts {count} clips with each other, by 1 process\n" in shown.getvalue()
        assert json.loads((tmp_path / cached / "run.json").read_text())["contrasted"] == count


def test_resumes_only_with_as_many_contrasted_clips(dataset: Dataset, clip: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    trainer_of(run, dataset, clip, "epochs=0.3").train(io.StringIO())

    def opened(processes: int, *assignments: str) -> TrainSettings:
        settings = training_settings(clip, "epochs=0.3", *assignments)
        return run_folder._open_run(run, dataset, settings, processes).settings

    with pytest.raises(
        ConfigError, match=r"contrasts 4 clips with each other; micro_batch=4 on 2 processes would "
    ) as raised:
        opened(2)
    assert str(raised.value).endswith(
        "contrast 8, which is another loss: set micro_batch=2, or start 1 process, or give another --out"
    )
    assert opened(2, "micro_batch=2").micro_batch == 2
    with pytest.raises(ConfigError, match="contrast 2, which is another loss"):
        opened(1, "micro_batch=2")


def test_counts_losses_with_nothing_to_contrast(dataset: Dataset, clip: Path, tmp_path: Path) -> None:
    for size in (1, 2, 4):
        run = tmp_path / str(size)
        shown = io.StringIO()
        trainer = trainer_of(run, dataset, clip, "epochs=1", f"micro_batch={size}")
        trainer.train(shown)
        drawn = [clip for step in range(7) for clip in trainer.sampler.epoch(0)[4 * step : 4 * step + 4].tolist()]
        rows = [trainer.clips[index] for index in drawn]
        groups = [rows[i : i + size] for i in range(0, 28, size)]
        lonely = [
            sum(len({getattr(row, text) for row in group} - {None}) < 2 for text in ("subtitle", "caption"))
            for group in groups
        ]
        each = 4 // size
        expected = [sum(lonely[each * step : each * (step + 1)]) for step in range(7)]
        assert [line["without_contrast"] for line in log_of(run)] == expected
        assert (sum(expected) > 0) == ("losses without contrast" in shown.getvalue())
        if size == 1:
            assert expected == [8] * 7


def test_logs_what_the_device_does(dataset: Dataset, clip: Path, tmp_path: Path) -> None:
    trainer = trainer_of(tmp_path / "run", dataset, clip, "epochs=0.15")
    trainer.train(io.StringIO())
    (line,) = log_of(tmp_path / "run")
    forward = video_flops(trainer.model.config) + 2 * text_flops(trainer.model.config)
    assert line["tflops"] == pytest.approx(3 * forward * 4 / line["seconds"] / 1e12)
    assert line["mfu"] is None  # nobody states a processor's


# --- what a run will be ---------------------------------------------------------------------------------------------


def test_says_what_a_run_will_be(dataset: Dataset, clip: Path, tmp_path: Path) -> None:
    settings = training_settings(clip, "epochs=2", "data.held_out=0.4", "data.scales={short = 1, long = 3}")
    before = pins(dataset)
    text = describe(settings, dataset)
    model = Trainer(run_folder.open_run(tmp_path / "run", dataset, settings, ALONE), ALONE).model
    assert f"{count_parameters(model.config) / 1e6:.1f} million" in text
    assert "steps            8: 2 epochs of 4, 4 clips each" not in text  # 15 short and long clips: 3 steps
    assert "6: 2 epochs of 3, 4 clips each" in text
    assert "4 of 12 short, 0 of 0 medium, 11 of 3 long" in text
    assert "4 short, 0 medium, 1 long" in text
    forward = (video_flops(model.config) + 2 * text_flops(model.config)) / 1e9
    assert f"{forward:,.1f} GFLOP per clip forward, {3 * forward:,.1f} in training" in text
    assert f"{3 * forward * 6 * 4 / 1e9:,.4g} exaFLOP" in text  # of six steps of four clips
    memory = training_memory(model.config, 4, 8, bf16=True, checkpointing=False)
    assert f"about {memory / 2**30:,.1f} GiB per process" in text and "contrasted       4 clips" in text
    assert len(pins(dataset)) == len(before) + 1  # from the run, not from describing it


def test_a_dry_run_leaves_nothing_behind(
    dataset: Dataset,
    clip: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = tmp_path / "small.toml"
    config.write_text(f'batch = 4\nmicro_batch = 4\n[model]\nweights = "{clip}"\n')
    arguments = ["vidla", "train", str(config), "--dataset", str(dataset.folder), "--out", str(tmp_path / "run")]
    monkeypatch.setattr(sys, "argv", [*arguments, "--dry-run"])
    before = pins(dataset)
    assert run_vidla() == 0
    assert capsys.readouterr().out.startswith("parameters ")
    assert pins(dataset) == before and not (tmp_path / "run").exists()


# --- what is refused ------------------------------------------------------------------------------------------------


def refusal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: object) -> tuple[int, str]:
    """The command's exit status and the last line of its message."""
    monkeypatch.setattr(sys, "argv", ["vidla", "train", *map(str, arguments)])
    status = run_vidla()
    said = capsys.readouterr().err.strip().splitlines()
    assert said
    return status, said[-1]


WRONG: dict[str, tuple[str, int, str]] = {
    "an unknown key": ("optimizer.lrr=1", 2, "unknown key 'optimizer.lrr'; did you mean 'optimizer.lr'?"),
    "a batch in uneven pieces": ("micro_batch=3", 2, "batch (4) must be a multiple of micro_batch (3)"),
    "no such clips": ("data.where=1 = 0", 1, "no clip of"),
    "no SQL": ("data.where=scale ==", 2, "vidla: data.where: 'scale ==' is not one condition"),
    "too few clips": ("batch=32", 1, "28 clips are selected, fewer than one batch of 32"),
    "less than a step": ("epochs=0.01", 2, "epochs (0.01) is less than one step"),
    "a scale that is not there": (
        'data.scales={"short" = 0}',
        2,
        "weights must be 0 or more, with at least one above 0",
    ),
    "a seed that no generator takes": (f"seed={2**70}", 2, "seed: Input should be less than"),
    "a decay rate of one": ("optimizer.betas=[1.0,2.0]", 2, "optimizer.betas.1: Input should be less than 1"),
    "no weights": ("model.weights=nowhere/at/all", 2, "there is no such file or directory"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_refuses_in_a_line(
    wrong: str,
    dataset: Dataset,
    clip: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = tmp_path / "small.toml"
    config.write_text(f'batch = 4\nmicro_batch = 4\n[model]\nweights = "{clip}"\n[data]\nheld_out = 0\n')
    assignment, code, message = WRONG[wrong]
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    found = refusal(
        capsys, monkeypatch, config, "--dataset", dataset.folder, "--out", tmp_path / "run", "--set", assignment
    )
    assert found[0] == code and message in found[1]


def test_refuses_folders_in_a_line(
    dataset: Dataset,
    clip: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = tmp_path / "small.toml"
    config.write_text(f'batch = 4\nmicro_batch = 4\n[model]\nweights = "{clip}"\n[data]\nheld_out = 0\n')

    def refused(*arguments: object) -> tuple[int, str]:
        return refusal(capsys, monkeypatch, *arguments)

    assert refused(config, "--dataset", tmp_path / "none", "--out", tmp_path / "new")[1].startswith(
        "vidla: there is no dataset at"
    )
    assert refused(tmp_path / "no.toml", "--dataset", dataset.folder) == (
        2,
        f"vidla: cannot read {tmp_path / 'no.toml'}: No such file or directory",
    )
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("")
    code, said = refused(config, "--dataset", dataset.folder, "--out", tmp_path / "full")
    assert code == 2 and "is not empty and is not a run's folder" in said
    code, said = refused(config, "--dataset", dataset.folder, "--out", tmp_path / "small.toml")
    assert code == 1 and "cannot use the folder" in said
    run = tmp_path / "run"
    trainer_of(run, dataset, clip, "epochs=0.15").train(io.StringIO())
    with run_folder.exclusive(run, ALONE):
        code, said = refused(config, "--dataset", dataset.folder, "--out", run)
        assert code == 1 and "another process is training in" in said
    code, said = refused(config, "--dataset", dataset.folder, "--out", run, "--set", "optimizer.lr=0.5")
    assert code == 2 and "holds another run: " in said and "optimizer.lr was 2e-05 and is 0.5" in said
    other = Dataset(str(tmp_path / "other"))
    shutil.copytree(str(dataset.folder), tmp_path / "other")
    code, said = refused(config, "--dataset", other.folder, "--out", run)
    assert code == 2 and "holds a run on" in said and "give another --out" in said
    strange = small_clip(tmp_path / "strange")
    code, said = refused(
        config, "--dataset", dataset.folder, "--out", tmp_path / "new", "--set", f"model.weights={strange}"
    )
    assert code == 2 and "this text tower has 100, ending with 99" in said
