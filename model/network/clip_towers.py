"""A CLIP in VidLA's terms, whoever wrote its files."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from model.network.architecture import CLIP_MEAN, CLIP_STD, ModelError, TextConfig, TransformerConfig

_NO_PARAMETERS = ("position_ids", "attn_mask", "input_resolution", "context_length", "vocab_size")
"""Ends of the names of tensors that some files hold beside the parameters."""


class ClipError(ModelError):
    """A CLIP that VidLA cannot start from; the message says why and what to do."""


@dataclass(frozen=True)
class ClipTowers:
    """Both towers' sizes, and their parameters under the names that they have in VidLA, in any precision."""

    image: TransformerConfig
    image_size: int
    patch_size: int
    text: TextConfig
    features: int
    state: dict[str, Tensor]
    image_mean: tuple[float, float, float] = CLIP_MEAN
    image_std: tuple[float, float, float] = CLIP_STD


def take(state: dict[str, Tensor], names: list[str], config: str) -> Tensor:
    """Remove the parameters `names` from `state`, and return them as one. Raises ModelError if one is missing."""
    missing = [name for name in names if name not in state]
    if missing:
        raise ModelError(f"{missing[0]} is missing, which its {config} asks for")
    parts = [state.pop(name) for name in names]
    try:
        return parts[0] if len(parts) == 1 else torch.cat(parts)
    except RuntimeError:
        raise ModelError(f"{', '.join(names)} do not have one shape") from None


def check_all_taken(state: dict[str, Tensor], config: str) -> None:
    """Raises ModelError for parameters that are left: the model is another one than its configuration says."""
    others = [name for name in state if not name.endswith(_NO_PARAMETERS)]
    if others:
        more = f" and {len(others) - 1} more" if len(others) > 1 else ""
        raise ModelError(f"it has parameters that its {config} does not account for: {others[0]}{more}")
