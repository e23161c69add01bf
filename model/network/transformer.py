"""Building blocks of both towers' layers: CLIP's, with queries, keys and values in one projection."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from model.network.architecture import Activation, TransformerConfig


class Attention(nn.Module):
    """The projections before and after an attention; the attention itself is a function (attention.py)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def project(self, x: Tensor) -> Tensor:
        """(…, tokens, d) → (…, tokens, 3, heads, d_h): queries, keys and values."""
        qkv: Tensor = self.qkv(x).unflatten(-1, (3, self.heads, -1))
        return qkv

    def merge(self, attended: Tensor) -> Tensor:
        """(…, tokens, heads, d_h) → (…, tokens, d)."""
        merged: Tensor = self.out(attended.flatten(-2))
        return merged


class Mlp(nn.Module):
    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.width, config.mlp_width)
        self.fc2 = nn.Linear(config.mlp_width, config.width)
        self.activation: Activation = config.activation

    def forward(self, x: Tensor) -> Tensor:
        hidden: Tensor = self.fc1(x)
        output: Tensor = self.fc2(F.gelu(hidden) if self.activation == "gelu" else _quick_gelu(hidden))
        return output


def _quick_gelu(x: Tensor) -> Tensor:
    """x · sigmoid(1.702 x), written so that the backward pass needs one tensor less."""
    return F.silu(1.702 * x) * (1 / 1.702)
