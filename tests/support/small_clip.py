"""Small CLIPs with random weights, saved by transformers. Their features are noise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import CLIPConfig, CLIPModel

SIDE, PATCH, FEATURES, EOS = 32, 8, 24, 99


def small_clip(directory: Path, seed: int = 0, vision: dict[str, Any] | None = None, **text: Any) -> Path:
    """Write a CLIPModel with two layers per tower into `directory`; `vision` and `text` change its configuration.

    Biases and norms are random too, and weights are larger than those of transformers, with which most of what a layer
    does would be too small for a test to see.
    """
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    torch.manual_seed(seed)
    clip = CLIPModel(
        CLIPConfig(
            vision_config={**sizes, "image_size": SIDE, "patch_size": PATCH, **(vision or {})},
            text_config={**sizes, "vocab_size": EOS + 1, "max_position_embeddings": 16, "eos_token_id": EOS, **text},
            projection_dim=FEATURES,
        )
    )
    with torch.no_grad():
        for name, parameter in clip.named_parameters():
            if name != "logit_scale":
                parameter.add_(0.1 * torch.randn_like(parameter))
    clip.save_pretrained(directory)
    return directory
