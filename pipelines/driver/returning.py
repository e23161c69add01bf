"""Texts that a run takes from earlier versions of a dataset's tables, or from another dataset, and need not ask for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.compute as pc

from curation.dataset.commits import path_of
from curation.dataset.dataset import Dataset, rows_of
from curation.dataset.parts import epoch_of
from curation.dataset.vacuum import parts_on_disk
from curation.errors import DatasetError
from pipelines.driver.part_index import READERS

_KEYS = {"captions": ["frame_id"], "summaries": ["clip_id", "kind"]}


def returning_texts(
    dataset: Dataset, table: str, videos: Collection[str], today: Mapping[str, str], *, with_earlier: bool
) -> Counter[str]:
    """By video, how many of its texts in a table were made as `today`, by kind of text, says; in its earlier versions
    too if `with_earlier`.

    Runs of older versions did not record what makes their texts; theirs are left out, though they are taken, too.
    """
    parts = set(dataset.live_parts(table))
    if with_earlier:
        parts.update(name for name, _ in parts_on_disk(dataset, table))
    runs = _runs_with(dataset, parts, table, today)
    if not runs or not videos:
        return Counter()
    wanted = (pa.array(sorted(runs), pa.string()), pa.array(sorted(videos), pa.string()))

    def keys(part: str) -> set[tuple[str, ...]]:
        columns = ["video_id", *_KEYS[table]]
        try:
            rows = dataset.read_part(table, part, [*columns, "run_id"])
        except (OSError, DatasetError):  # deleted meanwhile, or damaged: its texts are made again
            return set()
        found = pc.and_(pc.is_in(rows["run_id"], wanted[0]), pc.is_in(rows["video_id"], wanted[1]))
        return {tuple(row[column] for column in columns) for row in rows_of(rows.filter(found).select(columns))}

    with ThreadPoolExecutor(READERS) as pool:
        texts = set[tuple[str, ...]]().union(*pool.map(keys, sorted(parts)))
    return Counter(video_id for video_id, *_ in texts)


def _runs_with(dataset: Dataset, parts: Iterable[str], table: str, today: Mapping[str, str]) -> set[str]:
    """The runs, among those that began the epochs of these parts, that made such texts; summaries need the captions."""
    needed = [kind for kind in today if kind in (table, "captions")]
    runs: set[str] = set()
    for epoch in {epoch for part in parts if (epoch := epoch_of(part)) is not None}:
        try:
            record = dataset.get_json(path_of(epoch)) or {}
        except DatasetError:
            continue
        about = record.get("about", {})
        texts = about.get("texts", {}) if isinstance(about, dict) else {}
        if all(texts.get(kind) == today[kind] for kind in needed):
            runs.add(record["run_id"])
    return runs
