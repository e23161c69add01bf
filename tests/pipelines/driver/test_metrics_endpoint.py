"""What a run counts as metrics: what a scraper reads while a run goes on, and not after it."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from curation.dataset.dataset import Dataset
from curation.engines.load import Snapshot, load
from curation.errors import UsageError
from pipelines.driver.metrics_endpoint import COUNTERS, as_text, metrics_at
from pipelines.driver.stage_progress import RunProgress
from pipelines.driver.time_left import TimeLeft
from pipelines.worker.tally import Tally
from tests.support.begun_runs import begun_run
from tests.support.segmented import segment_videos, settings_for
from tests.support.watching import free_port

Samples = dict[tuple[str, str | None], float]


def read(address: str, path: str = "/metrics") -> str:
    with urllib.request.urlopen(f"http://{address}{path}", timeout=20) as answer:
        assert answer.headers["Content-Type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
        return str(answer.read().decode())


def parsed(text: str) -> Samples:
    """The samples by name and stage, by the parser of Prometheus's own library."""
    families = list(text_string_to_metric_families(text))
    assert all(family.documentation for family in families)
    return {(s.name, s.labels.get("stage")): s.value for family in families for s in family.samples}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return segment_videos(tmp_path_factory.mktemp("metrics") / "d", settings_for("http://127.0.0.1:9/v1"), range(2))


@pytest.fixture
def tally() -> Tally:
    return Tally()


@pytest.fixture
def progress(dataset: Dataset, tally: Tally) -> Iterator[RunProgress]:
    with begun_run(dataset, settings_for("http://127.0.0.1:9/v1")) as run:
        yield RunProgress(run, tally)


def test_pending_requests_are_read_over_http_while_a_run_lasts(progress: RunProgress) -> None:
    address = f"127.0.0.1:{free_port()}"
    with metrics_at(address, progress):
        load.asked(7)
        try:
            assert "\nvidla_requests_pending 7\n" in read(address)
        finally:
            load.asked(-7)
        assert "# TYPE vidla_requests_pending gauge" in read(address, "/metrics?name[]=vidla_done")
        with pytest.raises(urllib.error.HTTPError, match="404"):
            read(address, "/")
        with pytest.raises(UsageError, match=rf"cannot listen at {address}"), metrics_at(address, progress):
            pass
    with pytest.raises(urllib.error.URLError):
        read(address)


def test_counts_are_read_by_stage(progress: RunProgress, tally: Tally) -> None:
    address = f"127.0.0.1:{free_port()}"
    with metrics_at(address, progress), tally.working("caption", "a video", 0):
        tally.record("caption", "token", {"a": {"done": 1, "captions": 4, "output_tokens": 48}})
        samples = parsed(read(address))
    assert samples["vidla_captions_total", "caption"] == 4
    assert samples["vidla_output_tokens_total", "caption"] == 48
    assert samples["vidla_output_tokens_total", "summarize"] == 0
    assert samples["vidla_items_under_way", "caption"] == 1
    assert samples["vidla_time_left_is_bound", None] == 1  # nobody knows yet how long texts take


def test_the_counters_of_a_stage_are_those_of_beam() -> None:
    samples = parsed(as_text(Snapshot(requests=3), {}, {"download": 0}, TimeLeft(12.0)))
    assert {name for name, stage in samples if stage} == {
        *(f"vidla_{name}_total" for name in COUNTERS),
        "vidla_items_under_way",
    }
    assert samples["vidla_requests_answered_total", None] == 3
    assert (samples["vidla_time_left_seconds", None], samples["vidla_time_left_is_bound", None]) == (12, 0)
    guide = (Path(__file__).parents[3] / "docs" / "running.md").read_text()
    assert not [name for name, _ in samples if f"`{name}`" not in guide]


@pytest.mark.parametrize("address", ["127.0.0.1:99999", "no.such.host.invalid:80", "nonsense"])
def test_an_address_that_cannot_be_is_told_in_a_line(address: str, progress: RunProgress) -> None:
    with pytest.raises(UsageError, match=r"cannot listen at"), metrics_at(address, progress):
        pass
