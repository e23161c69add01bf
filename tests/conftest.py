"""Fixtures that tests share: real videos, datasets and servers made once, and the measured sample."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from curation import guard
from curation.engines.vllm.shared_server import VllmServer
from curation.settings import EngineSettings, VllmSettings
from tests.support.bucket import Bucket, S3Server
from tests.support.checkpoints import image_text_model
from tests.support.flink_cluster import Cluster, Missing
from tests.support.forked_command import ForkedCommand
from tests.support.hostile import CASES, collected
from tests.support.own_servers import Serve, served_on_loopback, settings
from tests.support.project import FAKE_SITE, ROOT, VIDLA

SERVED_MODEL = "smollm2-images"  # what `text_server` serves
SHADES = ("red", "green", "blue", "orange", "purple", "teal", "brown", "gray")
collect_ignore = ["support"]  # no tests, and some of it runs when it is imported


hypothesis.settings.register_profile("vidla", deadline=None)  # a busy machine is not a failure
hypothesis.settings.load_profile("vidla")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Under pytest-xdist, run the tests of a file in one process, and those that share a vLLM server in one too.

    Groups with the most slow tests start first, so that none of them runs alone at the end.
    """
    config.stash[CASES] = collected(items)
    groups = {item: "vllm" if "vllm_python" in getattr(item, "fixturenames", ()) else str(item.path) for item in items}
    slow = Counter(group for item, group in groups.items() if item.get_closest_marker("slow"))
    for item, group in groups.items():
        item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=lambda item: -slow[groups[item]])


@pytest.fixture
def fake_site(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """yt-dlp with tests/support/fake_site as a plugin, in child processes started for this test."""
    monkeypatch.syspath_prepend(str(FAKE_SITE))
    guard.stop_all()
    guard.resume()
    yield
    guard.stop_all()
    guard.resume()


def make_video(path: Path, seconds: float, seed: int = 0, size: str = "160x120", rate: int = 10) -> Path:
    """A video with a hard cut every four seconds, moving patterns and a tone, by the real ffmpeg."""
    shots = max(1, round(seconds / 4))
    inputs: list[str] = []
    for i in range(shots):
        length = seconds / shots
        colour = SHADES[(seed + i) % len(SHADES)]
        inputs += ["-f", "lavfi", "-i", f"color={colour}:s={size}:r={rate}:d={length}"]
        inputs += ["-f", "lavfi", "-i", f"testsrc2=s={size}:r={rate}:d={length}"]
    mixed = "".join(f"[{2 * i}][{2 * i + 1}]blend=all_mode=average[v{i}];" for i in range(shots))
    joined = "".join(f"[v{i}]" for i in range(shots)) + f"concat=n={shots}:v=1:a=0[v]"
    tone = ["-f", "lavfi", "-i", f"sine=frequency={300 + 50 * seed}:duration={seconds}"]
    encoding = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-c:a", "aac", "-shortest"]
    maps = ["-filter_complex", mixed + joined, "-map", "[v]", "-map", f"{2 * shots}:a"]
    command = ["ffmpeg", "-nostdin", "-v", "error", "-y", *inputs, *tone, *maps, *encoding, str(path)]
    subprocess.run(command, check=True, timeout=180)
    return path


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three videos of 15, 27 and 48 s: one, two and three scales long."""
    folder = tmp_path_factory.mktemp("videos")
    return [make_video(folder / f"{seconds}.mp4", seconds, seed) for seed, seconds in enumerate((15, 27, 48))]


@pytest.fixture(scope="session")
def curated(videos: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of the three videos, made once; tests work on copies of it."""
    folder = tmp_path_factory.mktemp("curated") / "dataset"
    subprocess.run([VIDLA, "curate", str(videos[0].parent), "--dataset", str(folder)], check=True, timeout=800)
    return folder


@pytest.fixture(scope="session")
def sample() -> Path:
    """The measured sample's folder (sample.mp4, truth.json, …), named by VIDLA_SAMPLE_MEDIA."""
    folder = os.environ.get("VIDLA_SAMPLE_MEDIA")
    if not folder:
        pytest.skip("the measured sample is missing; set VIDLA_SAMPLE_MEDIA to its folder")
    return Path(folder)


@pytest.fixture(scope="session")
def forked_command() -> Iterator[ForkedCommand]:
    """Runs modules in processes of their own that share the imports."""
    with ForkedCommand() as command:
        yield command


@pytest.fixture
def vidla(forked_command: ForkedCommand) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the command in a process of its own, and returns its output."""

    def run(*arguments: str | Path, timeout: float = 240) -> subprocess.CompletedProcess[str]:
        return forked_command.run("vidla", *arguments, timeout=timeout)

    return run


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """An S3-compatible server on loopback."""
    with S3Server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def bucket(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """A new bucket that the test and the processes that it starts can reach."""
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    return s3_server.bucket()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of three megabytes."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a small disk needs root and the right to mount")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


# --- Flink ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def flink(s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A Flink with two slots and a worker pool, for the whole session: 2 GB, 15 s to start."""
    try:
        cluster = Cluster(tmp_path_factory.mktemp("flink"), s3_server.environment)
    except Missing as error:
        pytest.skip(str(error))
    with cluster:
        yield cluster


# --- a model served by vLLM -----------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def vllm_python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The interpreter with vLLM installed, named by VIDLA_VLLM_PYTHON.

    Only these tests share the servers that it starts.
    """
    python = os.environ.get("VIDLA_VLLM_PYTHON")
    if not python:
        pytest.skip("vLLM is not installed; `make vllm` installs it where `make test` finds it (VIDLA_VLLM_PYTHON)")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")  # GiB
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("TMPDIR", str(tmp_path_factory.mktemp("vllm")))
        patch.setattr(tempfile, "tempdir", None)  # so that TMPDIR is read again
        yield python


@pytest.fixture(scope="session")
def vllm_settings(vllm_python: str) -> EngineSettings:
    """An engine of kind "vllm" whose small model takes text and images, on a CPU.

    In single precision its answers do not depend on concurrent requests; in bfloat16 one in 40 does.
    """
    extra = ("--enforce-eager", "--limit-mm-per-prompt", '{"image": 8}')
    vllm = VllmSettings(python=vllm_python, dtype="float32", max_model_len=2048, extra_args=extra)
    return EngineSettings(kind="vllm", model=str(image_text_model()), vllm=vllm)


@pytest.fixture(scope="session")
def text_server(vllm_settings: EngineSettings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base URL (…/v1) of a real vLLM that serves SERVED_MODEL to the whole session: 3.7 GB, 30 s to start.

    If VIDLA_TEXT_SERVER is set, it names a server that runs already, and none is started.
    """
    running = os.environ.get("VIDLA_TEXT_SERVER")
    if running:
        yield running
        return
    with served_on_loopback(vllm_settings, tmp_path_factory.mktemp("text") / "server.log") as url:
        yield url


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An "interpreter" that runs the stand-in for any module; it records its starts in the file `starts` beside it."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)  # so that TMPDIR is read again
    stand_in = ROOT / "tests" / "support" / "stand_in_vllm.py"
    script = tmp_path / "python"
    script.write_text(f'#!/bin/sh\nshift 2\nSTAND_IN_STARTS={tmp_path}/starts exec {sys.executable} {stand_in} "$@"\n')
    script.chmod(0o755)
    return script


@pytest.fixture
def serve(stand_in: Path) -> Iterator[Serve]:
    """Opens servers that run the stand-in, and closes them after the test."""
    opened: list[VllmServer] = []

    def serve(*extra_args: str, hung_s: float = 60.0, **vllm: Any) -> VllmServer:
        opened.append(VllmServer(settings(stand_in, *extra_args, **vllm), hung_s=hung_s))
        return opened[-1]

    yield serve
    for server in opened:
        server.close()
