"""Gradients of a contrastive loss over more clips than go through the model at once.

GradCache (Gao et al., "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup", arXiv 2101.06983). A
contrastive loss needs the features of all clips, but the backward pass of a clip needs only the gradient of its own
features. So:

1. Encode all micro-batches without a graph, as they come, and keep only their features.
2. Compute the loss of all features, and its gradient with respect to each of them.
3. Encode each micro-batch again, with a graph, and back-propagate the cached gradient of its features.

The result is exact for a deterministic model, as both towers are: they have no dropout. Each micro-batch is needed
twice, so what goes through here are handles, by which `encode` loads it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

import torch
from torch import Tensor

MicroBatch = TypeVar("MicroBatch")
NoSync = Callable[[], AbstractContextManager[None]]


def backward(
    encode: Callable[[MicroBatch], Tensor],
    loss: Callable[[Tensor, Tensor], Tensor],
    micro_batches: Iterable[MicroBatch],
    logit_scale: Tensor,
    no_sync: NoSync = nullcontext,
) -> Tensor:
    """Add the gradients of `loss` over all micro-batches to the parameters of `encode` and to `logit_scale`.

    `encode` turns a micro-batch into features (b, …); `loss` turns all features and the logit scale into a scalar.
    Gradients are averaged over processes with the last micro-batch; the others run within `no_sync`. Returns the loss.
    """
    held: list[MicroBatch] = []
    parts: list[Tensor] = []
    for micro_batch in micro_batches:
        held.append(micro_batch)
        with torch.no_grad():
            parts.append(encode(micro_batch))
    features = torch.cat(parts).requires_grad_()
    scale = logit_scale.detach().requires_grad_()
    value = loss(features, scale)
    feature_gradients, scale_gradient = torch.autograd.grad(value, (features, scale))
    gradients = feature_gradients.split([len(part) for part in parts])
    for number, (each, gradient) in enumerate(zip(held, gradients, strict=True), 1):
        with no_sync() if number < len(held) else nullcontext():
            # a scalar whose gradients are the cached ones for the features, and so the loss's for the parameters
            ((encode(each) * gradient).sum() + logit_scale * scale_gradient / len(held)).backward()
    return value.detach()
