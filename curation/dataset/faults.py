"""The faults that `vidla verify` finds in a dataset, by kind."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import StrEnum


class FaultKind(StrEnum):
    """A kind of fault, as its heading reads."""

    COMMIT = "commits that are damaged or missing"
    ALIGNMENT = "tables that do not belong to these commits"
    TABLE_LOG = "logs of tables that are damaged"
    PART = "parts that are missing or damaged"
    MEDIA = "videos whose stored media is missing or damaged"
    SOURCE = "sources that are damaged"
    PIN = "pins that are damaged"
    PINNED = "files of pinned versions that are missing or damaged (removing the pin gives them up)"
    SUPERSEDED = "superseded files that are damaged (nothing needs them)"
    RECORD = "checksums, lease and logs of runs that are damaged"
    ROWS = "rows that do not belong together"


@dataclass(frozen=True)
class Fault:
    """What is wrong with one file of the dataset; or with its rows, if `path` names a table."""

    kind: FaultKind
    path: str
    what: str
    video_id: str | None = None  # whose media it is

    def __str__(self) -> str:
        return f"{self.path}: {self.what}"


Advance = Callable[[int], None]
Progress = Callable[[str, int | None], AbstractContextManager[Advance]]
"""Begins to count units of that name, with their total if it is known."""


@dataclass
class VerifyReport:
    """The faults, and how many files of each class were checked: `checked` of `total`."""

    faults: list[Fault] = field(default_factory=list)
    checked: dict[str, int] = field(default_factory=dict)
    total: dict[str, int] = field(default_factory=dict)
    without_digest: int = 0  # parts that were read, since nothing says what they should contain
    unchecked: int = 0  # other files without a recorded checksum
    uncommitted: int = 0  # parts and media that no commit names
    unfinished: int = 0  # the last commit that a dead writer has not brought to all tables; 0: none

    def add(self, kind: FaultKind, path: str, what: str, video_id: str | None = None) -> None:
        self.faults.append(Fault(kind, path, what, video_id))

    def count(self, unit: str, checked: int = 1, total: int = 1) -> None:
        self.checked[unit] = self.checked.get(unit, 0) + checked
        self.total[unit] = self.total.get(unit, 0) + total

    def by_kind(self) -> dict[FaultKind, list[Fault]]:
        return {kind: found for kind in FaultKind if (found := [f for f in self.faults if f.kind == kind])}
