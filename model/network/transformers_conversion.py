"""Converts a CLIPModel of transformers to VidLA and back. Only this file knows its parameter names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from curation.errors import one_line
from curation.local_models import from_transformers as import_from_transformers
from model.network.architecture import (
    CLIP_MEAN,
    CLIP_STD,
    ModelError,
    TextConfig,
    TransformerConfig,
    VidLAConfig,
)
from model.network.clip_towers import ClipTowers, check_all_taken, take, triple

CONFIG, IMAGES = "config.json", "preprocessor_config.json"
WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
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


_TOWERS = ("vision_config", "text_config", "vision_config_dict", "text_config_dict")
_SHARED = (*_TOWERS, "model_type", "projection_dim")
_SIZES = (
    *("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "hidden_act", "layer_norm_eps"),
    *("image_size", "patch_size", "num_channels", "vocab_size", "max_position_embeddings", "eos_token_id"),
    "projection_dim",
)


def from_transformers(state: Mapping[str, Tensor], config: Mapping[str, Any], images: Mapping[str, Any]) -> ClipTowers:
    """The towers by the contents of config.json and preprocessor_config.json. Raises ModelError.

    Without a mean and a standard deviation in `images`, they are those of OpenAI's CLIP.
    """
    try:
        clip = _read_config(config)
        vision, text = clip.vision_config, clip.text_config
        if not isinstance(vision.image_size, int) or not isinstance(vision.patch_size, int) or vision.num_channels != 3:
            raise ModelError("its images or patches are not square, or not in colour")
        if not isinstance(text.eos_token_id, int):
            raise ModelError(f"a text must end with one token, not with {text.eos_token_id}")
        image_tower, text_tower = _transformer_config(vision), _transformer_config(text)
        text_config = TextConfig(text_tower, text.vocab_size, text.max_position_embeddings, text.eos_token_id)
    except ModelError:
        raise
    except (AttributeError, TypeError, ValueError) as error:
        raise ModelError(f"its {CONFIG} cannot be used: {one_line(error, 200)}") from None
    mean, std = triple(images, "image_mean", CLIP_MEAN), triple(images, "image_std", CLIP_STD)
    left = dict(state)
    names = parameter_names(image_tower, text_tower)
    converted = {name: take(left, their_names, CONFIG) for name, their_names in names}
    check_all_taken(left, CONFIG)
    return ClipTowers(
        image_tower, vision.image_size, vision.patch_size, text_config, clip.projection_dim, converted, mean, std
    )


def to_transformers(state: Mapping[str, Tensor], config: VidLAConfig) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The parameters that a CLIPModel has, too, under its names, and the arguments of its CLIPConfig."""
    video, text = config.video, config.text
    converted: dict[str, Tensor] = {}
    for name, their_names in parameter_names(video.transformer, text.transformer):
        parts = state[name].chunk(len(their_names)) if len(their_names) > 1 else [state[name]]
        converted.update(zip(their_names, parts, strict=True))
    return converted, {
        "projection_dim": config.features,
        "vision_config": {
            **_clip_sizes(video.transformer),
            "image_size": video.image_size,
            "patch_size": video.patch_size,
            "projection_dim": config.features,
        },
        "text_config": {
            **_clip_sizes(text.transformer),
            "vocab_size": text.vocabulary,
            "max_position_embeddings": text.context,
            "eos_token_id": text.eos_token,
            "projection_dim": config.features,
        },
    }


def parameter_names(image: TransformerConfig, text: TransformerConfig) -> Iterator[tuple[str, list[str]]]:
    """Each shared parameter's name in VidLA, and its name in CLIP, or the names of the three that VidLA fuses."""
    for name, clip_name in _OUTSIDE_LAYERS.items():
        yield name, [clip_name]
    towers = (("video", "vision_model", image), ("text", "text_model", text))
    for tower, clip_tower, transformer in towers:
        for i in range(transformer.layers):
            for part, names in _IN_LAYER.items():
                for kind in ("weight", "bias"):
                    layer = f"{clip_tower}.encoder.layers.{i}"
                    yield f"{tower}.layers.{i}.{part}.{kind}", [f"{layer}.{name}.{kind}" for name in names]


def _read_config(config: Mapping[str, Any]) -> Any:
    """A CLIPConfig of the sizes alone: of others, such as num_labels, transformers would make what they declare."""
    (config_class,) = import_from_transformers("CLIPConfig")
    chosen = {key: _only_sizes(value) if key in _TOWERS else value for key, value in config.items() if key in _SHARED}
    try:
        return config_class.from_dict(chosen)
    except Exception as error:  # transformers raises almost anything
        raise ModelError(f"its {CONFIG} cannot be used: {one_line(error, 200)}") from None


def _only_sizes(tower: Any) -> Any:
    return {key: tower[key] for key in _SIZES if key in tower} if isinstance(tower, Mapping) else tower


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
