"""From a CLIP of transformers to VidLA, and back: the one place that knows both sides' names."""

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
from model.network.video import resize_space
from model.network.vidla import VidLA, misfit
from model.settings import ModelSettings

_OUTSIDE = {
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
_LAYER = {
    "norm1": ["layer_norm1"],
    "attention.qkv": ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
    "attention.out": ["self_attn.out_proj"],
    "norm2": ["layer_norm2"],
    "mlp.fc1": ["mlp.fc1"],
    "mlp.fc2": ["mlp.fc2"],
}


class ClipError(ModelError):
    """A CLIP that VidLA cannot start from; the message says why, and what to do."""


def from_clip(settings: ModelSettings) -> VidLA:
    """A VidLA with the weights of the CLIP that `settings` name, which computes what CLIP does as far as it can.

    Patches are embedded as CLIP embeds them; its position embedding is interpolated for another image size. The
    temporal attention starts from CLIP's own attention of the same layer, with a zero output projection; [MST] is
    random. The temperature starts anew. Only safetensors are opened. Raises ClipError in one line.
    """
    clip, images = _load(settings.weights, settings.revision)
    try:
        own = _config(clip, settings, images)
        model = VidLA(own)
    except ModelError as error:
        raise ClipError(f"{settings.weights}: {error}") from None
    before, state = clip.state_dict(), model.state_dict()
    for name, theirs in _names(own):
        state[name] = torch.cat([before[n] for n in theirs]) if len(theirs) > 1 else before[theirs[0]]
    side = own.video.image_size // own.video.patch_size
    state["video.position_embedding"] = resize_space(state["video.position_embedding"], side)
    state["logit_scale"] = model.logit_scale.detach()
    if own.video.temporal:
        for i in range(own.video.transformer.layers):
            for kind in ("weight", "bias"):
                layer = f"video.layers.{i}"
                state[f"{layer}.temporal_norm.{kind}"] = state[f"{layer}.norm1.{kind}"]
                state[f"{layer}.temporal_attention.qkv.{kind}"] = state[f"{layer}.attention.qkv.{kind}"]
    fault = misfit(state, model)
    if fault:
        raise ClipError(f"{settings.weights}: {fault}")
    model.load_state_dict(state)
    return model


def to_clip(model: VidLA, directory: Path) -> None:
    """Write both towers as a CLIPModel of transformers, with a README that says what it computes."""
    video, text = model.config.video, model.config.text
    configs, models = from_transformers("CLIPConfig", "CLIPModel")
    clip = models(
        configs(
            projection_dim=model.config.features,
            vision_config={
                **_their_sizes(video.transformer),
                "image_size": video.image_size,
                "patch_size": video.patch_size,
                "projection_dim": model.config.features,
            },
            text_config={
                **_their_sizes(text.transformer),
                "vocab_size": text.vocabulary,
                "max_position_embeddings": text.context,
                "eos_token_id": text.eos_token,
                "projection_dim": model.config.features,
            },
        )
    )
    state: dict[str, torch.Tensor] = {}
    own = model.state_dict()
    for name, theirs in _names(model.config):
        parts = own[name].chunk(len(theirs)) if len(theirs) > 1 else [own[name]]
        state.update(zip(theirs, parts, strict=True))
    clip.load_state_dict(state)
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


def _names(config: VidLAConfig) -> Iterator[tuple[str, list[str]]]:
    """Each parameter that both sides have: our name, and CLIP's, of which there are three where we have them in one."""
    for name, theirs in _OUTSIDE.items():
        yield name, [theirs]
    towers = (("video", "vision_model", config.video.transformer), ("text", "text_model", config.text.transformer))
    for own, their, transformer in towers:
        for i in range(transformer.layers):
            for part, names in _LAYER.items():
                for kind in ("weight", "bias"):
                    layer = f"{their}.encoder.layers.{i}"
                    yield f"{own}.layers.{i}.{part}.{kind}", [f"{layer}.{name}.{kind}" for name in names]


def _load(source: str, revision: str | None) -> tuple[Any, dict[str, Any]]:
    """The CLIPModel in a directory or on a hub, in float32, and how its images are prepared, as far as it says."""
    local = Path(source).is_dir()
    where = {"revision": revision, "local_files_only": local}
    configs, models, processors = from_transformers("PreTrainedConfig", "CLIPModel", "ImageProcessingMixin")
    try:
        kind = configs.get_config_dict(source, **where)[0].get("model_type")
        if kind != "clip":
            raise ClipError(
                f"{source} holds a model of type {kind!r}: VidLA starts from a CLIPModel of transformers, with both "
                "towers and a class embedding"
            )
        clip, report = models.from_pretrained(
            source,
            **where,
            dtype=torch.float32,
            use_safetensors=True,
            ignore_mismatched_sizes=True,  # so that `report` names them
            output_loading_info=True,
        )
    except ClipError:
        raise
    except Exception as error:  # broken files make transformers raise of every kind
        unknown = "" if local else " (there is no such directory here; as a name on a hub:)"
        raise ClipError(f"{source} cannot be read as a CLIP in safetensors{unknown}: {_one_line(error)}") from None
    faults = sorted([*report["missing_keys"], *(name for name, *_ in report["mismatched_keys"])])
    if faults:
        raise ClipError(
            f"{source} is no whole CLIP: {faults[0]} is missing or of another shape than its config.json says"
            + (f", and so are {len(faults) - 1} others" if len(faults) > 1 else "")
        )
    try:
        return clip, processors.get_image_processor_dict(source, **where)[0]
    except OSError:
        return clip, {}


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def _config(clip: Any, settings: ModelSettings, images: dict[str, Any]) -> VidLAConfig:
    """What `settings` make of a CLIP. Images that do not say what they are normalised with are as OpenAI's."""
    theirs, text = clip.config.vision_config, clip.config.text_config
    if not isinstance(theirs.image_size, int) or not isinstance(theirs.patch_size, int) or theirs.num_channels != 3:
        raise ModelError("its images are not square, in square patches, or not in colour")
    if not isinstance(text.eos_token_id, int):
        raise ModelError(f"a text must end with one token, not with {text.eos_token_id}")
    video = VideoConfig(
        transformer=_own_sizes(theirs),
        image_size=settings.image_size or theirs.image_size,
        patch_size=theirs.patch_size,
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
    tower = TextConfig(_own_sizes(text), text.vocab_size, text.max_position_embeddings, text.eos_token_id)
    return VidLAConfig(video, tower, clip.config.projection_dim)


def _own_sizes(config: Any) -> TransformerConfig:
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


def _their_sizes(config: TransformerConfig) -> dict[str, Any]:
    return {
        "hidden_size": config.width,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "intermediate_size": config.mlp_width,
        "hidden_act": config.activation,
        "layer_norm_eps": config.norm_eps,
    }


def _readme(video: VideoConfig) -> str:
    """What an exported CLIP computes, compared with the VidLA that it was."""
    if video.attention == "frame":
        images = "The video encoder's features are the mean, over the frames, of the image encoder's."
    else:
        images = f"""\
The image encoder is **not** the video encoder (attention: {video.attention}, frames: {video.frames}). It lacks the
temporal embedding, the temporal attentions and the [MST] tokens. Both would be the same for a video of one frame if
that embedding and the output projections of those attentions were zero, there were no [MST], and patches attended to
[CLS]. Take it as an image encoder to go on from."""
    return f"""\
# The towers of a VidLA, as a CLIPModel of transformers

The text tower is exactly the trained one, and so is the logit scale.

{images}
"""
