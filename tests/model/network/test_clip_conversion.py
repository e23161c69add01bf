"""From CLIP to VidLA and back, against the forward pass of transformers."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    CLIPModel,
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    SiglipConfig,
    SiglipModel,
)

from model.network.architecture import ModelError
from model.network.clip_conversion import ClipError, from_clip
from model.network.clip_export import to_clip
from model.network.initial import initial_model
from model.network.vidla import VidLA
from model.settings import ModelSettings
from tests.support.small_clip import EOS, FEATURES, small_clip

SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return small_clip(tmp_path / "clip")


def settings(source: Path | str, **changes: Any) -> ModelSettings:
    return ModelSettings(weights=str(source), **changes)


def texts(eos: int = EOS) -> torch.Tensor:
    """Texts of several lengths, padded with noise or with their last token."""
    torch.manual_seed(6)
    tokens = torch.randint(3, EOS, (5, 12))
    tokens[range(5), [3, 5, 8, 11, 2]] = eos
    tokens[4, 3:] = eos
    return tokens


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
def test_texts_are_what_clip_says_of_them(tmp_path: Path, activation: str) -> None:
    source = small_clip(tmp_path / "clip", hidden_act=activation, vision={"hidden_act": activation})
    with torch.no_grad():
        wanted = CLIPModel.from_pretrained(source).double().get_text_features(texts()).pooler_output
        got = from_clip(settings(source)).double().encode_text(texts())
    assert got.shape == (5, FEATURES)
    assert (got - wanted).abs().max() <= 4e-15


def test_a_text_ends_at_its_first_end_mark_though_higher_tokens_stand_in_it(tmp_path: Path) -> None:
    source = small_clip(tmp_path / "clip", eos_token_id=EOS // 2)
    with torch.no_grad():
        wanted = CLIPModel.from_pretrained(source).double().get_text_features(texts(EOS // 2)).pooler_output
        got = from_clip(settings(source)).double().encode_text(texts(EOS // 2))
    assert (got - wanted).abs().max() <= 4e-15


def test_the_legacy_end_of_text_is_the_highest_token(tmp_path: Path) -> None:
    source = small_clip(tmp_path / "clip", eos_token_id=2)
    tokens = texts()
    tokens[:, 1] = 2  # the configured end token occurs elsewhere
    with torch.no_grad():
        wanted = CLIPModel.from_pretrained(source).double().get_text_features(tokens).pooler_output
        got = from_clip(settings(source)).double().encode_text(tokens)
    assert (got - wanted).abs().max() <= 4e-15


def test_images_of_another_activation_are_what_clip_says(tmp_path: Path) -> None:
    source = small_clip(tmp_path / "clip", vision={"hidden_act": "gelu", "num_attention_heads": 2})
    pixels = torch.randn(2, 1, 3, 32, 32, dtype=torch.double)
    with torch.no_grad():
        wanted = CLIPModel.from_pretrained(source).double().get_image_features(pixels[:, 0]).pooler_output
        got = from_clip(settings(source, frames=1, levels=0)).double().encode_video(pixels)
    assert (got - wanted).abs().max() <= 4e-15


def test_what_is_new_starts_from_what_clip_has(clip: Path) -> None:
    model = from_clip(settings(clip))
    for layer in model.video.layers:
        for kind in ("weight", "bias"):
            assert torch.equal(getattr(layer.temporal_norm, kind), getattr(layer.norm1, kind))
            assert torch.equal(getattr(layer.temporal_attention.qkv, kind), getattr(layer.attention.qkv, kind))
            assert not getattr(layer.temporal_attention.out, kind).any()
    assert not model.video.temporal_embedding.any()
    assert model.video.mst.std() > 0
    assert model.logit_scale.item() == pytest.approx(2.6592)  # the CLIP's own


def test_the_temperature_is_that_of_the_clip_unless_another_one_is_set(clip: Path, tmp_path: Path) -> None:
    edit_weights(clip, logit_scale=torch.tensor(4.0))
    assert initial_model(settings(clip)).logit_scale.item() == 4.0
    model = initial_model(settings(clip, temperature=0.07))
    assert model.logit_scale.item() == pytest.approx(math.log(1 / 0.07))
    model.save(tmp_path / "vidla")
    assert initial_model(settings(tmp_path / "vidla")).logit_scale == model.logit_scale
    assert initial_model(settings(tmp_path / "vidla", temperature=0.02)).logit_scale.item() == pytest.approx(
        math.log(50)
    )
    edit_weights(clip, logit_scale=torch.tensor(9.0))
    assert initial_model(settings(clip)).logit_scale.item() == pytest.approx(math.log(100))


@pytest.mark.parametrize("attention", ["hta", "frame", "joint", "divided"])
def test_what_came_from_clip_goes_back_bit_for_bit(clip: Path, tmp_path: Path, attention: str) -> None:
    to_clip(from_clip(settings(clip, attention=attention)), tmp_path / "back")
    before, after = CLIPModel.from_pretrained(clip), CLIPModel.from_pretrained(tmp_path / "back")
    for name, tensor in before.state_dict().items():
        assert torch.equal(after.state_dict()[name], tensor), name
    ours, theirs = after.config, before.config
    for tower in ("vision_config", "text_config"):
        for key in (*SMALL, "hidden_act", "layer_norm_eps"):
            assert getattr(getattr(ours, tower), key) == getattr(getattr(theirs, tower), key), key


def test_an_export_says_of_texts_and_frames_what_the_trained_model_does(clip: Path, tmp_path: Path) -> None:
    model = from_clip(settings(clip, attention="frame", frames=3, image_size=48))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    to_clip(model, tmp_path / "export")
    export = CLIPModel.from_pretrained(tmp_path / "export").double()
    pixels = torch.randn(2, 3, 3, 48, 48, dtype=torch.double)
    with torch.no_grad():
        model.double()
        of_frames = export.get_image_features(pixels.flatten(0, 1)).pooler_output.unflatten(0, (2, 3))
        assert (model.encode_video(pixels) - of_frames.mean(1)).abs().max() <= 4e-15
        of_texts = export.get_text_features(texts()).pooler_output
        assert (model.encode_text(texts()) - of_texts).abs().max() <= 4e-15
    assert export.logit_scale == model.logit_scale


def test_images_are_normalised_as_the_clip_says(clip: Path, tmp_path: Path) -> None:
    assert from_clip(settings(clip)).config.video.image_mean[0] == 0.48145466
    (clip / "preprocessor_config.json").write_text('{"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.25, 0.5]}')
    model = from_clip(settings(clip))
    assert (model.config.video.image_mean, model.config.video.image_std) == ((0.5, 0.5, 0.5), (0.5, 0.25, 0.5))
    to_clip(model, tmp_path / "back")
    assert from_clip(settings(tmp_path / "back")).config == model.config


def test_half_precision_weights_are_read_in_full(clip: Path) -> None:
    state = load_file(clip / "model.safetensors")
    save_file({k: v.half() for k, v in state.items()}, clip / "model.safetensors", {"format": "pt"})
    assert {p.dtype for p in from_clip(settings(clip)).parameters()} == {torch.float32}


def edit_config(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    for key, value in changes.items():
        config[key] = {**config[key], **value} if isinstance(value, dict) else value
    (folder / "config.json").write_text(json.dumps(config))


def edit_weights(folder: Path, **changes: torch.Tensor | None) -> None:
    """Replace parameters (dots written as __), or remove those whose new value is None."""
    state = load_file(folder / "model.safetensors")
    for name, tensor in changes.items():
        del state[name.replace("__", ".")]
        if tensor is not None:
            state[name.replace("__", ".")] = tensor
    save_file(state, folder / "model.safetensors", {"format": "pt"})


def siglip(folder: Path) -> None:
    sizes = {**SMALL, "vocab_size": 100}
    SiglipModel(
        SiglipConfig(text_config=sizes, vision_config={**SMALL, "image_size": 32, "patch_size": 8})
    ).save_pretrained(folder)


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "siglip": (siglip, "it is a model of type 'siglip'"),
    "text alone": (
        lambda f: CLIPTextModelWithProjection(CLIPTextConfig(**SMALL)).save_pretrained(f),
        "it is a model of type 'clip_text_model'",
    ),
    "images alone": (
        lambda f: CLIPVisionModelWithProjection(CLIPVisionConfig(**SMALL, image_size=32)).save_pretrained(f),
        "it is a model of type 'clip_vision_model'",
    ),
    "no class embedding": (
        lambda f: edit_weights(f, vision_model__embeddings__class_embedding=None),
        "vision_model.embeddings.class_embedding is missing, which its config.json asks for",
    ),
    "another shape": (
        lambda f: edit_weights(f, visual_projection__weight=torch.zeros(3, 4)),
        "its weights do not fit its sizes: video.projection.weight is (3, 4), not (24, 32)",
    ),
    "fewer layers than it says": (
        lambda f: edit_config(f, vision_config={"num_hidden_layers": 3}),
        "vision_model.encoder.layers.2.layer_norm1.weight is missing",
    ),
    "more layers than it says": (
        lambda f: edit_config(f, text_config={"num_hidden_layers": 1}),
        "does not account for: text_model.encoder.layers.1.layer_norm1.bias and 15 more",
    ),
    "cut short": (
        lambda f: (f / "model.safetensors").write_bytes((f / "model.safetensors").read_bytes()[:20000]),
        "model.safetensors cannot be read",
    ),
    "no JSON": (lambda f: (f / "config.json").write_text("{"), "config.json cannot be read"),
    "a list": (lambda f: (f / "config.json").write_text("[]"), "config.json is not a JSON object"),
    "a width in words": (
        lambda f: edit_config(f, vision_config={"hidden_size": "wide"}),
        "its config.json cannot be used",
    ),
    "an impossible number of heads": (
        lambda f: edit_config(f, vision_config={"num_attention_heads": 3}),
        "not a multiple of the number of attention heads",
    ),
    "an activation that CLIP never had": (
        lambda f: edit_config(f, vision_config={"hidden_act": "silu"}),
        "activation 'silu' is neither quick_gelu nor gelu",
    ),
    "several ends of text": (lambda f: edit_config(f, text_config={"eos_token_id": [1, 2]}), "must end with one token"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_does_not_fit_is_refused_in_one_line(tmp_path: Path, case: str) -> None:
    folder = small_clip(tmp_path / "clip")
    make, message = BROKEN[case]
    make(folder)
    with pytest.raises(ClipError) as error:
        from_clip(settings(folder))
    assert message in str(error.value)
    assert str(folder) in str(error.value)
    assert "\n" not in str(error.value)


SIZES = {
    None: ("projection_dim",),
    "vision_config": ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "image_size",
                      "patch_size", "num_channels", "layer_norm_eps", "hidden_act"),
    "text_config": ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size",
                    "max_position_embeddings", "layer_norm_eps", "hidden_act"),
}  # fmt: skip


@pytest.mark.parametrize("value", [None, 0.5, -1, "16", True, [16, 16], 10**9, 10**30, math.nan, "a\nb"], ids=repr)
def test_a_wrong_size_is_refused_in_one_line_before_it_is_made(clip: Path, value: object) -> None:
    before = (clip / "config.json").read_text()
    for section, keys in SIZES.items():
        for key in keys:
            if (key, value) in ITS_OWN:
                continue
            edit_config(clip, **({key: value} if section is None else {section: {key: value}}))
            with pytest.raises(ClipError) as error:
                from_clip(settings(clip))
            assert "\n" not in str(error.value), key
            (clip / "config.json").write_text(before)


ITS_OWN = (("layer_norm_eps", 0.5), ("layer_norm_eps", True))
"""No size, so these are allowed, or transformers makes a number of it."""


def test_what_a_configuration_declares_beside_its_sizes_is_not_made(clip: Path) -> None:
    edit_config(clip, num_labels=10**12, text_config={"num_labels": 10**12}, vision_config={"num_labels": 10**12})
    from_clip(settings(clip))


@pytest.mark.parametrize(
    "value",
    ["abc", 1.0, [], [0.5], [0.5] * 4, ["a", "b", "c"], [None] * 3, [[0.5]] * 3, {"a": 1}, [math.inf] * 3, True],
)
def test_a_wrong_normalisation_is_refused_in_one_line(clip: Path, value: object) -> None:
    for key in ("image_mean", "image_std"):
        (clip / "preprocessor_config.json").write_text(json.dumps({key: value}))
        with pytest.raises(ClipError, match=f"its {key} should be a number for red, green and blue each"):
            from_clip(settings(clip))
    (clip / "preprocessor_config.json").write_text(json.dumps({"image_std": [0.5, 0, 0.5]}))
    with pytest.raises(ClipError, match="its image_std should be"):
        from_clip(settings(clip))


TENSORS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "whole numbers": lambda v: v.to(torch.int32),
    "complex": lambda v: v.to(torch.complex64),
    "bool": lambda v: v.bool(),
    "sparse": lambda v: v.to_sparse(),
    "meta": lambda v: v.to("meta"),
    "larger than the file": lambda v: v.flatten()[:1].expand(10**13),
    "not a number": lambda v: v.clone().fill_(math.nan),
    "infinite": lambda v: v.clone().fill_(-math.inf),
}
_REFUSED = {
    "larger than the file": "more than the file holds of it",
    "not a number": "infinite or not numbers",
    "infinite": "infinite or not numbers",
}


@pytest.mark.parametrize("kind", TENSORS)
def test_what_is_no_parameter_is_refused_in_one_line(clip: Path, kind: str) -> None:
    state = load_file(clip / "model.safetensors")
    (clip / "model.safetensors").unlink()
    attention = "text_model.encoder.layers.0.self_attn.q_proj.weight"
    for name in ("logit_scale", "text_projection.weight", "vision_model.embeddings.class_embedding", attention):
        torch.save({**state, name: TENSORS[kind](state[name])}, clip / "pytorch_model.bin")
        message = _REFUSED.get(kind, "not of plain floating-point numbers")
        with pytest.raises(ClipError, match=f"{name} (is|has) .*{message}") as error:
            from_clip(settings(clip))
        assert "\n" not in str(error.value)


def test_a_saved_model_is_compared_with_its_weights_before_it_is_made(clip: Path, tmp_path: Path) -> None:
    from_clip(settings(clip, frames=2, levels=1, tokens=2)).save(tmp_path / "saved")
    config = json.loads((tmp_path / "saved" / "config.json").read_text())
    for section, key in (("video", "frames"), ("video", "tokens"), ("text", "vocabulary"), ("text", "context")):
        for value in (10**6, 10**30):
            (tmp_path / "saved" / "config.json").write_text(
                json.dumps({**config, section: {**config[section], key: value}})
            )
            with pytest.raises(ModelError) as error:
                VidLA.load(tmp_path / "saved")
            assert "\n" not in str(error.value)


def test_patches_that_do_not_fill_the_image_are_refused(clip: Path) -> None:
    with pytest.raises(ClipError, match="an image of 36 pixels a side cannot be cut into patches of 8"):
        from_clip(settings(clip, image_size=36))
