"""Evaluates a model on a public benchmark, from its original annotation files."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
from torch import Tensor

from curation.errors import InputError
from curation.media.single_pass import contents
from curation.records import SCALES
from curation.rejects import Rejected
from curation.settings import MediaSettings
from model.data.clips import CLIP_SCHEMA, Clips, write_clips
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
from model.evaluation.retrieval import RESAMPLES, evaluate_retrieval
from model.evaluation.zero_shot import ZeroShotMetrics, build_classifier, class_indices, classify

_SHORTEST_S = 0.1  # of a range that its file's header does not bear out
KINETICS = "kinetics"
"""The benchmark whose texts are classes."""

READERS: dict[str, tuple[Callable[..., tuple[Annotation, ...]], str, int]] = {
    "msrvtt": (read_msrvtt, "MSRVTT_JSFUSION_test.csv", 1),
    "didemo": (read_didemo, "test_data.json", 1),
    "activitynet": (read_activitynet, "val_1.json", 1),
    "msvd": (read_msvd, "AllVideoDescriptions.txt,test_list.txt", 2),
    "vatex": (read_vatex, "vatex_validation_v1.0.json,test_ids.txt", 2),
    KINETICS: (read_kinetics, "val.csv", 1),
}
"""Each benchmark's reader, an example of the files that it takes, and how many it takes at most (MSVD: exactly)."""


def read_annotations(source: str) -> tuple[Annotation, ...]:
    """The annotations of `source`, such as "msrvtt:FILE" (the names are those of READERS). Raises InputError."""
    name, _, files = source.partition(":")
    paths = [Path(file) for file in files.split(",") if file]
    if name not in READERS:
        raise InputError(f"unknown benchmark '{name}'; known are {', '.join(READERS)}, as in msrvtt:FILE")
    reader, example, max_files = READERS[name]
    if not paths or len(paths) > max_files or (name == "msvd" and len(paths) < max_files):
        raise InputError(f"'{source}' does not name the files of {name}; an example is {name}:{example}")
    return reader(*paths)


def evaluate_benchmark(encoder: Encoder, files: BenchmarkFiles, resamples: int = RESAMPLES) -> Evaluation:
    """Retrieval among the videos of a benchmark; all texts of a video are right for it. Raises DatasetError."""
    videos, valid, durations = _encode_videos(encoder, files)
    pairs = [(text, index) for index in valid for text in files.examples[index].texts]
    metrics = evaluate_retrieval(
        encoder.encode_texts([text for text, _ in pairs]),
        videos,
        [index for _, index in pairs],
        valid,
        scale=encoder.scale,
        durations=durations,
        resamples=resamples,
    )
    return Evaluation({"videos": metrics}, len(files.examples) - len(valid))


def classify_benchmark(
    encoder: Encoder, files: BenchmarkFiles, classes: Sequence[str], templates: Sequence[str]
) -> ZeroShotMetrics:
    """Zero-shot classification of the videos of a benchmark whose only text is their class.

    Raises InputError for a text that is not a class, and DatasetError.
    """
    labels = class_indices([example.texts[0] for example in files.examples], classes)
    classifier = build_classifier(classes, templates, encoder.encode_texts)
    videos, valid, _ = _encode_videos(encoder, files)
    metrics = classify(videos, classifier, [labels[index] for index in valid])
    return replace(metrics, unreadable=len(labels) - len(valid))


def _encode_videos(encoder: Encoder, files: BenchmarkFiles) -> tuple[Tensor, list[int], list[float]]:
    """Features of the readable videos, the indices of their examples, and their durations in seconds."""
    ranges, refused = [], {}
    for example in files.examples:
        try:
            ranges.append(_range(example))
        except Rejected as error:
            refused[str(example.path.absolute())] = error.message
            ranges.append((0.0, _SHORTEST_S))
    with tempfile.TemporaryDirectory() as folder:
        clips = _write_clips(files, ranges, Path(folder) / "clips.arrow")
        dataset = encoder.clip_dataset(clips, _Videos(refused))
        features, valid = encoder.encode_videos(dataset, range(len(clips)))
        rows = [clips[index] for index in valid]
    return features, valid, [row.end - row.start for row in rows]


@dataclass(frozen=True)
class _Videos:
    """The files of a benchmark by their paths, but for those that were `refused`, with the reason."""

    refused: Mapping[str, str]

    def open(self, media_uri: str) -> Path:
        if media_uri in self.refused:
            raise OSError(self.refused[media_uri])
        return Path(media_uri)


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


def _range(example: Example) -> tuple[float, float]:
    """Start and end in seconds, by the header, which a guarded child reads first. Raises Rejected."""
    duration = contents(example.path, MediaSettings()).duration or 0.0
    start, end = example.start or 0.0, min(example.end or duration, duration)
    return start, max(end, start + _SHORTEST_S)
