"""AdamW and the learning-rate schedule that VidLA is trained with."""

from __future__ import annotations

import math

import torch
from torch import nn

from model.settings import OptimizerSettings


def make_optimizer(model: nn.Module, settings: OptimizerSettings) -> torch.optim.AdamW:
    """AdamW over all trainable parameters, in two groups: with and without weight decay.

    As in CLIP (arXiv 2103.00020), gains, biases and the temperature do not decay: all parameters that are not matrices.
    These include the class embedding; the other embeddings decay.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    fused = all(parameter.device.type == "cuda" for parameter in parameters)
    return torch.optim.AdamW(groups, lr=settings.lr, betas=settings.betas, fused=fused)


def learning_rate(step: int, steps: int, settings: OptimizerSettings) -> float:
    """The learning rate of step `step` (from 0) of `steps`.

    It rises linearly to `lr` over the warm-up, then falls along half a cosine to `final_lr` at the last step.

    >>> settings = OptimizerSettings(lr=1.0, final_lr=0.0, warmup=0.2)
    >>> [round(learning_rate(step, 10, settings), 2) for step in range(10)]
    [0.5, 1.0, 0.96, 0.85, 0.69, 0.5, 0.31, 0.15, 0.04, 0.0]
    """
    warmup_steps = math.ceil(settings.warmup * steps)
    if step < warmup_steps:
        return settings.lr * (step + 1) / warmup_steps
    progress = (step - warmup_steps + 1) / max(1, steps - warmup_steps)
    return settings.final_lr + (settings.lr - settings.final_lr) * (1 + math.cos(math.pi * min(1.0, progress))) / 2


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate
