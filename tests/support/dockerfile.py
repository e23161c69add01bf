"""A parsed Dockerfile: its stages, their instructions, and the files of ours that it may copy."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.project import ROOT

HERE = ROOT


@dataclass(frozen=True)
class Instruction:
    name: str
    text: str

    @property
    def source_stage(self) -> str | None:
        """The stage that a COPY copies from; None for our files."""
        found = re.match(r"--from=(\S+)", self.text)
        return found[1] if found else None

    @property
    def paths(self) -> list[str]:
        """A COPY's sources, then its target."""
        return [word for word in shlex.split(self.text) if not word.startswith("--")]


@dataclass(frozen=True)
class Stage:
    name: str
    base: str
    instructions: list[Instruction] = field(default_factory=list)


def stages(text: str) -> dict[str, Stage]:
    """The stages of a Dockerfile, by name, in order."""
    found: dict[str, Stage] = {}
    plain = "\n".join(line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#"))
    for line in re.sub(r"\\\n\s*", "", plain).splitlines():
        name, _, rest = line.partition(" ")
        if name == "FROM":
            base, _, alias = rest.partition(" AS ")
            stage = found[alias] = Stage(alias, base)
        else:
            stage.instructions.append(Instruction(name, rest))
    return found


def lineage(found: dict[str, Stage], target: str) -> list[Stage]:
    """The stages that a target is built from, each after those that it needs, without repeats."""
    stage = found[target]
    sources = [i.source_stage for i in stage.instructions if i.name == "COPY"]
    needed: dict[str, Stage] = {}
    for name in (stage.base, *sources):
        if name in found:
            needed |= {s.name: s for s in lineage(found, name) if s.name not in needed}
    return [*needed.values(), stage]


def context() -> list[Path]:
    """Our files that .dockerignore lets into an image, relative to the repository."""
    allowed = [line[1:] for line in (HERE / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    files = [file for name in allowed for file in ([HERE / name] if (HERE / name).is_file() else _below(HERE / name))]
    return [file.relative_to(HERE) for file in files]


def _below(folder: Path) -> list[Path]:
    return [file for file in sorted(folder.rglob("*")) if file.is_file() and "__pycache__" not in file.parts]
