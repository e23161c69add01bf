"""Texts that are out of date although the digests of their clips do not show it.

A run that was killed between captions and clips leaves captions of another origin than the settings name. Where a redo
failed, such texts stay beside its rejects, and are not out of date.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Collection

import pyarrow as pa
import pyarrow.compute as pc

from curation.dataset.dataset import Dataset
from curation.dataset.object_store import read_errors
from curation.recipes import Step, older_rows
from curation.rejects import Stage
from pipelines.worker.text_engines import WantedTexts

_TEXTS = {
    Step.CAPTIONS: [("captions", "frame_id", Stage.CAPTION)],
    Step.SUMMARIES: [("summaries", "clip_id", Stage.SUMMARIZE), ("clips", "clip_id", Stage.SUMMARIZE)],
}
"""By step, its tables, and the column and stage by which their rejects are found."""


def videos_with_older_texts(dataset: Dataset, refresh: Collection[Step]) -> set[str]:
    """The ids of the videos with texts of an older recipe of the steps to `refresh`."""
    videos: set[str] = set()
    for table, key, stage in (place for step, places in _TEXTS.items() if step in refresh for place in places):
        redo_failed = f"{key} in (select key from rejects where stage = '{stage}')"
        query = f"select distinct video_id from {table} where {older_rows(table)} and not {redo_failed}"
        videos.update(dataset.sql(query)["video_id"].to_pylist())
    return videos


def videos_with_other_captions(dataset: Dataset, wanted: WantedTexts, rejected: Collection[str]) -> set[str]:
    """The ids of the videos with captions of another origin, but for the `rejected` frames. Raises DatasetError.

    Parts whose statistics show none are not read: parts are mostly of one origin.
    """
    maker, *older = (pc.field(name) != value for name, value in wanted.captions.items())
    other = maker | (pc.field("maker").is_null() & functools.reduce(operator.or_, older))
    if rejected:
        other &= ~pc.field("frame_id").isin(pa.array(rejected, pa.string()))
    videos: set[str] = set()
    with read_errors(f"{dataset.uri}/captions"):
        for batch in dataset.arrow("captions").to_batches(columns=["video_id"], filter=other):
            videos.update(batch["video_id"].unique().to_pylist())
    return videos
