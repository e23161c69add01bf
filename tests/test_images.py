"""The images' Dockerfile, as far as it can be tested without a container engine: the test machines have none."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sysconfig
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import make_video
from tests.support.dockerfile import HERE, context, lineage, stages
from tests.support.fresh_root import Root

TEXT = (HERE / "Dockerfile").read_text()
STAGES = stages(TEXT)
LOCKS = ("requirements", "vllm")


def tool(name: str) -> str:
    """A command of this environment."""
    found = Path(sysconfig.get_path("scripts")) / name
    if not found.is_file():
        pytest.skip(f"{name} is not installed; `make setup` installs it")
    return str(found)


def locked(name: str) -> dict[str, str]:
    """The version of each package in a lock."""
    text = (HERE / "locks" / f"{name}.txt").read_text()
    return dict(re.findall(r"^([a-z0-9-]+)(?:\[[a-z,-]+\])?==([^ \\\n]+)", text, re.MULTILINE))


def pins(text: str) -> dict[str, str]:
    lines = (line.partition("==") for line in text.splitlines() if "==" in line)
    return {normal(name): version for name, _, version in lines}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


# --- the file -------------------------------------------------------------------------------------------------------


def test_hadolint_finds_nothing() -> None:
    run = subprocess.run([tool("hadolint"), HERE / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (0, "")


def test_the_documented_targets_exist() -> None:
    assert {"worker", "gpu-worker", "command", "launcher"} <= STAGES.keys()
    documented = re.findall(r"--target (\S+)", (HERE / "docs" / "deploy.md").read_text())
    assert documented
    assert set(documented) <= STAGES.keys()


def test_every_copied_file_exists() -> None:
    ours = {str(file) for file in context()}
    folders = {str(parent) for file in context() for parent in file.parents}
    for stage in STAGES.values():
        for copy in (i for i in stage.instructions if i.name == "COPY"):
            if copy.source_stage is not None:
                assert copy.source_stage in STAGES
            else:
                assert {source.rstrip("/") for source in copy.paths[:-1]} <= ours | folders


def test_what_the_project_imports_and_reads_gets_into_an_image() -> None:
    ours = {str(file) for file in context()}
    packages = [HERE / name for name in ("curation", "model", "pipelines", "prompts", "vidla")]
    files = [file for folder in packages for kind in ("*.py", "*.md", "*.gz") for file in folder.rglob(kind)]
    wanted = {str(file.relative_to(HERE)) for file in files}
    assert len(wanted) > 100
    assert wanted <= ours
    assert not {file for file in ours if file.startswith(("tests", "docs", "."))}


def test_images_come_from_public_registries_and_are_pinned() -> None:
    for stage in STAGES.values():
        if stage.base not in STAGES:
            name, _, tag = stage.base.rpartition(":")
            assert re.fullmatch(r"debian|apache/[a-z0-9._]+|gcr\.io/dataflow-templates-base/[a-z0-9-]+", name)
            assert tag != "latest"


def test_python_and_beam_are_of_the_same_versions_everywhere() -> None:
    constraints = pins((HERE / "constraints.txt").read_text())
    assert STAGES["beam"].base == f"apache/beam_python3.11_sdk:{constraints['apache-beam']}"
    minors = set(re.findall(r"python(?:3=)?(3\.?\d+)", TEXT.replace("python3-", "python")))
    assert {minor.replace(".", "") for minor in minors} == {"311"}


def test_the_template_launches_a_command_that_the_project_installs() -> None:
    scripts = tomllib.loads((HERE / "pyproject.toml").read_text())["project"]["scripts"]
    found = re.search(r"FLEX_TEMPLATE_PYTHON_PY_FILE=/opt/vidla/bin/(\S+)", TEXT)
    assert found is not None
    assert scripts[found[1]] == "vidla.launch:main"


# --- the locks ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LOCKS)
def test_every_package_of_a_lock_has_its_hashes(name: str) -> None:
    entries = re.split(r"\n(?=\S)", (HERE / "locks" / f"{name}.txt").read_text().strip())
    assert len(entries) == len(locked(name)) > 100
    assert all("--hash=sha256:" in entry for entry in entries)


def test_images_have_what_the_tests_have() -> None:
    constraints = pins((HERE / "constraints.txt").read_text())
    lock = locked("requirements")
    builder = {"setuptools"}  # nothing imports it
    other = {name for name, version in lock.items() if constraints.get(name) != version}
    assert other == builder, "renew with: make locks"


def test_the_lock_holds_all_that_the_project_depends_on() -> None:
    project = tomllib.loads((HERE / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["builtin"], *extras["dataflow"]]
    names = {normal(re.match(r"[A-Za-z0-9._-]+", line)[0]) for line in wanted}  # type: ignore[index]
    assert names - locked("requirements").keys() == {"torch"}, "renew with: make locks"


def test_the_vllm_of_the_image_is_one_that_the_project_allows() -> None:
    from packaging.requirements import Requirement

    project = tomllib.loads((HERE / "pyproject.toml").read_text())["project"]
    (wanted,) = (Requirement(line) for line in project["optional-dependencies"]["vllm"])
    assert locked("vllm")["vllm"] in wanted.specifier


@pytest.mark.long
@pytest.mark.parametrize("name", LOCKS)
def test_every_version_of_a_lock_is_available(name: str, tmp_path: Path) -> None:
    """uv compares the hashes with the registry's, and downloads only metadata."""
    platform = ("--python-version", "3.11", "--python-platform", "x86_64-manylinux_2_28")
    lock = HERE / "locks" / f"{name}.txt"
    command = [tool("uv"), "pip", "install", "--dry-run", "--no-deps", "--require-hashes", *platform]
    run = subprocess.run([*command, "--target", tmp_path, "-r", lock], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert f"Would install {len(locked(name))} packages" in run.stderr


# --- building -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Root]:
    """A fresh root of the Debian release that the images begin with."""
    if os.geteuid() != 0 or not all(map(shutil.which, ("debootstrap", "unshare", "chroot"))):
        pytest.skip("a fresh root needs root, and: apt-get install debootstrap util-linux")
    folder = tmp_path_factory.mktemp("root")
    release = STAGES["python"].base.partition(":")[2].partition("-")[0]
    try:
        yield Root.fresh(folder, release)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_the_worker_image_is_built_step_by_step_and_does_a_job(root: Root) -> None:
    """All in one root; files from other images (Beam's boot) are left out, since there is no engine to fetch them."""
    done = [command for stage in lineage(STAGES, "worker") for command in root.build(stage)]
    written = [i for name in ("python", "dependencies", "project", "worker") for i in STAGES[name].instructions]
    assert done == [i.text for i in written if i.name == "RUN"]

    root.at = "/home/vidla"
    assert root.run("vidla --version", user=10001).startswith("vidla ")
    assert "the parameter dataset is missing" in root.run("python /opt/vidla/bin/vidla-launch 2>&1 || true", user=10001)
    make_video(root.folder / "home" / "vidla" / "clip.mp4", 13, seed=1)
    (root.folder / "home" / "vidla" / "clip.mp4").chmod(0o644)
    told = root.run("vidla curate clip.mp4 --dataset talks 2>&1", user=10001)
    assert "1 videos = 1 segmented + 0 rejected + 0 pending" in told

    gpu = [i.text for i in STAGES["gpu-worker"].instructions if i.name == "RUN" and "apt-get" in i.text]
    for command in gpu:  # the packages of the GPU image are available too
        root.run(command.replace("apt-get install -y", "apt-get install --simulate"))
