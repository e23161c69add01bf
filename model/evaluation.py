# mypy: allow-untyped-decorators
"""How well a model finds held-out clips by their texts, and texts by their clips."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from curation.records import SCALES
from curation.tables import Dataset, DatasetError
from curation.upkeep import versions_now
from model.augment import normalise
from model.clips import Version, configuration_digest, select
from model.media_cache import media_of
from model.order import InTurn
from model.processes import Processes
from model.retrieval import RESAMPLES, Retrieval, evaluate
from model.samples import Batch, Samples, read, tokens
from model.settings import DataSettings
from model.vidla import VidLA

Precision = Literal["bf16", "fp32"]
KINDS = ("subtitle", "caption")


@dataclass(frozen=True)
class Evaluation:
    """Retrieval, by what it is of; `unreadable` clips are left out. Prints as tables."""

    figures: Mapping[str, Retrieval]
    unreadable: int

    @property
    def score(self) -> float:
        """What checkpoints are compared by: the mean R@1 from text to video."""
        return sum(one.text_to_video.recall_1.value for one in self.figures.values()) / len(self.figures)

    def scalars(self) -> dict[str, float]:
        """The figures that are worth a curve."""
        found = {"score": self.score}
        for name, one in self.figures.items():
            for direction in ("text_to_video", "video_to_text"):
                found[f"{name}, {direction}, R@1"] = getattr(one, direction).recall_1.value
        return found

    def to_json(self) -> str:
        figures = {name: json.loads(one.to_json()) for name, one in self.figures.items()}
        return json.dumps({"score": self.score, "unreadable": self.unreadable, "figures": figures}, indent=2) + "\n"

    def __str__(self) -> str:
        parts = [f"{name}\n{one}" for name, one in self.figures.items()]
        if self.unreadable:
            parts.append(f"{self.unreadable} clips cannot be read and are left out")
        return "\n\n".join(parts)


# --- features -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Encoder:
    """A model, and how features are made by it: in pieces of `micro_batch`, which the processes share."""

    model: VidLA
    processes: Processes
    precision: Precision
    micro_batch: int
    workers: int

    @torch.no_grad()
    def videos(self, samples: Samples, chosen: Sequence[int]) -> tuple[Tensor, list[int]]:
        """Features (n, D), on the CPU, and which of the `chosen` clips they are of: all that can be read, in order."""
        turns = InTurn(len(chosen), self.micro_batch, self.processes.rank, self.processes.size)
        draws = [[(chosen[place], seed) for place, seed in turn] for turn in turns]
        found: dict[int, Tensor] = {}
        for batch in read(samples, draws, min(self.workers, len(draws))):
            there = batch.index == batch.drawn  # another one stands in for what cannot be read
            features = video_features(self.model, batch, self.processes.device, self.precision)
            found.update(zip(batch.index[there].tolist(), features.cpu()[there], strict=True))
        everyone = {index: row for part in self.processes.collect(found) for index, row in part.items()}
        indices = sorted(everyone)
        if not indices:
            raise DatasetError(f"none of {len(chosen)} clips to evaluate on can be read")
        return torch.stack([everyone[index] for index in indices]), indices

    @torch.no_grad()
    def texts(self, texts: Sequence[str]) -> Tensor:
        """Features (n, D), on the CPU."""
        found: dict[int, Tensor] = {}
        context = self.model.config.text.context
        for draws in InTurn(len(texts), self.micro_batch, self.processes.rank, self.processes.size):
            ids = tokens([texts[index] for index, _ in draws], context).to(self.processes.device)
            with autocast(self.processes.device, self.precision):
                features = self.model.encode_text(ids)
            found.update(zip((index for index, _ in draws), features.float().cpu(), strict=True))
        everyone = {index: row for part in self.processes.collect(found) for index, row in part.items()}
        return torch.stack([everyone[index] for index in range(len(texts))])


def video_features(model: VidLA, batch: Batch, device: torch.device, precision: Precision) -> Tensor:
    """Features (B, D) of a batch's clips, on the model's device."""
    video = model.config.video
    with autocast(device, precision):
        pixels = normalise(batch.frames.to(device, non_blocking=True), video.image_mean, video.image_std)
        return model.encode_video(pixels).float()


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


# --- held-out clips -------------------------------------------------------------------------------------------------


def evaluate_clips(
    encoder: Encoder, samples: Samples, most: int | None = None, resamples: int = RESAMPLES
) -> Evaluation:
    """Retrieval among the clips of one scale (the first `most` of them), for each scale and kind of text.

    A text belongs to its own clip alone, also where another clip has the same text. Raises DatasetError where there is
    no clip.
    """
    clips, chosen, first = samples.clips, list[int](), 0
    for count in clips.counts.values():
        chosen += range(first, first + min(count, most or count))
        first += count
    if not chosen:
        raise DatasetError("no clip is held out to evaluate on: look at data.held_out")
    videos, indices = encoder.videos(samples, chosen)
    rows = [clips[index] for index in indices]
    figures: dict[str, Retrieval] = {}
    for scale in SCALES:
        for kind in KINDS:
            there = [i for i, row in enumerate(rows) if row.scale == scale and getattr(row, kind) is not None]
            if len(there) < 2:
                continue
            texts = encoder.texts([getattr(rows[i], kind) for i in there])
            figures[f"{scale} clips by {kind}"] = evaluate(
                texts,
                videos[there],
                scale=float(encoder.model.logit_scale.detach().exp()),
                durations=[rows[i].end - rows[i].start for i in there] if resamples else None,
                resamples=resamples,
            )
    if not figures:
        raise DatasetError(f"{len(rows)} held-out clips are too few to choose among: look at data.held_out")
    return Evaluation(figures, len(chosen) - len(indices))


def evaluate_dataset(encoder: Encoder, dataset: Dataset, settings: DataSettings) -> Evaluation:
    """Retrieval among all clips that training with `settings` holds out, of the dataset as it stands.

    Raises DatasetError.
    """
    if not dataset.exists():
        raise DatasetError(f"there is no dataset at {dataset.uri}")
    video = encoder.model.config.video
    with tempfile.TemporaryDirectory() as folder:
        clips = select(dataset, version_now(dataset), settings, "held_out", Path(folder) / "held_out.arrow")
        media = media_of(dataset, settings.cache_folder, settings.cache_bytes)
        context = encoder.model.config.text.context
        return evaluate_clips(encoder, Samples(clips, media, video.frames, video.image_size, context))


def version_now(dataset: Dataset) -> Version:
    """The dataset as it stands, which is not pinned."""
    tables = versions_now(dataset)
    return Version("", tables, configuration_digest(dataset, tables["clips"]))
