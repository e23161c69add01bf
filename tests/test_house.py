"""The shape of the house: which rooms may know which, how large a room is, and that no two have one name."""

from __future__ import annotations

import ast
import functools
from collections import Counter
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.support.project import ROOT

PRODUCT = ("curation", "model", "pipelines", "prompts", "vidla")
MAY_KNOW: Mapping[str, tuple[str, ...]] = {
    "curation": (),
    "prompts": (),
    "model": ("curation",),
    "pipelines": ("curation",),
    "vidla": ("curation", "model", "pipelines"),
}
PIPELINES = ("driver", "stages", "runners", "worker")  # from the top: each knows itself and what is below
LONGEST = 400


@functools.cache
def modules() -> dict[str, Path]:
    """Every module of the product, by its dotted name."""
    files = (file for folder in PRODUCT for file in sorted((ROOT / folder).rglob("*.py")))
    names = {".".join(file.relative_to(ROOT).with_suffix("").parts): file for file in files}
    return {name.removesuffix(".__init__"): file for name, file in names.items()}


def imports(name: str) -> Iterator[str]:
    """The modules of the product that `name` imports, inside functions too."""
    for node in ast.walk(ast.parse(modules()[name].read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules())
        elif isinstance(node, ast.ImportFrom) and node.module in modules():
            below = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (module for module in below if module in modules())
            if any(module not in modules() for module in below):
                yield node.module


def test_no_room_knows_a_floor_above_its_own() -> None:
    wrong = []
    for name in modules():
        top = name.partition(".")[0]
        for other in imports(name):
            if other.partition(".")[0] not in (top, *MAY_KNOW[top]):
                wrong.append(f"{name} imports {other}")
    assert not wrong


def test_the_rooms_of_pipelines_are_a_ladder() -> None:
    wrong = []
    for name in modules():
        floor = name.split(".")[1] if name.startswith("pipelines.") else ""
        for other in imports(name) if floor else ():
            if other.startswith("pipelines."):
                above = PIPELINES[: PIPELINES.index(floor)]
                if other.split(".")[1] in above:
                    wrong.append(f"{name} imports {other}")
    assert not wrong


def test_no_imports_form_a_circle() -> None:
    packages = {name for name, file in modules().items() if file.name == "__init__.py"}
    graph = {name: set(imports(name)) - packages for name in modules()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" → ".join(error.args[1]))


def test_no_room_is_too_large() -> None:
    lines = {name: len(file.read_text().splitlines()) for name, file in modules().items()}
    assert not {name: count for name, count in lines.items() if count > LONGEST}


def test_no_two_public_classes_have_one_name() -> None:
    classes = Counter(
        node.name
        for file in modules().values()
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    assert not [name for name, count in classes.items() if count > 1]


def test_no_two_rooms_of_different_subjects_have_one_name() -> None:
    one_subject = {"settings"}  # of a run, of the trainer
    names = Counter(file.stem for file in modules().values() if file.name != "__init__.py")
    assert {name for name, count in names.items() if count > 1} <= one_subject
