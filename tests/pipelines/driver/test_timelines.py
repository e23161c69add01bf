"""`vidla curate --refresh timelines` measures the stored media of videos that have no timeline, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from curation.dataset.books import balance
from curation.dataset.dataset import Dataset
from curation.recipes import Step
from curation.rejects import Stage
from curation.schema import TABLES
from curation.settings import Settings, resolve
from pipelines.driver.curate import curate
from tests.support.dataset_files import SECONDS, download_of, made_of, stored_media
from tests.support.segmented import Rows, segment_videos

SETTINGS: Settings = resolve(None, ())
OLD, NEW, BROKEN = (download_of(number).video_id for number in range(3))


def without_timeline(rows: Rows) -> Rows:
    return {**rows, "timelines": []}


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """Two videos of an older version, the media of one of which is damaged, and one of today."""
    dataset = segment_videos(tmp_path / "dataset", SETTINGS, [0, 2], without_timeline)
    segment_videos(tmp_path / "dataset", SETTINGS, [1])
    media = tmp_path / "dataset" / made_of(2, stored_media())["videos"][0].media_uri
    media.write_bytes(bytes(len(stored_media())))
    return dataset


def segment(dataset: Dataset, *refreshed: Step) -> int:
    return curate([], dataset.uri, SETTINGS, (Stage.SEGMENT,), [], 0.0, 1.0, refresh=frozenset(refreshed))


def made(dataset: Dataset) -> dict[str, list[tuple[str, object]]]:
    """By table, the keys and times of all rows, but for usage."""
    tables = {name: dataset.read(name).to_pylist() for name in TABLES if name != "usage"}
    return {
        name: sorted((str([row[k] for k in TABLES[name].key]), row["created_at"]) for row in rows)
        for name, rows in tables.items()
    }


def test_only_what_has_no_timeline_is_measured(dataset: Dataset) -> None:
    before = made(dataset)
    assert segment(dataset) == 0 and made(dataset) == before, "it is not missed unless it is asked for"
    assert segment(dataset, Step.TIMELINES) == 0
    after = made(dataset)
    kept = [row for row in after["timelines"] if row in before["timelines"]]
    assert kept == before["timelines"] and len(after["timelines"]) == 2
    assert after == {**before, "timelines": after["timelines"]}, "no other row is made, and none is rejected"
    rows = {row["video_id"]: row for row in dataset.read("timelines").to_pylist()}
    assert BROKEN not in rows and len(rows[OLD]["luminance"]) == len(rows[OLD]["picture_boxes"]) == SECONDS
    assert rows[OLD]["fingerprints"][0]["start"] == 0.0
    assert balance(dataset).strays == ()
    assert segment(dataset, Step.TIMELINES) == 0
    assert made(dataset)["timelines"] == after["timelines"], "what has one stays"
