"""What a training run will be, before it begins."""

from __future__ import annotations

import tempfile
from pathlib import Path

from curation.dataset.dataset import Dataset
from curation.errors import DatasetError
from curation.records import SCALES
from model.data.clips import select, version_now
from model.data.sampler import Batches
from model.network.flops import count_parameters, text_flops, training_memory, video_flops
from model.network.initial import initial_model
from model.settings import TrainSettings
from model.training.trainer import check_vocabulary, order_of, steps_of


def describe(settings: TrainSettings, dataset: Dataset, processes: int = 1) -> str:
    """Its size and its cost, as lines of text; nothing is written. Raises as the run itself would."""
    if not dataset.exists():
        raise DatasetError(f"there is no dataset at {dataset.uri}")
    model = initial_model(settings.model)
    check_vocabulary(model, settings.model.weights)
    version = version_now(dataset)
    with tempfile.TemporaryDirectory() as folder:
        clips = select(dataset, version, settings.data, "train", Path(folder) / "train.arrow")
        held_out = select(dataset, version, settings.data, "held_out", Path(folder) / "held_out.arrow")
        counts, spared = clips.counts, held_out.counts
        without_text = clips.without_text
        order = order_of(clips, settings)
    Batches(order, 0, 1, settings.micro_batch, 0, processes)
    steps, shares, config, micro = steps_of(order, settings), order.shares(), model.config, settings.micro_batch
    forward = video_flops(config) + 2 * text_flops(config)
    passes = 3 + settings.activation_checkpointing + settings.gradient_cache
    memory = training_memory(
        config,
        micro,
        2 * micro,
        bf16=settings.precision == "bf16",
        checkpointing=settings.activation_checkpointing,
    )
    contrasted = settings.batch if settings.gradient_cache else micro * processes
    by_scale = ", ".join(f"{shares.get(s, 0):,} of {counts[s]:,} {s}" for s in SCALES)
    lines = [
        ("parameters", f"{count_parameters(config) / 1e6:,.1f} million"),
        ("operations", f"{forward / 1e9:,.1f} GFLOP a clip forward, {passes * forward / 1e9:,.1f} in training"),
        ("in all", f"{passes * forward * steps * settings.batch / 1e18:,.4g} exaFLOP"),
        ("memory", f"about {memory / 2**30:,.1f} GiB a process"),
        ("steps", f"{steps:,}: {settings.epochs:g} epochs of {order.steps:,}, {settings.batch:,} clips each"),
        ("contrasted", f"{contrasted:,} clips with each other, by {processes} process{'es' if processes > 1 else ''}"),
        ("clips an epoch", by_scale + (f"; {without_text:,} more have no text" if without_text else "")),
        ("held out", ", ".join(f"{spared[s]:,} {s}" for s in SCALES)),
    ]
    return "\n".join(f"{name:15} {text}" for name, text in lines)
