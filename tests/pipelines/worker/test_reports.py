"""The reports of workers in other processes, and how the driver reads them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from curation import guard
from curation.dataset.dataset import Dataset
from curation.dataset.writer import Writer
from curation.download_settings import DownloadSettings
from curation.engines.load import Load
from curation.rejects import Kind, Stage
from curation.sources.site_limits import REFUSALS, SiteRests, at_site, forget_sites
from curation.work_done import measured_by
from pipelines.worker import reports
from pipelines.worker.tally import LastReject, Tally
from pipelines.worker.work_items import Context
from pipelines.worker.worker_process import WorkerProcess
from tests.support.watching import wait_until

TOKEN = "run:1:segment"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(reports, "REPORT_S", 0.05)
    yield
    guard.resume()  # a worker process that halts lets no child start


def context_of(writer: Writer) -> Context:
    return Context(writer.dataset, writer.lineage, 1 << 20, writer.seen, TOKEN, {})


def test_an_item_that_is_worked_on_twice_counts_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver, first, second = Tally(), Tally(), Tally()
    first.record("segment", TOKEN, {"a": {"done": 1, "clips": 3}, "b": {"rejected": 1}})
    second.record("segment", TOKEN, {"b": {"done": 1, "clips": 2}, "c": {"done": 1, "clips": 1}})
    monkeypatch.setattr(reports, "load", Load())
    with Writer(Dataset(str(tmp_path)), "run", {}) as writer:
        told = reports.ReportReader(writer.dataset, {"segment": TOKEN}, driver)
        for tally in (first, second, second):
            with reports.WorkerReporter(tally, WorkerProcess().halt) as reporter:
                reporter.take_part(context_of(writer))
                wait_until(
                    lambda reporter=reporter: (tmp_path / f"progress/run/1/segment/{reporter.process}.json").exists()
                )
        told.look()
        shown = [driver.get("segment", name) for name in ("done", "rejected", "clips")]
        assert sorted(driver.outcomes(TOKEN)) == ["a", "b", "c"]
        assert sum(shown[:2]) == 3
        driver.settle("segment", TOKEN, {"done": 3, "clips": 6})  # as the commit says
        assert [driver.get("segment", name) for name in ("done", "rejected", "clips")] == [3, 0, 6]
        told.clear()
    assert not (tmp_path / "progress").exists()


def test_what_workers_do_and_reject_is_reported(tmp_path: Path) -> None:
    first, second, driver = Tally(), Tally(), Tally()
    with Writer(Dataset(str(tmp_path)), "run", {}) as writer:
        told = reports.ReportReader(writer.dataset, {Stage.SEGMENT: TOKEN}, driver)
        with (
            first.working("segment", "the first video", 100),
            measured_by(lambda: 0.5),
            second.working("segment", "the second video", 100),
        ):
            for tally in (first, second):
                tally.rejected("segment", LastReject("a video", "corrupt: nothing in it", 5.0))
                with reports.WorkerReporter(tally, WorkerProcess().halt) as reporter:
                    reporter.take_part(context_of(writer))
                    file = tmp_path / f"progress/run/1/segment/{reporter.process}.json"
                    wait_until(file.exists)
        told.look()
        under_way = driver.under_way("segment")
        assert (under_way.items, under_way.done, under_way.source_bytes) == (2, 0.5, 50.0)
        assert under_way.longest == "the first video" and under_way.since > 0
        assert driver.last_reject("segment") == LastReject("a video", "corrupt: nothing in it", 5.0)
        told.clear()
        assert driver.under_way("segment").items == 0


def test_workers_end_when_the_driver_says_so(tmp_path: Path) -> None:
    process = WorkerProcess()
    with (
        Writer(Dataset(str(tmp_path)), "run", {}) as writer,
        reports.WorkerReporter(process.tally, process.halt) as reporter,
    ):
        reporter.take_part(context_of(writer))
        assert not process.stopping.wait(0.3)
        reports.ReportReader(writer.dataset, {"segment": TOKEN}, Tally()).stop()
        assert process.stopping.wait(10)


def test_workers_end_when_another_run_has_taken_over(tmp_path: Path) -> None:
    process = WorkerProcess()
    with Writer(Dataset(str(tmp_path)), "run", {}) as writer:
        context = context_of(writer)
    with reports.WorkerReporter(process.tally, process.halt) as reporter, Writer(Dataset(str(tmp_path)), "another", {}):
        reporter.take_part(context)
        assert process.stopping.wait(10)


def test_the_driver_hears_that_a_worker_cannot_go_on(tmp_path: Path) -> None:
    process = WorkerProcess()
    with (
        Writer(Dataset(str(tmp_path)), "run", {}) as writer,
        reports.WorkerReporter(process.tally, process.halt) as reporter,
    ):
        reporter.take_part(context_of(writer))
        reporter.ended(context_of(writer))
        told = reports.ReportReader(writer.dataset, {"segment": TOKEN}, Tally())

        def heard() -> bool:
            told.look()
            return told.ended

        wait_until(heard)


def test_what_a_killed_run_reported_goes_with_the_next_opening(tmp_path: Path) -> None:
    dataset = Dataset(str(tmp_path))
    with Writer(dataset, "run", {}):
        reports.ReportReader(dataset, {"segment": TOKEN}, Tally()).stop()
    assert list(dataset.list("progress/"))
    with Writer(dataset, "another", {}):
        assert not list(dataset.list("progress/"))


def test_the_requests_of_several_processes_are_one_load() -> None:
    now = 0.0
    load = Load(lambda: now)
    nothing = dict.fromkeys(("requests", "failures", "retries", "input_tokens", "output_tokens", "in_flight"), 0)
    load.merge("a", {**nothing, "requests": 2, "output_tokens": 20, "in_flight": 3})
    load.merge("b", {**nothing, "in_flight": 4})
    now = 10.0
    load.merge("a", {**nothing, "requests": 5, "output_tokens": 50})
    load.merge("b", nothing)
    now = 20.0
    total = load.snapshot()
    assert (total.requests, total.output_tokens, total.in_flight) == (5, 50, 0)
    assert (total.busy_s, total.elapsed_s) == (10.0, 20.0)


def test_refusals_are_counted_over_all_workers(tmp_path: Path) -> None:
    """This process is one worker; another one has reported all but one of the refusals that make a rest."""
    forget_sites()
    settings = DownloadSettings()
    process = WorkerProcess()
    with (
        Writer(Dataset(str(tmp_path)), "run", {}) as writer,
        reports.WorkerReporter(process.tally, process.halt) as reporter,
    ):
        driver = reports.ReportReader(writer.dataset, {"download": TOKEN}, Tally())
        reporter.take_part(context_of(writer))
        folder = tmp_path / "progress/run/1/segment"
        wait_until(lambda: (folder / f"{reporter.process}.json").exists())
        (folder / "another.json").write_text(json.dumps({"refusals": {"a.example": [REFUSALS - 1, 0]}}))
        driver.look()
        with at_site("a.example", settings) as site:
            site.record(Kind.BOT_CHECK, time.monotonic())
        wait_until(lambda: "a.example" in (folder / f"{reporter.process}.json").read_text())
        driver.look()
        wait_until(lambda: is_resting(settings))
    forget_sites()


def test_the_refusals_of_a_worker_with_several_stages_count_once(tmp_path: Path) -> None:
    tokens = {Stage.DOWNLOAD: "run:1:download", Stage.SEGMENT: "run:1:segment"}
    with Writer(Dataset(str(tmp_path)), "run", {}) as writer:
        driver = reports.ReportReader(writer.dataset, tokens, Tally())
        for stage in tokens:
            folder = tmp_path / "progress/run/1" / stage
            folder.mkdir(parents=True)
            (folder / "one.json").write_text(json.dumps({"refusals": {"a.example": [REFUSALS - 1, 0]}}))
        driver.look()
        assert not list(tmp_path.glob("progress/run/1/*/rests"))


def is_resting(settings: DownloadSettings) -> bool:
    try:
        with at_site("a.example", settings):
            return False
    except SiteRests:
        return True
