"""A real Flink on loopback, from packages: a job manager, a task manager with two slots, and a worker pool.

`python -m tests.support.flink_cluster` starts one, prints the options that a command takes after --, and keeps it up
until it is stopped.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import yaml

from tests.support.watching import wait_until

FLINK = "1.19.3"
SLOTS = 2
MARK = "VIDLA_TEST_CLUSTER"  # in the environment of everything that a cluster starts


class Missing(Exception):
    """A prerequisite of a cluster is missing on this machine; the message names it and how to get it."""


# --- its parts ------------------------------------------------------------------------------------------------------


def java() -> str:
    found = shutil.which("java")
    if found is None:
        raise Missing("Flink needs Java: apt-get install openjdk-17-jre-headless")
    return found


def job_server_jar() -> str | None:
    """The jar that FLINK_JOB_SERVER_JAR names; None for the one that Beam finds or downloads. Raises Missing."""
    named = os.environ.get("FLINK_JOB_SERVER_JAR")
    if named and not Path(named).is_file():
        raise Missing(f"FLINK_JOB_SERVER_JAR names {named}, which does not exist")
    if named:
        return named
    from apache_beam.runners.portability.job_server import JavaJarJobServer

    try:
        JavaJarJobServer.local_jar(JavaJarJobServer.path_to_beam_jar(":runners:flink:1.19:job-server:shadowJar"))
    except Exception as error:
        how = "name one with FLINK_JOB_SERVER_JAR"
        raise Missing(f"Beam's job server for Flink 1.19 is not available; {how} ({error})") from None
    return None


def flink_home() -> Path:
    """Flink's folder in the cache, assembled from its Python packages if it does not exist. Raises Missing."""
    home = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "vidla" / f"flink-{FLINK}"
    if not home.is_dir():
        home.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=home.parent, prefix="flink-") as folder:
            _assemble(Path(folder), Path(folder) / "home")
            if not home.is_dir():
                (Path(folder) / "home").rename(home)
    return home


def _assemble(downloads: Path, home: Path) -> None:
    """The jars come in the sdist of `apache-flink-libraries`, scripts and settings in the wheel of `apache-flink`."""
    # Any wheel's scripts will do, whatever this Python is.
    anywhere = ["--only-binary=:all:", "--python-version=3.11", "--platform=manylinux2014_x86_64"]
    for arguments in ([f"apache-flink-libraries=={FLINK}"], [*anywhere, f"apache-flink=={FLINK}"]):
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(downloads), *arguments]
        run = subprocess.run(command, capture_output=True, text=True, timeout=840, check=False)
        if run.returncode:
            why = (run.stderr.strip().splitlines() or ["pip failed"])[-1]
            raise Missing(f"Flink {FLINK} needs the package {arguments[-1]}, which is not available: {why}")
    (jars,) = downloads.glob("*.tar.gz")
    (scripts,) = downloads.glob("*.whl")
    with tarfile.open(jars) as archive:
        archive.extractall(downloads / "jars", filter="data")
    (unpacked,) = (downloads / "jars").glob("*/deps")
    unpacked.rename(home)
    with zipfile.ZipFile(scripts) as archive:
        wanted = [n for n in archive.namelist() if n.startswith(("pyflink/bin/", "pyflink/conf/"))]
        archive.extractall(downloads / "scripts", wanted)
    for name in ("bin", "conf"):
        shutil.copytree(downloads / "scripts" / "pyflink" / name, home / name, dirs_exist_ok=True)
    for script in (home / "bin").glob("*.sh"):
        script.chmod(0o755)


# --- the cluster ----------------------------------------------------------------------------------------------------


class Cluster:
    """A context manager: a job manager, a task manager and a worker pool, each on a free port."""

    def __init__(self, folder: Path, environment: Mapping[str, str] | None = None) -> None:
        self.java, self.jar, self.home = java(), job_server_jar(), flink_home()
        self.folder = folder
        self.rest, self._rpc, self._pool_port = _free_ports(3)
        self.scratch = folder / "scratch"  # of workers whose dataset is not on a local disk
        self._environment = {**os.environ, **(environment or {}), MARK: str(folder), "TMPDIR": str(self.scratch)}
        self._logs = 0

    @property
    def options(self) -> list[str]:
        """The options after -- with which a command runs here."""
        jar = [f"--flink_job_server_jar={self.jar}"] if self.jar else []
        return [
            "--runner=FlinkRunner",
            "--flink_version=1.19",
            f"--flink_master=localhost:{self.rest}",
            *jar,
            "--environment_type=EXTERNAL",
            f"--environment_config=localhost:{self._pool_port}",
            f"--parallelism={SLOTS}",
        ]

    def __enter__(self) -> Cluster:
        self.scratch.mkdir(parents=True, exist_ok=True)
        self._configure()
        try:
            self.job_manager = self._start_flink("jobmanager")
            self.start_worker_pool()
            self.start_task_manager()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes():
            try:
                process.kill()
            except psutil.Error:
                continue
        wait_until(lambda: not self.processes())

    def start_task_manager(self) -> None:
        """Start a task manager, and wait until its slots are available."""
        self.task_manager = self._start_flink("taskmanager")
        wait_until(lambda: self.overview().get("slots-available") == SLOTS)

    def start_worker_pool(self) -> None:
        pool = [sys.executable, "-m", "pipelines.runners.flink_worker_pool", f"--service_port={self._pool_port}"]
        command = [*pool, f"--env={MARK}"]
        self.worker_pool = self._start("workers", command, {})
        wait_until(lambda: _answers(self._pool_port))

    def overview(self) -> dict[str, Any]:
        """The job manager's overview of the cluster; empty while it does not answer."""
        try:
            return self.get("/overview")
        except OSError:
            return {}

    def jobs(self) -> dict[str, str]:
        """The state of every job, by its id."""
        return {job["id"]: job["status"] for job in self.get("/jobs")["jobs"]}

    def metrics(self, job: str) -> bytes:
        """The values of all metrics of a job's workers, as Beam puts them into Flink's accumulators."""
        told = self.get(f"/jobs/{job}/accumulators")["user-task-accumulators"]
        payloads = (re.findall(r'"payload": "([^"]*)"', accumulator["value"]) for accumulator in told)
        return b"\n".join(map(base64.b64decode, itertools.chain(*payloads)))

    def get(self, path: str) -> dict[str, Any]:
        with urllib.request.urlopen(f"http://localhost:{self.rest}{path}", timeout=30) as answer:
            return dict(json.load(answer))

    def processes(self) -> list[psutil.Process]:
        """All processes of the cluster, even if their parents have ended."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARK) == str(self.folder) and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:  # it has ended, or is the kernel's
                continue
        return found

    def said(self) -> str:
        """The output of its processes, for a test that fails."""
        return "\n".join(f"== {path.name}\n{path.read_text(errors='replace')}" for path in self.folder.glob("*.log"))

    def _configure(self) -> None:
        """Write Flink's default settings with the changes that a small cluster for many-stage jobs needs."""
        conf = self.folder / "conf"
        shutil.copytree(self.home / "conf", conf)
        settings = yaml.safe_load((conf / "config.yaml").read_text())
        changes = {
            "jobmanager.rpc.port": self._rpc,
            "jobmanager.memory.process.size": "1g",
            "rest.port": self.rest,
            "rest.bind-port": str(self.rest),
            "taskmanager.memory.process.size": "1600m",
            "taskmanager.memory.network.min": "256m",
            "taskmanager.memory.network.max": "256m",
            "taskmanager.numberOfTaskSlots": SLOTS,
            "restart-strategy.type": "fixed-delay",
            "restart-strategy.fixed-delay.attempts": 5,
            "restart-strategy.fixed-delay.delay": "2 s",
            "heartbeat.interval": 2000,
            "heartbeat.timeout": 10000,  # a killed task manager is noticed after this time
            "io.tmp.dirs": str(self.folder),
        }
        for key, value in changes.items():
            *sections, name = key.split(".")
            section = settings
            for part in sections:
                section = section.setdefault(part, {})
            section[name] = value
        (conf / "config.yaml").write_text(yaml.safe_dump(settings))

    def _start_flink(self, what: str) -> subprocess.Popen[bytes]:
        places = {"FLINK_CONF_DIR": "conf", "FLINK_LOG_DIR": "log", "FLINK_PID_DIR": "pid"}
        environment = {name: str(self.folder / place) for name, place in places.items()}
        (self.folder / "log").mkdir(exist_ok=True)
        return self._start(what, [str(self.home / "bin" / f"{what}.sh"), "start-foreground"], environment)

    def _start(self, name: str, command: list[str], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
        self._logs += 1
        with (self.folder / f"{self._logs}-{name}.log").open("wb") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**self._environment, **environment},
                start_new_session=True,
            )


def _free_ports(count: int) -> list[int]:
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="vidla-flink-") as folder, Cluster(Path(folder) / "flink") as cluster:
        sys.stdout.write(" ".join(cluster.options) + "\n")
        sys.stdout.flush()
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()
