"""VidLA: a video encoder and a text tower that meet in one space of features."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from model.network.architecture import ModelError, VidLAConfig
from model.network.text import TextEncoder
from model.network.video import VideoEncoder, resize_space, resize_time

CONFIG, WEIGHTS = "config.json", "model.safetensors"
TEMPERATURE = 0.07
"""Where the learnable temperature starts, as in CLIP; the paper does not say."""


class VidLA(nn.Module):
    """The two towers, and the logarithm of 1 / temperature."""

    def __init__(self, config: VidLAConfig) -> None:
        super().__init__()
        self.config = config
        self.video = VideoEncoder(config.video, config.features)
        self.text = TextEncoder(config.text, config.features)
        self.logit_scale = nn.Parameter(torch.tensor(-math.log(TEMPERATURE)))

    def forward(self, pixels: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Features of clips and of texts, both of any length, as `encode_video` and `encode_text` give them."""
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
        """Keep only each layer's input from the forward pass, and compute the rest again in the backward pass."""
        self.video.checkpointing = self.text.checkpointing = True

    def compile_layers(self) -> None:
        """Have each layer compiled when it is first called; what is compiled once serves all layers of its tower."""
        for layer in (*self.video.layers, *self.text.layers):
            layer.compile()

    def save(self, directory: Path) -> None:
        """Write config.json and model.safetensors into `directory`, each whole or not at all."""
        directory.mkdir(parents=True, exist_ok=True)
        state = {name: tensor.contiguous() for name, tensor in self.state_dict().items()}
        weights, config = directory / f"{WEIGHTS}.part", directory / f"{CONFIG}.part"
        save_file(state, weights)
        config.write_text(self.config.to_json(), encoding="utf-8")
        weights.replace(directory / WEIGHTS)
        config.replace(directory / CONFIG)

    @classmethod
    def load(cls, directory: Path, *, frames: int | None = None, image_size: int | None = None) -> VidLA:
        """The model that `save` wrote, in float32; for another number of frames, or frames of another size, with its
        embeddings interpolated. Raises ModelError in one line.
        """
        for name in (CONFIG, WEIGHTS):
            if not (directory / name).is_file():
                raise ModelError(f"{directory} is no saved VidLA: it has no {name}")
        try:
            config = VidLAConfig.from_json((directory / CONFIG).read_text(encoding="utf-8"))
            state = load_file(directory / WEIGHTS)
        except (ModelError, OSError, UnicodeDecodeError, SafetensorError) as error:
            raise ModelError(f"the VidLA in {directory} cannot be read: {error}") from None
        model = cls(config)
        fault = misfit(state, model)
        if fault:
            raise ModelError(f"the weights in {directory} do not fit its config.json: {fault}")
        model.load_state_dict(state)
        return model.resized(frames or config.video.frames, image_size or config.video.image_size)

    def resized(self, frames: int, image_size: int) -> VidLA:
        """This model for clips of `frames` frames of `image_size` pixels a side; itself where nothing changes."""
        video = dataclasses.replace(self.config.video, frames=frames, image_size=image_size)
        if video == self.config.video:
            return self
        state = self.state_dict()
        side = image_size // video.patch_size
        state["video.position_embedding"] = resize_space(state["video.position_embedding"], side)
        if "video.temporal_embedding" in state:
            state["video.temporal_embedding"] = resize_time(state["video.temporal_embedding"], frames)
        model = VidLA(dataclasses.replace(self.config, video=video))
        model.load_state_dict(state)
        return model


def misfit(state: dict[str, Tensor], model: VidLA) -> str | None:
    """What keeps `state` from being the parameters of `model`, by name; None where nothing does."""
    wanted = model.state_dict()
    for name in [*wanted, *state]:
        if name not in state:
            return f"{name} is missing"
        if name not in wanted:
            return f"{name} is unknown"
        if state[name].shape != wanted[name].shape:
            return f"{name} is {tuple(state[name].shape)}, not {tuple(wanted[name].shape)}"
    return None
