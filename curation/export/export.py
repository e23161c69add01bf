"""Exporting a dataset as files: clips with their texts, or the tables as plain folders.

An interrupted export continues where it stopped, and a repeated one brings its folder up to date: files that are
already right are kept. Files appear complete or not at all.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Literal

from curation.card import card
from curation.dataset.dataset import Dataset
from curation.errors import UsageError
from curation.export.cutting import TEMPORARY, Cutter
from curation.export.hugging_face import CONFIGS, write_folder
from curation.export.manifest import claim
from curation.export.mp4_files import write_files
from curation.export.outcome import ExportReport, Progress
from curation.export.parquet_tables import write_tables
from curation.export.selection import EVERYTHING, Selection, clips_of, count_clips
from curation.export.sums import take_back, write_sums
from curation.export.webdataset import write_shards
from curation.quality.chosen_policy import digest_of_policy
from curation.records import SCALES

Format = Literal["mp4", "webdataset", "hf", "parquet"]
FORMATS: tuple[Format, ...] = ("mp4", "webdataset", "hf", "parquet")
HELD_OUT = 0.02
"""The share of the videos in the split `test` of the format hf."""
SHARD_CLIPS = 1000


def export(
    dataset: Dataset,
    out: Path,
    form: Format,
    selection: Selection = EVERYTHING,
    shard_clips: int = SHARD_CLIPS,
    held_out: float = HELD_OUT,
    progress: Progress = lambda done: None,
) -> ExportReport:
    """Bring `out` up to date with the selected clips of `dataset`; calls `progress` for every clip (or batch of rows).

    Raises UsageError for an invalid selection and for an `out` with other contents; DatasetError.
    """
    if selection.scale is not None and selection.scale not in SCALES:
        raise UsageError(f"no scale is called '{selection.scale}'; there are {', '.join(SCALES)}")
    changing = {} if selection.policy is None else {"policy_digest": digest_of_policy(dataset, selection.policy)}
    count_clips(dataset, selection)
    about: dict[str, Any] = {"dataset": dataset.uri, "format": form, "where": selection.where, "scale": selection.scale}
    about |= {"shard_clips": shard_clips} if form in ("webdataset", "hf") else {}
    about |= {} if selection.policy is None else {"policy": selection.policy}
    claim(dataset, out, about | ({"held_out": held_out} if form == "hf" else {}), changing)
    before = take_back(out)
    with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=out) as scratch:
        cutter, clips = Cutter(dataset, Path(scratch)), clips_of(dataset, selection)
        if form == "parquet":
            done = write_tables(dataset, out, selection, progress)
        elif form == "mp4":
            done = write_files(cutter, out, clips, progress)
        elif form == "webdataset":
            done = write_shards(cutter, out, clips, shard_clips, progress)
        else:
            done = write_folder(cutter, out, clips, shard_clips, held_out, progress)
            (out / "README.md").write_text(card(dataset, selection, CONFIGS), encoding="utf-8")
    write_sums(out, before)
    return done
