# mypy: allow-subclassing-any
"""What the layers of both towers are made of; CLIP's own, with queries, keys and values in one product."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from model.network.architecture import Activation, TransformerConfig


class Attention(nn.Module):
    """The two projections around an attention; which token sees which is said by functions (attention.py)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def project(self, x: Tensor) -> Tensor:
        """(…, tokens, d) → (…, tokens, 3, heads, d_h): queries, keys and values."""
        return self.qkv(x).unflatten(-1, (3, self.heads, -1))

    def merge(self, attended: Tensor) -> Tensor:
        """(…, tokens, heads, d_h) → (…, tokens, d)."""
        return self.out(attended.flatten(-2))


class Mlp(nn.Module):
    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.width, config.mlp_width)
        self.fc2 = nn.Linear(config.mlp_width, config.width)
        self.activation: Activation = config.activation

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.fc1(x)
        if self.activation == "gelu":
            return self.fc2(F.gelu(hidden))
        # x · sigmoid(1.702 x), written so that the backward pass needs one tensor less
        return self.fc2(F.silu(1.702 * hidden) * (1 / 1.702))
