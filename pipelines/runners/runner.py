"""Runners: stages run in this process, by Beam's local runner, or as jobs of a cluster that this process watches."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import logging
import re
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, Self

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
"""Beam's local runner in this process, with one bundle per stage: our own thread pools spread its items."""

CLUSTERS = ("FlinkRunner", "DataflowRunner", "PortableRunner")
MANY = 100  # jobs at once, where the runner has no bound
LOOK_S = 1.0
STOP_S = 8.0  # for a stopped job to commit its finished items, before it is cancelled
CANCEL_S = 12.0  # for a cancelled job to end

_SECRET_OPTION = re.compile(r"secret|token|password|connection_string")

Build = Callable[["beam.Pipeline"], Any]


class Runner(Protocol):
    """Runs pipelines: up to `jobs` at once, each on `processes` workers. Stopping one takes up to `stop_s` seconds.

    `is_local`: whether the work is done in this process; `takes_hints`: whether it understands resource hints.
    """

    is_local: bool
    takes_hints: bool
    processes: int
    jobs: int
    stop_s: float

    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...
    def run(self, build: Build, name: str, reports: ReportReader) -> EarlyEnd | None:
        """Run the pipeline that `build` fills; returns why its commit failed, if so. Raises RunStopped, RunnerError."""


def runner_for(arguments: Sequence[str]) -> Runner:
    """The runner that Beam's options name. Raises UsageError if it cannot work."""
    _refuse_secrets(arguments)
    parser = argparse.ArgumentParser(allow_abbrev=False, add_help=False)
    parser.add_argument("--runner", default="FnApiRunner")
    parser.add_argument("--direct_running_mode", default="in_memory")
    given, rest = parser.parse_known_args(list(arguments))
    name = given.runner.rpartition(".")[2].lower().removesuffix("runner")
    if name in ("fnapi", "direct"):
        _refuse_unknown(rest)
        if given.direct_running_mode == "multi_processing":
            why = "multi_processing hangs forever when a worker dies"
            raise UsageError(f"{why}; use run.workers to set how many videos are segmented at once")
        return LocalRunner(rest)
    cluster = next((known for known in CLUSTERS if known.lower() == f"{name}runner"), None)
    if cluster is None:
        why = "DaskRunner mixes up the outputs of a stage" if name == "dask" else f"{given.runner} is not supported"
        raise UsageError(f"{why}; use the local runner, or one of {', '.join(CLUSTERS)}")
    if cluster != "PortableRunner":  # whose options its job service describes
        _refuse_unknown(rest)
    return Cluster(cluster, rest)


def _refuse_unknown(arguments: Sequence[str]) -> None:
    """Raises UsageError for options that Beam does not have, which it would ignore, and for wrong values."""
    if not arguments:
        return
    from apache_beam.options.pipeline_options import PipelineOptions, _BeamArgumentParser

    class Parser(_BeamArgumentParser):  # type: ignore[misc]
        def error(self, message: str) -> NoReturn:
            raise UsageError(f"Beam's options: {message}")

    parser = Parser(allow_abbrev=False, add_help=False)
    for kind in {str(kind): kind for kind in PipelineOptions.__subclasses__()}.values():
        kind._add_argparse_args(parser)
    for unknown in parser.parse_known_args(list(arguments))[1]:
        name = unknown.partition("=")[0]
        near = difflib.get_close_matches(name, parser._option_string_actions, n=1)
        raise UsageError(f"Beam has no option '{name}'" + (f"; did you mean '{near[0]}'?" if near else ""))


def _refuse_secrets(arguments: Sequence[str]) -> None:
    """Raises UsageError for an option of Beam that takes a secret: it would be in the description of every job."""
    for option in (argument.partition("=")[0] for argument in arguments if argument.startswith("--")):
        if _SECRET_OPTION.search(option):
            raise UsageError(
                f"{option} would be written into the job's description, for others to read: leave it out, and put "
                "storage keys into the environment (docs/object-stores.md)"
            )


class LocalRunner:
    """Beam's local runner: all work is done in this process."""

    is_local = True
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
    """A cluster: this process submits jobs, reads the reports of their workers, and ends them."""

    is_local = False
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
        self._free = threading.Semaphore(self.jobs)  # more would fail for lack of slots
        return self

    def __exit__(self, *_: object) -> None:
        if self._flink is not None:
            self._flink.__exit__()

    def run(self, build: Build, name: str, reports: ReportReader) -> EarlyEnd | None:
        while not self._free.acquire(timeout=LOOK_S):
            if this_process.stopping.is_set():
                raise RunStopped
        try:
            return self._run(build, name, reports)
        finally:
            self._free.release()
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
            raise RunnerError(f"{why}; all commits are kept, and the same command goes on from there") from error

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
        """Read the workers' reports, and end the job if the run ends or a worker cannot go on."""
        stopped: float | None = None  # when the workers were asked to stop
        while not done.wait(LOOK_S):
            try:
                reports.look()
                if stopped is None and (this_process.stopping.is_set() or reports.ended):
                    stopped = time.monotonic()
                    reports.stop()
            except Exception:
                log.exception("the workers' reports cannot be read")
            if stopped is not None and this_process.stopping.is_set() and time.monotonic() - stopped > STOP_S:
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
    """Why a stage could not commit, from the metric `ended` of CommitParts."""
    from apache_beam.metrics.metric import MetricsFilter

    found = result.metrics().query(MetricsFilter().with_name("ended")).get("string_sets", ())
    reasons = sorted(text for metric in found for text in metric.result)
    return EarlyEnd(*reasons[0].split(": ", 1)) if reasons else None


_ERROR = re.compile(r"(?:Caused by: )?((?:[\w$]+\.)*[\w$]*(?:Error|Exception)\b.*)")


def _last_line(error: BaseException) -> str:
    """The most telling line of an error that Beam and Java wrapped in tracebacks."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    named = [match[1] for line in lines if (match := _ERROR.fullmatch(line))]
    return (named or lines or [type(error).__name__])[-1]
