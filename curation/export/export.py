"""Exporting a dataset as files: clips with their texts, or the tables as plain folders.

An interrupted export continues where it stopped, and a repeated one brings its folder up to date: files that are
already right are kept. Files appear complete or not at all.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Literal

from curation.card import card
from curation.croissant import CROISSANT, write_croissant
from curation.dataset.dataset import Dataset
from curation.dataset.snapshots import DatasetSnapshot
from curation.errors import UsageError
from curation.export.cutting import TEMPORARY, Cutter
from curation.export.hugging_face import CONFIGS, METADATA, SCHEMA, write_folder
from curation.export.manifest import claim
from curation.export.mp4_files import write_files
from curation.export.outcome import ExportReport, Progress
from curation.export.parquet_tables import write_tables
from curation.export.selection import EVERYTHING, Selection, clips_of, count_clips
from curation.export.sums import take_back, write_sums
from curation.export.webdataset import write_shards
from curation.quality.chosen_policy import digest_of_policy
from curation.records import SCALES
from curation.release.released_dataset import ReleasedDataset, held_out_of, homes_of, release_of

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
    held_out: float | None = None,
    progress: Progress = lambda done: None,
) -> ExportReport:
    """Bring `out` up to date with the selected clips of `dataset`; calls `progress` for every clip (or batch of rows).

    All tables are read as of one commit, or as of a release. `held_out` is HELD_OUT if it is not given, or that of the
    release. Raises UsageError for an invalid selection and for an `out` with other contents; DatasetError.
    """
    if selection.scale is not None and selection.scale not in SCALES:
        raise UsageError(f"no scale is called '{selection.scale}'; there are {', '.join(SCALES)}")
    if not dataset.exists():
        raise dataset.missing()
    source = dataset if isinstance(dataset, ReleasedDataset) else DatasetSnapshot.now(dataset.uri)
    changing = {} if selection.policy is None else {"policy_digest": digest_of_policy(source, selection.policy)}
    count_clips(source, selection)
    about: dict[str, Any] = {"dataset": source.uri, "format": form, "where": selection.where, "scale": selection.scale}
    about |= {"release": release_of(source)} if release_of(source) else {}
    about |= {"shard_clips": shard_clips} if form in ("webdataset", "hf") else {}
    about |= {} if selection.policy is None else {"policy": selection.policy}
    given = held_out_of(source, held_out, "--held-out")
    share = HELD_OUT if given is None else given
    claim(homes_of(source), out, about | ({"held_out": share} if form == "hf" else {}), changing)
    before = take_back(out)
    with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=out) as scratch:
        cutter, clips = Cutter(source, Path(scratch)), clips_of(source, selection)
        if form == "parquet":
            done = write_tables(source, out, selection, progress)
        elif form == "mp4":
            done = write_files(cutter, out, clips, progress)
        elif form == "webdataset":
            done = write_shards(cutter, out, clips, shard_clips, progress)
        else:
            done = write_folder(cutter, out, clips, shard_clips, share, progress)
            (out / "README.md").write_text(card(source, selection, CONFIGS), encoding="utf-8")
            write_croissant(source, out / CROISSANT, selection, (f"*/*/{METADATA}", SCHEMA))
    write_sums(out, before)
    return done
