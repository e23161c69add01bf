"""What one GPU does in training: step time, memory, utilisation, attention, and decoding. Takes about ten minutes.

    python -m benchmarks.gpu [VIDEO] [--minutes 10] > gpu.md

Prints Markdown with the GPU's name, for docs/training.md:
- a training step (forward, loss, backward, AdamW) of B/32 and B/16 with 12 frames in bfloat16, eager and with compiled
  layers: time, clips per second, share of the GPU's peak (MFU), and memory against the estimate of the dry run;
- a layer with hierarchical temporal attention, by flash kernels, against a dense mask over all pairs of tokens;
- decoding 12 frames of clips of VIDEO, such as stored media, by NVDEC (through torchcodec) and by the processor.
What cannot be measured is left out with the reason; once the minutes are over, nothing more is begun.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import torch

from benchmarks import attention
from curation.errors import one_line
from model.data.frame_reader import BrokenMedia, read_frames, sample_times
from model.evaluation.evaluate import autocast
from model.network.architecture import TextConfig, TransformerConfig, VideoConfig, VidLAConfig
from model.network.flops import peak_flops, training_flops, training_memory
from model.network.vidla import VidLA
from model.settings import OptimizerSettings
from model.training.losses import vidla_loss
from model.training.optimizer import make_optimizer

FRAMES, CONTEXT = 12, 77
TEXT = TextConfig(TransformerConfig(width=512, layers=12, heads=8, mlp_width=2048), 49_408, CONTEXT, 49_407)
PARTS = {"B/32": (32, 64), "B/16": (16, 24)}
"""By the model's name: the side of a patch, and clips in a step."""
WARM_UP, STEPS = 3, 10
CLIPS, CLIP_S = 64, 10.0  # that are decoded, and their length


def config_of(patch: int) -> VidLAConfig:
    video = VideoConfig(attention.BASE, 224, patch, frames=FRAMES, attention="hta", levels=3)
    return VidLAConfig(video, TEXT, features=512)


def step_of(model: VidLA, clips: int, device: torch.device) -> Callable[[], None]:
    """A training step on `clips` random clips, each with two texts."""
    video, text = model.config.video, model.config.text
    optimizer = make_optimizer(model, OptimizerSettings())
    pixels = torch.randn(clips, video.frames, 3, video.image_size, video.image_size, device=device)
    tokens = torch.randint(1, text.eos_token, (2 * clips, text.context), device=device)
    tokens[:, -1] = text.eos_token
    has_text = torch.ones(clips, 2, dtype=torch.bool, device=device)

    def step() -> None:
        optimizer.zero_grad()
        with autocast(device, "bf16"):
            clip_features, text_features = model(pixels, tokens)
        features = torch.stack([clip_features, *text_features.chunk(2)], dim=1).float()
        vidla_loss(features, has_text, model.logit_scale).backward()
        optimizer.step()

    return step


def seconds_of(step: Callable[[], None], device: torch.device, steps: int = STEPS) -> float:
    """The median time of a step, after some to warm up (and to compile)."""
    taken = []
    for number in range(WARM_UP + steps):
        began = time.perf_counter()
        step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        if number >= WARM_UP:
            taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def step_row(name: str, config: VidLAConfig, clips: int, device: torch.device, compiled: bool) -> str:
    """A row of the first table."""
    model = VidLA(config).to(device)
    if compiled:
        model.compile_layers()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    seconds = seconds_of(step_of(model, clips, device), device)
    peak = peak_flops(device, "bf16")
    used = f"{training_flops(config) * clips / seconds / peak:.2f}" if peak else "–"
    estimate = training_memory(config, clips, 2 * clips, bf16=True, checkpointing=False)
    memory = "–"
    if device.type == "cuda":
        taken = torch.cuda.max_memory_allocated()
        memory = f"{taken / 2**30:.1f} ({taken / estimate:.2f})"
    how = "compiled" if compiled else "eager"
    return f"| {name} | {how} | {clips} | {1000 * seconds:.0f} | {clips / seconds:.0f} | {used} | {memory} |"


def step_table(device: torch.device, goes_on: Callable[[], bool]) -> Iterator[str]:
    yield "| model | layers | clips | ms a step | clips a second | MFU | GiB (÷ estimate) |"
    yield "|---|---|---|---|---|---|---|"
    for name, (patch, clips) in PARTS.items():
        for compiled in (False, True):
            if not goes_on():
                return
            try:
                yield step_row(name, config_of(patch), clips, device, compiled)
            except RuntimeError as error:  # of the compiler, or for a lack of memory
                yield f"| {name} | {'compiled' if compiled else 'eager'} | {clips} | {one_line(error, 120)} | | | |"
            if device.type == "cuda":
                torch.cuda.empty_cache()


def attention_table(goes_on: Callable[[], bool]) -> Iterator[str]:
    yield f"| a layer of B/16, {attention.CLIPS} clips, there and back | HTA, ms | dense mask, ms | ratio |"
    yield "|---|---|---|---|"
    for frames in (12, 32):
        if goes_on():
            ours, dense = attention.whole_layer(frames)
            yield f"| {frames} frames | {1000 * ours:.1f} | {1000 * dense:.1f} | {ours / dense:.2f} |"


def decoding_table(video: Path, duration: float) -> Iterator[str]:
    """`duration`: seconds of the video at `video`."""
    yield f"| decoding {FRAMES} frames of {CLIPS} clips of {CLIP_S:g} s | clips a second |"
    yield "|---|---|"
    random = Random(0)
    starts = [random.uniform(0, max(0.0, duration - CLIP_S)) for _ in range(CLIPS)]
    times = [sample_times(start, min(duration, start + CLIP_S), FRAMES) for start in starts]
    for name, read in (("processor, one thread", read_frames), ("NVDEC", _with_nvdec)):
        try:
            read(video, times[0])
            began = time.perf_counter()
            for each in times:
                read(video, each)
            yield f"| {name} | {CLIPS / (time.perf_counter() - began):.1f} |"
        except (BrokenMedia, ImportError, OSError, RuntimeError) as error:
            yield f"| {name} | {one_line(error, 120)} |"


def _with_nvdec(video: Path, times: list[float]) -> object:
    from torchcodec.decoders import VideoDecoder

    return VideoDecoder(str(video), device="cuda", seek_mode="approximate").get_frames_played_at(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path, nargs="?")
    parser.add_argument("--minutes", type=float, default=10.0)
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("benchmarks.gpu: there is no GPU here that torch can use")
    device, end = torch.device("cuda"), time.monotonic() + 60 * arguments.minutes

    def goes_on() -> bool:
        return time.monotonic() < end

    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, bfloat16:\n")
    tables = [step_table(device, goes_on), attention_table(goes_on)]
    if arguments.video is not None:
        from model.data.any_video import measure

        tables.append(decoding_table(arguments.video, measure(arguments.video)))
    for table in tables:
        for line in table:
            print(line, flush=True)
        print()


if __name__ == "__main__":
    main()
