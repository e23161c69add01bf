"""A Flink cluster as the driver needs it: its size, Beam's job server, and the cancelling of jobs."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import tempfile
import threading
import time
import urllib.request
from contextlib import ExitStack
from typing import Any, Self

import grpc
from apache_beam.options.pipeline_options import (
    FlinkRunnerOptions,
    JobServerOptions,
    PipelineOptions,
    PortableOptions,
)
from apache_beam.runners.portability.flink_runner import FlinkJarJobServer, FlinkRunner

from curation import guard
from curation.errors import RunnerError

log = logging.getLogger(__name__)

ANSWER_S = 10.0  # for Flink's REST interface
START_S = 60.0  # for the job server
_OVER = ("FINISHED", "FAILED", "CANCELED")


class FlinkCluster:
    """The cluster that `--flink_master` names, between enter and exit. Raises RunnerError if it cannot be used.

    `parallelism` is `--parallelism`, or else the number of slots; at most `jobs` run at once, each on `processes`
    workers.
    """

    def __init__(self, arguments: list[str]) -> None:
        options = PipelineOptions(arguments)
        self._flink = options.view_as(FlinkRunnerOptions)
        self._portable = options.view_as(PortableOptions)
        self._server = options.view_as(JobServerOptions)
        self._job_server: guard.Process | None = None
        self._arguments = arguments
        if self._flink.flink_master in ("[auto]", "[local]"):
            raise RunnerError("FlinkRunner needs a cluster: name it with --flink_master=HOST:PORT")
        self._url = FlinkRunner.add_http_scheme(self._flink.flink_master).rstrip("/")

    def __enter__(self) -> Self:
        overview = self._ask("/overview")
        slots = int(overview["slots-total"])
        self.parallelism = self._flink.parallelism if self._flink.parallelism > 0 else max(1, slots)
        if slots < self.parallelism:
            log.warning("%s has %d slots now; jobs wait until it has %d", self._url, slots, self.parallelism)
        self.jobs = max(1, slots // self.parallelism)
        processes = int(overview["taskmanagers"]) * max(1, int(self._portable.sdk_worker_parallelism or 1))
        self.processes = max(1, min(processes, self.parallelism))
        with ExitStack() as held:
            endpoint = self._portable.job_endpoint or self._start_job_server(held)
            self._held = held.pop_all()
        self.arguments = [
            *self._arguments,
            f"--flink_master={self._url}",
            f"--job_endpoint={endpoint}",
            f"--parallelism={self.parallelism}",
        ]
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    def cancel(self, name: str) -> None:
        """Have Flink cancel the jobs with this name; works without the job server."""
        for job in self._ask("/jobs/overview")["jobs"]:
            if job["name"] == name and job["state"] not in _OVER:
                self._ask(f"/jobs/{job['jid']}?mode=cancel", "PATCH")

    @property
    def died(self) -> str | None:
        """The reason if the job server that was started here is dead."""
        code = self._job_server.popen.poll() if self._job_server else None
        return None if code is None else f"Beam's job server ended by itself (exit status {code})"

    def _ask(self, path: str, method: str = "GET") -> dict[str, Any]:
        request = urllib.request.Request(f"{self._url}{path}", method=method)
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_S) as answer:
                return dict(json.loads(answer.read() or b"{}"))
        except (OSError, ValueError) as error:
            why = getattr(error, "reason", error)
            raise RunnerError(f"no Flink answers at {self._url}: {why}; check --flink_master=HOST:PORT") from None

    # --- the job server ---------------------------------------------------------------------------------------------

    def _start_job_server(self, held: ExitStack) -> str:
        """Start one for the whole run, under the guard, so that it dies with this process. Returns its address."""
        if shutil.which(self._server.job_server_java_launcher) is None:
            raise RunnerError(
                "FlinkRunner needs Java on this machine: install it (Debian: apt-get install openjdk-17-jre-headless)"
            )
        folder = held.enter_context(tempfile.TemporaryDirectory(prefix="vidla-job-server-"))
        self._server.artifacts_dir = folder
        try:
            command, endpoint = FlinkJarJobServer(self._server).subprocess_cmd_and_endpoint()
        except Exception as error:
            version = self._flink.flink_version
            raise RunnerError(
                f"there is no job server for Flink {version}: name its jar with --flink_job_server_jar=… "
                f"({' '.join(str(error).split())})"
            ) from None
        environment = {name: os.environ[name] for name in ("PATH", "HOME", "JAVA_HOME", "LANG") if name in os.environ}
        self._job_server = guard.Process(
            [str(word) for word in command], 0, stderr=subprocess.STDOUT, environment=environment
        )
        held.callback(self._job_server.finish)
        tail: list[str] = []
        threading.Thread(target=self._read, args=(self._job_server, tail), name="job server", daemon=True).start()
        self._await(endpoint, tail)
        return str(endpoint)

    def _await(self, endpoint: str, tail: list[str]) -> None:
        """Wait until the job server answers. Raises RunnerError."""
        until = time.monotonic() + START_S
        with grpc.insecure_channel(endpoint) as channel:
            ready = grpc.channel_ready_future(channel)
            while True:
                try:
                    ready.result(timeout=0.2)
                    return
                except grpc.FutureTimeoutError:
                    if self.died or time.monotonic() > until:
                        why = self.died or f"Beam's job server does not answer within {START_S:.0f} s"
                        raise RunnerError(f"{why}: {' '.join(tail[-1:])}") from None

    @staticmethod
    def _read(process: guard.Process, tail: list[str]) -> None:
        for line in process.popen.stdout or ():
            text = line.decode(errors="replace").rstrip()
            tail[:] = [*tail[-9:], text]
            log.debug("job server: %s", text)
