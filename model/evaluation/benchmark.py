"""How well a model does on the videos of a benchmark, from its original annotation files."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import av
import pyarrow as pa
from torch import Tensor

from curation.dataset.dataset import Dataset
from curation.errors import InputError
from curation.records import SCALES
from model.data.clips import CLIP_SCHEMA, Clips, write_clips
from model.data.media_cache import media_of
from model.evaluation.annotations import (
    Annotation,
    BenchmarkFiles,
    Example,
    read_activitynet,
    read_didemo,
    read_kinetics,
    read_msrvtt,
    read_msvd,
    read_vatex,
)
from model.evaluation.evaluate import Encoder, Evaluation
from model.evaluation.retrieval import RESAMPLES, evaluate
from model.evaluation.zero_shot import ZeroShot, class_features, classify, labels_of

KINETICS = "kinetics"
"""The one whose texts are classes."""

READERS: dict[str, tuple[Callable[..., tuple[Annotation, ...]], str, int]] = {
    "msrvtt": (read_msrvtt, "MSRVTT_JSFUSION_test.csv", 1),
    "didemo": (read_didemo, "test_data.json", 1),
    "activitynet": (read_activitynet, "val_1.json", 1),
    "msvd": (read_msvd, "AllVideoDescriptions.txt,test_list.txt", 2),
    "vatex": (read_vatex, "vatex_validation_v1.0.json,test_ids.txt", 2),
    KINETICS: (read_kinetics, "val.csv", 1),
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


def evaluate_benchmark(encoder: Encoder, found: BenchmarkFiles, resamples: int = RESAMPLES) -> Evaluation:
    """Retrieval among the videos of a benchmark; all texts of a video are right for it. Raises DatasetError."""
    videos, there, durations = _videos(encoder, found)
    pairs = [(text, index) for index in there for text in found.examples[index].texts]
    figures = evaluate(
        encoder.texts([text for text, _ in pairs]),
        videos,
        [index for _, index in pairs],
        there,
        scale=encoder.scale,
        durations=durations,
        resamples=resamples,
    )
    return Evaluation({"videos": figures}, len(found.examples) - len(there))


def classify_benchmark(
    encoder: Encoder, found: BenchmarkFiles, classes: Sequence[str], templates: Sequence[str]
) -> ZeroShot:
    """Zero-shot classification of the videos of a benchmark, each of whose one text is its class.

    Raises InputError for a text that is no class, and DatasetError.
    """
    labels = labels_of([example.texts[0] for example in found.examples], classes)
    features = class_features(classes, templates, encoder.texts)
    videos, there, _ = _videos(encoder, found)
    shares = classify(videos, features, [labels[index] for index in there])
    return replace(shares, unreadable=len(labels) - len(there))


def _videos(encoder: Encoder, found: BenchmarkFiles) -> tuple[Tensor, list[int], list[float]]:
    """The features of all videos that can be read, which of the examples these are, and how many seconds they last."""
    with tempfile.TemporaryDirectory() as folder:
        clips = _clips(found, Path(folder) / "clips.arrow")
        media = media_of(Dataset(str(found.folder)), None, 1)
        features, there = encoder.videos(encoder.samples(clips, media), range(len(clips)))
        rows = [clips[index] for index in there]
    return features, there, [row.end - row.start for row in rows]


def _clips(found: BenchmarkFiles, path: Path) -> Clips:
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
