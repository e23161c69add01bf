"""AdamW's groups and the learning rate."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from curation.errors import ConfigError
from model.data.sampler import EpochSampler
from model.network.clip_conversion import from_clip
from model.settings import ModelSettings, OptimizerSettings, resolve_training
from model.training.optimizer import learning_rate, make_optimizer, set_learning_rate
from model.training.trainer import make_batches, needs_cache
from tests.support.small_clip import small_clip


def test_gains_and_biases_do_not_decay(tmp_path: Path) -> None:
    model = from_clip(ModelSettings(weights=str(small_clip(tmp_path)), frames=2, levels=1))
    optimizer = make_optimizer(model, OptimizerSettings(weight_decay=0.3, betas=(0.8, 0.9)))
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    decay = {names[id(p)]: group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert decay.keys() == dict(model.named_parameters()).keys()
    spared = {name for name, value in decay.items() if value == 0}
    assert all(decay[name] == 0.3 for name in decay.keys() - spared)
    assert {name for name in decay if name.endswith("bias") or "norm" in name} < spared
    assert spared - {name for name in decay if name.endswith("bias") or "norm" in name} == {
        "logit_scale",
        "video.class_embedding",
    }
    assert {"video.mst", "video.temporal_embedding", "text.position_embedding"} < decay.keys() - spared
    assert all(group["betas"] == (0.8, 0.9) for group in optimizer.param_groups)
    set_learning_rate(optimizer, 0.25)
    assert [group["lr"] for group in optimizer.param_groups] == [0.25, 0.25]


def test_groups_have_their_own_learning_rates_and_frozen_ones_none(tmp_path: Path) -> None:
    model = from_clip(ModelSettings(weights=str(small_clip(tmp_path)), frames=2, levels=1))
    factors = {"new": 10.0, "text": 0.0, "video.layers.1": 0.5}
    optimizer = make_optimizer(model, OptimizerSettings(lr_factors=factors))
    set_learning_rate(optimizer, 1e-3)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    rates = {names[id(p)]: group["lr"] for group in optimizer.param_groups for p in group["params"]}
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert frozen == {name for name in names.values() if name.startswith("text.")}
    assert rates.keys() == set(names.values()) - frozen
    new = {name for name, rate in rates.items() if rate == pytest.approx(1e-2)}
    assert {"video.mst", "video.temporal_embedding", "video.layers.1.temporal_attention.qkv.weight"} < new
    assert rates["video.layers.1.mlp.fc1.weight"] == rates["video.layers.1.norm1.bias"] == 5e-4
    assert rates["video.layers.0.mlp.fc1.weight"] == rates["logit_scale"] == 1e-3


@pytest.mark.parametrize(
    ("factors", "message"),
    [
        ({"txt": 1.0}, r"no parameter is in 'txt'; their names begin with logit_scale, video, text"),
        ({"video": 0.0, "text": 0.0, "logit_scale": 0.0}, "freezes every parameter"),
    ],
)
def test_refuses_factors_of_nothing(factors: dict[str, float], message: str, tmp_path: Path) -> None:
    model = from_clip(ModelSettings(weights=str(small_clip(tmp_path)), frames=2, levels=1))
    with pytest.raises(ConfigError, match=message):
        make_optimizer(model, OptimizerSettings(lr_factors=factors))


def test_the_learning_rate_rises_and_falls() -> None:
    settings = OptimizerSettings(lr=1.0, final_lr=0.1, warmup=0.1)
    rates = [learning_rate(step, 100, settings) for step in range(100)]
    assert rates[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert rates[9] == max(rates) == 1.0
    assert rates[-1] == pytest.approx(0.1)
    assert rates[54] == pytest.approx(0.55)  # half-way down
    assert all(before > after for before, after in pairwise(rates[9:]))
    falls = [before - after for before, after in pairwise(rates[9:])]
    assert falls[44] == pytest.approx(max(falls), rel=1e-3)  # a cosine is steepest in its middle


@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize("warmup", [0.0, 0.01, 1.0])
def test_the_learning_rate_of_very_short_runs(steps: int, warmup: float) -> None:
    settings = OptimizerSettings(lr=1.0, final_lr=0.1, warmup=warmup)
    assert all(0.1 <= learning_rate(step, steps, settings) <= 1 for step in range(steps))


def test_presets_are_the_papers() -> None:
    first = resolve_training(None, ["model.weights=x"])
    assert (first.batch, first.epochs, first.model.frames, first.data.crops) == (4096, 3, 12, (1.0, 0.8))
    assert first.data.flip
    optimizer = first.optimizer
    assert (optimizer.lr, optimizer.final_lr, optimizer.weight_decay, optimizer.clip_norm) == (2e-5, 4e-8, 0.02, 10)
    assert optimizer.betas == (0.9, 0.999)
    second = resolve_training(None, ["model.weights=x", "preset=retrieval"])
    assert (second.batch, second.model.frames, second.data.crops, second.data.flip) == (128, 32, (), False)
    assert second.gradient_cache and (first.data.frame_times, second.data.frame_times) == ("stratified", "uniform")
    optimizer = second.optimizer
    assert (optimizer.lr, optimizer.final_lr, optimizer.weight_decay, optimizer.clip_norm) == (1e-5, 1e-6, 0.2, 10)


@pytest.mark.parametrize("batch", [128, 196])
@pytest.mark.parametrize("processes", [1, 8])
def test_the_preset_for_retrieval_contrasts_what_the_paper_does(batch: int, processes: int) -> None:
    settings = resolve_training(None, ["model.weights=x", "preset=retrieval", f"batch={batch}"])
    sampler = EpochSampler({"short": 400, "medium": 0, "long": 0}, settings.batch, seed=0)
    parts = [list(make_batches(sampler, 0, 1, settings, rank, processes)) for rank in range(processes)]
    drawn = [index for part in parts for micro_batch in part for index, _ in micro_batch]
    assert drawn == sampler.epoch(0)[:batch].tolist()
    assert max(len(micro_batch) for part in parts for micro_batch in part) <= settings.micro_batch
    assert needs_cache(settings, processes) == (batch > 16 * processes)
