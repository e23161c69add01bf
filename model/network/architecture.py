"""A model's architecture: sizes and attention of its two towers, stored as config.json next to its weights."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError

from curation.errors import UsageError
from model.settings import AttentionKind

Activation = Literal["quick_gelu", "gelu"]

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
"""Mean and standard deviation of red, green and blue (0 to 1) by which OpenAI's CLIP normalises."""

MASK_CELLS = 2**26
"""The most that the mask of [CLS] and [MST] may have; the paper's models have 30,000."""

_STRICT = ConfigDict(extra="forbid")


class ModelError(UsageError, ValueError):  # a ValueError too, so that pydantic reports the key
    """A model that cannot be built, read or converted."""


def check_size(name: str, value: Any, most: int, least: int = 1) -> None:
    """Raises ModelError if `value`, which a file may have declared, is not a whole number in that range."""
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ModelError(f"its {name} should be a whole number from {least} to {most:,}, not {str(value)[:40]!r}")


def check_triple(name: str, value: Any) -> None:
    """Raises ModelError if `value` is not a number for red, green and blue; a deviation ("std") is above 0."""
    numbers = value if isinstance(value, list | tuple) else ()
    finite = [isinstance(x, int | float) and not isinstance(x, bool) and math.isfinite(x) for x in numbers]
    if len(numbers) != 3 or not all(finite) or (name.endswith("std") and min(numbers) <= 0):
        raise ModelError(f"its {name} should be a number for red, green and blue each, not {str(value)[:40]!r}")


@dataclass(frozen=True)
class TransformerConfig:
    """A stack of pre-norm layers, as in both of CLIP's towers."""

    __pydantic_config__ = _STRICT

    width: int
    layers: int
    heads: int
    mlp_width: int
    activation: Activation = "quick_gelu"
    norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        for name, most in (("width", 2**17), ("layers", 1000), ("heads", 2**17), ("mlp_width", 2**20)):
            check_size(name, getattr(self, name), most)
        if isinstance(self.norm_eps, bool) or not isinstance(self.norm_eps, int | float) or not 0 <= self.norm_eps < 1:
            raise ModelError(f"its norm_eps should be a number from 0 to 1, not {str(self.norm_eps)[:40]!r}")
        if self.width % self.heads:
            raise ModelError(f"a width of {self.width} is not divisible by {self.heads} heads")


@dataclass(frozen=True)
class VideoConfig:
    """The video encoder. Its fields are described in `ModelSettings`; [MST] tokens exist only in `hta`."""

    __pydantic_config__ = _STRICT

    transformer: TransformerConfig
    image_size: int
    patch_size: int
    frames: int
    attention: AttentionKind = "hta"
    levels: int = 0
    tokens: int = 4
    temporal_scale: int = 2
    patches_see_cls: bool = True
    levels_see: Literal["lower", "higher"] = "lower"
    image_mean: tuple[float, float, float] = CLIP_MEAN
    image_std: tuple[float, float, float] = CLIP_STD

    def __post_init__(self) -> None:
        for name in ("image_size", "patch_size"):
            check_size(name, getattr(self, name), 2**16)
        for name in ("image_mean", "image_std"):
            check_triple(name, getattr(self, name))
        if self.image_size % self.patch_size:
            raise ModelError(
                f"an image of {self.image_size} pixels a side cannot be cut into patches of {self.patch_size}"
            )
        if self.levels and self.attention != "hta":
            raise ModelError(f"attention {self.attention!r} has no [MST] tokens: set levels to 0")
        if min(self.frames, self.tokens, self.temporal_scale, self.levels + 1) < 1:
            raise ModelError("frames, tokens and temporal_scale must be at least 1, levels at least 0")
        if self.global_tokens * (self.global_tokens + self.frames * self.patches) > MASK_CELLS:
            raise ModelError(
                f"{self.frames} frames of {self.patches} patches with {self.levels} levels of {self.tokens} tokens are "
                f"too many to attend to"
            )

    @property
    def patches(self) -> int:
        """N: patches per frame."""
        return int((self.image_size // self.patch_size) ** 2)

    @property
    def global_tokens(self) -> int:
        """1 + U·V: [CLS] and the [MST] tokens, which belong to no frame."""
        return 1 + self.levels * self.tokens

    @property
    def temporal(self) -> bool:
        """Whether each layer has a separate temporal attention before the spatial one."""
        return self.attention in ("hta", "divided")


@dataclass(frozen=True)
class TextConfig:
    """The text tower. A text ends at its first `eos_token`; if that is the legacy 2, at its highest token."""

    __pydantic_config__ = _STRICT

    transformer: TransformerConfig
    vocabulary: int
    context: int
    eos_token: int

    def __post_init__(self) -> None:
        check_size("vocabulary", self.vocabulary, 2**26)
        check_size("context", self.context, 2**20)
        check_size("eos_token", self.eos_token, 2**26, least=0)


@dataclass(frozen=True)
class VidLAConfig:
    """Both towers, and the width of their common feature space."""

    __pydantic_config__ = _STRICT

    video: VideoConfig
    text: TextConfig
    features: int
    model_type: Literal["vidla"] = "vidla"
    schema_version: Literal[1] = 1

    def __post_init__(self) -> None:
        check_size("features", self.features, 2**17)

    def to_json(self) -> str:
        return _JSON.dump_json(self, indent=2).decode() + "\n"

    @classmethod
    def from_json(cls, text: str) -> VidLAConfig:
        """Raises ModelError with a one-line message."""
        try:
            return _JSON.validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise ModelError(f"{where + ': ' if where else ''}{first['msg']}") from None


_JSON = TypeAdapter(VidLAConfig)
