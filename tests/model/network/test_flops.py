"""The computed cost of a model, against counts of its real operations and memory."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from model.network.architecture import TextConfig, TransformerConfig, VideoConfig, VidLAConfig
from model.network.flops import count_parameters, text_flops, training_memory, video_flops
from model.network.vidla import VidLA
from model.settings import AttentionKind

TEXT_KINDS: tuple[AttentionKind, ...] = ("hta", "frame", "joint", "divided")


def config(kind: AttentionKind, *, see_cls: bool = True, width: int = 32, frames: int = 5) -> VidLAConfig:
    tower = TransformerConfig(width, 2, 4, 4 * width)
    video = VideoConfig(
        tower, 48, 8, frames=frames, attention=kind, levels=3 if kind == "hta" else 0, patches_see_cls=see_cls
    )
    return VidLAConfig(video, TextConfig(tower, 100, 77, 99), features=24)


def inputs(kind: AttentionKind, clips: int = 1, frames: int = 5) -> tuple[Tensor, Tensor]:
    return torch.randn(clips, frames, 3, 48, 48), torch.full((clips, 77), 99)


def counted(module: nn.Module, x: Tensor) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        module(x)
    return counter.get_total_flops()


@pytest.mark.parametrize("kind", TEXT_KINDS)
@pytest.mark.parametrize("see_cls", [True, False])
def test_flops_are_those_of_the_products_that_are_made(kind: AttentionKind, see_cls: bool) -> None:
    model = VidLA(config(kind, see_cls=see_cls))
    pixels, tokens = inputs(kind)
    assert video_flops(model.config) == counted(model.video, pixels)
    assert text_flops(model.config) == counted(model.text, tokens)


def test_flops_of_the_papers_sizes() -> None:
    """GFLOPs of the products over S = T·N patches only, counted by hand: the rest is at most a twentieth."""
    for patch, frames, wanted in ((32, 12, (101, 113, 135, 137)), (16, 32, (1111, 2516, 1474, 1481))):
        for kind, gigaflops in zip(("frame", "joint", "divided", "hta"), wanted, strict=True):
            tower = TransformerConfig(768, 12, 12, 3072)
            video = VideoConfig(tower, 224, patch, frames=frames, attention=kind, levels=3 if kind == "hta" else 0)
            model = VidLAConfig(video, TextConfig(tower, 49408, 77, 49407), features=512)
            assert gigaflops <= video_flops(model) / 1e9 <= 1.05 * gigaflops


@pytest.mark.parametrize("kind", TEXT_KINDS)
def test_parameters_are_counted_without_making_any(kind: AttentionKind) -> None:
    assert count_parameters(config(kind)) == sum(p.numel() for p in VidLA(config(kind)).parameters())


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("kind", TEXT_KINDS)
def test_memory_is_about_what_is_kept_for_the_backward_pass(
    kind: AttentionKind, bf16: bool, checkpointing: bool
) -> None:
    model = VidLA(config(kind, width=64, frames=12))
    if checkpointing:
        model.checkpoint_activations()
    pixels, tokens = inputs(kind, 4, 12)
    estimate = training_memory(model.config, 4, 4, bf16=bf16, checkpointing=checkpointing)
    activations = estimate - 16 * count_parameters(model.config)
    kept = bytes_kept(model, pixels, tokens, bf16)
    if checkpointing:  # without the layer being recomputed
        whole = training_memory(model.config, 4, 4, bf16=bf16, checkpointing=False)
        assert kept <= activations < 0.75 * (whole - 16 * count_parameters(model.config))
    else:
        assert activations == pytest.approx(kept, rel=0.15)


def bytes_kept(model: VidLA, pixels: Tensor, tokens: Tensor, bf16: bool) -> int:
    """Bytes that autograd keeps in a forward pass, each storage once, without parameters."""
    parameters = {tensor.untyped_storage().data_ptr() for tensor in model.state_dict().values()}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            kept[storage.data_ptr()] = storage
        return tensor

    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
    with hooks, torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        model(pixels, tokens)
    return sum(storage.nbytes() for storage in kept.values())
