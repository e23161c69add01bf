"""Captions of another origin than the settings name: a run that was killed between captions and clips leaves some."""

from __future__ import annotations

import functools
import operator

import pyarrow.compute as pc

from curation.dataset.dataset import Dataset
from curation.dataset.object_store import read_errors
from pipelines.worker.text_engines import WantedTexts


def videos_with_other_captions(dataset: Dataset, wanted: WantedTexts) -> set[str]:
    """The ids of the videos with such captions. Raises DatasetError.

    Parts whose statistics show none are not read: parts are mostly of one origin.
    """
    maker, *older = (pc.field(name) != value for name, value in wanted.captions.items())
    other = maker | (pc.field("maker").is_null() & functools.reduce(operator.or_, older))
    videos: set[str] = set()
    with read_errors(f"{dataset.uri}/captions"):
        for batch in dataset.arrow("captions").to_batches(columns=["video_id"], filter=other):
            videos.update(batch["video_id"].unique().to_pylist())
    return videos
