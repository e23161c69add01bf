"""Gradients of a contrastive loss over more clips than go through the model at once.

GradCache (Gao et al., "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup", arXiv 2101.06983). A
contrastive loss needs the features of all clips, but the gradient of a clip's parameters needs only the gradient of its
own features. So features are first made piece by piece without a graph; the loss of all of them gives the features'
gradients; then each piece goes through the model once more and carries its gradient on. The result is exact for a model
that says the same of the same input, as both towers do: they have no dropout.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

import torch
from torch import Tensor

Piece = TypeVar("Piece")
Unsynchronised = Callable[[], AbstractContextManager[None]]


def backward(
    encode: Callable[[Piece], Tensor],
    loss: Callable[[Tensor, Tensor], Tensor],
    pieces: Sequence[Piece],
    logit_scale: Tensor,
    unsynchronised: Unsynchronised = nullcontext,
) -> Tensor:
    """Add the gradients of `loss` over all pieces to the parameters that `encode` uses, and to `logit_scale`.

    `encode` makes features (b, …) of a piece, `loss` a number of the features of all pieces and the logit scale.
    Processes add their gradients up with the last piece alone: the others are within `unsynchronised`. Gives the loss.
    """
    with torch.no_grad():
        parts = [encode(piece) for piece in pieces]
    features = torch.cat(parts).requires_grad_()
    scale = logit_scale.detach().requires_grad_()
    value = loss(features, scale)
    of_features, of_scale = torch.autograd.grad(value, (features, scale))
    gradients = of_features.split([len(part) for part in parts])
    for number, (piece, gradient) in enumerate(zip(pieces, gradients, strict=True), 1):
        with unsynchronised() if number < len(pieces) else nullcontext():
            # its gradient is what was cached, and the parameters' are those of the loss
            ((encode(piece) * gradient).sum() + logit_scale * of_scale / len(pieces)).backward()
    return value.detach()
