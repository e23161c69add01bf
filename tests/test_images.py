"""The images' Dockerfile, as far as that goes without a container engine: there is none on the machines that test."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sysconfig
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from tests.conftest import make_video
from tests.dockerfile import HERE, Stage, context, lineage, stages

TEXT = (HERE / "Dockerfile").read_text()
STAGES = stages(TEXT)
LOCKS = ("requirements", "vllm")


def tool(name: str) -> str:
    """A command of this environment."""
    found = Path(sysconfig.get_path("scripts")) / name
    if not found.is_file():
        pytest.skip(f"{name} is not installed; `make setup` does so")
    return str(found)


def locked(name: str) -> dict[str, str]:
    """By package, the version that a lock names."""
    text = (HERE / "locks" / f"{name}.txt").read_text()
    return dict(re.findall(r"^([a-z0-9-]+)(?:\[[a-z,-]+\])?==([^ \\\n]+)", text, re.MULTILINE))


def pins(text: str) -> dict[str, str]:
    lines = (line.partition("==") for line in text.splitlines() if "==" in line)
    return {normal(name): version for name, _, version in lines}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


# --- what is written ------------------------------------------------------------------------------------------------


def test_hadolint_finds_nothing() -> None:
    run = subprocess.run([tool("hadolint"), HERE / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (0, "")


def test_there_are_the_targets_that_the_documentation_names() -> None:
    assert {"worker", "gpu-worker", "command", "launcher"} <= STAGES.keys()
    documented = re.findall(r"--target (\S+)", (HERE / "docs" / "deploy.md").read_text())
    assert documented
    assert set(documented) <= STAGES.keys()


def test_everything_that_is_copied_is_there() -> None:
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
    tracked = subprocess.run(["git", "ls-files"], cwd=HERE, capture_output=True, text=True, check=True).stdout.split()
    packages = ("curation/", "model/", "pipelines/", "prompts/")
    assert {file for file in tracked if file.startswith(packages)} <= ours
    assert not {file for file in ours if file.startswith(("tests", "docs", "."))}


def test_images_come_from_public_registries_and_are_pinned() -> None:
    for stage in STAGES.values():
        if stage.base not in STAGES:
            assert re.fullmatch(
                r"(debian|apache/[a-z0-9._]+|gcr\.io/dataflow-templates-base/[a-z0-9-]+):[\w.-]+", stage.base
            )
            assert not stage.base.endswith(":latest")


def test_python_and_beam_are_of_the_same_versions_everywhere() -> None:
    constraints = pins((HERE / "constraints.txt").read_text())
    assert STAGES["beam"].base == f"apache/beam_python3.11_sdk:{constraints['apache-beam']}"
    minors = set(re.findall(r"python(?:3=)?(3\.?\d+)", TEXT.replace("python3-", "python")))
    assert {minor.replace(".", "") for minor in minors} == {"311"}


def test_the_launcher_is_where_the_template_looks_for_it() -> None:
    file = re.search(r"FLEX_TEMPLATE_PYTHON_PY_FILE=/opt/vidla/lib/python3.11/site-packages/(\S+)", TEXT)
    assert file is not None
    assert (HERE / file[1]).is_file()


# --- the locks ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LOCKS)
def test_every_package_of_a_lock_has_its_hashes(name: str) -> None:
    entries = re.split(r"\n(?=\S)", (HERE / "locks" / f"{name}.txt").read_text().strip())
    assert len(entries) == len(locked(name)) > 100
    assert all("--hash=sha256:" in entry for entry in entries)


def test_images_have_what_the_tests_have() -> None:
    constraints = pins((HERE / "constraints.txt").read_text())
    lock = locked("requirements")
    builds = {"setuptools"}  # nothing imports it
    assert {n: v for n, v in lock.items() if constraints.get(n) != v and n not in builds} == {}, (
        "renew with: make locks"
    )


def test_the_lock_holds_all_that_the_project_depends_on() -> None:
    project = tomllib.loads((HERE / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dataflow"]]
    names = {normal(re.match(r"[A-Za-z0-9._-]+", line)[0]) for line in wanted}  # type: ignore[index]
    assert names - locked("requirements").keys() == {"torch"}, "renew with: make locks"


def test_the_vllm_of_the_image_is_one_that_the_project_allows() -> None:
    from packaging.requirements import Requirement

    project = tomllib.loads((HERE / "pyproject.toml").read_text())["project"]
    (wanted,) = (Requirement(line) for line in project["optional-dependencies"]["vllm"])
    assert locked("vllm")["vllm"] in wanted.specifier


@pytest.mark.long
@pytest.mark.parametrize("name", LOCKS)
def test_every_version_of_a_lock_is_to_be_had(name: str, tmp_path: Path) -> None:
    """With one of its hashes: uv compares them with what the registry says, and downloads no more than metadata."""
    platform = ("--python-version", "3.11", "--python-platform", "x86_64-manylinux_2_28")
    lock = HERE / "locks" / f"{name}.txt"
    command = [
        "pip",
        "install",
        "--dry-run",
        "--no-deps",
        "--require-hashes",
        *platform,
        "--target",
        tmp_path,
        "-r",
        lock,
    ]
    run = subprocess.run([tool("uv"), *command], capture_output=True, text=True, timeout=280, check=False)
    assert run.returncode == 0, run.stderr
    assert f"Would install {len(locked(name))} packages" in run.stderr


# --- building -------------------------------------------------------------------------------------------------------


class Root:
    """A fresh Debian in a folder, in which commands run as they would while an image is built."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment: dict[str, str] = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
        self.shell = ["/bin/sh", "-c"]
        self.at = "/"

    def build(self, stage: Stage) -> list[str]:
        """Do what a stage says, in this one root; the commands that were run."""
        done = []
        for instruction in stage.instructions:
            if instruction.name == "RUN":
                self.run(instruction.text)
                done.append(instruction.text)
            elif instruction.name == "SHELL":
                self.shell = re.findall(r'"([^"]*)"', instruction.text)
            elif instruction.name in ("ENV", "ARG"):
                for name, value in re.findall(r"(\w+)=(\S+)", instruction.text):
                    self.environment[name] = value.replace("$PATH", self.environment["PATH"])
            elif instruction.name == "WORKDIR":
                self.at = instruction.text
                (self.folder / self.at[1:]).mkdir(parents=True, exist_ok=True)
            elif instruction.name == "COPY" and instruction.source_stage is None:
                self.copy(instruction.paths[:-1], instruction.paths[-1])
        return done

    def copy(self, sources: Sequence[str], target: str) -> None:
        """Our files into the root, each of them as .dockerignore lets it."""
        into = self.folder / self.at[1:] / target
        for file in context():
            for source in sources:
                if source == "." or str(file) == source:
                    there = into / (file if source == "." else file.name)
                    there.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(HERE / file, there)

    def run(self, command: str, user: int = 0) -> str:
        """Run a command in the root, in namespaces of its own; what it says. Fails the test where it does."""
        inside = f"cd {self.at} && {command}"
        enter = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc=" + str(self.folder / "proc")]
        chroot = ["chroot", f"--userspec={user}:{user}", str(self.folder)]
        environment = {**_network(self.folder), **self.environment, "HOME": "/root" if user == 0 else "/home/vidla"}
        run = subprocess.run(
            [*enter, *chroot, *self.shell, inside], env=environment, capture_output=True, text=True, check=False
        )
        assert run.returncode == 0, f"{command}\n{run.stdout[-3000:]}\n{run.stderr[-3000:]}"
        return run.stdout


def _network(root: Path) -> Mapping[str, str]:
    """How this machine reaches registries, for a root on it: Python's settings for that, and the files they name."""
    given: dict[str, str] = {}
    for name, value in os.environ.items():
        if not name.startswith("PIP_") and not name.lower().endswith("_proxy"):
            continue
        if value.startswith("/") and Path(value).exists():
            there = root / "run" / "given" / name
            there.parent.mkdir(parents=True, exist_ok=True)
            if Path(value).is_dir():
                shutil.copytree(value, there, dirs_exist_ok=True)
            else:
                shutil.copyfile(value, there)
            value = f"/run/given/{name}"
        given[name] = value
    return given


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Root]:
    """A fresh root of the Debian release that the images begin with."""
    missing = [name for name in ("debootstrap", "unshare", "chroot") if shutil.which(name) is None]
    if missing or os.geteuid() != 0:
        pytest.skip(
            f"building in a fresh root takes root and {', '.join(missing) or 'no more'}: apt-get install debootstrap"
        )
    folder = tmp_path_factory.mktemp("root")
    release = STAGES["python"].base.partition(":")[2].partition("-")[0]
    made = subprocess.run(
        ["debootstrap", "--variant=minbase", release, folder], capture_output=True, text=True, check=False
    )
    if made.returncode != 0:
        pytest.skip(f"debootstrap made no root: {made.stdout.splitlines()[-1:]}")
    shutil.copyfile("/etc/resolv.conf", folder / "etc" / "resolv.conf")
    for device in ("null", "zero", "random", "urandom"):
        (folder / "dev" / device).exists() or subprocess.run(["cp", "-a", f"/dev/{device}", folder / "dev"], check=True)
    yield Root(folder)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_the_worker_image_is_built_step_by_step_and_does_a_job(root: Root) -> None:
    """All in one root: what another stage's image would bring (Beam's boot) is left out, since no engine fetches it."""
    done = [command for stage in lineage(STAGES, "worker") for command in root.build(stage)]
    written = [i for name in ("python", "dependencies", "project", "worker") for i in STAGES[name].instructions]
    assert done == [i.text for i in written if i.name == "RUN"]

    root.at = "/home/vidla"
    assert root.run("vidla --version", user=10001).startswith("vidla ")
    make_video(root.folder / "home" / "vidla" / "clip.mp4", 13, seed=1)
    (root.folder / "home" / "vidla" / "clip.mp4").chmod(0o644)
    told = root.run("vidla curate clip.mp4 --dataset talks 2>&1", user=10001)
    assert "1 videos = 1 segmented + 0 rejected + 0 pending" in told

    gpu = [i.text for i in STAGES["gpu-worker"].instructions if i.name == "RUN" and "apt-get" in i.text]
    for command in gpu:  # the packages of the image with cards are there as well
        root.run(command.replace("apt-get install -y", "apt-get install --simulate"))
