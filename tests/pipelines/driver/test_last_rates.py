"""The rates of the last run: by the clock, or by its items where most of its time was starting."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from curation.dataset.dataset import Dataset
from curation.dataset.parts import PartWriter
from curation.dataset.writer import Writer
from curation.ids import digest
from curation.records import Row
from curation.rejects import Stage
from curation.settings import Settings, resolve
from pipelines.driver.last_rates import last_rates
from tests.support.dataset_files import usage_of

SETTINGS = resolve()


def commit(dataset: Dataset, run: str, seconds: float, items: list[float], settings: Settings = SETTINGS) -> None:
    """A run with a commit of captions: three of each item, which took that many seconds."""
    with Writer(dataset, run, {"settings": settings.shown()}) as writer:
        parts = PartWriter(dataset.store, writer.lineage, 1 << 20)
        for number, took in enumerate(items):
            row = dataclasses.replace(usage_of(number, Stage.CAPTION), seconds=took, requests=3)
            parts.add([Row(row, digest("usage"))])
        counts = {"done": len(items), "captions": 3 * len(items), "requests": 3 * len(items)}
        outcome: dict[str, Any] = {"counts": counts, "seconds": seconds}
        writer.commit(f"{run}:1:caption", parts.finish(), outcome=outcome)


def rate(dataset: Dataset, settings: Settings = SETTINGS) -> float | None:
    return last_rates(dataset, settings, tuple(Stage)).get(Stage.CAPTION)


def test_the_clock_says_how_fast_many_are_at_once(tmp_path: Path) -> None:
    dataset = Dataset(str(tmp_path))
    assert rate(dataset) is None
    commit(dataset, "run-1", 60.0, [30.0] * 20)  # ten at a time
    assert rate(dataset) == pytest.approx(1.0)
    commit(dataset, "run-2", 600.0, [1.0] * 20)
    assert rate(dataset) == pytest.approx(10.0)


def test_a_short_run_is_measured_by_its_faster_items(tmp_path: Path) -> None:
    dataset = Dataset(str(tmp_path))
    commit(dataset, "run-1", 20.0, [8.0, 8.0, 0.3])  # most of it was starting
    assert rate(dataset) == pytest.approx(0.1)


def test_the_latest_run_counts_if_it_had_the_same_model(tmp_path: Path) -> None:
    dataset = Dataset(str(tmp_path))
    commit(dataset, "run-1", 60.0, [60.0])
    commit(dataset, "run-2", 30.0, [60.0])
    assert rate(dataset) == pytest.approx(10.0)
    urls = 'captions.engine.base_urls=["http://127.0.0.1:9/v1"]'
    served = resolve(None, ["captions.engine.kind=openai", "captions.engine.model=m", urls])
    assert rate(dataset, served) is None
    commit(dataset, "run-3", 90.0, [60.0], served)
    assert rate(dataset) is None
    assert rate(dataset, served) == pytest.approx(20.0)
