"""Who sees whom: the attentions of the video encoder, as functions of queries, keys and values.

All take `qkv`, (batch, tokens, 3, heads, d_h), and give (batch, tokens, heads, d_h). The tokens of a clip are [CLS],
then U·V [MST] (level by level), then T·N patches (frame by frame). None builds a mask over all pairs of tokens, and
what patches ask has no mask at all, so that a flash kernel can take it.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from model.network.architecture import VideoConfig


def joint_attention(qkv: Tensor) -> Tensor:
    """Every token sees every token of its clip (joint space-time attention; of one frame: CLIP's own)."""
    q, k, v = (x.transpose(1, 2) for x in qkv.unbind(2))
    return scaled_dot_product_attention(q, k, v).transpose(1, 2)


def temporal_attention(qkv: Tensor) -> Tensor:
    """Spatially local temporal attention: a patch sees the patches at its own position in every frame.

    In and out by position: (batch, N, T, 3, heads, d_h) → (batch, N, T, heads, d_h).
    """
    attended: Tensor = joint_attention(qkv.flatten(0, 1)).unflatten(0, qkv.shape[:2])
    return attended


def divided_attention(qkv: Tensor, frames: int) -> Tensor:
    """The spatial half of TimeSformer's divided space-time attention, as its released code has it.

    A patch sees [CLS] and the patches of its frame. [CLS] sees itself and the patches of one frame, and comes out as
    the mean of that over all frames.
    """
    cls, patches = qkv.split([1, qkv.shape[1] - 1], dim=1)
    patches = patches.unflatten(1, (frames, -1))  # (B, T, N, 3, heads, d_h)
    of_frames = torch.cat([cls.unsqueeze(1).expand(-1, frames, -1, -1, -1, -1), patches], dim=2)
    attended = joint_attention(of_frames.flatten(0, 1)).unflatten(0, (-1, frames))  # (B, T, 1 + N, heads, d_h)
    return torch.cat([attended[:, :, 0].mean(1, keepdim=True), attended[:, :, 1:].flatten(1, 2)], dim=1)


def hierarchical_attention(qkv: Tensor, mask: Tensor, frames: int, patches_see_cls: bool) -> Tensor:
    """Global spatio-temporal attention of VidLA (hierarchical temporal attention), in two calls.

    A patch sees the patches of its own frame, all [MST] and, as in the paper's mask, [CLS] (`patches_see_cls`; the
    paper's text says that it does not). [CLS] and [MST] see what `mask` lets them, from `global_mask`.
    """
    globals_ = mask.shape[0]
    q, k, v = qkv.unbind(2)
    attended = scaled_dot_product_attention(
        q[:, :globals_].transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), attn_mask=mask
    )
    first = 0 if patches_see_cls else 1
    shared = qkv[:, first:globals_, 1:].unsqueeze(1).expand(-1, frames, -1, -1, -1, -1)
    patches = qkv[:, globals_:].unflatten(1, (frames, -1))  # (B, T, N, 3, heads, d_h)
    keys, values = torch.cat([shared, patches[:, :, :, 1:]], dim=2).flatten(0, 1).unbind(2)
    of_frames = scaled_dot_product_attention(
        patches[:, :, :, 0].flatten(0, 1).transpose(1, 2), keys.transpose(1, 2), values.transpose(1, 2)
    )  # (B·T, heads, N, d_h)
    of_patches = of_frames.transpose(1, 2).unflatten(0, (-1, frames)).flatten(1, 2)
    return torch.cat([attended.transpose(1, 2), of_patches], dim=1)


def global_mask(config: VideoConfig) -> Tensor:
    """Whom [CLS] and the [MST]s see: (1 + U·V, 1 + U·V + T·N), true where a row's token sees a column's.

    [CLS] sees everything. An [MST] of level u sees the [MST]s of levels up to u (the equation; from u on in a figure's
    caption: `levels_see`) and the patches of every r^u-th frame, but not [CLS].
    """
    levels, tokens, frames = config.levels, config.tokens, config.frames
    rows = [[True] * (config.globals + frames * config.patches)]
    for level in range(levels):
        others = [other <= level if config.levels_see == "lower" else other >= level for other in range(levels)]
        seen = [frame % config.temporal_scale**level == 0 for frame in range(frames)]
        row = [False, *(o for o in others for _ in range(tokens)), *(s for s in seen for _ in range(config.patches))]
        rows += [row] * tokens
    return torch.tensor(rows)
