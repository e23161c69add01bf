"""Trains small random towers on the named animations, and measures how well they find held-out ones."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, TextIO

import numpy as np
import torch
from transformers import CLIPConfig, CLIPModel

from curation.dataset.dataset import Dataset
from curation.dataset.parts import PartWriter
from curation.dataset.writer import Writer
from curation.ids import content_digest, digest
from curation.records import Clip, Row
from curation.segments.tilings import tile
from curation.settings import ScaleSettings, TilingSettings
from curation.splits import is_held_out
from model.data.clips import current_version, select_clips
from model.data.media_cache import media_store
from model.distributed import World
from model.evaluation.evaluate import Encoder
from model.evaluation.ranking import normalised, rank
from model.network.vidla import VidLA
from model.settings import DataSettings, resolve_training
from model.training import run_folder
from model.training.trainer import Trainer
from tests.support.animations import SECONDS, Animation

TILINGS = TilingSettings(short=ScaleSettings(target_s=SECONDS, min_s=2.0, max_s=4.0))
NESTED = TilingSettings(
    short=TILINGS.short,
    medium=ScaleSettings(target_s=2 * SECONDS, min_s=1.5 * SECONDS, max_s=3 * SECONDS),
    long=ScaleSettings(target_s=8 * SECONDS, min_s=8 * SECONDS, max_s=16 * SECONDS),
)
ALONE = World(0, 1, torch.device("cpu"))
HELD_OUT = 0.2
SETTINGS = (
    f"data.held_out={HELD_OUT}",
    "data.workers=1",
    "precision=fp32",
    "epochs=25",
    "model.frames=4",
    "model.levels=2",
    "model.tokens=2",
    "batch=48",
    "micro_batch=48",
    "optimizer.lr=2e-3",
    "optimizer.final_lr=1e-5",
    "optimizer.warmup=0.05",
    "optimizer.clip_norm=1",
    "evaluate_every=100000",
    "checkpoint_every=100000",
)


def write_dataset(
    location: Path, videos: Path, animations: Sequence[Animation], shuffled: int | None = None
) -> Dataset:
    """A dataset with a short clip of each animation: its name is the caption, its tags are the subtitle.

    With `shuffled`, a seed, the texts of clips that are not held out are shuffled.
    """
    dataset = Dataset(str(location))
    texts = [(one.name, one.tags) for one in animations]
    if shuffled is not None:
        places = [i for i, one in enumerate(animations) if not is_held_out(one.video_id, HELD_OUT)]
        for i, text in zip(places, Random(shuffled).sample([texts[i] for i in places], len(places)), strict=True):
            texts[i] = text
    with Writer(dataset, "animations", {}) as writer:
        parts = PartWriter(dataset.store, writer.lineage, part_bytes=1 << 30)
        texts_of = dict(zip(((one.video_id, one.start) for one in animations), texts, strict=True))
        for video_id in dict.fromkeys(one.video_id for one in animations):
            media_uri = f"media/{digest(video_id)[:2]}/{video_id}.mp4"
            (location / media_uri).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(videos / f"{video_id}.mp4", location / media_uri)
            edges = sorted({edge for one in animations if one.video_id == video_id for edge in (one.start, one.end)})
            segments = tile(video_id, edges[-1], edges, (), (), TILINGS)
            rows = [
                _clip(segment, media_uri, *texts_of[video_id, segment.start])
                for segment in segments
                if segment.scale == "short"
            ]
            parts.add(Row(record, content_digest(b"")) for record in rows)
        writer.commit("animations", parts.finish())
    return dataset


def write_nested(location: Path, videos: Path, animations: Sequence[Animation]) -> Dataset:
    """A dataset whose texts repeat and whose clips nest.

    A short clip shows an animation, and has as its caption the thing without skin tone, which up to six animations
    share. A medium one shows some of them, a long one all eight of a video, and they have the texts of all in turn.
    """
    dataset = Dataset(str(location))
    with Writer(dataset, "nested", {}) as writer:
        parts = PartWriter(dataset.store, writer.lineage, part_bytes=1 << 30)
        for video_id in dict.fromkeys(one.video_id for one in animations):
            shown = [one for one in animations if one.video_id == video_id]
            media_uri = f"media/{digest(video_id)[:2]}/{video_id}.mp4"
            (location / media_uri).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(videos / f"{video_id}.mp4", location / media_uri)
            edges = sorted({edge for one in shown for edge in (one.start, one.end)})
            for segment in tile(video_id, edges[-1], edges, (), (), NESTED):
                within = [one for one in shown if segment.start <= one.start < segment.end]
                texts = ", then ".join(one.thing for one in within), ", ".join(one.tags for one in within)
                parts.add([Row(_clip(segment, media_uri, *texts), content_digest(b""))])
        writer.commit("nested", parts.finish())
    return dataset


def _clip(segment: Any, media_uri: str, name: str, tags: str) -> Clip:
    return Clip(
        **vars(segment),
        media_uri=media_uri,
        subtitle_text=tags,
        caption_text=name,
        subtitle_original=tags,
        caption_original=name,
        subtitle_source="emojibase-data",
        caption_source="emojibase-data",
        subtitle_status="verbatim",
        caption_status="verbatim",
        language="en",
    )


def random_towers(folder: Path, seed: int) -> Path:
    """A small untrained CLIP of transformers, with CLIP's vocabulary."""
    torch.manual_seed(seed)
    sizes = {"hidden_size": 64, "intermediate_size": 256, "num_attention_heads": 4}
    vision = {**sizes, "num_hidden_layers": 3, "image_size": 48, "patch_size": 16}
    text = {**sizes, "num_hidden_layers": 2, "max_position_embeddings": 24, "vocab_size": 49408, "eos_token_id": 49407}
    CLIPModel(CLIPConfig(vision_config=vision, text_config=text, projection_dim=64)).save_pretrained(folder)
    return folder


def trainer_of(folder: Path, dataset: Dataset, clip: Path, seed: int, *assignments: str) -> Trainer:
    settings = resolve_training(None, [f"model.weights={clip}", f"seed={seed}", *SETTINGS, *assignments])
    return Trainer(run_folder.open_run(folder, dataset, settings, ALONE), ALONE)


def encoder_of(model: VidLA) -> Encoder:
    return Encoder(model, ALONE, "fp32", 48, 0)


@dataclass(frozen=True)
class Found:
    """R@1 for finding held-out clips by name, among all of them.

    `every` is over all queries; `known` over things that are also in training, with another skin tone; `new` over the
    others.
    """

    clips: int
    every: float
    known: float
    new: float

    @property
    def chance(self) -> float:
        return 1 / self.clips


def find(model: VidLA, dataset: Dataset, animations: Sequence[Animation], folder: Path) -> Found:
    """Measure how well `model` finds the held-out clips of `dataset`, which has all `animations`, by name."""
    settings = DataSettings(held_out=HELD_OUT)
    clips = select_clips(dataset, current_version(dataset), settings, "held_out", folder / "held_out.arrow")
    encoder = encoder_of(model)
    encoded = encoder.encode_videos(encoder.clip_dataset(clips, media_store(dataset, None, 1)), range(len(clips)))
    names = [str(clips[index].caption) for index in encoded.indices]
    pairs = np.arange(len(names))
    (ranks,) = rank(
        normalised(encoder.encode_texts(names), "text"), normalised(encoded.features, "video"), pairs, pairs
    )
    hits = ranks.hits(1)
    thing = {one.name: one.thing for one in animations}
    trained_on = {one.thing for one in animations if not is_held_out(one.video_id, HELD_OUT)}
    known = np.array([thing[name] in trained_on for name in names])
    return Found(len(names), float(hits.mean()), float(hits[known].mean()), float(hits[~known].mean()))


def find_things(model: VidLA, dataset: Dataset, held_out: float, folder: Path) -> tuple[float, float, int]:
    """R@1 for finding a held-out short clip of a thing by the thing's name, and the name by the clip, and their number.

    All clips of a thing are right for its name.
    """
    settings = DataSettings(held_out=held_out, scales={"short": 1.0})
    clips = select_clips(dataset, current_version(dataset), settings, "held_out", folder / "things.arrow")
    encoder = encoder_of(model)
    media = media_store(dataset, None, 1)
    encoded = encoder.encode_videos(encoder.clip_dataset(clips, media), range(len(clips)))
    things = [str(clips[index].caption) for index in encoded.indices]
    groups = np.unique(things, return_inverse=True)[1]
    by_name, by_clip = normalised(encoder.encode_texts(things), "text"), normalised(encoded.features, "video")
    (of_names,), (of_clips,) = rank(by_name, by_clip, groups, groups), rank(by_clip, by_name, groups, groups)
    return float(of_names.hits(1).mean()), float(of_clips.hits(1).mean()), len(things)


@dataclass(frozen=True)
class Learned:
    """The recalls before training, after training with shuffled texts, and after training."""

    untrained: Found
    shuffled: Found
    trained: Found


def learn(folder: Path, videos: Path, animations: Sequence[Animation], seed: int, shown: TextIO) -> Learned:
    """Train twice, from the same random towers; progress goes to `shown`."""
    towers = random_towers(folder / "towers", seed)
    true = write_dataset(folder / "true", videos, animations)
    shuffled = write_dataset(folder / "shuffled", videos, animations, shuffled=seed)
    trainer = trainer_of(folder / "run", true, towers, seed)
    control = trainer_of(folder / "control", shuffled, towers, seed)
    untrained = find(trainer.model, true, animations, folder)
    for each in (trainer, control):
        each.train(shown)
    return Learned(untrained, *(find(each.model, true, animations, folder) for each in (control, trainer)))
