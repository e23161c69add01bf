"""A small set of pairs in the files of MSR-VTT: a square that moves over a ground, four texts each, made by ffmpeg."""

from __future__ import annotations

import csv
import json
from itertools import product
from pathlib import Path
from random import Random

import torch

from model.network.clip_conversion import from_clip
from model.settings import ModelSettings
from tests.support.learning import random_towers
from tests.support.media_files import ffmpeg

SECONDS = 4
COLOURS = {"red": "red", "green": "lime", "blue": "blue", "yellow": "yellow", "white": "white", "purple": "purple"}
GROUNDS = {"black": "black", "grey": "gray", "brown": "brown", "pink": "pink"}
WAYS = {
    "left": ("(W-w)*(1-t/4)", "(H-h)/2"),
    "right": ("(W-w)*t/4", "(H-h)/2"),
    "up": ("(W-w)/2", "(H-h)*(1-t/4)"),
    "down": ("(W-w)/2", "(H-h)*t/4"),
}
TEXTS = (
    "a {} square moves {} on a {} ground",
    "there is a {} box that goes {} on {}",
    "a {} block is moving {} in front of {}",
    "this shows a {} square moving {} and all else is {}",
)
SETTINGS = """\
preset = "retrieval"
epochs = 20
batch = 37
micro_batch = 8
precision = "fp32"
mask_same_video = true
checkpoint_every = 100000
[model]
weights = "{start}"
frames = 4
levels = 2
tokens = 2
[data]
held_out = 0
workers = 1
[optimizer]
lr = 2e-3
final_lr = 1e-5
clip_norm = 1
lr_factors = {{new = 2}}
"""
"""The batch of 37 goes to two processes as 18 and 19 clips, in three micro-batches each."""


def make_msrvtt(folder: Path, videos: int = 96, test: int = 24) -> Path:
    """Write MSRVTT_data.json, MSRVTT_train.9k.csv, MSRVTT_JSFUSION_test.csv and videos/ into `folder`.

    No combination of colour, way and ground comes twice, so those in the `test` videos are new.
    """
    combinations = Random(0).sample(list(product(COLOURS, WAYS, GROUNDS)), videos)
    names = [f"video{number}" for number in range(videos)]
    (folder / "videos").mkdir(parents=True)
    sentences = []
    for name, (colour, way, ground) in zip(names, combinations, strict=True):
        _make_video(folder / "videos" / f"{name}.mp4", colour, way, ground)
        texts = [text.format(colour, way, ground) for text in TEXTS]
        sentences += [{"caption": text, "video_id": name} for text in texts]
    splits = [{"video_id": name, "split": "train" if i < videos - test else "test"} for i, name in enumerate(names)]
    (folder / "MSRVTT_data.json").write_text(json.dumps({"videos": splits, "sentences": sentences}))
    (folder / "MSRVTT_train.9k.csv").write_text("\n".join(["video_id", *names[: videos - test]]) + "\n")
    with (folder / "MSRVTT_JSFUSION_test.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["key", "vid_key", "video_id", "sentence"])
        for i, name in enumerate(names[videos - test :]):
            writer.writerow([f"ret{i}", name, name, sentences[(videos - test + i) * len(TEXTS) + i % 4]["caption"]])
    return folder


def _make_video(path: Path, colour: str, way: str, ground: str) -> None:
    x, y = WAYS[way]
    pictures = ((GROUNDS[ground], "96x96"), (COLOURS[colour], "32x32"))
    inputs = [f"color={value}:s={size}:r=12:d={SECONDS}" for value, size in pictures]
    sources = [argument for one in inputs for argument in ("-f", "lavfi", "-i", one)]
    ffmpeg(*sources, "-filter_complex", f"[0][1]overlay=x='{x}':y='{y}'", "-pix_fmt", "yuv420p", "-g", "12", path)


def make_start(folder: Path, seed: int = 0) -> Path:
    """An untrained VidLA with small towers, in `folder`; and beside it settings that finetune it: finetune.toml."""
    towers = random_towers(folder / "towers", seed)
    torch.manual_seed(seed)
    from_clip(ModelSettings(weights=str(towers), frames=4, levels=2, tokens=2)).save(folder / "start")
    (folder / "finetune.toml").write_text(SETTINGS.format(start=folder / "start"))
    return folder / "start"
