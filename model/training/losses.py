"""The contrastive losses of VidLA (arXiv 2403.14870), over the clips of one process or of several.

Each of the two losses, of video with subtitle and of video with caption, is InfoNCE: video to text plus text to video,
not halved. Their sum is the loss. A clip without one of the texts takes no part in that loss, neither as a question nor
as an answer, so each loss is the mean over the pairs that are there.

Over several processes it is the loss of all their clips together. Features are gathered with their gradient, always:
where each process computes its own part of the logits, the gradient would point in another direction without.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

MAX_LOGIT_SCALE = 100.0
"""The inverse of the lowest temperature, as in CLIP."""

Logits = Literal["global", "local"]


def vidla_loss(features: Tensor, has_text: Tensor, logit_scale: Tensor, logits: Logits = "global") -> Tensor:
    """The loss, to be averaged over processes (as DDP averages gradients), whose mean it then is.

    `features` (B, 3, D) are those of each clip, of its subtitle and of its caption, of any length; `has_text` (B, 2)
    says which of the two texts it has; `logit_scale` is the logarithm of 1 / temperature. Every process has as many
    clips. With `global` logits each computes all of them, with `local` those of its own clips, and of all: the same
    gradient for less work and memory. Without a pair it is 0.
    """
    with torch.autocast(features.device.type, enabled=False):
        precise = torch.promote_types(features.dtype, torch.float32)
        everyone = gather(normalize(features.to(precise), dim=-1))
        has = gather(has_text.to(torch.uint8)).bool()
        size, own = len(everyone) // len(features), torch.ones(len(everyone), dtype=torch.bool, device=features.device)
        if logits == "local" and size > 1:
            own = torch.arange(len(everyone), device=features.device) // len(features) == dist.get_rank()
        else:
            size = 1
        losses = []
        for text in range(2):
            there = has[:, text]
            video, texts = everyone[there, 0], everyone[there, 1 + text]
            part = info_nce(video, texts, logit_scale.to(precise).exp(), own[there])
            losses.append(part * (size / max(1, len(video))))
        return losses[0] + losses[1]


def info_nce(video: Tensor, text: Tensor, scale: Tensor, rows: Tensor) -> Tensor:
    """The sum over `rows` (bool [n]) of both directions' cross-entropy, of normalised features (n, D) that pair up."""
    targets = torch.nonzero(rows).flatten()
    if not len(targets):
        return (video.sum() + text.sum() + scale) * 0.0  # so that every parameter has a gradient in every process
    forth = cross_entropy(scale * video[targets] @ text.T, targets, reduction="sum")
    back = cross_entropy(scale * text[targets] @ video.T, targets, reduction="sum")
    return forth + back


def clamp_logit_scale(logit_scale: Tensor) -> None:
    """Hold the temperature at 1 / MAX_LOGIT_SCALE or above, in place."""
    with torch.no_grad():
        logit_scale.clamp_(max=torch.tensor(MAX_LOGIT_SCALE).log().item())


def gather(rows: Tensor) -> Tensor:
    """The rows (B, …) of all processes, in the order of ranks (R·B, …), with their gradient."""
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return rows
    gathered: Tensor = _Gather.apply(rows)  # type: ignore[no-untyped-call]  # it has no annotations
    return gathered


class _Gather(torch.autograd.Function):
    """PyTorch's own gathers with gradient are deprecated or private."""

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
