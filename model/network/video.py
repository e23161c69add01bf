"""The video encoder: CLIP's image encoder with hierarchical temporal attention, or with a baseline attention."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torch.utils.checkpoint import checkpoint

from model.network.architecture import VideoConfig
from model.network.attention import (
    divided_attention,
    global_mask,
    hierarchical_attention,
    joint_attention,
    temporal_attention,
)
from model.network.transformer import Attention, Mlp


def is_new(name: str) -> bool:
    """Whether CLIP has no parameter like the one of that name: [MST], temporal embedding, temporal attention.

    >>> is_new("video.layers.0.temporal_norm.bias"), is_new("video.layers.0.norm1.bias")
    (True, False)
    """
    return any(part == "mst" or part.startswith("temporal_") for part in name.split("."))


class VideoEncoder(nn.Module):
    """Frames → clip features.

    New parameters start without effect: the temporal embedding and the output projection of the temporal attention are
    zero. (Its queries, keys and values are not: otherwise no gradient would ever reach either.)
    """

    def __init__(self, config: VideoConfig, features: int) -> None:
        super().__init__()
        self.config = config
        self.checkpointing = False
        width, std = config.transformer.width, config.transformer.width**-0.5
        self.patch_embedding = nn.Conv2d(3, width, config.patch_size, config.patch_size, bias=False)
        self.class_embedding = nn.Parameter(std * torch.randn(width))
        self.position_embedding = nn.Parameter(std * torch.randn(1 + config.patches, width))
        if config.attention != "frame":
            self.temporal_embedding = nn.Parameter(torch.zeros(config.frames, width))
        if config.levels:
            self.mst = nn.Parameter(std * torch.randn(config.levels * config.tokens, width))
        self.register_buffer("mask", global_mask(config) if config.attention == "hta" else None, persistent=False)
        self.pre_norm = nn.LayerNorm(width, config.transformer.norm_eps)
        self.layers = nn.ModuleList([VideoLayer(config) for _ in range(config.transformer.layers)])
        self.post_norm = nn.LayerNorm(width, config.transformer.norm_eps)
        self.projection = nn.Linear(width, features, bias=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """Frames (B, T, 3, H, W), normalised by the configured mean and std → features (B, D), not normalised.

        With `frame` attention, they are the mean of the features of single frames. Raises ValueError for clips of a
        shape that is not the configured one.
        """
        clips, side = len(pixels), self.config.image_size
        if pixels.shape[1:] != (self.config.frames, 3, side, side):
            raise ValueError(
                f"the model takes (clips, {self.config.frames}, 3, {side}, {side}), not {tuple(pixels.shape)}"
            )
        x = self.pre_norm(self._embed(pixels))
        for layer in self.layers:
            if self.checkpointing and torch.is_grad_enabled():
                x = checkpoint(layer, x, self.mask, use_reentrant=False)
            else:
                x = layer(x, self.mask)
        features: Tensor = self.projection(self.post_norm(x[:, 0]))
        return features.unflatten(0, (clips, -1)).mean(1) if self.config.attention == "frame" else features

    def _embed(self, pixels: Tensor) -> Tensor:
        """(B, 1 + U·V + T·N, d): [CLS], [MST], patches; with `frame` attention (B·T, 1 + N, d)."""
        tokens = (self.class_embedding + self.position_embedding[0]).unsqueeze(0)
        patches = self.patch_embedding(pixels.flatten(0, 1)).flatten(2).transpose(1, 2)  # (B·T, N, d)
        patches = patches + self.position_embedding[1:]
        if self.config.attention != "frame":
            patches = patches.unflatten(0, (-1, self.config.frames)) + self.temporal_embedding.unsqueeze(1)
            patches = patches.flatten(1, 2)
        if self.config.levels:
            tokens = torch.cat([tokens, self.mst])
        return torch.cat([tokens.expand(len(patches), -1, -1), patches], dim=1)


class VideoLayer(nn.Module):
    """A layer of CLIP's image encoder, preceded by a temporal attention if the configuration has one."""

    def __init__(self, config: VideoConfig) -> None:
        super().__init__()
        self.config = config
        transformer = config.transformer
        if config.temporal:
            self.temporal_norm = nn.LayerNorm(transformer.width, transformer.norm_eps)
            self.temporal_attention = Attention(transformer.width, transformer.heads)
            nn.init.zeros_(self.temporal_attention.out.weight)
            nn.init.zeros_(self.temporal_attention.out.bias)
        self.norm1 = nn.LayerNorm(transformer.width, transformer.norm_eps)
        self.attention = Attention(transformer.width, transformer.heads)
        self.norm2 = nn.LayerNorm(transformer.width, transformer.norm_eps)
        self.mlp = Mlp(transformer)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """(B, tokens, d) → the same."""
        if self.config.temporal:
            tokens, patches = x.split([self.config.global_tokens, x.shape[1] - self.config.global_tokens], dim=1)
            x = torch.cat([tokens, self.over_time(patches)], dim=1)
        x = x + self.attention.merge(self._attend(self.attention.project(self.norm1(x)), mask))
        change: Tensor = self.mlp(self.norm2(x))
        return x + change

    def over_time(self, patches: Tensor) -> Tensor:
        """Spatially local temporal attention, Z ← Attn(LN(Z)) + Z, of the patches (B, T·N, d)."""
        patches = patches.unflatten(1, (self.config.frames, -1))  # (B, T, N, d)
        normed = self.temporal_norm(patches.transpose(1, 2))  # by position: (B, N, T, d)
        attention = self.temporal_attention
        change = attention.merge(temporal_attention(attention.project(normed)))
        return (patches + change.transpose(1, 2)).flatten(1, 2)

    def _attend(self, qkv: Tensor, mask: Tensor | None) -> Tensor:
        """Spatial or global attention: (B, tokens, 3, heads, d_h) → (B, tokens, heads, d_h)."""
        if mask is not None:
            return hierarchical_attention(qkv, mask, self.config.frames, self.config.patches_see_cls)
        if self.config.attention == "divided":
            return divided_attention(qkv, self.config.frames)
        return joint_attention(qkv)


def resize_position_embedding(embedding: Tensor, side: int) -> Tensor:
    """Resize a position embedding (1 + N, d), [CLS] first, to `side` × `side` patches, bicubically."""
    cls, patches = embedding.split([1, len(embedding) - 1])
    old_side = math.isqrt(len(patches))
    if old_side == side:
        return embedding
    grid = patches.T.unflatten(1, (old_side, old_side)).unsqueeze(0)
    resized = interpolate(grid, size=(side, side), mode="bicubic", align_corners=False)
    return torch.cat([cls, resized.squeeze(0).flatten(1).T])


def resize_temporal_embedding(embedding: Tensor, frames: int) -> Tensor:
    """Resize a temporal embedding (T, d) to another number of frames, linearly.

    A frame is at the middle of its part of the clip, as in uniform sampling; so the first of 32 frames comes before the
    first of 12, and gets its embedding.

    >>> resize_temporal_embedding(torch.tensor([[0.0], [1.0]]), frames=4).flatten().tolist()
    [0.0, 0.25, 0.75, 1.0]
    """
    if len(embedding) == frames:
        return embedding
    return interpolate(embedding.T.unsqueeze(0), size=frames, mode="linear", align_corners=False).squeeze(0).T
