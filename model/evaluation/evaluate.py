"""How well a model finds held-out clips by their texts, and texts by their clips."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa
import torch
from torch import Tensor

from curation.dataset.dataset import Dataset
from curation.errors import DatasetError, UsageError
from curation.records import SCALES
from model.data.augment import normalise
from model.data.clips import (
    CLIP_SCHEMA,
    ClipRow,
    Clips,
    select,
    version_now,
    write_clips,
)
from model.data.loader import Batch, Samples, read, tokens
from model.data.media_cache import Media, media_of
from model.data.sampler import SequentialBatches
from model.data.split import held_out
from model.distributed import Processes
from model.evaluation.retrieval import RESAMPLES, Retrieval, evaluate
from model.network.vidla import VidLA
from model.settings import DataSettings

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

    @property
    def scale(self) -> float:
        """The model's logit scale, by which dual softmax is sharpened."""
        return float(self.model.logit_scale.detach().exp())

    def samples(self, clips: Clips, media: Media) -> Samples:
        """`clips` as the model takes them, from their middles."""
        video = self.model.config.video
        return Samples(clips, media, video.frames, video.image_size, self.model.config.text.context)

    @torch.no_grad()
    def videos(self, samples: Samples, chosen: Sequence[int]) -> tuple[Tensor, list[int]]:
        """Features (n, D), on the CPU, and which of the `chosen` clips they are of: all that can be read, in order."""
        turns = SequentialBatches(len(chosen), self.micro_batch, self.processes.rank, self.processes.size)
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
        for draws in SequentialBatches(len(texts), self.micro_batch, self.processes.rank, self.processes.size):
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
            some = [rows[i] for i in there]
            figures[f"{scale} clips by {kind}"] = _retrieval(encoder, some, kind, videos[there], resamples)
    if not figures:
        raise DatasetError(f"{len(rows)} held-out clips are too few to choose among: look at data.held_out")
    return Evaluation(figures, len(chosen) - len(indices))


def _retrieval(encoder: Encoder, rows: Sequence[ClipRow], kind: str, videos: Tensor, resamples: int) -> Retrieval:
    """Between clips, whose features are `videos`, and their texts of one kind; by duration too, with resamples."""
    return evaluate(
        encoder.texts([getattr(row, kind) for row in rows]),
        videos,
        scale=encoder.scale,
        durations=[row.end - row.start for row in rows] if resamples else None,
        resamples=resamples,
    )


def evaluate_dataset(encoder: Encoder, dataset: Dataset, settings: DataSettings) -> Evaluation:
    """Retrieval among all clips that training with `settings` holds out, of the dataset as it stands.

    Raises DatasetError.
    """
    if not dataset.exists():
        raise DatasetError(f"there is no dataset at {dataset.uri}")
    with tempfile.TemporaryDirectory() as folder:
        clips = select(dataset, version_now(dataset), settings, "held_out", Path(folder) / "held_out.arrow")
        media = media_of(dataset, settings.cache_folder, settings.cache_bytes)
        return evaluate_clips(encoder, encoder.samples(clips, media))


# --- the hierarchical set -------------------------------------------------------------------------------------------


def evaluate_triplets(
    encoder: Encoder, dataset: Dataset, triplets: pa.Table, settings: DataSettings, resamples: int = RESAMPLES
) -> Evaluation:
    """Retrieval among the short clips of a hierarchical set of `dataset` (hierarchical.py), the medium, the long.

    A triplet of which a clip cannot be read is left out at all scales, so that the three figures are of the same
    moments. Raises UsageError for videos that training with `settings` does not hold out, and DatasetError.
    """
    if not dataset.exists():
        raise DatasetError(f"there is no dataset at {dataset.uri}")
    _check_held_out(triplets["video_id"].to_pylist(), settings.held_out)
    rows = sorted(triplets.to_pylist(), key=lambda row: SCALES.index(row["scale"]))
    found = [{**row, "scale": SCALES.index(row["scale"]), "caption": row["text"]} for row in rows]
    with tempfile.TemporaryDirectory() as folder:
        table = pa.Table.from_pylist(found, schema=CLIP_SCHEMA)
        clips = write_clips([table], "hierarchical", Path(folder) / "triplets.arrow")
        media = media_of(dataset, settings.cache_folder, settings.cache_bytes)
        videos, indices = encoder.videos(encoder.samples(clips, media), range(len(clips)))
    place, count = {index: i for i, index in enumerate(indices)}, len(rows) // len(SCALES)
    firsts = range(0, len(rows), count)  # where the clips of each scale begin
    whole = [number for number in range(count) if all(first + number in place for first in firsts)]
    if len(whole) < 2:
        raise DatasetError(f"{len(whole)} of {count} triplets can be read: too few to choose among")
    figures = {}
    for first, scale in zip(firsts, SCALES, strict=True):
        chosen = [first + number for number in whole]
        features = videos[[place[index] for index in chosen]]
        some = [clips[index] for index in chosen]
        figures[f"{scale} clips"] = _retrieval(encoder, some, "caption", features, resamples)
    return Evaluation(figures, len(rows) - len(SCALES) * len(whole))


def _check_held_out(videos: Iterable[str], share: float) -> None:
    """Raises UsageError where training with `share` held out has seen one of `videos`."""
    names = set(videos)
    seen = sorted(name for name in names if not held_out(name, share))
    if seen:
        raise UsageError(
            f"{len(seen)} of the {len(names)} videos of the hierarchical set, as {seen[0]}, are not among those that "
            f"data.held_out ({share:g}) keeps from training: make the set with --held-out {share:g}"
        )
