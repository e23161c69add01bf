"""What a model costs, from its configuration alone: floating-point operations, parameters, memory.

A multiplication and an addition count as two operations; norms, softmax and activations count as none. A step of
training costs three forward passes, four with activation checkpointing.
"""

from __future__ import annotations

import torch

from model.network.architecture import TransformerConfig, VideoConfig, VidLAConfig
from model.network.vidla import VidLA
from model.settings import AttentionKind

_KEPT: dict[AttentionKind, tuple[float, float]] = {
    "frame": (32, 22),
    "joint": (32, 22),
    "divided": (60, 39),
    "hta": (74, 46),
}
"""Bytes a layer keeps for the backward pass, by token and unit of width, its MLP left out: in float32, in bfloat16."""


def video_flops(config: VidLAConfig) -> int:
    """Operations of the forward pass of one clip."""
    video = config.video
    width, patches = video.transformer.width, video.frames * video.patches
    heads = video.frames if video.attention == "frame" else 1  # frames that are projected one by one
    return (
        2 * patches * width * 3 * video.patch_size**2
        + _layers(video.transformer, video_tokens(video), _pairs(video))
        + (video.transformer.layers * 8 * patches * width**2 if video.temporal else 0)
        + heads * 2 * width * config.features
    )


def text_flops(config: VidLAConfig) -> int:
    """Operations of the forward pass of one text, padded to the context; a causal mask saves none of them here."""
    text = config.text
    return _layers(text.transformer, text.context, text.context**2) + 2 * text.transformer.width * config.features


def video_tokens(video: VideoConfig) -> int:
    """Tokens that go through a layer for one clip."""
    patches = video.frames * video.patches
    return patches + (video.frames if video.attention == "frame" else video.globals)


def _layers(transformer: TransformerConfig, tokens: int, pairs: int) -> int:
    """All layers: queries, keys, values, output and MLP by token, scores and their use by pair."""
    width = transformer.width
    by_token = 8 * width**2 + 4 * width * transformer.mlp_width
    return transformer.layers * (tokens * by_token + 4 * pairs * width)


def _pairs(video: VideoConfig) -> int:
    """Pairs of tokens for which one layer computes a score, over time and over space."""
    frames, patches, tokens = video.frames, video.frames * video.patches, video.globals
    if video.attention == "joint":
        return (1 + patches) ** 2
    of_frames = frames * (1 + video.patches) ** 2
    if video.attention == "frame":
        return of_frames
    over_time = patches * frames
    if video.attention == "divided":
        return over_time + of_frames
    seen = video.patches + tokens - (0 if video.patches_see_cls else 1)
    return over_time + patches * seen + tokens * (tokens + patches)


def count_parameters(config: VidLAConfig) -> int:
    """Parameters of both towers."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in VidLA(config).parameters())


def training_memory(config: VidLAConfig, clips: int, texts: int, *, bf16: bool, checkpointing: bool) -> int:
    """Bytes, about: parameters, gradients and AdamW's state in float32, and what is kept of `clips` clips and `texts`
    texts for the backward pass. What the device's libraries and a single operation need comes on top.
    """
    video, text = config.video, config.text
    pixels = clips * video.frames * 3 * video.image_size**2 * 4
    patches = clips * video.frames * video.patches * video.transformer.width * (14 if bf16 else 20)
    return (
        16 * count_parameters(config)
        + pixels
        + patches
        + _kept(video.transformer, clips * video_tokens(video), video.attention, bf16, checkpointing)
        + _kept(text.transformer, texts * text.context, "joint", bf16, checkpointing)
    )


def _kept(transformer: TransformerConfig, tokens: int, kind: AttentionKind, bf16: bool, checkpointing: bool) -> int:
    """Bytes that the layers keep of `tokens` tokens for the backward pass."""
    layer = _KEPT[kind][bf16] * transformer.width + (4 if bf16 else 8) * transformer.mlp_width
    if checkpointing:  # each layer keeps its input, and the one that is computed again everything
        return round(tokens * (4 * transformer.width * transformer.layers + layer))
    return round(tokens * layer * transformer.layers)
