"""A CLIP in VidLA's terms, whoever wrote its files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from model.network.architecture import (
    CLIP_MEAN,
    CLIP_STD,
    ModelError,
    TextConfig,
    TransformerConfig,
    check_size,
    check_triple,
)

_NO_PARAMETERS = ("position_ids", "attn_mask", "input_resolution", "context_length", "vocab_size")
"""Ends of the names of tensors that some files hold beside the parameters."""
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


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

    def __post_init__(self) -> None:
        """Raises ModelError for sizes that the parameters do not have, so that nothing of such a size is ever made."""
        check_size("image_size", self.image_size, 2**16)
        check_size("patch_size", self.patch_size, 2**16)
        embedding, positions = self.state["video.position_embedding"], 1 + (self.image_size // self.patch_size) ** 2
        if embedding.shape != (positions, self.image.width):
            raise ModelError(
                f"its position embedding is {tuple(embedding.shape)}, not {(positions, self.image.width)} as its "
                f"images of {self.image_size} pixels in patches of {self.patch_size} need"
            )


def triple(values: Mapping[str, Any], key: str, default: tuple[float, float, float]) -> tuple[float, float, float]:
    """The numbers for red, green and blue under `key`, if there are any. Raises ModelError."""
    if (found := values.get(key)) is None:
        return default
    check_triple(key, found)
    red, green, blue = found
    return float(red), float(green), float(blue)


def take(state: dict[str, Tensor], names: list[str], config: str) -> Tensor:
    """Remove the parameters `names` from `state`, and return them as one.

    Raises ModelError if one is missing, or is not plain numbers that the file holds.
    """
    missing = [name for name in names if name not in state]
    if missing:
        raise ModelError(f"{missing[0]} is missing, which its {config} asks for")
    parts = [state.pop(name) for name in names]
    for name, part in zip(names, parts, strict=True):
        _check_plain(name, part)
    try:
        return parts[0] if len(parts) == 1 else torch.cat(parts)
    except RuntimeError:
        raise ModelError(f"{', '.join(names)} do not have one shape") from None


def _check_plain(name: str, tensor: Tensor) -> None:
    """Raises ModelError for what cannot be a parameter: a tensor may be sparse, or say that it is larger than it is."""
    if tensor.layout != torch.strided or tensor.device.type != "cpu" or tensor.dtype not in _FLOATS:
        kind = f"{tensor.dtype}, {tensor.layout}, {tensor.device}".replace("torch.", "")
        raise ModelError(f"{name} is not of plain floating-point numbers ({kind})")
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise ModelError(f"{name} is {tuple(tensor.shape)}, which is more than the file holds of it")
    if not tensor.isfinite().all():
        raise ModelError(f"{name} has values that are infinite or not numbers: its training diverged")


def check_all_taken(state: dict[str, Tensor], config: str) -> None:
    """Raises ModelError for parameters that are left: the model is another one than its configuration says."""
    others = [name for name in state if not name.endswith(_NO_PARAMETERS)]
    if others:
        more = f" and {len(others) - 1} more" if len(others) > 1 else ""
        raise ModelError(f"it has parameters that its {config} does not account for: {others[0]}{more}")
