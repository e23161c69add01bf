"""Evaluates a model on held-out clips: text-to-video and video-to-text retrieval."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import torch
from torch import Tensor

from curation.dataset.dataset import Dataset
from curation.errors import DatasetError
from curation.quality.chosen_policy import digest_of_policy
from curation.records import SCALES
from curation.release.released_dataset import release_of
from model.data.augment import normalise
from model.data.clips import (
    CLIP_SCHEMA,
    ClipRow,
    Clips,
    boxes_of,
    check_exists,
    current_version,
    select_clips,
    with_split_of,
    write_clips,
)
from model.data.loader import Batch, ClipDataset, list_files, load_batches, tokenize
from model.data.media_cache import Media, media_store
from model.data.sampler import SequentialBatchSampler
from model.distributed import World
from model.evaluation.retrieval import RESAMPLES, RetrievalMetrics, evaluate_retrieval
from model.network.vidla import VidLA
from model.settings import DataSettings, Precision

TEXT_KINDS = ("subtitle", "caption")


@dataclass(frozen=True)
class Evaluation:
    """Retrieval metrics by name ("short clips by caption"); `unreadable` clips are left out. Prints as tables."""

    metrics: Mapping[str, RetrievalMetrics]
    unreadable: int
    unreadable_files: Mapping[str, str] = field(default_factory=dict)
    """The reasons, by file."""
    policy: Mapping[str, str] = field(default_factory=dict)
    """The name and the digest of the policy that chose the clips, if one did."""
    release: Mapping[str, str] | None = None
    """The name and the digest of the release that it is on, if it is on one."""

    @property
    def score(self) -> float:
        """The mean text-to-video R@1, by which checkpoints are compared."""
        return sum(metrics.text_to_video.recall_1.value for metrics in self.metrics.values()) / len(self.metrics)

    def scalars(self) -> dict[str, float]:
        """The metrics to plot over training."""
        scalars = {"score": self.score}
        for name, metrics in self.metrics.items():
            for direction in ("text_to_video", "video_to_text"):
                scalars[f"{name}, {direction}, R@1"] = getattr(metrics, direction).recall_1.value
        return scalars

    def to_json(self) -> str:
        figures = {name: json.loads(metrics.to_json()) for name, metrics in self.metrics.items()}
        left_out = {"unreadable": self.unreadable, "unreadable_files": dict(self.unreadable_files)}
        policy = {"policy": dict(self.policy)} if self.policy else {}
        release = {"release": dict(self.release)} if self.release else {}
        found = {"score": self.score, **policy, **release, **left_out, "figures": figures}
        return json.dumps(found, indent=2) + "\n"

    def __str__(self) -> str:
        parts = [f"{name}\n{metrics}" for name, metrics in self.metrics.items()]
        if self.unreadable:
            files = list_files(self.unreadable_files)
            parts.append(f"{self.unreadable} clips cannot be read and are left out: {files}")
        return "\n\n".join(parts)


# --- features -------------------------------------------------------------------------------------------------------


class VideoFeatures(NamedTuple):
    """`features` (n, D), on the CPU, of the clips that can be read; their `indices`; and the files that cannot be."""

    features: Tensor
    indices: list[int]
    unreadable_files: dict[str, str]
    """The reasons, by file."""


@dataclass(frozen=True)
class Encoder:
    """A model that encodes videos and texts in micro-batches, shared out among the processes.

    At most the share `max_missing` of the clips may be unreadable.
    """

    model: VidLA
    world: World
    precision: Precision
    micro_batch: int
    workers: int
    max_missing: float = 1.0

    def clip_dataset(self, clips: Clips, media: Media) -> ClipDataset:
        """`clips` as input of the model, without augmentation."""
        video = self.model.config.video
        return ClipDataset(clips, media, video.frames, video.image_size, self.model.config.text.context)

    @torch.no_grad()
    def encode_videos(self, clips: ClipDataset, chosen: Sequence[int]) -> VideoFeatures:
        """Features of the `chosen` clips that can be read, in order of their indices.

        Raises DatasetError, in all processes, if too many cannot be read, or none can.
        """
        sampler = SequentialBatchSampler(len(chosen), self.micro_batch, self.world.rank, self.world.size)
        batches = [[(chosen[position], seed) for position, seed in draws] for draws in sampler]
        own_features, missing, files = dict[int, Tensor](), 0, dict[str, str]()
        for batch in load_batches(clips, batches, min(self.workers, len(batches))):
            valid = batch.index == batch.drawn  # unreadable ones are NO_CLIP
            missing += int((~valid).sum())
            files.update(batch.unreadable)
            if missing > self.max_missing * len(chosen):
                break
            if not valid.any():
                continue
            features = video_features(self.model, batch, self.world.device, self.precision)
            own_features.update(zip(batch.index[valid].tolist(), features.cpu()[valid], strict=True))
        missing = sum(self.world.all_gather(missing))
        files = {file: reason for gathered in self.world.all_gather(files) for file, reason in gathered.items()}
        if missing > self.max_missing * len(chosen):
            raise DatasetError(
                f"{missing} of {len(chosen)} clips to evaluate on cannot be read, more than data.max_missing "
                f"({self.max_missing:g}): {list_files(files)}"
            )
        all_features = self._gather(own_features)
        indices = sorted(all_features)
        if not indices:
            raise DatasetError(f"none of the {len(chosen)} clips to evaluate on can be read: {list_files(files)}")
        return VideoFeatures(torch.stack([all_features[index] for index in indices]), indices, files)

    @torch.no_grad()
    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Features (n, D), on the CPU."""
        own_features: dict[int, Tensor] = {}
        context = self.model.config.text.context
        for draws in SequentialBatchSampler(len(texts), self.micro_batch, self.world.rank, self.world.size):
            tokens = tokenize([texts[index] for index, _ in draws], context).to(self.world.device)
            with autocast(self.world.device, self.precision):
                features = self.model.encode_text(tokens)
            own_features.update(zip((index for index, _ in draws), features.float().cpu(), strict=True))
        all_features = self._gather(own_features)
        return torch.stack([all_features[index] for index in range(len(texts))])

    def _gather(self, own_features: dict[int, Tensor]) -> dict[int, Tensor]:
        """The features of all processes, by index."""
        return {index: row for features in self.world.all_gather(own_features) for index, row in features.items()}


def video_features(model: VidLA, batch: Batch, device: torch.device, precision: Precision) -> Tensor:
    """Features (B, D) of a batch's clips, on the model's device, in float32."""
    video = model.config.video
    with autocast(device, precision):
        pixels = normalise(batch.frames.to(device, non_blocking=True), video.image_mean, video.image_std)
        return model.encode_video(pixels).float()


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


# --- held-out clips -------------------------------------------------------------------------------------------------


def evaluate_clips(
    encoder: Encoder, dataset: ClipDataset, limit: int | None = None, resamples: int = RESAMPLES
) -> Evaluation:
    """Retrieval among the clips of one scale (the first `limit` of them), for each scale and kind of text.

    Only a text's own clip is right for it, even if another clip has the same text. Raises DatasetError if there are too
    few clips.
    """
    clips, chosen, first = dataset.clips, list[int](), 0
    for count in clips.counts.values():
        chosen += range(first, first + min(count, limit or count))
        first += count
    if not chosen:
        raise DatasetError("no clip is held out to evaluate on: check data.held_out")
    videos, indices, files = encoder.encode_videos(dataset, chosen)
    rows = [clips[index] for index in indices]
    metrics: dict[str, RetrievalMetrics] = {}
    for scale in SCALES:
        for kind in TEXT_KINDS:
            valid = [i for i, row in enumerate(rows) if row.scale == scale and getattr(row, kind) is not None]
            if len(valid) < 2:
                continue
            with_text = [rows[i] for i in valid]
            metrics[f"{scale} clips by {kind}"] = _retrieval(encoder, with_text, kind, videos[valid], resamples)
    if not metrics:
        raise DatasetError(f"{len(rows)} held-out clips are too few for retrieval: check data.held_out")
    return Evaluation(metrics, len(chosen) - len(indices), files)


def _retrieval(
    encoder: Encoder, rows: Sequence[ClipRow], kind: str, videos: Tensor, resamples: int
) -> RetrievalMetrics:
    """Between clips, whose features are `videos`, and their texts of one kind; with resamples, by duration too."""
    return evaluate_retrieval(
        encoder.encode_texts([getattr(row, kind) for row in rows]),
        videos,
        durations=[row.end - row.start for row in rows] if resamples else None,
        resamples=resamples,
    )


def evaluate_dataset(
    encoder: Encoder,
    dataset: Dataset,
    settings: DataSettings,
    check: Callable[[Collection[str]], None] = lambda videos: None,
) -> Evaluation:
    """Retrieval among all clips that training with `settings` holds out, of the dataset's current version.

    A release has its own split. `check` is called with the ids of their videos before they are read, and may raise.
    Raises DatasetError.
    """
    check_exists(dataset)
    settings = with_split_of(dataset, settings)
    with tempfile.TemporaryDirectory() as folder:
        version = current_version(dataset)
        clips = select_clips(dataset, version, settings, "held_out", Path(folder) / "held_out.arrow")
        check(set(clips.videos()))
        media = media_store(dataset, settings.cache_folder, settings.cache_bytes)
        evaluation = evaluate_clips(encoder, encoder.clip_dataset(clips, media))
        evaluation = replace(evaluation, release=release_of(dataset))
    if settings.policy is None:
        return evaluation
    chosen = {"name": settings.policy, "digest": digest_of_policy(dataset, settings.policy, version.tables)}
    return replace(evaluation, policy=chosen)


# --- the hierarchical set -------------------------------------------------------------------------------------------


def evaluate_triplets(
    encoder: Encoder, dataset: Dataset, triplets: pa.Table, settings: DataSettings, resamples: int = RESAMPLES
) -> Evaluation:
    """Retrieval among the short, the medium and the long clips of a hierarchical set of `dataset` (hierarchical.py).

    A triplet with an unreadable clip is left out at all scales, so that the three metrics are for the same moments.
    Raises DatasetError.
    """
    check_exists(dataset)
    rows = sorted(triplets.to_pylist(), key=lambda row: SCALES.index(row["scale"]))
    clip_rows = [{**row, "scale": SCALES.index(row["scale"]), "caption": row["text"]} for row in rows]
    if settings.crop_bars:
        boxes = boxes_of(dataset, clip_rows)
        clip_rows = [{**row, "box": box} for row, box in zip(clip_rows, boxes, strict=True)]
    with tempfile.TemporaryDirectory() as folder:
        table = pa.Table.from_pylist(clip_rows, schema=CLIP_SCHEMA)
        clips = write_clips([table], "hierarchical", Path(folder) / "triplets.arrow")
        media = media_store(dataset, settings.cache_folder, settings.cache_bytes)
        videos, indices, files = encoder.encode_videos(encoder.clip_dataset(clips, media), range(len(clips)))
    position, count = {index: i for i, index in enumerate(indices)}, len(rows) // len(SCALES)
    firsts = range(0, len(rows), count)  # the first clip of each scale
    readable = [number for number in range(count) if all(first + number in position for first in firsts)]
    if len(readable) < 2:
        raise DatasetError(f"{len(readable)} of {count} triplets can be read: too few for retrieval")
    metrics = {}
    for first, scale in zip(firsts, SCALES, strict=True):
        chosen = [first + number for number in readable]
        features = videos[[position[index] for index in chosen]]
        metrics[f"{scale} clips"] = _retrieval(encoder, [clips[i] for i in chosen], "caption", features, resamples)
    return Evaluation(metrics, len(rows) - len(SCALES) * len(readable), files, release=release_of(dataset))
