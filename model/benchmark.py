"""How well a model does on the videos of a benchmark, from its original annotation files."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import av
import pyarrow as pa

from curation.lists import InputError
from curation.records import SCALES
from curation.tables import Dataset
from model.annotations import (
    Annotation,
    Example,
    Found,
    read_activitynet,
    read_didemo,
    read_msrvtt,
    read_msvd,
    read_vatex,
)
from model.clips import CLIP_SCHEMA, Clips, write_clips
from model.evaluation import Encoder, Evaluation
from model.media_cache import media_of
from model.retrieval import RESAMPLES, evaluate
from model.samples import Samples

READERS: dict[str, tuple[Callable[..., tuple[Annotation, ...]], str, int]] = {
    "msrvtt": (read_msrvtt, "MSRVTT_JSFUSION_test.csv", 1),
    "didemo": (read_didemo, "test_data.json", 1),
    "activitynet": (read_activitynet, "val_1.json", 1),
    "msvd": (read_msvd, "AllVideoDescriptions.txt,test_list.txt", 2),
    "vatex": (read_vatex, "vatex_validation_v1.0.json,test_ids.txt", 2),
}
"""Each benchmark's reader, the files that it takes as an example, and how many at most (MSVD: exactly)."""


def read_annotations(named: str) -> tuple[Annotation, ...]:
    """The annotations of "msrvtt:FILE", or of one of the other READERS. Raises InputError."""
    name, _, files = named.partition(":")
    paths = [Path(file) for file in files.split(",") if file]
    if name not in READERS:
        raise InputError(f"no benchmark is called '{name}'; there are {', '.join(READERS)}, as in msrvtt:FILE")
    reader, example, most = READERS[name]
    if not paths or len(paths) > most or (name == "msvd" and len(paths) < most):
        raise InputError(f"'{named}' does not name the files of {name}: as in {name}:{example}")
    return reader(*paths)


def evaluate_benchmark(encoder: Encoder, found: Found, resamples: int = RESAMPLES) -> Evaluation:
    """Retrieval among the videos of a benchmark; all texts of a video are right for it. Raises DatasetError."""
    video = encoder.model.config.video
    with tempfile.TemporaryDirectory() as folder:
        clips = _clips(found, Path(folder) / "clips.arrow")
        media = media_of(Dataset(str(found.folder)), None, 1)
        samples = Samples(clips, media, video.frames, video.image_size, encoder.model.config.text.context)
        videos, there = encoder.videos(samples, range(len(clips)))
        rows = [clips[index] for index in there]
    pairs = [(text, index) for index in there for text in found.examples[index].texts]
    figures = evaluate(
        encoder.texts([text for text, _ in pairs]),
        videos,
        [index for _, index in pairs],
        there,
        scale=float(encoder.model.logit_scale.detach().exp()),
        durations=[row.end - row.start for row in rows],
        resamples=resamples,
    )
    return Evaluation({"videos": figures}, len(clips) - len(there))


def _clips(found: Found, path: Path) -> Clips:
    """The videos as clips, in their order."""
    rows = []
    for number, example in enumerate(found.examples):
        start, end = _range(example)
        rows.append(
            {
                "clip_id": str(number),
                "video_id": example.video_id,
                "scale": SCALES.index("short"),
                "media_uri": str(example.path.absolute()),
                "start": start,
                "end": end,
                "caption": example.texts[0],
            }
        )
    return write_clips([pa.Table.from_pylist(rows, schema=CLIP_SCHEMA)], "benchmark", path)


def _range(example: Example) -> tuple[float, float]:
    """Seconds. What cannot be opened has none, and is found out when it is read."""
    start, end = example.start or 0.0, example.end
    with suppress(av.FFmpegError, OSError), av.open(f"file:{example.path.absolute()}") as container:
        duration = (container.duration or 0) / av.time_base
        end = min(end or duration, duration)
    return start, max(end or 0.0, start + 0.1)
