"""Annotated videos as what a run trains on: each text of a video is a pair with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from itertools import islice
from pathlib import Path

import pyarrow as pa

from curation.errors import ConfigError, DatasetError
from curation.ids import digest
from curation.splits import is_held_out, is_in_subset
from model.data.clips import BATCH_ROWS, CLIP_SCHEMA, CONDITIONS, Clips, DatasetVersion, Split, write_clips
from model.data.loader import list_files
from model.evaluation.benchmark import annotated_ranges, clip_row, read_annotations, split_source
from model.evaluation.video_files import BenchmarkFiles, Example, find_videos
from model.settings import DataSettings

OF_A_DATASET = (*CONDITIONS, "policy", "scales", "crop_bars")
"""Settings that say something about the clips of a dataset, and nothing about pairs."""


@dataclass(frozen=True)
class Pairs:
    """The pairs of `source`, such as "msrvtt:FILE,IDS", whose videos are among `files`."""

    source: str
    files: BenchmarkFiles

    @property
    def uri(self) -> str:
        """Identifies what is trained on, as the URI of a dataset does, however its paths are spelled."""
        name, paths = split_source(self.source)
        files = ",".join(str(path.resolve()) for path in paths)
        return f"{name}:{files} with the videos in {self.files.folder.resolve()}"

    @cached_property
    def version(self) -> DatasetVersion:
        """A digest of all texts, and of the names and sizes of all files; there is nothing to pin."""
        examples = self.files.examples
        files = [(one.path.name, one.path.stat().st_size, one.start, one.end) for one in examples]
        return DatasetVersion("", {}, digest("pairs", *((one.video_id, *one.texts) for one in examples), *files))


def find_pairs(source: str, folder: Path) -> Pairs:
    """The pairs of `source` with videos in `folder`; of MSR-VTT's file of all videos, those for training.

    Raises InputError.
    """
    return Pairs(source, find_videos(read_annotations(source, "train"), folder))


def resume_pairs(pairs: Pairs, version: DatasetVersion, allow_changed: bool) -> DatasetVersion:
    """The version that a resumed run continues on. Raises DatasetError if the pairs have changed, unless allowed."""
    if version.configuration != pairs.version.configuration and not allow_changed:
        raise DatasetError(
            f"{pairs.uri}: texts or videos have changed since the checkpoint; data.allow_changed=true continues on "
            f"those that are there now"
        )
    return pairs.version


def select_pairs(pairs: Pairs, settings: DataSettings, split: Split, path: Path) -> Clips:
    """Write the pairs of one split to `path`, unless the same selection is already there.

    As in a dataset, videos are held out by a hash of their ids. In `train` each text of a video makes a row; in
    `held_out` the first alone, so that each video is one candidate. Reads the header of every video. Raises ConfigError
    for settings of datasets, and DatasetError if too many videos cannot be read or none is left to train on.
    """
    for name in OF_A_DATASET:
        if getattr(settings, name) != DataSettings.model_fields[name].default:
            raise ConfigError(f"data.{name} is about the clips of a dataset; it does not apply to --pairs")
    selection = digest("pairs", pairs.version.configuration, split, settings.subset, settings.held_out)
    if path.exists() and (clips := Clips(path)).selection == selection:
        return clips
    chosen = [one for one in pairs.files.examples if _is_in(split, one.video_id, settings)]
    if split == "held_out":  # the first ones are a random sample, as in a dataset
        chosen.sort(key=lambda one: sha256(f"evaluate:{_id(one, 0)}".encode()).digest())
    if split == "train" and not chosen:
        raise DatasetError(f"no pair of {pairs.uri} is selected: check data.subset and data.held_out")
    ranges, unreadable = annotated_ranges(chosen)
    if len(unreadable) > settings.max_missing * len(chosen):
        raise DatasetError(
            f"{len(unreadable)} of {len(chosen)} videos cannot be read, more than data.max_missing "
            f"({settings.max_missing:g}): {list_files(unreadable)}"
        )
    readable = [(one, part) for one, part in zip(chosen, ranges, strict=True) if part is not None]
    return write_clips(_tables(readable, 1 if split == "held_out" else None), selection, path, unreadable)


def _is_in(split: Split, video_id: str, settings: DataSettings) -> bool:
    held_out = is_held_out(video_id, settings.held_out)
    return held_out if split == "held_out" else is_in_subset(video_id, settings.subset) and not held_out


def _id(example: Example, text: int) -> str:
    return f"{example.video_id}#{text}"


def _tables(examples: Sequence[tuple[Example, tuple[float, float]]], texts: int | None) -> Iterator[pa.Table]:
    """The rows of the first `texts` texts (None: all) of each example."""
    rows = (
        clip_row(_id(example, number), example, part, text)
        for example, part in examples
        for number, text in enumerate(example.texts[:texts])
    )
    while some := list(islice(rows, BATCH_ROWS)):
        yield pa.Table.from_pylist(some, schema=CLIP_SCHEMA)
