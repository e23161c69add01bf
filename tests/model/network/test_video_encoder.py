"""The video encoder, in float64 unless noted: against CLIP, and against its dense form."""

from __future__ import annotations

import itertools
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import CLIPModel

from model.network.architecture import TransformerConfig, VideoConfig
from model.network.clip_conversion import from_clip
from model.network.video import VideoEncoder, resize_temporal_embedding
from model.settings import ModelSettings
from tests.support.dense_attention import dense_features
from tests.support.small_clip import SIDE, small_clip

ATTENTIONS = ("hta", "frame", "joint", "divided")
SMALL = VideoConfig(TransformerConfig(16, 2, 4, 32), 16, 8, frames=12, levels=3)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_clip(tmp_path_factory.mktemp("clip"))


def encoder_of(clip: Path, **settings: Any) -> VideoEncoder:
    """The video encoder initialised from `clip`, in float64."""
    torch.manual_seed(2)
    return from_clip(ModelSettings(weights=str(clip), **settings)).video.double()


def trained(encoder: VideoEncoder) -> VideoEncoder:
    """The encoder without zero parameters, as after training."""
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return encoder


def clips(batch: int, frames: int, side: int = SIDE) -> Tensor:
    torch.manual_seed(4)
    return torch.randn(batch, frames, 3, side, side, dtype=torch.double)


def image_features(clip: Path, images: Tensor, **options: Any) -> Tensor:
    """The features of `images` by transformers."""
    with torch.no_grad():
        return CLIPModel.from_pretrained(clip).double().get_image_features(images, **options).pooler_output


def difference(a: Tensor, b: Tensor) -> float:
    return (a - b).abs().max().item()


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_a_single_frame_is_what_clip_says_of_the_image(clip: Path, attention: str) -> None:
    pixels = clips(3, 1)
    encoder = encoder_of(clip, attention=attention, frames=1, levels=0)
    assert difference(encoder(pixels), image_features(clip, pixels[:, 0])) <= 4e-15


def test_levels_and_blind_patches_make_another_function_than_clips(clip: Path) -> None:
    pixels = clips(3, 1)
    wanted = image_features(clip, pixels[:, 0])
    assert difference(encoder_of(clip, frames=1, levels=1)(pixels), wanted) > 1e-3
    assert difference(encoder_of(clip, frames=1, levels=0, patches_see_cls=False)(pixels), wanted) > 1e-3


def test_a_static_video_is_its_image_where_cls_counts_as_often_as_a_patch(clip: Path) -> None:
    pixels = clips(3, 1)
    wanted, static = image_features(clip, pixels[:, 0]), pixels.expand(-1, 12, -1, -1, -1)
    encoder = encoder_of(clip, levels=0)
    assert difference(encoder(static), wanted) > 1e-3
    bias = torch.zeros(encoder.mask.shape, dtype=torch.double)
    bias[0, 0] = math.log(12)  # every patch occurs 12 times, [CLS] once
    encoder.mask = bias
    assert difference(encoder(static), wanted) <= 8e-15


@pytest.mark.parametrize("attention", ["frame", "divided"])
def test_a_static_video_is_its_image_where_frames_are_looked_at_apart(clip: Path, attention: str) -> None:
    pixels = clips(3, 1)
    encoder = encoder_of(clip, attention=attention)
    static = encoder(pixels.expand(-1, 12, -1, -1, -1))
    assert difference(static, image_features(clip, pixels[:, 0])) <= 8e-15


def test_frame_wise_features_are_the_mean_of_the_frames_own(clip: Path) -> None:
    pixels = clips(2, 5)
    of_frames = image_features(clip, pixels.flatten(0, 1)).unflatten(0, (2, 5))
    assert difference(encoder_of(clip, attention="frame", frames=5)(pixels), of_frames.mean(1)) <= 4e-15


def test_without_levels_and_temporal_embedding_the_order_of_frames_means_nothing(clip: Path) -> None:
    encoder = trained(encoder_of(clip, levels=0))
    encoder.temporal_embedding.data.zero_()
    pixels, order = clips(2, 12), torch.randperm(12)
    assert difference(encoder(pixels), encoder(pixels[:, order])) <= 1e-14
    encoder.temporal_embedding.data.normal_()
    assert difference(encoder(pixels), encoder(pixels[:, order])) > 1e-3


def test_levels_tell_apart_what_they_see_at_different_rates(clip: Path) -> None:
    encoder = trained(encoder_of(clip))
    encoder.temporal_embedding.data.zero_()
    pixels = clips(2, 12)
    before = encoder(pixels)
    alike = [f for f in range(12) if f % 4 == 0], [f for f in range(12) if f % 4 == 2], list(range(1, 12, 2))

    def swapped(a: int, b: int) -> float:
        order = list(range(12))
        order[a], order[b] = b, a
        return difference(encoder(pixels[:, order]), before)

    for frames in alike:
        assert swapped(frames[0], frames[-1]) <= 1e-14
    for one, other in itertools.combinations(alike, 2):
        assert swapped(one[1], other[1]) > 1e-5


@pytest.mark.parametrize("attention", ["hta", "divided"])
def test_the_first_gradients_reach_the_output_projection_alone(clip: Path, attention: str) -> None:
    encoder = encoder_of(clip, attention=attention)
    encoder(clips(2, 12)).sum().backward()
    for layer in encoder.layers:
        assert layer.temporal_attention.out.weight.grad.abs().max() > 1e-4
        assert layer.temporal_attention.qkv.weight.grad.abs().max() == 0
        assert layer.attention.qkv.weight.grad.abs().max() > 1e-4
    assert encoder.temporal_embedding.grad.abs().max() > 1e-4


@pytest.mark.parametrize(("batch", "frames", "levels"), list(itertools.product((1, 3), (1, 4, 7, 12), (0, 1, 3))))
def test_the_encoder_is_its_dense_form(batch: int, frames: int, levels: int) -> None:
    assert_dense(replace(SMALL, frames=frames, levels=levels), batch)


@pytest.mark.parametrize("changes", [{"patches_see_cls": False}, {"levels_see": "higher"}, {"temporal_scale": 3}])
def test_every_setting_has_its_dense_form(changes: dict[str, Any]) -> None:
    assert_dense(replace(SMALL, frames=7, tokens=2, **changes), 3)


def test_joint_attention_is_its_dense_form() -> None:
    assert_dense(replace(SMALL, attention="joint", levels=0), 2)


def assert_dense(config: VideoConfig, batch: int) -> None:
    """The encoder and its dense form agree in features, and in the gradients of every parameter and pixel."""
    torch.manual_seed(5)
    encoder = trained(VideoEncoder(config, 8).double())
    pixels = clips(batch, config.frames, config.image_size).requires_grad_()
    inputs = [pixels, *encoder.parameters()]
    ours, reference = encoder(pixels), dense_features(encoder, pixels)
    assert difference(ours, reference) <= 2e-14
    direction = torch.randn_like(ours)
    gradients = torch.autograd.grad(ours, inputs, direction), torch.autograd.grad(reference, inputs, direction)
    for got, wanted in zip(*gradients, strict=True):
        assert difference(got, wanted) <= 1e-12 * max(1.0, wanted.abs().max().item())


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_bfloat16_stays_within_a_hundredth_of_float32(clip: Path, attention: str) -> None:
    encoder = trained(encoder_of(clip, attention=attention)).float()
    pixels = clips(4, 12).float()
    wanted = encoder(pixels)
    with torch.autocast("cpu", torch.bfloat16):
        got = encoder(pixels).float()
    assert 0 < (got - wanted).norm() / wanted.norm() < 0.01


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_activation_checkpointing_changes_nothing(clip: Path, attention: str) -> None:
    encoder = trained(encoder_of(clip, attention=attention))
    pixels = clips(2, 12)
    plain = outcome(encoder, pixels)
    encoder.checkpointing = True
    assert all(torch.equal(a, b) for a, b in zip(plain, outcome(encoder, pixels), strict=True))


@pytest.mark.parametrize(
    "backend",
    [
        "aot_eager",  # traces forward and backward, and compiles nothing
        pytest.param(
            "inductor",
            marks=[
                pytest.mark.long,  # the compiler takes half a minute with a CPU to itself
                pytest.mark.timeout(2700),
                pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler here"),
            ],
        ),
    ],
)
def test_compilation_changes_nothing_beyond_rounding(backend: str) -> None:
    config = replace(SMALL, transformer=replace(SMALL.transformer, layers=1), frames=4)
    encoder = trained(VideoEncoder(config, 8))
    pixels = clips(2, 4, config.image_size).float()
    plain = outcome(encoder, pixels)
    encoder.compile(fullgraph=True, backend=backend)
    for got, wanted in zip(outcome(encoder, pixels), plain, strict=True):
        assert difference(got, wanted) <= 2e-5 * max(1.0, wanted.abs().max().item())


def outcome(encoder: VideoEncoder, pixels: Tensor) -> list[Tensor]:
    """The features of `pixels`, and the gradients of all parameters."""
    features = encoder(pixels)
    return [features.detach(), *torch.autograd.grad(features.square().sum(), list(encoder.parameters()))]


def test_other_clips_than_the_configurations_are_refused(clip: Path) -> None:
    with pytest.raises(ValueError, match=r"takes \(clips, 12, 3, 32, 32\), not \(1, 8, 3, 32, 32\)"):
        encoder_of(clip)(clips(1, 8))


def test_a_temporal_embedding_of_12_frames_becomes_one_of_32() -> None:
    middles = (torch.arange(12, dtype=torch.double) + 0.5) / 12
    embedding = torch.stack([middles, 1 - 2 * middles], dim=1)  # linear in time, so linear interpolation is exact
    longer = resize_temporal_embedding(embedding, 32)
    wanted = ((torch.arange(32, dtype=torch.double) + 0.5) / 32).clamp(middles[0], middles[-1])
    assert longer.shape == (32, 2)
    assert difference(longer, torch.stack([wanted, 1 - 2 * wanted], dim=1)) <= 1e-15
    assert resize_temporal_embedding(embedding, 12) is embedding


def test_frames_of_another_size_have_positions_as_transformers_interpolates_them(clip: Path) -> None:
    pixels = clips(2, 1, 48)
    encoder = encoder_of(clip, frames=1, levels=0, image_size=48)
    wanted = image_features(clip, pixels[:, 0], interpolate_pos_encoding=True)
    assert difference(encoder(pixels), wanted) <= 1e-6  # the positions are interpolated in float32
