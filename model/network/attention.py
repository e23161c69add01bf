"""The attentions of the video encoder, as functions of queries, keys and values.

All take `qkv` (batch, tokens, 3, heads, d_h) and return (batch, tokens, heads, d_h). The tokens of a clip are [CLS],
then U·V [MST] (level by level), then T·N patches (frame by frame). None builds a mask over all pairs of tokens, and
queries of patches are not masked at all, so that a flash kernel can run them.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from model.network.architecture import VideoConfig


def joint_attention(qkv: Tensor) -> Tensor:
    """Every token attends to every token (joint space-time attention; for a single frame, CLIP's own)."""
    q, k, v = (x.transpose(1, 2) for x in qkv.unbind(2))
    return scaled_dot_product_attention(q, k, v).transpose(1, 2)


def temporal_attention(qkv: Tensor) -> Tensor:
    """Spatially local temporal attention: a patch attends to the patches at its position in every frame.

    By position: (batch, N, T, 3, heads, d_h) → (batch, N, T, heads, d_h).
    """
    attended: Tensor = joint_attention(qkv.flatten(0, 1)).unflatten(0, qkv.shape[:2])
    return attended


def divided_attention(qkv: Tensor, frames: int) -> Tensor:
    """The spatial half of TimeSformer's divided space-time attention, as in its released code.

    A patch attends to [CLS] and the patches of its frame. [CLS] attends to itself and the patches of each frame in
    turn, and the results are averaged.
    """
    cls, patches = qkv.split([1, qkv.shape[1] - 1], dim=1)
    patches = patches.unflatten(1, (frames, -1))  # (B, T, N, 3, heads, d_h)
    with_cls = torch.cat([cls.unsqueeze(1).expand(-1, frames, -1, -1, -1, -1), patches], dim=2)
    attended = joint_attention(with_cls.flatten(0, 1)).unflatten(0, (-1, frames))  # (B, T, 1 + N, heads, d_h)
    return torch.cat([attended[:, :, 0].mean(1, keepdim=True), attended[:, :, 1:].flatten(1, 2)], dim=1)


def hierarchical_attention(qkv: Tensor, mask: Tensor, frames: int, patches_see_cls: bool) -> Tensor:
    """Global spatio-temporal attention of VidLA (hierarchical temporal attention), in two calls.

    A patch attends to the patches of its own frame, all [MST] and, as in the paper's mask, [CLS] (`patches_see_cls`;
    the paper's text says that it does not). [CLS] and [MST] attend as `mask` allows (`global_mask`).
    """
    global_tokens = mask.shape[0]
    q, k, v = qkv.unbind(2)
    attended = scaled_dot_product_attention(
        q[:, :global_tokens].transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), attn_mask=mask
    )
    first = 0 if patches_see_cls else 1
    shared = qkv[:, first:global_tokens, 1:].unsqueeze(1).expand(-1, frames, -1, -1, -1, -1)
    patches = qkv[:, global_tokens:].unflatten(1, (frames, -1))  # (B, T, N, 3, heads, d_h)
    keys, values = torch.cat([shared, patches[:, :, :, 1:]], dim=2).flatten(0, 1).unbind(2)
    per_frame = scaled_dot_product_attention(
        patches[:, :, :, 0].flatten(0, 1).transpose(1, 2), keys.transpose(1, 2), values.transpose(1, 2)
    )  # (B·T, heads, N, d_h)
    attended_patches = per_frame.transpose(1, 2).unflatten(0, (-1, frames)).flatten(1, 2)
    return torch.cat([attended.transpose(1, 2), attended_patches], dim=1)


def global_mask(config: VideoConfig) -> Tensor:
    """The mask of [CLS] and [MST]: (1 + U·V, 1 + U·V + T·N), true where a row's token attends to a column's.

    [CLS] attends to everything. An [MST] of level u attends to the [MST]s of levels up to u (as in the paper's
    equation; `levels_see` = higher: from u on, as in a figure's caption) and to the patches of every r^u-th frame, but
    not to [CLS]. With U = 3 levels, V = 1, r = 2 and T = 8 frames of one patch:

              [CLS]  [MST]   frames 0 to 7
        [CLS]   ■    ■ ■ ■   ■ ■ ■ ■ ■ ■ ■ ■
        u = 0   ·    ■ · ·   ■ ■ ■ ■ ■ ■ ■ ■
        u = 1   ·    ■ ■ ·   ■ · ■ · ■ · ■ ·
        u = 2   ·    ■ ■ ■   ■ · · · ■ · · ·

    >>> from model.network.architecture import TransformerConfig
    >>> sizes = TransformerConfig(width=8, layers=1, heads=1, mlp_width=8)
    >>> config = VideoConfig(sizes, image_size=8, patch_size=8, frames=8, levels=3, tokens=1, temporal_scale=2)
    >>> for row in global_mask(config):
    ...     print("".join("■" if attends else "·" for attends in row))
    ■■■■■■■■■■■■
    ·■··■■■■■■■■
    ·■■·■·■·■·■·
    ·■■■■···■···
    """
    levels, tokens, frames = config.levels, config.tokens, config.frames
    rows = [[True] * (config.global_tokens + frames * config.patches)]
    for level in range(levels):
        others = [other <= level if config.levels_see == "lower" else other >= level for other in range(levels)]
        seen = [frame % config.temporal_scale**level == 0 for frame in range(frames)]
        row = [False, *(o for o in others for _ in range(tokens)), *(s for s in seen for _ in range(config.patches))]
        rows += [row] * tokens
    return torch.tensor(rows)
