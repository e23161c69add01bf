"""The attentions against one softmax over all pairs of tokens, in float64."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from model.network.architecture import TransformerConfig, VideoConfig
from model.network.attention import (
    divided_attention,
    global_mask,
    hierarchical_attention,
    joint_attention,
    temporal_attention,
)
from tests.support.dense_attention import global_pairs, masked_attention, temporal_pairs

HEADS, HEAD = 2, 4
PAPER = VideoConfig(TransformerConfig(8, 1, 2, 16), 16, 8, frames=12, levels=3)


def random_qkv(config: VideoConfig, batch: int) -> Tensor:
    torch.manual_seed(1)
    tokens = config.global_tokens + config.frames * config.patches
    return torch.randn(batch, tokens, 3, HEADS, HEAD, dtype=torch.double, requires_grad=True)


def assert_same(ours: Tensor, reference: Tensor, *inputs: Tensor) -> None:
    """The values, and the gradients for a random direction."""
    assert (ours - reference).abs().max() <= 2e-14
    direction = torch.randn_like(ours)
    for got, wanted in zip(
        torch.autograd.grad(ours, inputs, direction), torch.autograd.grad(reference, inputs, direction), strict=True
    ):
        assert (got - wanted).abs().max() <= 2e-14


@pytest.mark.parametrize(
    ("batch", "frames", "levels", "see_cls", "levels_see"),
    list(itertools.product((1, 3), (1, 4, 7, 12), (0, 1, 3), (True, False), ("lower", "higher"))),
)
def test_hierarchical_attention_is_attention_under_a_dense_mask(
    batch: int, frames: int, levels: int, see_cls: bool, levels_see: Any
) -> None:
    config = replace(PAPER, frames=frames, levels=levels, patches_see_cls=see_cls, levels_see=levels_see)
    qkv = random_qkv(config, batch)
    ours = hierarchical_attention(qkv, global_mask(config), frames, see_cls)
    assert_same(ours, masked_attention(qkv, global_pairs(config)), qkv)


@pytest.mark.parametrize(("batch", "frames"), list(itertools.product((1, 3), (1, 4, 7, 12))))
def test_temporal_attention_keeps_to_a_position(batch: int, frames: int) -> None:
    config = replace(PAPER, frames=frames, levels=0)
    qkv = random_qkv(config, batch)[:, 1:]
    by_position = qkv.unflatten(1, (frames, config.patches)).transpose(1, 2)
    ours = temporal_attention(by_position).transpose(1, 2).flatten(1, 2)
    assert_same(ours, masked_attention(qkv, temporal_pairs(config)), qkv)


def test_in_joint_attention_everybody_sees_everybody() -> None:
    config = replace(PAPER, attention="joint", levels=0)
    qkv = random_qkv(config, 2)
    assert_same(joint_attention(qkv), masked_attention(qkv, global_pairs(config)), qkv)


def test_divided_attention_looks_at_one_frame_at_a_time_and_averages_cls() -> None:
    config = replace(PAPER, attention="divided", levels=0)
    qkv = random_qkv(config, 2)
    everybody = torch.ones(1 + config.patches, 1 + config.patches, dtype=torch.bool)
    frames = qkv[:, 1:].split(config.patches, dim=1)
    seen = [masked_attention(torch.cat([qkv[:, :1], frame], 1), everybody) for frame in frames]
    cls = torch.stack([frame[:, :1] for frame in seen]).mean(0)
    assert_same(divided_attention(qkv, 12), torch.cat([cls, *(frame[:, 1:] for frame in seen)], 1), qkv)


def test_the_levels_see_12_6_and_3_frames_and_4_8_and_12_tokens() -> None:
    mask = global_mask(PAPER)
    assert mask.shape == (13, 13 + 12 * 4)
    assert mask[0].all()
    levels = mask[1:].unflatten(0, (3, 4))
    assert (levels == levels[:, :1]).all()  # the tokens of a level attend to the same
    frames = levels[:, 0, 13:].unflatten(1, (12, 4))
    assert (frames.all(-1) == frames.any(-1)).all()  # either all of a frame or nothing
    assert frames.any(-1).sum(-1).tolist() == [12, 6, 3]
    assert frames[2].any(-1).nonzero().flatten().tolist() == [0, 4, 8]
    assert levels[:, 0, 1:13].sum(-1).tolist() == [4, 8, 12]
    assert not levels[:, 0, 0].any()  # only [CLS] and the patches attend to [CLS]


def test_levels_see_upwards_where_a_figure_says_so() -> None:
    mask = global_mask(replace(PAPER, levels_see="higher"))
    levels = mask[1:].unflatten(0, (3, 4))
    assert levels[:, 0, 1:13].sum(-1).tolist() == [12, 8, 4]
    assert levels[:, 0, 13:].unflatten(1, (12, 4)).any(-1).sum(-1).tolist() == [12, 6, 3]


def test_a_rate_beyond_the_clip_leaves_its_first_frame() -> None:
    mask = global_mask(replace(PAPER, levels=70))
    assert mask[-1, 1 + 280 :].nonzero().flatten().tolist() == [0, 1, 2, 3]
