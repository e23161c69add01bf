"""What `commits/` says: by table, the parts that each commit adds and removes. Damaged commits are told, not raised."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from curation.dataset import seals
from curation.dataset.dataset import Dataset
from curation.dataset.parts import Part

READERS = 16
AT_A_TIME = 1024  # files that are read ahead


@dataclass(frozen=True)
class Share:
    """One table's share of the commit with that number."""

    number: int
    added: tuple[Part, ...]
    removed: tuple[str, ...]


@dataclass
class History:
    """The shares of all commits by table, in order; `parts` are all that were ever added, by table and path."""

    shares: dict[str, list[Share]] = field(default_factory=dict)
    parts: dict[tuple[str, str], Part] = field(default_factory=dict)
    damaged: dict[int, str] = field(default_factory=dict)  # the number of a commit: what is wrong with it
    missing: list[int] = field(default_factory=list)
    placeholders: list[int] = field(default_factory=list)  # of commits that were lost before a repair
    applied: dict[str, int] = field(default_factory=dict)  # by table, the last commit that a writer has found in it
    last: int = 0

    @classmethod
    def read(cls, dataset: Dataset, advance: Callable[[int], None] = lambda _: None) -> History:
        """Raises DatasetError if the store does not answer."""
        history = cls()
        was_sealed = False
        for path, data in read_all(dataset, (path for path, _, _ in dataset.list("commits/"))):
            advance(1)
            number = int(Path(path).stem)
            history.missing += range(history.last + 1, number)
            history.last = number
            fault = seals.fault_of(data) or (_LOST_SEAL if was_sealed and not seals.is_sealed(data) else None)
            record = json.loads(data) if fault is None else {}
            try:
                history._take(number, record)
            except (KeyError, TypeError, ValueError, AttributeError):
                fault = "it is not a commit"
            if record.get("token") == placeholder_token(number):
                history.placeholders.append(number)
            elif fault is None:
                was_sealed = was_sealed or seals.is_sealed(data)
            if fault is not None:
                history.damaged[number] = fault
        return history

    def _take(self, number: int, record: Mapping[str, Any]) -> None:
        self.applied.update({table: int(before) for table, before in record.get("applied", {}).items()})
        for table, share in record.get("tables", {}).items():
            added = tuple(Part(table, p["path"], int(p["size"]), int(p["rows"]), p.get("digest")) for p in share["add"])
            removed = tuple(part["path"] for part in share["remove"])
            self.shares.setdefault(table, []).append(Share(number, added, removed))
            self.parts.update(((table, part.path), part) for part in added)

    @property
    def is_complete(self) -> bool:
        """Whether every commit can be read, or was lost before a repair, which has put its parts on record again."""
        return not self.damaged and not self.missing

    @property
    def is_whole(self) -> bool:
        """Whether no commit was ever lost."""
        return self.is_complete and not self.placeholders

    def live(self, table: str, until: int) -> dict[str, Part]:
        """The parts that make up a table after commit number `until`."""
        return replay({}, (share for share in self.shares.get(table, ()) if share.number <= until))

    def after(self, table: str, number: int) -> list[Share]:
        """The shares of the commits after `number`."""
        return [share for share in self.shares.get(table, ()) if share.number > number]


def placeholder_token(number: int) -> str:
    """The token of a commit that stands in for a lost one, and changes nothing."""
    return f"lost:{number}"


_LOST_SEAL = "it has lost its checksum"


def replay(live: Mapping[str, Part], shares: Iterable[Share]) -> dict[str, Part]:
    """The parts of a table that had `live`, after these commits."""
    now = dict(live)
    for share in shares:
        now |= {part.path: part for part in share.added}
        for path in share.removed:
            now.pop(path, None)
    return now


def read_all(dataset: Dataset, paths: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """Path and contents of many small files, in order of their paths, with a few read ahead."""
    ordered = iter(sorted(paths))
    with ThreadPoolExecutor(READERS) as pool:
        while batch := list(itertools.islice(ordered, AT_A_TIME)):
            yield from zip(batch, pool.map(dataset.get, batch), strict=True)
