"""The cost of a model, from its configuration alone: floating-point operations, parameters, memory.

A multiplication plus an addition counts as two operations; norms, softmax and activations are not counted. A training
step costs three forward passes, four with activation checkpointing.
"""

from __future__ import annotations

import torch

from model.network.architecture import TransformerConfig, VideoConfig, VidLAConfig
from model.network.vidla import VidLA
from model.settings import AttentionKind, Precision

_ACTIVATION_BYTES: dict[AttentionKind, tuple[float, float]] = {
    "frame": (32, 22),
    "joint": (32, 22),
    "divided": (60, 39),
    "hta": (74, 46),
}
"""Bytes that a layer keeps for the backward pass, per token and unit of width, without its MLP: (float32, bfloat16)."""

_PEAK_TFLOPS: dict[str, dict[Precision, float]] = {
    "H100 PCIe": {"bf16": 756, "fp32": 51},
    "H100 NVL": {"bf16": 835, "fp32": 60},
    "GH200": {"bf16": 989, "fp32": 67},
    "H100": {"bf16": 989, "fp32": 67},
    "H200": {"bf16": 989, "fp32": 67},
    "B200": {"bf16": 2250, "fp32": 75},
    "A100": {"bf16": 312, "fp32": 19.5},
    "L40S": {"bf16": 362, "fp32": 91.6},
    "L4": {"bf16": 121, "fp32": 30.3},
    "A10": {"bf16": 125, "fp32": 31.2},
}
"""By part of a GPU's name, the first that fits. Float32 is without TF32, which torch does not use by default."""


def video_flops(config: VidLAConfig) -> int:
    """Operations of the forward pass of one clip."""
    video = config.video
    width, patches = video.transformer.width, video.frames * video.patches
    projections = video.frames if video.attention == "frame" else 1  # `frame` projects each frame
    return (
        2 * patches * width * 3 * video.patch_size**2
        + _layers(video.transformer, video_tokens(video), _pairs(video))
        + (video.transformer.layers * 8 * patches * width**2 if video.temporal else 0)
        + projections * 2 * width * config.features
    )


def text_flops(config: VidLAConfig) -> int:
    """Operations of the forward pass of one text, padded to the context; the causal mask is not counted as a saving."""
    text = config.text
    return _layers(text.transformer, text.context, text.context**2) + 2 * text.transformer.width * config.features


def video_tokens(video: VideoConfig) -> int:
    """Tokens per clip in a layer."""
    patches = video.frames * video.patches
    return patches + (video.frames if video.attention == "frame" else video.global_tokens)


def _layers(transformer: TransformerConfig, tokens: int, pairs: int) -> int:
    """All layers: projections and MLP per token, scores and weighted sums per pair of tokens."""
    width = transformer.width
    per_token = 8 * width**2 + 4 * width * transformer.mlp_width
    return transformer.layers * (tokens * per_token + 4 * pairs * width)


def _pairs(video: VideoConfig) -> int:
    """Pairs of tokens scored by one layer, in its temporal and its spatial attention."""
    frames, patches, tokens = video.frames, video.frames * video.patches, video.global_tokens
    if video.attention == "joint":
        return (1 + patches) ** 2
    spatial = frames * (1 + video.patches) ** 2
    if video.attention == "frame":
        return spatial
    temporal = patches * frames
    if video.attention == "divided":
        return temporal + spatial
    keys = video.patches + tokens - (0 if video.patches_see_cls else 1)  # of a patch
    return temporal + patches * keys + tokens * (tokens + patches)


def training_flops(config: VidLAConfig) -> int:
    """Operations that training takes per clip and its two texts: three forward passes, what is recomputed left out."""
    return 3 * (video_flops(config) + 2 * text_flops(config))


def peak_flops(device: torch.device, precision: Precision) -> float | None:
    """Dense operations per second that a device can do at most, by its maker's data sheet; None if it is not known."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((1e12 * peaks[precision] for known, peaks in _PEAK_TFLOPS.items() if known in name), None)


def count_parameters(config: VidLAConfig) -> int:
    """Parameters of both towers."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in VidLA(config).parameters())


def training_memory(config: VidLAConfig, clips: int, texts: int, *, bf16: bool, checkpointing: bool) -> int:
    """Estimated bytes: parameters, gradients and AdamW's state in float32, plus the activations of `clips` clips and
    `texts` texts. Memory of the device's libraries and of single operations is not included.
    """
    video, text = config.video, config.text
    pixels = clips * video.frames * 3 * video.image_size**2 * 4
    patches = clips * video.frames * video.patches * video.transformer.width * (14 if bf16 else 20)
    return (
        16 * count_parameters(config)
        + pixels
        + patches
        + _activation_bytes(video.transformer, clips * video_tokens(video), video.attention, bf16, checkpointing)
        + _activation_bytes(text.transformer, texts * text.context, "joint", bf16, checkpointing)
    )


def _activation_bytes(
    transformer: TransformerConfig, tokens: int, kind: AttentionKind, bf16: bool, checkpointing: bool
) -> int:
    """Bytes of activations that the layers keep for `tokens` tokens."""
    layer = _ACTIVATION_BYTES[kind][bf16] * transformer.width + (4 if bf16 else 8) * transformer.mlp_width
    if checkpointing:  # each layer keeps its input; the one being recomputed keeps everything
        return round(tokens * (4 * transformer.width * transformer.layers + layer))
    return round(tokens * layer * transformer.layers)
