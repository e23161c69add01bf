"""Evaluates a model on a public benchmark, from its original annotation files."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from curation.errors import InputError
from curation.records import SCALES
from model.data.any_video import VideoFiles, measure
from model.data.clips import CLIP_SCHEMA, Clips, write_clips
from model.data.frame_reader import BrokenMedia
from model.evaluation.annotations import (
    Annotation,
    BenchmarkFiles,
    Example,
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
from model.evaluation.zero_shot import ZeroShotMetrics, build_classifier, class_indices, classify

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
    name, _, files = source.partition(":")
    paths = [Path(file) for file in files.split(",") if file]
    if name not in READERS:
        raise InputError(f"unknown benchmark '{name}'; known are {', '.join(READERS)}, as in msrvtt:FILE")
    reader, example, max_files = READERS[name]
    if not paths or len(paths) > max_files or (name == "msvd" and len(paths) < max_files):
        raise InputError(f"'{source}' does not name the files of {name}; an example is {name}:{example}")
    return reader(*paths, **({"split": split} if name == "msrvtt" else {}))


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
    ranges, refused = [], {}
    for example in files.examples:
        try:
            ranges.append(annotated_range(example))
        except BrokenMedia as error:
            refused[str(example.path.absolute())] = str(error)
            ranges.append((0.0, _SHORTEST_S))
    with tempfile.TemporaryDirectory() as folder:
        clips = _write_clips(files, ranges, Path(folder) / "clips.arrow")
        dataset = encoder.clip_dataset(clips, VideoFiles(refused))
        found = encoder.encode_videos(dataset, range(len(clips)))
    return found, [end - start for start, end in (ranges[index] for index in found.indices)]


def _write_clips(files: BenchmarkFiles, ranges: Sequence[tuple[float, float]], path: Path) -> Clips:
    """The videos as clips, in the same order."""
    rows = []
    for number, (example, (start, end)) in enumerate(zip(files.examples, ranges, strict=True)):
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


def annotated_range(example: Example) -> tuple[float, float]:
    """Start and end in seconds on the file's clock. Raises BrokenMedia."""
    length = measure(example.path)
    start, end = example.start or 0.0, min(example.end or length, length)
    if start >= length:
        raise BrokenMedia(f"it ends at {length:.1f} s, before the annotated part, which begins at {start:g} s")
    return start, max(end, start + _SHORTEST_S)
