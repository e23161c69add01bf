"""AdamW and the learning-rate schedule that VidLA is trained with."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import nn

from curation.errors import ConfigError
from model.network.video import is_new
from model.settings import OptimizerSettings

NEW = "new"
"""The key of `lr_factors` for the parameters that CLIP does not have."""


def make_optimizer(model: nn.Module, settings: OptimizerSettings) -> torch.optim.AdamW:
    """AdamW over the parameters of `model`, in groups with and without weight decay for each factor of `lr_factors`.

    As in CLIP (arXiv 2103.00020), gains, biases and the temperature do not decay: all parameters that are not matrices.
    These include the class embedding; the other embeddings decay. Parameters with a factor of 0 are frozen. Raises
    ConfigError for a factor of no parameter, and if all are frozen.
    """
    names = [name for name, _ in model.named_parameters()]
    unknown = [key for key in settings.lr_factors if key != NEW and not any(_begins(name, key) for name in names)]
    if unknown:
        known = ", ".join(dict.fromkeys(name.partition(".")[0] for name in names))
        raise ConfigError(f"optimizer.lr_factors: no parameter is in '{unknown[0]}'; their names begin with {known}")
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        factor = lr_factor(name, settings.lr_factors)
        parameter.requires_grad_(factor > 0)
        if factor > 0:
            decay = settings.weight_decay if parameter.ndim >= 2 else 0.0
            groups.setdefault((factor, decay), []).append(parameter)
    if not groups:
        raise ConfigError("optimizer.lr_factors freezes every parameter")
    fused = all(parameter.device.type == "cuda" for parameter in model.parameters())
    return torch.optim.AdamW(
        [{"params": group, "weight_decay": decay, "lr_factor": factor} for (factor, decay), group in groups.items()],
        lr=settings.lr,
        betas=settings.betas,
        fused=fused,
    )


def lr_factor(name: str, factors: Mapping[str, float]) -> float:
    """The factor on the learning rate of a parameter: by `new` if CLIP lacks it, else by the longest key in its name.

    >>> factors = {"new": 10.0, "video": 0.1, "video.layers.1": 0.0}
    >>> names = ("video.mst", "video.layers.1.norm1.bias", "video.layers.11.norm1.bias", "logit_scale")
    >>> [lr_factor(name, factors) for name in names]
    [10.0, 0.0, 0.1, 1.0]
    """
    if NEW in factors and is_new(name):
        return factors[NEW]
    keys = [key for key in factors if key != NEW and _begins(name, key)]
    return factors[max(keys, key=len)] if keys else 1.0


def _begins(name: str, key: str) -> bool:
    return f"{name}.".startswith(f"{key}.")


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
    """Give each group of `make_optimizer` its factor times `rate`."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["lr_factor"]
