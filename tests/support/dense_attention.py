"""A reference for the video encoder: its attentions as one softmax over all pairs of tokens with a dense mask.

It shares only the encoder's parameters: which token attends to which is written again here, pair by pair.
"""

from __future__ import annotations

import torch
from torch import Tensor

from model.network.architecture import VideoConfig
from model.network.transformer import Attention
from model.network.video import VideoEncoder, VideoLayer


def global_pairs(config: VideoConfig) -> Tensor:
    """The mask of the attention over all tokens of a clip: (S, S), true where a row's token attends to a column's."""
    cls, level, frame, _ = _tokens(config)
    mst, patch = level >= 0, frame >= 0
    if config.attention == "joint":
        return torch.ones(len(cls), len(cls), dtype=torch.bool)
    levels = level[:, None] >= level if config.levels_see == "lower" else level[:, None] <= level
    rates = config.temporal_scale ** level.clamp(min=0)
    return (
        cls[:, None]
        | (mst[:, None] & mst & levels)
        | (mst[:, None] & patch & (frame % rates[:, None] == 0))
        | (patch[:, None] & mst)
        | (patch[:, None] & patch & (frame[:, None] == frame))
        | (patch[:, None] & cls & torch.tensor(config.patches_see_cls))
    )


def temporal_pairs(config: VideoConfig) -> Tensor:
    """The mask of the temporal attention over the patches: (T·N, T·N)."""
    position = _tokens(config)[3][config.global_tokens :]
    return position[:, None] == position


def _tokens(config: VideoConfig) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """For each token: whether it is [CLS], its level, its frame and its position in the frame; -1 for none."""
    tokens = [(True, -1, -1, -1)]
    tokens += [(False, level, -1, -1) for level in range(config.levels) for _ in range(config.tokens)]
    tokens += [(False, -1, frame, place) for frame in range(config.frames) for place in range(config.patches)]
    cls, level, frame, place = zip(*tokens, strict=True)
    return torch.tensor(cls), torch.tensor(level), torch.tensor(frame), torch.tensor(place)


def masked_attention(qkv: Tensor, pairs: Tensor, bias: Tensor | None = None) -> Tensor:
    """Softmax attention in full: (B, S, 3, heads, d_h) → (B, S, heads, d_h)."""
    q, k, v = qkv.unbind(2)
    scores = torch.einsum("bqhd,bkhd->bhqk", q, k) / q.shape[-1] ** 0.5
    scores = scores if bias is None else scores + bias
    weights = scores.masked_fill(~pairs.to(scores.device), -torch.inf).softmax(-1)
    return torch.einsum("bhqk,bkhd->bqhd", weights, v)


def dense_layer(layer: VideoLayer, x: Tensor, pairs: Tensor, over_time: Tensor) -> Tensor:
    """A layer of HTA or of joint attention: (B, S, d) → the same."""
    config = layer.config
    if config.attention == "hta":
        tokens, patches = x[:, : config.global_tokens], x[:, config.global_tokens :]
        patches = patches + _attend(layer.temporal_attention, layer.temporal_norm(patches), over_time)
        x = torch.cat([tokens, patches], 1)
    x = x + _attend(layer.attention, layer.norm1(x), pairs)
    return x + layer.mlp(layer.norm2(x))


def _attend(attention: Attention, x: Tensor, pairs: Tensor) -> Tensor:
    qkv = attention.qkv(x).unflatten(-1, (3, attention.heads, -1))
    return attention.out(masked_attention(qkv, pairs).flatten(2))


def dense_features(encoder: VideoEncoder, pixels: Tensor) -> Tensor:
    """The features (B, D) that `encoder` should return for `pixels` (B, T, 3, H, W)."""
    config, rows = encoder.config, []
    pairs, over_time = global_pairs(config), temporal_pairs(config)
    for clip in pixels:
        tokens = [encoder.class_embedding + encoder.position_embedding[0]]
        tokens += list(encoder.mst) if config.levels else []
        for frame, image in enumerate(clip):
            patches = encoder.patch_embedding(image[None])[0].flatten(1).T
            tokens += list(patches + encoder.position_embedding[1:] + encoder.temporal_embedding[frame])
        rows.append(torch.stack(tokens))
    x = encoder.pre_norm(torch.stack(rows))
    for layer in encoder.layers:
        assert isinstance(layer, VideoLayer)
        x = dense_layer(layer, x, pairs, over_time)
    return encoder.projection(encoder.post_norm(x)[:, 0])
