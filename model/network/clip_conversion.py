"""Initialises a VidLA from a CLIP."""

from __future__ import annotations

import math

import torch

from model.network.architecture import ModelError, VideoConfig, VidLAConfig
from model.network.clip_reading import read_clip
from model.network.clip_towers import ClipError, ClipTowers
from model.network.video import resize_position_embedding
from model.network.vidla import MAX_LOGIT_SCALE, VidLA, state_mismatch
from model.settings import ModelSettings


def from_clip(settings: ModelSettings) -> VidLA:
    """A VidLA initialised from the CLIP at `settings.weights`, so that it starts as close to CLIP as it can.

    The position embedding is interpolated if the image size differs. Each temporal attention starts from the layer's
    own attention, with a zero output projection; [MST] tokens are random; the temperature is that of the CLIP, up to
    the limit that training keeps to. Runs nothing in the files. Raises ClipError with a one-line message.
    """
    try:
        clip = read_clip(settings.weights, settings.revision)
        config = _vidla_config(clip, settings)
        outline = VidLA.outline(config)
        own = {name: value for name, value in outline.items() if name not in clip.state}
        resized = {"video.position_embedding": outline["video.position_embedding"]}
        if mismatch := state_mismatch(own | clip.state | resized, outline):
            raise ModelError(f"its weights do not fit its sizes: {mismatch}")
    except ModelError as error:
        raise ClipError(f"{settings.weights}: {error}") from None
    model = VidLA(config)
    state = {**model.state_dict(), **clip.state}
    side = config.video.image_size // config.video.patch_size
    state["video.position_embedding"] = resize_position_embedding(_floats(state["video.position_embedding"]), side)
    state["logit_scale"] = _floats(state["logit_scale"]).clamp(max=math.log(MAX_LOGIT_SCALE))
    if config.video.temporal:
        for i in range(config.video.transformer.layers):
            for kind in ("weight", "bias"):
                layer = f"video.layers.{i}"
                state[f"{layer}.temporal_norm.{kind}"] = state[f"{layer}.norm1.{kind}"]
                state[f"{layer}.temporal_attention.qkv.{kind}"] = state[f"{layer}.attention.qkv.{kind}"]
    model.load_state_dict(state)
    return model


def _floats(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to(torch.float32)


def _vidla_config(clip: ClipTowers, settings: ModelSettings) -> VidLAConfig:
    video = VideoConfig(
        transformer=clip.image,
        image_size=settings.image_size or clip.image_size,
        patch_size=clip.patch_size,
        frames=settings.frames,
        attention=settings.attention,
        levels=settings.levels if settings.attention == "hta" else 0,
        tokens=settings.tokens,
        temporal_scale=settings.temporal_scale,
        patches_see_cls=settings.patches_see_cls,
        levels_see=settings.levels_see,
        image_mean=clip.image_mean,
        image_std=clip.image_std,
    )
    return VidLAConfig(video, clip.text, clip.features)
