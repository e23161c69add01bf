"""The cost of hierarchical temporal attention, compared with a dense mask and with frame-wise CLIP, at B/16.

Run: python -m benchmarks.attention. On a CPU in float32 with two threads and one clip; on a GPU in bfloat16 with more
clips, and then also the share of the device's peak that a training step reaches.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from model.network.architecture import TextConfig, TransformerConfig, VideoConfig, VidLAConfig
from model.network.attention import global_mask, hierarchical_attention
from model.network.flops import peak_flops, video_flops
from model.network.video import VideoEncoder, VideoLayer
from model.settings import AttentionKind
from tests.support.dense_attention import global_pairs

RUNS = 5
BASE = TransformerConfig(width=768, layers=12, heads=12, mlp_width=3072)
GPU = torch.cuda.is_available()
DEVICE = torch.device("cuda" if GPU else "cpu")
DTYPE = torch.bfloat16 if GPU else torch.float32
CLIPS = 16 if GPU else 1


def video(kind: AttentionKind, frames: int, patch: int = 16) -> VideoConfig:
    return VideoConfig(BASE, 224, patch, frames=frames, attention=kind, levels=3 if kind == "hta" else 0)


def seconds(*works: Callable[[], object]) -> list[float]:
    """The minimum time of each of `works`, run in turns: other load on the machine only adds to it."""
    times: list[list[float]] = [[] for _ in works]
    for turn in range(RUNS + 1):
        for work, taken in zip(works, times, strict=True):
            _wait()
            begin = time.perf_counter()
            with torch.autocast(DEVICE.type, torch.bfloat16, enabled=GPU):
                work()
            _wait()
            if turn:  # the first is warm-up
                taken.append(time.perf_counter() - begin)
    return [min(taken) for taken in times]


def _wait() -> None:
    if GPU:
        torch.cuda.synchronize()


def forward_and_backward(function: Callable[[Tensor], Tensor], x: Tensor) -> Callable[[], None]:
    def run() -> None:
        function(x).sum().backward()

    return run


def dense_attention(qkv: Tensor, added: Tensor) -> Tensor:
    """A single call over all pairs of tokens."""
    q, k, v = (x.transpose(1, 2) for x in qkv.unbind(2))
    return scaled_dot_product_attention(q, k, v, attn_mask=added).transpose(1, 2)


def dense_layer(layer: VideoLayer, x: Tensor, added: Tensor) -> Tensor:
    """The same layer, but with a dense mask in its global attention."""
    tokens, patches = x.split([layer.config.global_tokens, x.shape[1] - layer.config.global_tokens], dim=1)
    x = torch.cat([tokens, layer.over_time(patches)], dim=1)
    x = x + layer.attention.merge(dense_attention(layer.attention.project(layer.norm1(x)), added))
    return x + layer.mlp(layer.norm2(x))


def masks(config: VideoConfig) -> tuple[Tensor, Tensor]:
    """Our mask, and the one over all pairs in its cheapest form: added to the scores."""
    pairs = global_pairs(config).to(DEVICE)
    added = torch.zeros(pairs.shape, dtype=DTYPE, device=DEVICE).masked_fill(~pairs, -torch.inf)
    return global_mask(config).to(DEVICE), added


def attention_alone(frames: int) -> list[float]:
    """Seconds of the global attention, forward and backward: ours, and with a dense mask."""
    config = video("hta", frames)
    mask, added = masks(config)
    qkv = torch.randn(CLIPS, len(added), 3, 12, 64, device=DEVICE, dtype=DTYPE, requires_grad=True)
    return seconds(
        forward_and_backward(lambda x: hierarchical_attention(x, mask, frames, True), qkv),
        forward_and_backward(lambda x: dense_attention(x, added), qkv),
    )


def whole_layer(frames: int) -> list[float]:
    """Seconds of a layer, forward and backward: ours, and with a dense mask in its global attention."""
    config = video("hta", frames)
    mask, added = masks(config)
    layer = VideoLayer(config).to(DEVICE)
    x = torch.randn(CLIPS, len(added), BASE.width, device=DEVICE, requires_grad=True)
    return seconds(
        forward_and_backward(lambda x: layer(x, mask), x),
        forward_and_backward(lambda x: dense_layer(layer, x, added), x),
    )


def against_frames(frames: int, layers: int) -> tuple[float, float, float]:
    """HTA's forward pass ÷ frame-wise CLIP's: in time, by our CLIP and by transformers', and in operations."""
    sizes = replace(BASE, layers=layers)
    configs = [replace(video(kind, frames), transformer=sizes) for kind in ("hta", "frame")]
    hta, frame = (VideoEncoder(config, 512).to(DEVICE).eval() for config in configs)
    theirs = CLIPVisionModelWithProjection(
        CLIPVisionConfig(patch_size=16, num_hidden_layers=layers, attn_implementation="sdpa")  # type: ignore[call-arg]
    )
    theirs = theirs.to(DEVICE).eval()  # type: ignore[arg-type]
    pixels = torch.randn(CLIPS, frames, 3, 224, 224, device=DEVICE)
    with torch.no_grad():
        ours, other, transformers = seconds(
            lambda: hta(pixels), lambda: frame(pixels), lambda: theirs(pixel_values=pixels.flatten(0, 1))
        )
    flops = [video_flops(VidLAConfig(config, TextConfig(sizes, 1, 1, 1), 512)) for config in configs]
    return ours / other, ours / transformers, flops[0] / flops[1]


def utilisation(frames: int) -> str:
    """The share of the device's peak reached by forward and backward passes of the whole encoder."""
    peak = peak_flops(DEVICE, "bf16")
    config = video("hta", frames)
    encoder = VideoEncoder(config, 512).to(DEVICE)
    pixels = torch.randn(CLIPS, frames, 3, 224, 224, device=DEVICE)
    (taken,) = seconds(forward_and_backward(encoder, pixels))
    reached = 3 * CLIPS * video_flops(VidLAConfig(config, TextConfig(BASE, 1, 1, 1), 512)) / taken
    share = f", {reached / peak:.2f} of its peak" if peak else ""
    return f"{reached / 1e12:.0f} TFLOP/s on {torch.cuda.get_device_name()}{share}"


def main() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(2)
    print(f"B/16, U=3, V=4, {CLIPS} clip(s), {DTYPE} on {DEVICE}, minimum of {RUNS} runs")
    for name, measure, bounds in (
        ("global attention, forward and backward", attention_alone, {12: 0.35, 32: 0.15}),
        ("whole layer, forward and backward", whole_layer, {12: 0.75, 32: 0.5}),
    ):
        for frames, bound in bounds.items():
            ours, dense = measure(frames)
            print(
                f"{name}, T={frames}: {ours * 1000:.0f} ms, dense mask {dense * 1000:.0f} ms, "
                f"ratio {ours / dense:.2f} (target: at most {bound})"
            )
    for frames in (12, 32):
        ours, theirs, flops = against_frames(frames, 12 if GPU else 3)
        print(
            f"forward pass ÷ frame-wise CLIP, T={frames}: time {ours:.2f}, operations {flops:.2f}, "
            f"one ÷ the other {ours / flops:.2f} (target: at most 1.15); by transformers' CLIP {theirs / flops:.2f}"
        )
    if GPU:
        for frames in (12, 32):
            print(f"training the encoder, T={frames}: {utilisation(frames)}")


if __name__ == "__main__":
    main()
