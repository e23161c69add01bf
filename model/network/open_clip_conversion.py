"""Converts the CLIPs of open_clip and OpenAI to VidLA. Only this file knows their parameter names.

Both name parameters alike. A configuration of open_clip (open_clip_config.json) states the sizes; a file of OpenAI's
states none, but all of its models have heads of width 64 and quick_gelu.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import Tensor

from curation.clip_tokenizer import END_TOKEN, SIZE
from model.network.architecture import CLIP_MEAN, CLIP_STD, Activation, ModelError, TextConfig, TransformerConfig
from model.network.clip_towers import ClipTowers, check_all_taken, take, triple

CONFIG = "open_clip_config.json"
WEIGHTS = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    "open_clip_pytorch_model.pth",
)
_HEAD = 64
_OUTSIDE_LAYERS = {
    "video.class_embedding": "visual.class_embedding",
    "video.patch_embedding.weight": "visual.conv1.weight",
    "video.position_embedding": "visual.positional_embedding",
    "video.pre_norm.weight": "visual.ln_pre.weight",
    "video.pre_norm.bias": "visual.ln_pre.bias",
    "video.post_norm.weight": "visual.ln_post.weight",
    "video.post_norm.bias": "visual.ln_post.bias",
    "video.projection.weight": "visual.proj",
    "text.token_embedding.weight": "token_embedding.weight",
    "text.position_embedding": "positional_embedding",
    "text.final_norm.weight": "ln_final.weight",
    "text.final_norm.bias": "ln_final.bias",
    "text.projection.weight": "text_projection",
    "logit_scale": "logit_scale",
}
_IN_LAYER = {
    "norm1.weight": "ln_1.weight",
    "norm1.bias": "ln_1.bias",
    "attention.qkv.weight": "attn.in_proj_weight",
    "attention.qkv.bias": "attn.in_proj_bias",
    "attention.out.weight": "attn.out_proj.weight",
    "attention.out.bias": "attn.out_proj.bias",
    "norm2.weight": "ln_2.weight",
    "norm2.bias": "ln_2.bias",
    "mlp.fc1.weight": "mlp.c_fc.weight",
    "mlp.fc1.bias": "mlp.c_fc.bias",
    "mlp.fc2.weight": "mlp.c_proj.weight",
    "mlp.fc2.bias": "mlp.c_proj.bias",
}
_TRANSPOSED: Mapping[str, Callable[[Tensor], Tensor]] = {
    "video.projection.weight": lambda weight: weight.T if weight.ndim == 2 else weight,
    "text.projection.weight": lambda weight: weight.T if weight.ndim == 2 else weight,
    "logit_scale": lambda scale: scale.reshape(()) if scale.numel() == 1 else scale,
}
_SIZES = {
    "vision_cfg": {"layers", "width", "head_width", "mlp_ratio", "patch_size", "image_size"},
    "text_cfg": {"layers", "width", "heads", "mlp_ratio", "context_length", "vocab_size"},
}
_WITHOUT_EFFECT = (  # in an evaluation, or beside the other defaults
    *("patch_dropout", "output_tokens", "pad_id", "eos_id", "attn_pooler_queries", "attn_pooler_heads", "timm_pool"),
    *("timm_proj", "timm_drop", "timm_model_pretrained", "hf_proj_type", "hf_pooler_type", "hf_model_pretrained"),
)
_DEFAULTS: tuple[Any, ...] = (None, False, 0, {}, "learnable", "tok", "argmax", "linear", "default")


def is_open_clip(state: Mapping[str, Tensor]) -> bool:
    """Whether parameters have the names of open_clip's and OpenAI's models."""
    return any(name.removeprefix("module.").startswith("visual.") for name in state)


def is_openai(state: Mapping[str, Tensor]) -> bool:
    """Whether a file is OpenAI's own: only those hold these numbers beside the parameters."""
    return "input_resolution" in state and "context_length" in state


def from_open_clip(state: Mapping[str, Tensor], config: Mapping[str, Any]) -> ClipTowers:
    """The towers by open_clip's configuration. Raises ModelError for another model than CLIP's own transformers."""
    try:
        model, images = config["model_cfg"], config.get("preprocess_cfg") or {}
        vision, text = model["vision_cfg"], model["text_cfg"]
        _check_kind(model)
        activation: Activation = "quick_gelu" if model.get("quick_gelu") else "gelu"
        image_size, patch_size = vision.get("image_size", 224), vision.get("patch_size", 16)
        if not isinstance(image_size, int) or not isinstance(patch_size, int):
            raise ModelError("its images or patches are not square")
        width, text_width = int(vision.get("width", 768)), int(text.get("width", 512))
        image = TransformerConfig(
            width,
            int(vision.get("layers", 12)),
            width // int(vision.get("head_width", _HEAD)),
            int(width * vision.get("mlp_ratio", 4.0)),
            activation,
        )
        text_tower = TransformerConfig(
            text_width,
            int(text.get("layers", 12)),
            int(text.get("heads", 8)),
            int(text_width * text.get("mlp_ratio", 4.0)),
            activation,
        )
        vocabulary, context = int(text.get("vocab_size", SIZE)), int(text.get("context_length", 77))
        features = int(model["embed_dim"])
        mean, std = triple(images, "mean", CLIP_MEAN), triple(images, "std", CLIP_STD)
    except ModelError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise ModelError(f"its {CONFIG} is not open_clip's: {type(error).__name__} {error}") from None
    text_config = TextConfig(text_tower, vocabulary, context, _end_token(vocabulary))
    parameters = _convert(state, image, text_tower, CONFIG)
    return ClipTowers(image, image_size, patch_size, text_config, features, parameters, mean, std)


def from_openai(state: Mapping[str, Tensor]) -> ClipTowers:
    """The towers in a file of OpenAI's, whose sizes are those of its parameters. Raises ModelError."""
    if "visual.proj" not in state:
        raise ModelError("its image tower is a ResNet: take one of OpenAI's ViT models")
    try:
        width, _, patch_size, _ = state["visual.conv1.weight"].shape
        positions, _ = state["visual.positional_embedding"].shape
        vocabulary, text_width = state["token_embedding.weight"].shape
        context, _ = state["positional_embedding"].shape
        _, features = state["text_projection"].shape
    except (KeyError, ValueError) as error:
        raise ModelError(f"it is not a CLIP: {error}") from None
    layers = [
        sum(name.startswith(tower) and name.endswith("ln_1.weight") for name in state)
        for tower in ("visual.transformer.resblocks.", "transformer.resblocks.")
    ]
    image = TransformerConfig(width, layers[0], width // _HEAD, 4 * width)
    text = TransformerConfig(text_width, layers[1], text_width // _HEAD, 4 * text_width)
    parameters = _convert(state, image, text, "shapes")
    image_size = patch_size * math.isqrt(max(0, positions - 1))
    text_config = TextConfig(text, vocabulary, context, _end_token(vocabulary))
    return ClipTowers(image, image_size, patch_size, text_config, features, parameters)


def _end_token(vocabulary: int) -> int:
    """These models end a text at its highest token."""
    return END_TOKEN if vocabulary >= SIZE else vocabulary - 1


def _check_kind(model: Mapping[str, Any]) -> None:
    """Raises ModelError for what a plain CLIP does not have."""
    if "init_logit_bias" in model or "multimodal_cfg" in model:
        raise ModelError("it is a SigLIP or CoCa: VidLA starts from a CLIP with two transformers")
    for section, sizes in _SIZES.items():
        for key, value in model[section].items():
            if key not in sizes and key not in _WITHOUT_EFFECT and value not in _DEFAULTS:
                raise ModelError(
                    f"{section}.{key} = {value!r} in its {CONFIG}: VidLA starts from a CLIP with two transformers, "
                    "CLIP's vocabulary and none of open_clip's variations"
                )


def _convert(
    state: Mapping[str, Tensor], image: TransformerConfig, text: TransformerConfig, config: str
) -> dict[str, Tensor]:
    """The parameters under VidLA's names. Raises ModelError if some are missing or left."""
    left = {_plain(name): value for name, value in state.items()}
    converted = {}
    for name, their_name in _names(image, text):
        parameter = take(left, [their_name], config)
        converted[name] = _TRANSPOSED[name](parameter) if name in _TRANSPOSED else parameter
    check_all_taken(left, config)
    return converted


def _plain(name: str) -> str:
    """A parameter's name in a model that is neither wrapped in DDP nor has a class of its own for the text tower."""
    return name.removeprefix("module.").removeprefix("text.")


def _names(image: TransformerConfig, text: TransformerConfig) -> Iterator[tuple[str, str]]:
    yield from _OUTSIDE_LAYERS.items()
    for tower, prefix, transformer in (("video", "visual.", image), ("text", "", text)):
        for i in range(transformer.layers):
            for name, their_name in _IN_LAYER.items():
                yield f"{tower}.layers.{i}.{name}", f"{prefix}transformer.resblocks.{i}.{their_name}"
