"""VidLA: a video encoder and a text tower with a common feature space."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from model.network.architecture import ModelError, VidLAConfig
from model.network.text import TextEncoder
from model.network.video import VideoEncoder, resize_position_embedding, resize_temporal_embedding

CONFIG, WEIGHTS = "config.json", "model.safetensors"
TEMPERATURE = 0.07
"""Initial value of the learnable temperature without a CLIP to start from, as in CLIP's own training."""
MAX_LOGIT_SCALE = 100.0
"""The inverse of the lowest temperature, as in CLIP."""


class VidLA(nn.Module):
    """Both towers, and the logit scale, log(1 / temperature)."""

    def __init__(self, config: VidLAConfig) -> None:
        super().__init__()
        self.config = config
        self.video = VideoEncoder(config.video, config.features)
        self.text = TextEncoder(config.text, config.features)
        self.logit_scale = nn.Parameter(torch.tensor(-math.log(TEMPERATURE)))

    @classmethod
    def outline(cls, config: VidLAConfig) -> dict[str, Tensor]:
        """The names and shapes of the parameters, as tensors without memory, however large `config` says they are."""
        with torch.device("meta"):
            return cls(config).state_dict()

    def forward(self, pixels: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """The features of clips and of texts, from `encode_video` and `encode_text`."""
        return self.encode_video(pixels), self.encode_text(tokens)

    def encode_video(self, pixels: Tensor) -> Tensor:
        """Frames (B, T, 3, H, W), normalised → features (B, D), not normalised."""
        features: Tensor = self.video(pixels)
        return features

    def encode_text(self, tokens: Tensor) -> Tensor:
        """Tokens (B, L) → features (B, D), not normalised."""
        features: Tensor = self.text(tokens)
        return features

    def checkpoint_activations(self) -> None:
        """Keep only each layer's input in the forward pass, and recompute the rest in the backward pass."""
        self.video.checkpointing = self.text.checkpointing = True

    def compile_layers(self) -> None:
        """Compile each layer at its first call; all layers of a tower share the compiled code."""
        for layer in (*self.video.layers, *self.text.layers):
            layer.compile()

    def save(self, directory: Path) -> None:
        """Write config.json and model.safetensors into `directory`, each atomically."""
        directory.mkdir(parents=True, exist_ok=True)
        state = {name: tensor.contiguous() for name, tensor in self.state_dict().items()}
        weights, config = directory / f"{WEIGHTS}.part", directory / f"{CONFIG}.part"
        save_file(state, weights)
        config.write_text(self.config.to_json(), encoding="utf-8")
        weights.replace(directory / WEIGHTS)
        config.replace(directory / CONFIG)

    @classmethod
    def load(cls, directory: Path, *, frames: int | None = None, image_size: int | None = None) -> VidLA:
        """Load the model that `save` wrote, in float32, with its embeddings interpolated if `frames` or `image_size`
        differ from its own. Raises ModelError with a one-line message.
        """
        for name in (CONFIG, WEIGHTS):
            if not (directory / name).is_file():
                raise ModelError(f"{directory} is not a saved VidLA: it has no {name}")
        try:
            config = VidLAConfig.from_json((directory / CONFIG).read_text(encoding="utf-8"))
            state = load_file(directory / WEIGHTS)
        except (ModelError, OSError, UnicodeDecodeError, SafetensorError) as error:
            raise ModelError(f"the VidLA in {directory} cannot be read: {error}") from None
        mismatch = state_mismatch(state, cls.outline(config))
        if mismatch:
            raise ModelError(f"the weights in {directory} do not fit its config.json: {mismatch}")
        model = cls(config)
        model.load_state_dict(state)
        return model.resized(frames or config.video.frames, image_size or config.video.image_size)

    def resized(self, frames: int, image_size: int) -> VidLA:
        """This model for clips of `frames` frames of `image_size` pixels a side; itself if nothing changes."""
        video = dataclasses.replace(self.config.video, frames=frames, image_size=image_size)
        if video == self.config.video:
            return self
        state = self.state_dict()
        side = image_size // video.patch_size
        state["video.position_embedding"] = resize_position_embedding(state["video.position_embedding"], side)
        if "video.temporal_embedding" in state:
            state["video.temporal_embedding"] = resize_temporal_embedding(state["video.temporal_embedding"], frames)
        model = VidLA(dataclasses.replace(self.config, video=video))
        model.load_state_dict(state)
        return model


def state_mismatch(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> str | None:
    """The first way, in words, in which `state` has not the `expected` names and shapes; None if it has."""
    for name in [*expected, *state]:
        if name not in state:
            return f"{name} is missing"
        if name not in expected:
            return f"{name} is unknown"
        if state[name].shape != expected[name].shape:
            return f"{name} is {tuple(state[name].shape)}, not {tuple(expected[name].shape)}"
    return None
