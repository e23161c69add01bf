"""The contrastive losses of VidLA (arXiv 2403.14870), over the clips of one process or of several.

There are two: video with subtitle, and video with caption. Each is InfoNCE, video-to-text plus text-to-video, not
halved, and their sum is the loss. A clip without one of the texts takes no part in that loss, neither as query nor as
candidate, so each loss is a mean over the pairs that exist. Clips of one group (negatives.py) are not contrasted with
each other: neither is a candidate for the other.

Over several processes it is the loss of all their clips together. Features are always gathered with their gradient:
where each process computes only its own part of the logits, the gradient would be wrong without it.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize, pad

from model.network.vidla import MAX_LOGIT_SCALE

Logits = Literal["global", "local"]


def vidla_loss(
    features: Tensor,
    has_text: Tensor,
    logit_scale: Tensor,
    logits: Logits = "global",
    most: int = 0,
    groups: Tensor | None = None,
) -> Tensor:
    """This process's part of the loss; the mean over processes (as DDP averages gradients) is the loss.

    `features` (B, 3, D), of any length, are those of each clip, its subtitle and its caption; `has_text` (B, 2) says
    which of the two texts exist; `logit_scale` is log(1 / temperature). Every process has the same number of clips, or
    up to `most`. With `global` logits each process computes all of them, with `local` only those of its own clips
    against all: the same gradient for less work and memory. A loss without any pair is 0. `groups` (B, 2, K) are those
    of each text of each clip.
    """
    groups = has_text.new_empty((*has_text.shape, 0), dtype=torch.int64) if groups is None else groups
    lacking = max(0, most - len(features))  # clips without texts, which change nothing, fill the gap
    features, has_text = pad(features, (0, 0, 0, 0, 0, lacking)), pad(has_text, (0, 0, 0, lacking))
    groups = pad(groups, (0, 0, 0, 0, 0, lacking))
    with torch.autocast(features.device.type, enabled=False):
        precise = torch.promote_types(features.dtype, torch.float32)
        all_features = gather(normalize(features.to(precise), dim=-1))
        all_has_text, all_groups = gather(has_text.to(torch.uint8)).bool(), gather(groups)
        count, size = len(all_features), 1
        own = torch.ones(count, dtype=torch.bool, device=features.device)
        if logits == "local" and count > len(features):
            size = count // len(features)
            own = torch.arange(count, device=features.device) // len(features) == dist.get_rank()
        losses = []
        for text in range(2):
            valid = all_has_text[:, text]
            video_features, text_features = all_features[valid, 0], all_features[valid, 1 + text]
            scale = logit_scale.to(precise).exp()
            loss = info_nce(video_features, text_features, scale, own[valid], all_groups[valid, text])
            losses.append(loss * (size / max(1, len(video_features))))
        return losses[0] + losses[1]


def info_nce(
    video_features: Tensor, text_features: Tensor, scale: Tensor, rows: Tensor, groups: Tensor | None = None
) -> Tensor:
    """InfoNCE in both directions, summed over `rows` (bool [n]), of normalised features (n, D) that are paired by row.

    Pairs that share one of their `groups` (n, K) are not contrasted with each other.

    >>> paired, scale = torch.eye(2), torch.tensor(100.0)
    >>> info_nce(paired, paired, scale, rows=torch.ones(2, dtype=torch.bool)).item()
    0.0
    >>> info_nce(paired, paired.flip(0), scale, rows=torch.tensor([True, False])).item()  # 100 in each direction
    200.0
    >>> same = torch.zeros((2, 1), dtype=torch.int64)
    >>> info_nce(paired, paired.flip(0), scale, torch.tensor([True, False]), same).item()  # nothing to tell apart
    0.0
    """
    labels = torch.nonzero(rows).flatten()
    if not len(labels):
        return (video_features.sum() + text_features.sum() + scale) * 0.0  # gives every parameter a gradient
    logits_per_video = scale * video_features[labels] @ text_features.T
    logits_per_text = scale * text_features[labels] @ video_features.T
    for group in () if groups is None else groups.unbind(1):
        shared = group[labels, None] == group
        shared[torch.arange(len(labels), device=labels.device), labels] = False  # a pair itself
        logits_per_video = logits_per_video.masked_fill(shared, -torch.inf)
        logits_per_text = logits_per_text.masked_fill(shared, -torch.inf)
    video_to_text = cross_entropy(logits_per_video, labels, reduction="sum")
    text_to_video = cross_entropy(logits_per_text, labels, reduction="sum")
    return video_to_text + text_to_video


def clamp_logit_scale(logit_scale: Tensor) -> None:
    """Keep the temperature at 1 / MAX_LOGIT_SCALE or above, in place."""
    with torch.no_grad():
        logit_scale.clamp_(max=torch.tensor(MAX_LOGIT_SCALE).log().item())


def gather(rows: Tensor) -> Tensor:
    """The rows (B, …) of all processes, ordered by rank (R·B, …), with their gradient."""
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return rows
    gathered: Tensor = _AllGather.apply(rows)  # type: ignore[no-untyped-call]  # it has no annotations
    return gathered


class _AllGather(torch.autograd.Function):
    """An all-gather with gradient; PyTorch's own are deprecated or private."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        parts = [torch.empty_like(rows, memory_format=torch.contiguous_format) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total.chunk(dist.get_world_size())[dist.get_rank()]
