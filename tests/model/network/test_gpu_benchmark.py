"""The benchmark for a GPU, tried on a processor with a tiny model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from benchmarks import gpu
from model.network.architecture import TransformerConfig
from model.network.vidla import VidLA
from tests.support.media_files import make

TINY = TransformerConfig(width=32, layers=2, heads=2, mlp_width=64)
CPU = torch.device("cpu")


def test_a_step_trains_the_model() -> None:
    config = gpu.config_of(32)
    video, text = replace(config.video, transformer=TINY, frames=3), replace(config.text, transformer=TINY)
    config = replace(config, video=video, text=text, features=16)
    model = VidLA(config)
    before = model.video.projection.weight.detach().clone()
    assert gpu.seconds_of(gpu.step_of(model, 2, CPU), CPU, steps=1) > 0
    assert all(bool(torch.isfinite(parameter).all()) for parameter in model.parameters())
    assert not torch.equal(before, model.video.projection.weight)
    assert gpu.step_row("tiny", config, 2, CPU, compiled=False).startswith("| tiny | eager | 2 | ")


def test_what_cannot_decode_here_says_why(tmp_path: Path) -> None:
    _, _, processor, nvdec = gpu.decoding_table(make(tmp_path / "a.mp4"), 1.0)
    assert float(processor.split("|")[2]) > 0
    assert nvdec.startswith("| NVDEC | ")
