"""Where stages run: in this process, by Beam's local runner, or as jobs of a cluster that this process watches."""

from __future__ import annotations

import argparse
import contextlib
import logging
import re
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, Self

from curation.errors import RunnerError, UsageError
from pipelines.runners import dataflow
from pipelines.worker.reports import ReportReader
from pipelines.worker.shutdown import EarlyEnd, RunStopped
from pipelines.worker.worker_process import this_process

if TYPE_CHECKING:
    import apache_beam as beam

    from pipelines.runners.flink import FlinkCluster

log = logging.getLogger(__name__)

LOCAL = ("--runner=FnApiRunner", "--direct_running_mode=in_memory")
"""Beam's local runner in this process, and one bundle a stage: its items are spread over threads by our own workers."""

CLUSTERS = ("FlinkRunner", "DataflowRunner", "PortableRunner")
MANY = 100  # jobs at a time, where the runner finds room for each
LOOK_S = 1.0
STOP_S = 8.0  # for a job's workers to commit what is done, before it is cancelled
CANCEL_S = 12.0  # for it to end then

Build = Callable[["beam.Pipeline"], Any]


class Runner(Protocol):
    """Runs a pipeline to its end. `processes` work on each; `jobs` run at a time; `stop_s` is what an early end takes.

    `here` says whether the work is done in this process; `takes_hints`, whether stages say what their workers need.
    """

    here: bool
    takes_hints: bool
    processes: int
    jobs: int
    stop_s: float

    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...
    def run(self, build: Build, name: str, reports: ReportReader) -> EarlyEnd | None:
        """Run what `build` adds to a pipeline; why it could not commit, if so. Raises RunStopped, RunnerError."""


def runner_for(arguments: Sequence[str]) -> Runner:
    """The runner that Beam's options name. Raises UsageError for one that cannot work."""
    parser = argparse.ArgumentParser(allow_abbrev=False, add_help=False)
    parser.add_argument("--runner", default="FnApiRunner")
    parser.add_argument("--direct_running_mode", default="in_memory")
    given, rest = parser.parse_known_args(list(arguments))
    name = given.runner.rpartition(".")[2].lower().removesuffix("runner")
    if name in ("fnapi", "direct"):
        if given.direct_running_mode == "multi_processing":
            why = "multi_processing hangs for ever when a worker dies"
            raise UsageError(f"{why}; run.workers says how many videos are segmented at a time")
        return LocalRunner(rest)
    cluster = next((known for known in CLUSTERS if known.lower() == f"{name}runner"), None)
    if cluster is None:
        why = "DaskRunner mixes up what a stage puts out" if name == "dask" else f"{given.runner} is not supported"
        raise UsageError(f"{why}; use the local runner, or one of {', '.join(CLUSTERS)}")
    return Cluster(cluster, rest)


class LocalRunner:
    """Beam's local runner, and all the work in this process."""

    here = True
    takes_hints = False
    processes = jobs = 1
    stop_s = 10.0

    def __init__(self, arguments: Sequence[str]) -> None:
        self._arguments = [*LOCAL, *arguments]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def run(self, build: Build, name: str, reports: ReportReader) -> EarlyEnd | None:
        pipeline = _pipeline(self._arguments)
        build(pipeline)
        result = pipeline.run()
        result.wait_until_finish()
        return _uncommitted(result)


class Cluster:
    """Workers elsewhere: this process hands over jobs, shows what their workers report, and sees to their end."""

    here = False
    stop_s = STOP_S + CANCEL_S

    def __init__(self, runner: str, arguments: Sequence[str]) -> None:
        self._arguments = [f"--runner={runner}", *arguments]
        self._is_flink = runner == "FlinkRunner"
        options = dataflow.DataflowOptions.of(self._arguments)
        self.takes_hints = options.is_dataflow
        self._begins_later = options.is_described or options.is_dry
        self._flink: FlinkCluster | None = None
        self.processes, self.jobs = 1, MANY

    def __enter__(self) -> Self:
        if self._is_flink:
            from pipelines.runners.flink import FlinkCluster

            self._flink = FlinkCluster(self._arguments).__enter__()
            self._arguments = self._flink.arguments
            self.processes, self.jobs = self._flink.processes, self._flink.jobs
        self._room = threading.Semaphore(self.jobs)  # a job that finds no slots in time fails
        return self

    def __exit__(self, *_: object) -> None:
        if self._flink is not None:
            self._flink.__exit__()

    def run(self, build: Build, name: str, reports: ReportReader) -> EarlyEnd | None:
        while not self._room.acquire(timeout=LOOK_S):
            if this_process.stopping.is_set():
                raise RunStopped
        try:
            return self._run(build, name, reports)
        finally:
            self._room.release()
            reports.clear()

    def _run(self, build: Build, name: str, reports: ReportReader) -> EarlyEnd | None:
        named = [f"--job_name={name}"]
        pipeline = _pipeline([*named, *self._arguments] if self._begins_later else [*self._arguments, *named])
        build(pipeline)
        try:
            result = pipeline.run()
            with self._watching(result, name, reports):
                result.wait_until_finish()
            return None if self._begins_later else _uncommitted(result)
        except Exception as error:
            if this_process.stopping.is_set():
                raise RunStopped from error
            with contextlib.suppress(Exception):
                self._cancel(name)
            why = (self._flink.died if self._flink else None) or f"the job {name} failed: {_last_line(error)}"
            raise RunnerError(f"{why}; what is committed is kept, and the same command goes on from there") from error

    @contextlib.contextmanager
    def _watching(self, result: Any, name: str, reports: ReportReader) -> Any:
        done = threading.Event()
        watcher = threading.Thread(target=self._watch, args=(result, name, reports, done), name="watch", daemon=True)
        watcher.start()
        try:
            yield
        finally:
            done.set()
            watcher.join()

    def _watch(self, result: Any, name: str, reports: ReportReader, done: threading.Event) -> None:
        """Take in what workers report, and end the job where the run is to end, or where a worker cannot go on."""
        told: float | None = None
        while not done.wait(LOOK_S):
            try:
                reports.look()
                if told is None and (this_process.stopping.is_set() or reports.ended):
                    told = time.monotonic()
                    reports.stop()
            except Exception:
                log.exception("the workers' reports cannot be read")
            if told is not None and this_process.stopping.is_set() and time.monotonic() - told > STOP_S:
                with contextlib.suppress(Exception):
                    self._cancel(name, result)
                return

    def _cancel(self, name: str, result: Any = None) -> None:
        if self._flink is not None:
            self._flink.cancel(name)
        elif result is not None:
            result.cancel()


def _pipeline(arguments: Sequence[str]) -> beam.Pipeline:
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions

    return beam.Pipeline(options=PipelineOptions(list(arguments)))


def _uncommitted(result: Any) -> EarlyEnd | None:
    """Why a stage's commit could not be made, as CommitParts says in the metric `ended`."""
    from apache_beam.metrics.metric import MetricsFilter

    found = result.metrics().query(MetricsFilter().with_name("ended")).get("string_sets", ())
    said = sorted(text for metric in found for text in metric.result)
    return EarlyEnd(*said[0].split(": ", 1)) if said else None


_ERROR = re.compile(r"(?:Caused by: )?((?:[\w$]+\.)*[\w$]*(?:Error|Exception)\b.*)")


def _last_line(error: BaseException) -> str:
    """The one line that says most, of what Beam and Java made tracebacks of."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    named = [match[1] for line in lines if (match := _ERROR.fullmatch(line))]
    return (named or lines or [type(error).__name__])[-1]
