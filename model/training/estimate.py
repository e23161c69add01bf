"""Describes a training run before it starts: size, cost, steps, clips."""

from __future__ import annotations

import tempfile
from pathlib import Path

from curation.records import SCALES
from model.data.loader import disk_bytes
from model.network.flops import count_parameters, text_flops, training_memory, video_flops
from model.network.initial import check_vocabulary, initial_model
from model.settings import TrainSettings
from model.training.source import Source, check_exists, current_version, select_clips
from model.training.trainer import count_steps, make_batches, make_sampler, needs_cache


def describe(settings: TrainSettings, dataset: Source, world_size: int = 1) -> str:
    """The run's size and cost, as lines of text. Writes nothing; raises the errors that the run would."""
    check_exists(dataset)
    model = initial_model(settings.model)
    check_vocabulary(model, settings.model.weights)
    version = current_version(dataset)
    with tempfile.TemporaryDirectory() as folder:
        clips = select_clips(dataset, version, settings.data, "train", Path(folder) / "train.arrow")
        held_out = select_clips(dataset, version, settings.data, "held_out", Path(folder) / "held_out.arrow")
        counts, held_out_counts = clips.counts, held_out.counts
        without_text = clips.without_text
        sampler = make_sampler(clips, settings)
    batches = make_batches(sampler, 0, 1, settings, 0, world_size)  # raises if the batch cannot be split
    steps, shares, config, micro = count_steps(sampler, settings), sampler.shares(), model.config, settings.micro_batch
    forward = video_flops(config) + 2 * text_flops(config)
    passes = 3 + settings.activation_checkpointing + needs_cache(settings, world_size)
    epochs = settings.epochs if settings.steps is None else steps / sampler.steps
    memory = training_memory(
        config,
        micro,
        2 * micro,
        bf16=settings.precision == "bf16",
        checkpointing=settings.activation_checkpointing,
    )
    held = batches.micro_batches if needs_cache(settings, world_size) else 0
    disk = disk_bytes(held, settings.data.workers, micro, config.video.frames, config.video.image_size)
    by_scale = ", ".join(f"{shares.get(s, 0):,} of {counts[s]:,} {s}" for s in SCALES)
    lines = [
        ("parameters", f"{count_parameters(config) / 1e6:,.1f} million"),
        ("operations", f"{forward / 1e9:,.1f} GFLOP per clip forward, {passes * forward / 1e9:,.1f} in training"),
        ("total", f"{passes * forward * steps * settings.batch / 1e18:,.4g} exaFLOP"),
        ("memory", f"about {memory / 2**30:,.1f} GiB per process"),
        *([("disk", f"about {disk / 2**30:,.1f} GiB per process, in {tempfile.gettempdir()}")] if disk else []),
        ("steps", f"{steps:,}: {epochs:.4g} epochs of {sampler.steps:,}, {settings.batch:,} clips each"),
        (
            "contrasted",
            f"{settings.contrasted(world_size):,} clips with each other, "
            f"by {world_size} {'processes' if world_size > 1 else 'process'}",
        ),
        ("clips per epoch", by_scale + (f"; {without_text:,} more have no text" if without_text else "")),
        ("held out", ", ".join(f"{held_out_counts[s]:,} {s}" for s in SCALES)),
    ]
    return "\n".join(f"{name:16} {text}" for name, text in lines)
