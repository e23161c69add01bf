"""The files around the code: what they list is complete, and what they name exists."""

from __future__ import annotations

import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.support.project import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
MAKEFILE = (ROOT / "Makefile").read_text()
GUIDES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def direct_dependencies() -> set[str]:
    """The names of all packages that pyproject.toml and models.txt ask for."""
    extras = [line for lines in PROJECT["optional-dependencies"].values() for line in lines]
    models = [line for line in (ROOT / "models.txt").read_text().splitlines() if not line.startswith("#")]
    names = {re.split(r"[\[<>=~ ]", line)[0] for line in (*PROJECT["dependencies"], *extras, *models)}
    return names - {PROJECT["name"]}


def test_the_notice_names_every_direct_dependency() -> None:
    named = set(re.findall(r"[A-Za-z0-9][\w.-]*[A-Za-z0-9]", (ROOT / "NOTICE").read_text()))
    assert direct_dependencies() <= named, direct_dependencies() - named


def test_the_licence_goes_into_the_wheel() -> None:
    assert PROJECT["license"] == "Apache-2.0"
    assert PROJECT["license-files"] == ["LICENSE", "NOTICE"]
    assert "Version 2.0, January 2004" in (ROOT / "LICENSE").read_text()


def test_help_lists_every_target_of_make() -> None:
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
    shown = subprocess.run(["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert {line.split()[0] for line in shown.splitlines() if len(line.split()) > 1} == targets


def test_the_hooks_of_pre_commit_run_what_lint_runs() -> None:
    recipe = re.search(r"^lint:.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
    assert recipe is not None
    commands = [line.strip().replace("$(BIN)", ".venv/bin") for line in recipe[1].splitlines()]
    (local,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert local["repo"] == "local"
    assert [hook["entry"] for hook in local["hooks"]] == commands
    assert {hook["language"] for hook in local["hooks"]} == {"system"}


def test_the_changelog_has_this_version() -> None:
    versions = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert versions[0] == "Unreleased"
    assert PROJECT["version"] in versions


def named_files(guide: Path) -> Iterator[str]:
    """Paths into the project that a guide names in backquotes or links to."""
    text = guide.read_text()
    tops = "benchmarks|curation|demo|docs|locks|model|pipelines|prompts|tests|vidla"
    yield from re.findall(rf"`((?:{tops})/[\w./-]*)`", text)
    for target in re.findall(r"\]\(([\w./-]+\.\w+)\)", text):
        yield str((guide.parent / target).resolve().relative_to(ROOT))


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.name)
def test_files_that_a_guide_names_exist(guide: Path) -> None:
    assert not [name for name in named_files(guide) if not (ROOT / name).exists()]
