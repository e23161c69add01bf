"""The whole model: saving, loading, clips of another length, and the errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from model.network.architecture import ModelError, TextConfig, TransformerConfig, VideoConfig, VidLAConfig
from model.network.clip_conversion import from_clip
from model.network.initial import initial_model
from model.network.vidla import VidLA
from model.settings import ModelSettings
from tests.support.small_clip import small_clip

TOWER = TransformerConfig(width=16, layers=2, heads=2, mlp_width=32)
CONFIG = VidLAConfig(VideoConfig(TOWER, 16, 8, frames=12, levels=3), TextConfig(TOWER, 50, 10, 49), features=8)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    model = VidLA(CONFIG)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    model.save(tmp_path / "model")
    return tmp_path / "model"


def inputs(frames: int = 12, side: int = 16) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    return torch.randn(2, frames, 3, side, side), torch.tensor([[1, 2, 3, 49, 0], [4, 49, 49, 49, 49]])


def test_both_towers_meet_in_one_space(saved: Path) -> None:
    model = VidLA.load(saved)
    videos, texts = model(*inputs())
    assert videos.shape == texts.shape == (2, 8)


def test_a_model_that_is_saved_and_loaded_is_the_same(saved: Path, tmp_path: Path) -> None:
    model = VidLA.load(saved)
    model.save(tmp_path / "again")
    again = VidLA.load(tmp_path / "again")
    assert again.config == model.config == CONFIG
    assert sorted(p.name for p in (tmp_path / "again").iterdir()) == ["config.json", "model.safetensors"]
    for ours, theirs in zip(model(*inputs()), again(*inputs()), strict=True):
        assert torch.equal(ours, theirs)


def test_a_model_started_from_clip_is_saved_and_loaded(tmp_path: Path) -> None:
    model = from_clip(ModelSettings(weights=str(small_clip(tmp_path / "clip")), attention="divided"))
    model.save(tmp_path / "model")
    pixels, _ = inputs(12, 32)
    assert torch.equal(VidLA.load(tmp_path / "model").encode_video(pixels), model.encode_video(pixels))


def test_a_text_ends_where_it_says_whatever_stands_behind(saved: Path) -> None:
    model = VidLA.load(saved)
    _, tokens = inputs()
    other = tokens.clone()
    other[0, 4], other[1, 2:] = 7, 3
    longer = torch.cat([tokens, torch.zeros(2, 5, dtype=torch.long)], 1)
    assert torch.equal(model.encode_text(tokens), model.encode_text(other))
    assert (model.encode_text(tokens) - model.encode_text(longer)).abs().max() <= 1e-6
    other[0, 0] = 8
    assert not torch.equal(model.encode_text(tokens)[0], model.encode_text(other)[0])


def test_a_text_beyond_the_context_is_refused(saved: Path) -> None:
    with pytest.raises(ValueError, match="up to 10 tokens, not 11"):
        VidLA.load(saved).encode_text(torch.zeros(1, 11, dtype=torch.long))


def test_a_model_of_12_frames_becomes_one_of_32(saved: Path) -> None:
    model, longer = VidLA.load(saved), VidLA.load(saved, frames=32)
    assert longer.config.video.frames == 32
    before, after = (m.video.temporal_embedding.detach().numpy() for m in (model, longer))
    places = (np.arange(32) + 0.5) * 12 / 32 - 0.5
    for channel in range(16):
        assert np.allclose(after[:, channel], np.interp(places, np.arange(12), before[:, channel]), atol=1e-6)
    kept = {k: v for k, v in model.state_dict().items() if k != "video.temporal_embedding"}
    assert all(torch.equal(longer.state_dict()[name], tensor) for name, tensor in kept.items())
    assert longer.encode_video(inputs(32)[0]).shape == (2, 8)


def test_a_model_takes_frames_of_another_size(saved: Path) -> None:
    larger = VidLA.load(saved, image_size=24)
    assert larger.video.position_embedding.shape == (1 + 9, 16)
    assert larger.encode_video(inputs(12, 24)[0]).shape == (2, 8)


def test_checkpointed_activations_change_no_gradient(saved: Path) -> None:
    def gradients(model: VidLA) -> list[torch.Tensor]:
        videos, texts = model(*inputs())
        loss = (model.logit_scale.exp() * videos @ texts.T).square().sum()
        return list(torch.autograd.grad(loss, list(model.parameters())))

    plain, checkpointed = VidLA.load(saved), VidLA.load(saved)
    checkpointed.checkpoint_activations()
    for ours, theirs in zip(gradients(plain), gradients(checkpointed), strict=True):
        assert torch.equal(ours, theirs)


def edit_config(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["video"].update(changes)
    (folder / "config.json").write_text(json.dumps(config))


def cut_weights(folder: Path) -> None:
    state = load_file(folder / "model.safetensors")
    del state["video.mst"]
    save_file(state, folder / "model.safetensors")


BROKEN = {
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "is not a saved VidLA: it has no model.safetensors"),
    "no configuration": (lambda f: (f / "config.json").unlink(), "is not a saved VidLA: it has no config.json"),
    "no JSON": (lambda f: (f / "config.json").write_text("{"), "cannot be read: Invalid JSON"),
    "a CLIP's": (lambda f: (f / "config.json").write_text('{"model_type": "clip"}'), "cannot be read"),
    "an unknown key": (lambda f: edit_config(f, level=3), "video.level: Unexpected keyword argument"),
    "an unknown attention": (lambda f: edit_config(f, attention="all"), "video.attention: Input should be"),
    "no level": (lambda f: edit_config(f, tokens=0), "tokens and temporal_scale must be at least 1"),
    "other levels": (
        lambda f: edit_config(f, levels=2),
        "do not fit its config.json: video.mst is (12, 16), not (8, 16)",
    ),
    "a parameter too few": (cut_weights, "do not fit its config.json: video.mst is missing"),
    "cut short": (
        lambda f: (f / "model.safetensors").write_bytes((f / "model.safetensors").read_bytes()[:-100]),
        "cannot be read: Error while deserializing",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_cannot_be_loaded_says_why_in_one_line(saved: Path, case: str) -> None:
    damage, message = BROKEN[case]
    damage(saved)
    with pytest.raises(ModelError) as error:
        VidLA.load(saved)
    assert message in str(error.value)
    assert str(saved) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_run_goes_on_from_a_trained_model_with_another_number_of_frames(saved: Path) -> None:
    model = initial_model(ModelSettings(weights=str(saved), frames=32))
    assert model.config.video.frames == 32
    assert torch.equal(model.video.mst, VidLA.load(saved).video.mst)


def test_a_run_that_would_change_what_was_trained_is_refused(saved: Path) -> None:
    with pytest.raises(ModelError, match=r"was trained with levels = 3, not 2: set model\.levels"):
        initial_model(ModelSettings(weights=str(saved), levels=2))
    with pytest.raises(ModelError, match="was trained with attention = 'hta', not 'joint'"):
        initial_model(ModelSettings(weights=str(saved), attention="joint"))


def test_a_run_starts_from_a_clip(tmp_path: Path) -> None:
    model = initial_model(ModelSettings(weights=str(small_clip(tmp_path / "clip")), attention="joint", frames=8))
    assert (model.config.video.attention, model.config.video.levels) == ("joint", 0)


def test_sizes_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ModelError, match="a width of 16 is not divisible by 3 heads"):
        TransformerConfig(16, 1, 3, 32)
    with pytest.raises(ModelError, match="attention 'joint' has no"):
        VideoConfig(TOWER, 16, 8, frames=12, attention="joint", levels=3)
