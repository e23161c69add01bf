"""The initial model of a training run."""

from __future__ import annotations

from pathlib import Path

from model.network.architecture import ModelError
from model.network.clip_conversion import from_clip
from model.network.vidla import CONFIG, VidLA
from model.settings import ModelSettings


def initial_model(settings: ModelSettings) -> VidLA:
    """The model at `settings.weights`: a saved VidLA, or one initialised from a CLIP.

    A saved VidLA can change its number and size of frames; all other model settings must be those it was trained with.
    Raises ModelError with a one-line message.
    """
    directory = Path(settings.weights)
    if not _is_vidla(directory):
        return from_clip(settings)
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


def _is_vidla(directory: Path) -> bool:
    try:
        return '"model_type": "vidla"' in (directory / CONFIG).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
