"""What a training run starts from."""

from __future__ import annotations

from pathlib import Path

from model.network.architecture import ModelError
from model.network.clip_conversion import from_clip
from model.network.vidla import CONFIG, VidLA
from model.settings import ModelSettings


def initial_model(settings: ModelSettings) -> VidLA:
    """The model that `settings.weights` name: a VidLA that was saved, else one that starts from a CLIP.

    A saved VidLA takes another number of frames, or frames of another size; anything else that `settings` say of it
    must be as it was trained. Raises ModelError in one line.
    """
    directory = Path(settings.weights)
    if not _is_vidla(directory):
        return from_clip(settings)
    model = VidLA.load(directory, frames=settings.frames, image_size=settings.image_size)
    trained = model.config.video
    names = ["attention"]
    if settings.attention == trained.attention == "hta":
        names += ["levels", "tokens", "temporal_scale", "patches_see_cls", "levels_see"]
    for name in names:
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
