"""CLIP's text tower."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.checkpoint import checkpoint

from model.network.architecture import TextConfig, TransformerConfig
from model.network.transformer import Attention, Mlp

LEGACY_EOS = 2
"""The end token in the configuration of early copies of OpenAI's CLIP; texts really end at the highest token."""


class TextEncoder(nn.Module):
    """Token ids → text features."""

    def __init__(self, config: TextConfig, features: int) -> None:
        super().__init__()
        self.config = config
        self.checkpointing = False
        transformer = config.transformer
        self.token_embedding = nn.Embedding(config.vocabulary, transformer.width)
        self.position_embedding = nn.Parameter(0.01 * torch.randn(config.context, transformer.width))
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        self.layers = nn.ModuleList([TextLayer(transformer) for _ in range(transformer.layers)])
        self.final_norm = nn.LayerNorm(transformer.width, transformer.norm_eps)
        self.projection = nn.Linear(transformer.width, features, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (B, L), each row ending with an end token and padding → features (B, D), not normalised.

        Attention is causal, so the padding has no effect. Raises ValueError for texts longer than the context.
        """
        length = tokens.shape[1]
        if length > self.config.context:
            raise ValueError(f"the model takes texts of up to {self.config.context} tokens, not {length}")
        x = self.token_embedding(tokens) + self.position_embedding[:length]
        for layer in self.layers:
            checkpointed = self.checkpointing and torch.is_grad_enabled()
            x = checkpoint(layer, x, use_reentrant=False) if checkpointed else layer(x)
        legacy = self.config.eos_token == LEGACY_EOS
        end_positions = (tokens if legacy else (tokens == self.config.eos_token).int()).argmax(dim=-1)
        features: Tensor = self.projection(self.final_norm(x[torch.arange(len(x), device=x.device), end_positions]))
        return features


class TextLayer(nn.Module):
    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.width, config.norm_eps)
        self.attention = Attention(config.width, config.heads)
        self.norm2 = nn.LayerNorm(config.width, config.norm_eps)
        self.mlp = Mlp(config)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (part.transpose(1, 2) for part in self.attention.project(self.norm1(x)).unbind(2))
        x = x + self.attention.merge(scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2))
        change: Tensor = self.mlp(self.norm2(x))
        return x + change
