"""Downloads that lack subtitles which were asked for."""

from __future__ import annotations

from collections.abc import Collection

import pyarrow.compute as pc

from curation.dataset.dataset import Dataset
from pipelines.driver.known_rows import Retry


def reopened_by(retry: Retry | None, dataset: Dataset) -> frozenset[str]:
    """The request_keys of the downloads whose subtitles `retry` asks for again."""
    return lacking_subtitles(dataset, retry.keys) if retry is not None and retry.subtitles else frozenset()


def lacking_subtitles(dataset: Dataset, keys: Collection[str] | None) -> frozenset[str]:
    """The request_keys of such downloads; only those in `keys`, if they are given."""
    downloads = dataset.read("downloads", ["request_key", "subtitle_note"])
    noted: list[str] = downloads.filter(pc.is_valid(downloads["subtitle_note"]))["request_key"].to_pylist()
    return frozenset(key for key in noted if keys is None or key in keys)
