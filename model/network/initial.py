"""The initial model of a training run."""

from __future__ import annotations

import math
from pathlib import Path

import torch

from curation.clip_tokenizer import END_TOKEN, SIZE
from model.network.architecture import ModelError
from model.network.clip_conversion import from_clip
from model.network.text import LEGACY_EOS
from model.network.vidla import CONFIG, VidLA
from model.settings import ModelSettings


def initial_model(settings: ModelSettings) -> VidLA:
    """The model at `settings.weights`: a saved VidLA, or one initialised from a CLIP.

    A saved VidLA can change its number and size of frames and its temperature; all other model settings must be those
    it was trained with. Raises ModelError with a one-line message.
    """
    model = _trained(settings) if is_vidla(Path(settings.weights)) else from_clip(settings)
    if settings.temperature is not None:
        torch.nn.init.constant_(model.logit_scale, -math.log(settings.temperature))
    return model


def _trained(settings: ModelSettings) -> VidLA:
    directory = Path(settings.weights)
    model = VidLA.load(directory, frames=settings.frames, image_size=settings.image_size)
    trained = model.config.video
    fixed = ["attention"]
    if settings.attention == trained.attention == "hta":
        fixed += ["levels", "tokens", "temporal_scale", "patches_see_cls", "levels_see"]
    for name in fixed:
        if getattr(settings, name) != getattr(trained, name):
            raise ModelError(
                f"{directory} was trained with {name} = {getattr(trained, name)!r}, not {getattr(settings, name)!r}: "
                f"set model.{name} to that"
            )
    return model


def is_vidla(directory: Path) -> bool:
    """Whether `directory` has the configuration of a saved VidLA."""
    try:
        return '"model_type": "vidla"' in (directory / CONFIG).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False


def check_vocabulary(model: VidLA, weights: str) -> None:
    """Raises ModelError for a text tower whose vocabulary is not CLIP's."""
    text = model.config.text
    if text.vocabulary < SIZE or text.eos_token not in (END_TOKEN, LEGACY_EOS):
        raise ModelError(
            f"{weights}: texts are tokenized with CLIP's vocabulary of {SIZE} tokens, ending with "
            f"{END_TOKEN}; this text tower has {text.vocabulary}, ending with {text.eos_token}"
        )
