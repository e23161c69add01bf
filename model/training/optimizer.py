"""AdamW as VidLA is trained with, and its learning rate."""

from __future__ import annotations

import math

import torch
from torch import nn

from model.settings import OptimizerSettings


def make_optimizer(model: nn.Module, settings: OptimizerSettings) -> torch.optim.AdamW:
    """AdamW over all parameters that are trained, in two groups.

    As in CLIP (arXiv 2103.00020), gains and biases do not decay, nor does the temperature: all that is no matrix. The
    class embedding is among these; other embeddings decay.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    fused = all(parameter.device.type == "cuda" for parameter in parameters)
    return torch.optim.AdamW(groups, lr=settings.lr, betas=settings.betas, fused=fused)


def learning_rate(step: int, steps: int, settings: OptimizerSettings) -> float:
    """That of step number `step` (from 0) of `steps`.

    It rises to `lr`, in equal parts, over the share of the steps that is warm-up, and falls to `final_lr`, which is
    that of the last step, by half a cosine.
    """
    rising = math.ceil(settings.warmup * steps)
    if step < rising:
        return settings.lr * (step + 1) / rising
    done = (step - rising + 1) / max(1, steps - rising)
    return settings.final_lr + (settings.lr - settings.final_lr) * (1 + math.cos(math.pi * min(1.0, done))) / 2


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate
