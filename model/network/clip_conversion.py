"""Converts a CLIP of transformers to VidLA and back. Only this file knows the parameter names of both."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from curation.local_models import from_transformers
from model.network.architecture import (
    CLIP_MEAN,
    CLIP_STD,
    ModelError,
    TextConfig,
    TransformerConfig,
    VideoConfig,
    VidLAConfig,
)
from model.network.video import resize_position_embedding
from model.network.vidla import VidLA, state_mismatch
from model.settings import ModelSettings

_OUTSIDE_LAYERS = {
    "video.class_embedding": "vision_model.embeddings.class_embedding",
    "video.patch_embedding.weight": "vision_model.embeddings.patch_embedding.weight",
    "video.position_embedding": "vision_model.embeddings.position_embedding.weight",
    "video.pre_norm.weight": "vision_model.pre_layrnorm.weight",  # sic
    "video.pre_norm.bias": "vision_model.pre_layrnorm.bias",
    "video.post_norm.weight": "vision_model.post_layernorm.weight",
    "video.post_norm.bias": "vision_model.post_layernorm.bias",
    "video.projection.weight": "visual_projection.weight",
    "text.token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "text.position_embedding": "text_model.embeddings.position_embedding.weight",
    "text.final_norm.weight": "text_model.final_layer_norm.weight",
    "text.final_norm.bias": "text_model.final_layer_norm.bias",
    "text.projection.weight": "text_projection.weight",
    "logit_scale": "logit_scale",
}
_IN_LAYER = {
    "norm1": ["layer_norm1"],
    "attention.qkv": ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
    "attention.out": ["self_attn.out_proj"],
    "norm2": ["layer_norm2"],
    "mlp.fc1": ["mlp.fc1"],
    "mlp.fc2": ["mlp.fc2"],
}


class ClipError(ModelError):
    """A CLIP that VidLA cannot start from; the message says why and what to do."""


def from_clip(settings: ModelSettings) -> VidLA:
    """A VidLA initialised from the CLIP at `settings.weights`, so that it starts as close to CLIP as it can.

    The position embedding is interpolated if the image size differs. Each temporal attention starts from the layer's
    own attention, with a zero output projection; [MST] tokens are random, and the temperature is CLIP's initial one.
    Opens only safetensors. Raises ClipError with a one-line message.
    """
    clip, images = _load_clip(settings.weights, settings.revision)
    try:
        config = _vidla_config(clip, settings, images)
        model = VidLA(config)
    except ModelError as error:
        raise ClipError(f"{settings.weights}: {error}") from None
    clip_state, state = clip.state_dict(), model.state_dict()
    for name, clip_names in _parameter_names(config):
        parts = [clip_state[n] for n in clip_names]
        state[name] = torch.cat(parts) if len(parts) > 1 else parts[0]
    side = config.video.image_size // config.video.patch_size
    state["video.position_embedding"] = resize_position_embedding(state["video.position_embedding"], side)
    state["logit_scale"] = model.logit_scale.detach()
    if config.video.temporal:
        for i in range(config.video.transformer.layers):
            for kind in ("weight", "bias"):
                layer = f"video.layers.{i}"
                state[f"{layer}.temporal_norm.{kind}"] = state[f"{layer}.norm1.{kind}"]
                state[f"{layer}.temporal_attention.qkv.{kind}"] = state[f"{layer}.attention.qkv.{kind}"]
    mismatch = state_mismatch(state, model)
    if mismatch:
        raise ClipError(f"{settings.weights}: {mismatch}")
    model.load_state_dict(state)
    return model


def to_clip(model: VidLA, directory: Path) -> None:
    """Export both towers as a CLIPModel of transformers, with a README that says what it computes."""
    video, text = model.config.video, model.config.text
    config_class, model_class = from_transformers("CLIPConfig", "CLIPModel")
    clip = model_class(
        config_class(
            projection_dim=model.config.features,
            vision_config={
                **_clip_sizes(video.transformer),
                "image_size": video.image_size,
                "patch_size": video.patch_size,
                "projection_dim": model.config.features,
            },
            text_config={
                **_clip_sizes(text.transformer),
                "vocab_size": text.vocabulary,
                "max_position_embeddings": text.context,
                "eos_token_id": text.eos_token,
                "projection_dim": model.config.features,
            },
        )
    )
    clip_state: dict[str, torch.Tensor] = {}
    state = model.state_dict()
    for name, clip_names in _parameter_names(model.config):
        parts = state[name].chunk(len(clip_names)) if len(clip_names) > 1 else [state[name]]
        clip_state.update(zip(clip_names, parts, strict=True))
    clip.load_state_dict(clip_state)
    clip.save_pretrained(directory)
    processor = {
        "image_processor_type": "CLIPImageProcessor",
        "size": {"shortest_edge": video.image_size},
        "crop_size": {"height": video.image_size, "width": video.image_size},
        "image_mean": video.image_mean,
        "image_std": video.image_std,
    }
    (directory / "preprocessor_config.json").write_text(json.dumps(processor, indent=2) + "\n", encoding="utf-8")
    (directory / "README.md").write_text(_readme(video), encoding="utf-8")


def _parameter_names(config: VidLAConfig) -> Iterator[tuple[str, list[str]]]:
    """Each shared parameter's name in VidLA, and its name in CLIP, or the names of the three that VidLA fuses."""
    for name, clip_name in _OUTSIDE_LAYERS.items():
        yield name, [clip_name]
    towers = (("video", "vision_model", config.video.transformer), ("text", "text_model", config.text.transformer))
    for tower, clip_tower, transformer in towers:
        for i in range(transformer.layers):
            for part, names in _IN_LAYER.items():
                for kind in ("weight", "bias"):
                    layer = f"{clip_tower}.encoder.layers.{i}"
                    yield f"{tower}.layers.{i}.{part}.{kind}", [f"{layer}.{name}.{kind}" for name in names]


def _load_clip(source: str, revision: str | None) -> tuple[Any, dict[str, Any]]:
    """The CLIPModel in a directory or on the hub, in float32, and its image-processing configuration, if it has one."""
    local = Path(source).is_dir()
    where = {"revision": revision, "local_files_only": local}
    config_class, model_class, processor_class = from_transformers(
        "PreTrainedConfig", "CLIPModel", "ImageProcessingMixin"
    )
    try:
        model_type = config_class.get_config_dict(source, **where)[0].get("model_type")
        if model_type != "clip":
            raise ClipError(
                f"{source} holds a model of type {model_type!r}: VidLA starts from a CLIPModel of transformers, with "
                "both towers and a class embedding"
            )
        clip, report = model_class.from_pretrained(
            source,
            **where,
            dtype=torch.float32,
            use_safetensors=True,
            ignore_mismatched_sizes=True,  # `report` lists them
            output_loading_info=True,
        )
    except ClipError:
        raise
    except Exception as error:  # for broken files transformers raises almost anything
        as_hub_name = "" if local else " (there is no such directory; tried as a name on the hub)"
        raise ClipError(f"{source} cannot be read as a CLIP in safetensors{as_hub_name}: {_one_line(error)}") from None
    faults = sorted([*report["missing_keys"], *(name for name, *_ in report["mismatched_keys"])])
    if faults:
        raise ClipError(
            f"{source} is not a complete CLIP: {faults[0]} is missing or does not have the shape in its config.json"
            + (f", and {len(faults) - 1} others too" if len(faults) > 1 else "")
        )
    try:
        return clip, processor_class.get_image_processor_dict(source, **where)[0]
    except OSError:
        return clip, {}


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def _vidla_config(clip: Any, settings: ModelSettings, images: dict[str, Any]) -> VidLAConfig:
    """The configuration that `settings` and a CLIP result in. Without `images`, normalisation is OpenAI's."""
    vision, text = clip.config.vision_config, clip.config.text_config
    if not isinstance(vision.image_size, int) or not isinstance(vision.patch_size, int) or vision.num_channels != 3:
        raise ModelError("its images or patches are not square, or not in colour")
    if not isinstance(text.eos_token_id, int):
        raise ModelError(f"a text must end with one token, not with {text.eos_token_id}")
    video = VideoConfig(
        transformer=_transformer_config(vision),
        image_size=settings.image_size or vision.image_size,
        patch_size=vision.patch_size,
        frames=settings.frames,
        attention=settings.attention,
        levels=settings.levels if settings.attention == "hta" else 0,
        tokens=settings.tokens,
        temporal_scale=settings.temporal_scale,
        patches_see_cls=settings.patches_see_cls,
        levels_see=settings.levels_see,
        image_mean=tuple(images.get("image_mean", CLIP_MEAN)),
        image_std=tuple(images.get("image_std", CLIP_STD)),
    )
    text_config = TextConfig(
        _transformer_config(text), text.vocab_size, text.max_position_embeddings, text.eos_token_id
    )
    return VidLAConfig(video, text_config, clip.config.projection_dim)


def _transformer_config(config: Any) -> TransformerConfig:
    activation = config.hidden_act
    if activation not in ("quick_gelu", "gelu"):
        raise ModelError(f"its activation {activation!r} is neither quick_gelu nor gelu")
    return TransformerConfig(
        width=config.hidden_size,
        layers=config.num_hidden_layers,
        heads=config.num_attention_heads,
        mlp_width=config.intermediate_size,
        activation=activation,
        norm_eps=config.layer_norm_eps,
    )


def _clip_sizes(config: TransformerConfig) -> dict[str, Any]:
    return {
        "hidden_size": config.width,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "intermediate_size": config.mlp_width,
        "hidden_act": config.activation,
        "layer_norm_eps": config.norm_eps,
    }


def _readme(video: VideoConfig) -> str:
    """Explains what an exported CLIP computes, compared with its VidLA."""
    if video.attention == "frame":
        images = "The video encoder's features are the mean, over the frames, of the image encoder's."
    else:
        images = f"""\
The image encoder is **not** the video encoder (attention: {video.attention}, frames: {video.frames}). It lacks the
temporal embedding, the temporal attentions and the [MST] tokens. The two are equal only for a video of one frame, with
that embedding and the output projections of those attentions zero, without [MST], and with patches attending to
[CLS]. Use it as an image encoder to train further."""
    return f"""\
# The towers of a VidLA, as a CLIPModel of transformers

The text tower is exactly the trained one, and so is the logit scale.

{images}
"""
