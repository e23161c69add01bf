"""A dataset that is nice to look at, drawn by us: shapes on coloured grounds, with texts that say what they are."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from curation.dataset.dataset import Dataset
from curation.dataset.object_store import put
from curation.dataset.writer import Writer
from curation.ids import content_digest
from tests.support.dataset_files import commit_rows, download_of, made_of, request_of, stored_media

COLOURS = {  # in BGR
    "red": (60, 60, 210),
    "orange": (40, 140, 240),
    "yellow": (80, 210, 240),
    "green": (90, 160, 80),
    "blue": (200, 120, 50),
    "violet": (170, 80, 130),
}
SHAPES = ("circle", "square", "triangle", "star")
SAID = (
    "Look at this one for a while.",
    "It moves slowly from left to right.",
    "Now it turns, and the light changes.",
    "And here it comes back again.",
)
HEIGHT, WIDTH = 270, 480


def draw(shape: str, colour: str, ground: str, turn: float) -> np.ndarray:
    """uint8 [HEIGHT, WIDTH, 3], BGR: a shape that is turned by some degrees, on a ground that fades."""
    fade = np.linspace(1.0, 0.55, HEIGHT)[:, None, None]
    picture = (np.array(COLOURS[ground], np.float64) * 0.35 + 165) * fade * np.ones((HEIGHT, WIDTH, 1))
    canvas = picture.astype(np.uint8)
    middle, size = np.array([WIDTH / 2, HEIGHT / 2]), 85
    if shape == "circle":
        cv2.circle(canvas, tuple(int(v) for v in middle), size, COLOURS[colour], -1, cv2.LINE_AA)
        return canvas
    corners = {"square": 4, "triangle": 3, "star": 10}[shape]
    angles = np.radians(turn - 90 + 360 * np.arange(corners) / corners)
    far = np.where(np.arange(corners) % 2, 0.45, 1.0) if shape == "star" else np.ones(corners)
    points = middle + size * far[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    cv2.fillPoly(canvas, [points.astype(np.int32)], COLOURS[colour], cv2.LINE_AA)
    return canvas


def drawn_dataset(location: Path, videos: int = 5) -> Dataset:
    """`videos` videos of four short clips each."""
    dataset = Dataset(str(location))
    with Writer(dataset, "20260101T120000-4a7c", {"command": ["curate"]}) as writer:
        for number in range(videos):
            media = stored_media(seed=number)
            rows = _drawn(number, made_of(number, media))
            put(dataset.store, rows["videos"][0].media_uri, media)
            first: dict[str, list[Any]] = {"requests": [request_of(number)], "downloads": [download_of(number)]}
            commit_rows(writer, f"drawn {number}", {**first, **rows})
    return dataset


def _drawn(number: int, rows: dict[str, list[Any]]) -> dict[str, list[Any]]:
    colours = list(COLOURS)
    said = {}
    for at, frame in enumerate(rows["frames"]):
        shape, colour = SHAPES[(number + at) % 4], colours[(number * 2 + at) % 6]
        ground = colours[(number + at * 2 + 3) % 6]
        _, jpeg = cv2.imencode(".jpg", draw(shape, colour, ground, 17 * (number + at)))
        image = jpeg.tobytes()
        rows["frames"][at] = dataclasses.replace(frame, image=image, image_digest=content_digest(image))
        said[frame.frame_id] = f"One {colour} {shape} on a ground that fades from {ground} to grey."
    texts = [(caption, said[caption.frame_id]) for caption in rows["captions"]]
    rows["captions"] = [dataclasses.replace(caption, text=text, raw_text=text) for caption, text in texts]
    clips = []
    for clip in rows["clips"]:
        seen = [said[frame_id] for frame_id in clip.frame_ids]
        spoken = SAID[int(clip.start // 6) % 4]
        clips.append(dataclasses.replace(clip, caption_text=seen[0], subtitle_text=spoken, subtitle_original=spoken))
    return {**rows, "clips": clips}
