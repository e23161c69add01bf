"""A minimal training run: a few generated videos, a CLIP with random weights, and settings for both."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from curation.dataset.dataset import Dataset
from curation.dataset.object_store import put
from curation.dataset.writer import Writer
from curation.records import Clip
from model.settings import TrainSettings, resolve_training
from tests.support.dataset_files import commit_rows, made_of, make_dataset, stored_media
from tests.support.small_clip import small_clip

CLIPS_A_VIDEO = 7
TEXTS: Sequence[tuple[str | None, str | None]] = [
    ("Bees dance.", "A bee"),
    (None, "A bee on a flower"),
    ("They tell where flowers are.", None),
    ("The hive listens.", "Many bees in a box"),
]
FAST = ("data.workers=0", "micro_batch=4", "batch=4", "model.frames=2", "model.levels=1", "model.tokens=2")


def training_dataset(folder: Path, videos: int = 4) -> Dataset:
    """Videos of seven clips each; some of their texts are missing."""
    dataset = make_dataset(folder, 0)
    with Writer(dataset, "run-2", {}) as writer:
        for number in range(videos):
            add_video(writer, number)
    return dataset


def add_video(writer: Writer, number: int) -> None:
    media = stored_media(seed=number)
    rows = made_of(number, media)
    put(writer.dataset.store, rows["videos"][0].media_uri, media)
    clips: list[Clip] = rows["clips"]
    texts = [TEXTS[(number + i) % len(TEXTS)] for i in range(len(clips))]
    clips = [dataclasses.replace(c, subtitle_text=s, caption_text=t) for c, (s, t) in zip(clips, texts, strict=True)]
    commit_rows(writer, f"video {number}", {"clips": clips})


def training_clip(folder: Path) -> Path:
    """A small CLIP with CLIP's own vocabulary."""
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2}
    return small_clip(folder, vision=sizes, vocab_size=49408, eos_token_id=49407, **sizes)


def training_settings(clip: Path, *assignments: str) -> TrainSettings:
    """A run with steps of four clips; no video is held out."""
    return resolve_training(None, [f"model.weights={clip}", "data.held_out=0", *FAST, *assignments])
