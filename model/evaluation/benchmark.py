"""Evaluates a model on a public benchmark, from its original annotation files."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from curation.errors import InputError
from curation.records import SCALES
from model.data.any_video import VideoFiles, measure
from model.data.clips import CLIP_SCHEMA, Clips, write_clips
from model.data.frame_reader import BrokenMedia
from model.evaluation.annotations import (
    Annotation,
    read_activitynet,
    read_csv,
    read_didemo,
    read_kinetics,
    read_msrvtt,
    read_msvd,
    read_vatex,
)
from model.evaluation.evaluate import Encoder, Evaluation, VideoFeatures
from model.evaluation.retrieval import RESAMPLES, evaluate_retrieval
from model.evaluation.video_files import BenchmarkFiles, Example
from model.evaluation.zero_shot import ZeroShotMetrics, build_classifier, class_indices, classify

MEASURERS = 8  # headers that are read at the same time
_SHORTEST_S = 0.1  # of a range, however short its file
KINETICS = "kinetics"
"""The benchmark whose texts are classes."""

READERS: dict[str, tuple[Callable[..., tuple[Annotation, ...]], str, int]] = {
    "msrvtt": (read_msrvtt, "MSRVTT_JSFUSION_test.csv", 2),
    "didemo": (read_didemo, "test_data.json,test_list.txt", 2),
    "activitynet": (read_activitynet, "val_1.json", 2),
    "msvd": (read_msvd, "AllVideoDescriptions.txt,test_list.txt", 2),
    "vatex": (read_vatex, "vatex_validation_v1.0.json,test_ids.txt", 2),
    KINETICS: (read_kinetics, "val.csv", 1),
    "csv": (read_csv, "pairs.csv", 2),
}
"""Each benchmark's reader, an example of the files that it takes, and how many it takes at most (MSVD: exactly)."""


def read_annotations(source: str, split: str = "test") -> tuple[Annotation, ...]:
    """The annotations of `source`, such as "msrvtt:FILE" (the names are those of READERS).

    A second file lists the ids of the videos to take. `split` is for MSR-VTT's file of all videos, without such a list.
    Raises InputError.
    """
    name, paths = split_source(source)
    if name not in READERS:
        raise InputError(f"unknown benchmark '{name}'; known are {', '.join(READERS)}, as in msrvtt:FILE")
    reader, example, max_files = READERS[name]
    if not paths or len(paths) > max_files or (name == "msvd" and len(paths) < max_files):
        raise InputError(f"'{source}' does not name the files of {name}; an example is {name}:{example}")
    return reader(*paths, **({"split": split} if name == "msrvtt" else {}))


def split_source(source: str) -> tuple[str, list[Path]]:
    """The name of a benchmark, and its files.

    >>> split_source("csv:pairs.csv,ids.txt")
    ('csv', [PosixPath('pairs.csv'), PosixPath('ids.txt')])
    """
    name, _, files = source.partition(":")
    return name, [Path(file) for file in files.split(",") if file]


def evaluate_benchmark(encoder: Encoder, files: BenchmarkFiles, resamples: int = RESAMPLES) -> Evaluation:
    """Retrieval among the videos of a benchmark; all texts of a video are right for it. Raises DatasetError."""
    (videos, valid, unreadable), durations = _encode_videos(encoder, files)
    pairs = [(text, index) for index in valid for text in files.examples[index].texts]
    metrics = evaluate_retrieval(
        encoder.encode_texts([text for text, _ in pairs]),
        videos,
        [index for _, index in pairs],
        valid,
        durations=durations,
        resamples=resamples,
    )
    return Evaluation({"videos": metrics}, len(files.examples) - len(valid), unreadable)


def classify_benchmark(
    encoder: Encoder, files: BenchmarkFiles, classes: Sequence[str], templates: Sequence[str]
) -> ZeroShotMetrics:
    """Zero-shot classification of the videos of a benchmark whose only text is their class.

    Raises InputError for a text that is not a class, and DatasetError.
    """
    labels = class_indices([example.texts[0] for example in files.examples], classes)
    classifier = build_classifier(classes, templates, encoder.encode_texts)
    (videos, valid, unreadable), _ = _encode_videos(encoder, files)
    metrics = classify(videos, classifier, [labels[index] for index in valid])
    return replace(metrics, unreadable=len(labels) - len(valid), unreadable_files=unreadable)


def _encode_videos(encoder: Encoder, files: BenchmarkFiles) -> tuple[VideoFeatures, list[float]]:
    """Features of the readable videos, whose indices are those of their examples, and their durations in seconds."""
    measured, refused = annotated_ranges(files.examples)
    ranges = [part or (0.0, _SHORTEST_S) for part in measured]
    with tempfile.TemporaryDirectory() as folder:
        clips = _write_clips(files, ranges, Path(folder) / "clips.arrow")
        dataset = encoder.clip_dataset(clips, VideoFiles(refused))
        found = encoder.encode_videos(dataset, range(len(clips)))
    return found, [end - start for start, end in (ranges[index] for index in found.indices)]


def _write_clips(files: BenchmarkFiles, ranges: Sequence[tuple[float, float]], path: Path) -> Clips:
    """The videos as clips, in the same order."""
    examples = enumerate(zip(files.examples, ranges, strict=True))
    rows = [clip_row(str(number), example, part, example.texts[0]) for number, (example, part) in examples]
    return write_clips([pa.Table.from_pylist(rows, schema=CLIP_SCHEMA)], "benchmark", path)


def clip_row(clip_id: str, example: Example, part: tuple[float, float], text: str) -> dict[str, Any]:
    """A row of CLIP_SCHEMA: `part` of the example's video, start and end in seconds, with `text` as its caption."""
    start, end = part
    return {
        "clip_id": clip_id,
        "video_id": example.video_id,
        "scale": SCALES.index("short"),
        "media_uri": str(example.path.absolute()),
        "start": start,
        "end": end,
        "caption": text,
    }


def annotated_ranges(examples: Sequence[Example]) -> tuple[list[tuple[float, float] | None], dict[str, str]]:
    """Each example's `annotated_range`; None for videos that cannot be read, and the reasons by file."""
    unreadable: dict[str, str] = {}

    def measured(example: Example) -> tuple[float, float] | None:
        try:
            return annotated_range(example)
        except BrokenMedia as error:
            unreadable[str(example.path.absolute())] = str(error)
            return None

    with ThreadPoolExecutor(min(MEASURERS, os.cpu_count() or 1)) as pool:
        return list(pool.map(measured, examples)), unreadable


def annotated_range(example: Example) -> tuple[float, float]:
    """Start and end in seconds on the file's clock. Raises BrokenMedia."""
    length = measure(example.path)
    start, end = example.start or 0.0, min(example.end or length, length)
    if start >= length:
        raise BrokenMedia(f"it ends at {length:.1f} s, before the annotated part, which begins at {start:g} s")
    return start, max(end, start + _SHORTEST_S)
