"""Verifying a dataset: every file against what is known of it, and the rows against each other.

Parts have digests in the commits that added them, stored media and sources in their rows, logs and pins in
`checksums/`; commits, the lease and those lists carry their own.
"""

from __future__ import annotations

import json
import random
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pyarrow as pa

from curation.dataset import checksums, seals
from curation.dataset.books import balance
from curation.dataset.checksums import Checksum
from curation.dataset.commits import APPLICATION, settled
from curation.dataset.dataset import Dataset, rows_of
from curation.dataset.faults import FaultKind, Progress, VerifyReport
from curation.dataset.file_checks import MISSING, difference, fault_of_log, fault_of_part
from curation.dataset.history import History, read_all, replay
from curation.dataset.kept_parts import FOLDER, kept_parts
from curation.dataset.lease import LEASE, is_held, read_lease
from curation.dataset.parts import Part
from curation.dataset.pins import parts_at, pins_on_disk
from curation.dataset.snapshots import DatasetSnapshot
from curation.dataset.vacuum import parts_on_disk
from curation.errors import DamagedError, DatasetError, UsageError, one_line
from curation.schema import TABLES

READERS = 8
CATCH_UP_ATTEMPTS = 10
QUIET: Progress = lambda unit, total: nullcontext(lambda more: None)  # noqa: E731


@dataclass
class TableNow:
    """A table as its log has it: the parts by path, the last commit applied, and the version of the log."""

    live: dict[str, Part] = field(default_factory=dict)
    number: int = 0
    version: int = -1
    fault: str | None = None  # why its log cannot be read

    @classmethod
    def read(cls, dataset: Dataset, table: str) -> TableNow:
        try:
            delta = dataset.delta_or_none(table)
            if delta is None:
                return cls()
            number = delta.transaction_version(APPLICATION) or 0
            return cls(dataset.parts_of(table, delta), number, delta.version())
        except DamagedError as error:
            return cls(fault=str(error))
        except DatasetError:
            raise
        except Exception as error:  # deltalake has many
            return cls(fault=one_line(error, 200))


@dataclass
class Check:
    """A file to check; `check` says what is wrong with it, or None."""

    unit: str
    kind: FaultKind
    path: str
    check: Callable[[], str | None]
    video_id: str | None = None


@dataclass
class Verification:
    """One pass over a dataset. With `sample`, that many parts and that many media files are checked, at random."""

    dataset: Dataset
    sample: int | None = None
    seed: int = 0
    progress: Progress = QUIET
    report: VerifyReport = field(default_factory=VerifyReport)
    tables: dict[str, TableNow] = field(default_factory=dict)
    history: History = field(default_factory=History)
    pinned: dict[str, set[str]] = field(default_factory=dict)  # by table, parts that a pinned version needs

    def run(self) -> VerifyReport:
        """Raises DatasetError if there is no dataset, or the store does not answer."""
        if not any(self.dataset.list("commits/")) and not self.dataset.exists():
            raise self.dataset.missing()
        self.tables = {table: TableNow.read(self.dataset, table) for table in TABLES}
        with self.progress("commits", None) as advance:
            self.history = History.read(self.dataset, advance)
        self._commits()
        self._alignment()
        self._records()
        self._pins()
        self._each("parts", self._parts())
        self._each("media files", self._media())
        self._each("sources", self._sources())
        self._recheck()
        self._rows()
        return self.report

    # --- commits, logs and other small files ------------------------------------------------------------------------

    def _commits(self) -> None:
        report, history = self.report, self.history
        report.count("commits", history.last - len(history.missing), history.last - len(history.missing))
        for number in history.missing:
            report.add(FaultKind.COMMIT, f"commits/{number:020d}.json", MISSING)
        for number, fault in history.damaged.items():
            report.add(FaultKind.COMMIT, f"commits/{number:020d}.json", fault)

    def _alignment(self) -> None:
        """Whether each table lists what its commits have added, and all of it that a writer had found in it."""
        at_least = settled(self.dataset)
        for table, now in self.tables.items():
            if now.fault is not None:
                self.report.add(FaultKind.TABLE_LOG, checksums.log_of(table), f"it cannot be read: {now.fault}")
                continue
            lacking = self.history.after(table, now.number)
            if now.number > self.history.last:
                what = f"it is ahead: it has commit {now.number}, but the commits end with {self.history.last}"
                self.report.add(FaultKind.ALIGNMENT, table, what)
            elif lacking and lacking[0].number <= max(at_least, self.history.applied.get(table, 0)):
                self.report.add(FaultKind.ALIGNMENT, table, f"it is behind: it lacks commit {lacking[0].number}")
            elif lacking and not self._catches_up(table, lacking[0].number):
                self.report.unfinished = max(self.report.unfinished, lacking[-1].number)
            elif (
                not lacking
                and self.history.is_complete
                and _entries(now.live) != _entries(self.history.live(table, now.number))
            ):
                self.report.add(FaultKind.ALIGNMENT, table, "its log lists other parts than its commits")

    def _catches_up(self, table: str, number: int) -> bool:
        """Whether a commit that a table lacks is under way."""
        for _ in range(CATCH_UP_ATTEMPTS):
            if TableNow.read(self.dataset, table).number >= number:
                return True
            if not is_held(read_lease(self.dataset)):
                return False
            time.sleep(0.5)
        return False

    def _records(self) -> None:
        """The files whose checksums writers have recorded, and those lists themselves."""
        dataset, report = self.dataset, self.report
        known: dict[str, Checksum] = {}
        for path, data in read_all(dataset, (path for path, _, _ in dataset.list(checksums.FOLDER))):
            report.count("records")
            if fault := seals.fault_of(data) or (None if seals.is_sealed(data) else "it has no checksum"):
                report.add(FaultKind.RECORD, path, fault)
            elif not path.startswith(checksums.FOLDER + checksums.PINS):
                checksums.take_in(known, json.loads(data))
        if dataset.has(LEASE):
            report.count("records")
            if fault := seals.fault_of(dataset.get(LEASE)):
                report.add(FaultKind.RECORD, LEASE, fault)
        self._each("logs", self._logs(known))

    def _logs(self, known: Mapping[str, Checksum]) -> Iterator[Check]:
        for table in TABLES:
            folder = checksums.log_of(table)
            found = {path: size for path, size, _ in self.dataset.list(folder)}
            for path in sorted(found.keys() | {path for path in known if path.startswith(folder)}):
                if path in known:
                    yield Check("logs", FaultKind.TABLE_LOG, path, self._by_checksum(path, known[path]))
                else:
                    self.report.unchecked += 1
                    yield Check("logs", FaultKind.TABLE_LOG, path, partial(fault_of_log, self.dataset, path))
        for path, _, _ in self.dataset.list("logs/"):
            if path in known:  # a run that is under way has no checksum of its log yet
                yield Check("logs", FaultKind.RECORD, path, self._by_checksum(path, known[path]))
            else:
                self.report.unchecked += 1

    def _by_checksum(self, path: str, expected: Checksum) -> Callable[[], str | None]:
        return lambda: difference(self.dataset, path, expected.size, expected.digest)

    def _pins(self) -> None:
        for path, data in read_all(self.dataset, pins_on_disk(self.dataset)):
            self.report.count("pins")
            fault = seals.fault_of(data)
            copy = _readable(self.dataset, checksums.copy_of_pin(path))
            if fault is None and copy is not None and json.loads(data) != copy["versions"]:
                fault = "it differs from its copy"
            versions = copy["versions"] if copy is not None else {} if fault else json.loads(data)
            if fault is not None:
                self.report.add(FaultKind.PIN, path, fault)
            for table, version in versions.items():
                try:
                    self.pinned.setdefault(table, set()).update(parts_at(self.dataset, table, version))
                except Exception as error:  # deltalake has many; the log is checked by itself
                    what = f"version {version} of {table} cannot be read: {one_line(error, 200)}"
                    self.report.add(FaultKind.PINNED, path, what)

    # --- parts, media and sources -----------------------------------------------------------------------------------

    def _parts(self) -> Iterator[Check]:
        checks = []
        for table, now in self.tables.items():
            expected = self.expected(table)
            on_disk = dict(parts_on_disk(self.dataset, table))
            pinned = self.pinned.get(table, set())
            kept = {name for name, _ in kept_parts(self.dataset, table)}  # releases are read without the original
            for name in {*expected, *pinned - kept, *on_disk}:
                known = self.history.parts.get((table, name))
                part = known or now.live.get(name)
                kind = FaultKind.PART if name in expected else FaultKind.PINNED if name in pinned else None
                if part is None and kind is None:
                    self.report.uncommitted += 1
                elif part is None:
                    self.report.add(FaultKind.PINNED, f"{table}/{name}", "no commit has added it")
                else:
                    checks.append(self._check_part(table, part, kind or FaultKind.SUPERSEDED))
        yield from checks

    def expected(self, table: str) -> dict[str, Part]:
        """The parts that should make up a table: those it lists, and those of commits it still lacks."""
        now = self.tables[table]
        if now.fault is not None:
            return self.history.live(table, self.history.last)
        return replay(now.live, self.history.after(table, now.number))

    def _check_part(self, table: str, part: Part, kind: FaultKind) -> Check:
        if part.digest is None:
            self.report.without_digest += 1
        return Check("parts", kind, f"{table}/{part.path}", lambda: fault_of_part(self.dataset, part))

    def _media(self) -> Iterator[Check]:
        """The stored media of all videos, then that of superseded rows."""
        columns = ["media_uri", "media_bytes", "media_digest", "video_id"]
        seen: set[int] = set()  # hashes: there may be millions
        for path, kind in self._readable_parts("videos"):
            for row in self._rows_of("videos", path, columns):
                uri = row["media_uri"]
                if hash(uri) in seen:
                    continue
                seen.add(hash(uri))
                if kind is not FaultKind.SUPERSEDED or self.dataset.has(uri):
                    check = self._by_checksum(uri, Checksum(row["media_bytes"], row["media_digest"]))
                    live = kind is FaultKind.PART
                    yield Check("media files", FaultKind.MEDIA if live else kind, uri, check, row["video_id"])
        self.report.uncommitted += sum(hash(path) not in seen for path, _, _ in self.dataset.list("media/"))

    def _sources(self) -> Iterator[Check]:
        """The sources that are still there: most are deleted once they are segmented."""
        present = {path: size for path, size, _ in self.dataset.list("sources/")}
        columns = ["source_uri", "source_bytes", "source_digest"]
        for path, _ in self._readable_parts("downloads") if present else ():
            for row in self._rows_of("downloads", path, columns):
                if present.pop(row["source_uri"], None) is not None:
                    check = self._by_checksum(row["source_uri"], Checksum(row["source_bytes"], row["source_digest"]))
                    yield Check("sources", FaultKind.SOURCE, row["source_uri"], check)

    def _readable_parts(self, table: str) -> Iterator[tuple[str, FaultKind]]:
        """The intact parts of a table: first the current ones, then those of pinned versions, then superseded ones."""
        damaged = {fault.path for fault in self.report.faults}
        expected, pinned = self.expected(table), self.pinned.get(table, set())
        on_disk = {name for name, _ in parts_on_disk(self.dataset, table) if (table, name) in self.history.parts}
        kept = {name for name, _ in kept_parts(self.dataset, table)}
        for names, kind in (
            (set(expected), FaultKind.PART),
            ((pinned - expected.keys() - kept) | {f"{FOLDER}{name}" for name in kept}, FaultKind.PINNED),
            (on_disk - pinned - expected.keys(), FaultKind.SUPERSEDED),
        ):
            yield from ((name, kind) for name in sorted(names) if f"{table}/{name}" not in damaged)

    def _rows_of(self, table: str, name: str, columns: list[str]) -> Iterator[Mapping[str, Any]]:
        """The rows of a part; none if it is not what its faults, or those of a log, let expect."""
        try:
            yield from rows_of(self.dataset.read_part(table, name, columns))
        except (FileNotFoundError, pa.ArrowException) as error:
            self.report.add(FaultKind.PART, f"{table}/{name}", f"it cannot be read: {one_line(error)}")

    def _each(self, unit: str, checks: Iterable[Check]) -> None:
        """Do all checks, or a sample of them, a few at a time."""
        sampled = self.sample if unit in ("parts", "media files") else None
        if sampled is not None:
            checks, total = reservoir(checks, sampled, random.Random(f"{self.seed} {unit}"))
            self.report.count(unit, 0, total - len(checks))
        with self.progress(unit, None) as advance, ThreadPoolExecutor(READERS) as pool:
            running: deque[tuple[Check, Future[str | None]]] = deque()

            def take() -> None:
                check, future = running.popleft()
                fault = future.result()
                if fault is not None:
                    self.report.add(check.kind, check.path, fault, check.video_id)
                self.report.count(unit)
                advance(1)

            for check in checks:
                running.append((check, pool.submit(check.check)))
                if len(running) > 4 * READERS:
                    take()
            while running:
                take()

    def _recheck(self) -> None:
        """Drop the faults of parts and media that a writer has replaced and a vacuum deleted meanwhile."""
        faults = self.report.faults
        if not any(f.kind in (FaultKind.PART, FaultKind.MEDIA) and f.what == MISSING for f in faults):
            return
        gone: set[str] = set()
        for table, before in self.tables.items():
            now = TableNow.read(self.dataset, table)
            if now.fault is None and now.version > before.version:
                gone |= {f"{table}/{name}" for name in before.live.keys() - now.live.keys()}
        if gone:
            media = set(self.dataset.read("videos", ["media_uri"])["media_uri"].to_pylist())
            gone |= {f.path for f in faults if f.kind is FaultKind.MEDIA and f.path not in media}
        self.report.faults = [f for f in faults if f.path not in gone]

    def _rows(self) -> None:
        """The rows of the tables against each other, if they can be read, and are all there."""
        unreadable = (FaultKind.PART, FaultKind.TABLE_LOG, FaultKind.ALIGNMENT, FaultKind.COMMIT)
        if self.report.unfinished or any(fault.kind in unreadable for fault in self.report.faults):
            return
        with self.progress("books", None):
            for stray in balance(DatasetSnapshot.now(self.dataset.uri)).strays:
                if "stored media" not in stray:  # each was told above
                    self.report.add(FaultKind.ROWS, "books", stray)


def reservoir(items: Iterable[Any], size: int, chance: random.Random) -> tuple[list[Any], int]:
    """`size` of the items, each with the same chance, and how many items there were.

    >>> reservoir(range(3), 5, random.Random(0))
    ([0, 1, 2], 3)
    """
    chosen: list[Any] = []
    count = 0
    for count, item in enumerate(items, 1):
        if len(chosen) < size:
            chosen.append(item)
        elif (at := chance.randrange(count)) < size:
            chosen[at] = item
    return chosen, count


def _readable(dataset: Dataset, path: str) -> dict[str, Any] | None:
    """A small JSON file; None if there is none, or if it is damaged, which is found elsewhere."""
    try:
        data = dataset.get(path)
    except FileNotFoundError:
        return None
    return None if seals.fault_of(data) else json.loads(data)


def _entries(parts: Mapping[str, Part]) -> dict[str, tuple[int, int]]:
    return {path: (part.size, part.rows) for path, part in parts.items()}


def verify(dataset: Dataset, sample: int | None = None, seed: int = 0, progress: Progress = QUIET) -> VerifyReport:
    """Check a dataset. Raises DatasetError if there is none, or if its store does not answer; UsageError."""
    if sample is not None and sample < 1:
        raise UsageError("a sample has at least one file")
    return Verification(dataset, sample, seed, progress).run()
