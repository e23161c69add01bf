"""Repairing a dataset: what was lost becomes pending, so that the next run makes it again, in one commit.

Damaged files are set aside (`quarantine/`), never deleted. A repair that is interrupted can simply be repeated.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import pyarrow as pa
import pyarrow.dataset

from curation.dataset import checksums
from curation.dataset.alignment import last_number
from curation.dataset.checksums import checksum_of
from curation.dataset.commits import Committer, Replacement, path_of
from curation.dataset.dataset import Dataset
from curation.dataset.faults import Fault, FaultKind
from curation.dataset.file_checks import MISSING, fault_of_part
from curation.dataset.history import placeholder_token
from curation.dataset.incomplete import incomplete_videos
from curation.dataset.log_repair import restore_log
from curation.dataset.object_store import put
from curation.dataset.parts import Part, PartWriter
from curation.dataset.pins import parts_at
from curation.dataset.quarantine import copy_aside, set_aside
from curation.dataset.seals import sealed
from curation.dataset.verify import TableNow, Verification
from curation.dataset.writer import Writer
from curation.errors import DamagedError, DatasetError
from curation.schema import TABLES

Shares = dict[str, dict[str, Any]]


@dataclass
class RepairReport:
    """What is lost and pending now, and the faults that no repair can mend."""

    lost_rows: dict[str, int] = field(default_factory=dict)  # by table
    pending: set[str] = field(default_factory=set)  # videos of which something is made again
    restored: list[str] = field(default_factory=list)  # files that were written again from what else is known
    remaining: list[Fault] = field(default_factory=list)


class RepairWriter(Writer):
    """The writer of a repair. It opens a dataset as it is: nothing is applied or swept before the repair's commit."""

    def __init__(self, found: Verification, run_id: str, about: Mapping[str, Any], wait_s: float = 0.0) -> None:
        super().__init__(found.dataset, run_id, about, wait_s)
        self.found = found
        self._swept = 0
        self._prepared: Shares = {}

    def __enter__(self) -> Self:
        lease = self._await_lease()
        self._swept = int(lease.get("swept", 0))
        if last_number(self.dataset) != self.found.history.last:
            raise DatasetError(f"{self.dataset.uri} has changed since it was verified: repeat the command")
        numbers = (now.number for now in self.found.tables.values())
        last = max(last_number(self.dataset), int(lease.get("settled", 0)), *numbers)
        for number in (*self.found.history.missing, *range(last_number(self.dataset) + 1, last + 1)):
            with contextlib.suppress(Exception):  # it is there by now
                put(self.dataset.store, path_of(number), _placeholder(number), create=True)
        self._begin(self._open(last))
        return self

    def _write_lease(self, *, swept: int, settled: int, open_: bool = True) -> None:
        super()._write_lease(swept=self._swept, settled=settled, open_=open_)  # nothing is swept

    def commit_shares(self, shares: Shares) -> None:
        self._prepared = shares
        self.commit(f"{self.lineage.run_id}:repair", [])

    def _shares(self, *_: Sequence[Any]) -> Shares:
        return self._prepared


def _placeholder(number: int) -> bytes:
    """Stands in for a commit that is lost: it changes nothing."""
    record = {"kind": "commit", "epoch": number, "token": placeholder_token(number), "tables": {}, "outcome": {}}
    return sealed({**record, "run_id": "", "code_version": "", "created_at": ""})


def repair(writer: RepairWriter) -> RepairReport:
    """Mend what the writer's verification has found. Raises DatasetError if the log of a table cannot be restored."""
    report = RepairReport()
    dataset, found = writer.dataset, writer.found
    faults = found.report.by_kind()
    for number in found.history.damaged:
        copy_aside(dataset, path_of(number))
        put(dataset.store, path_of(number), _placeholder(number))
        report.restored.append(path_of(number))
    renewed = set(_restore_logs(writer, faults.get(FaultKind.TABLE_LOG, ()), report))
    _restore_pins(found, [*faults.get(FaultKind.PIN, ()), *faults.get(FaultKind.PINNED, ())], report)
    _commit(writer, report)
    for kind in (FaultKind.PART, FaultKind.MEDIA, FaultKind.SOURCE, FaultKind.SUPERSEDED):
        for fault in faults.get(kind, ()):
            if _is_pinned(found, fault.path):
                report.remaining.append(Fault(FaultKind.PINNED, fault.path, f"{fault.what}; a pinned version needs it"))
            elif fault.what != MISSING:
                set_aside(dataset, fault.path)
    for fault in faults.get(FaultKind.RECORD, ()):
        if fault.path.startswith(checksums.FOLDER):
            set_aside(dataset, fault.path)
        renewed.add(fault.path)
    checksums.record(dataset, writer.lineage.epoch, renewed)
    report.remaining += [f for f in faults.get(FaultKind.PINNED, ()) if not f.path.startswith("pins/")]
    return report


def _is_pinned(found: Verification, path: str) -> bool:
    table, _, name = path.partition("/")
    return name in found.pinned.get(table, ())


def _restore_logs(writer: RepairWriter, faults: Collection[Fault], report: RepairReport) -> list[str]:
    """Restore the logs of tables; returns the changed files. Raises DatasetError if one cannot be read then."""
    changed: list[str] = []
    tables = {fault.path.partition("/")[0] for fault in faults}
    for table in tables:
        damaged = {f.path for f in faults if f.path.startswith(f"{table}/") and f.path != checksums.log_of(table)}
        changed += restore_log(writer.dataset, table, writer.found.history, damaged)
        now = writer.found.tables[table] = TableNow.read(writer.dataset, table)
        if now.fault is not None:
            raise DatasetError(f"the log of {table} cannot be restored from the commits: {now.fault}")
    report.restored += changed
    return changed


def _restore_pins(found: Verification, faults: Collection[Fault], report: RepairReport) -> None:
    """Write damaged pins again from their copies; those without one, or of versions that are lost, are set aside."""
    dataset = found.dataset
    for fault in (fault for fault in faults if fault.path.startswith("pins/")):
        copy = None
        with contextlib.suppress(DamagedError):
            copy = checksums.pin_in_copy(dataset, fault.path) if fault.kind is FaultKind.PIN else None
        if copy is not None:
            copy_aside(dataset, fault.path)
            put(dataset.store, fault.path, copy)
            report.restored.append(fault.path)
        elif not _is_readable(found, fault.path):
            set_aside(dataset, fault.path)
            dataset.delete([checksums.copy_of_pin(fault.path)])
            report.remaining.append(Fault(fault.kind, fault.path, f"{fault.what}; it is set aside, pin a new version"))


def _is_readable(found: Verification, path: str) -> bool:
    """Whether a pinned version can be read, now that the logs of tables are restored; notes the parts that it needs."""
    try:
        for table, version in (found.dataset.get_json(path) or {}).items():
            found.pinned.setdefault(table, set()).update(parts_at(found.dataset, table, version))
    except Exception:  # deltalake has many
        return False
    return True


# --- the commit -----------------------------------------------------------------------------------------------------


class _Repaired(Dataset):
    """A dataset with the tables as a repair leaves them: made of these parts."""

    def __init__(self, dataset: Dataset, parts: Mapping[str, Mapping[str, Part]]) -> None:
        super().__init__(dataset.uri)
        self._wanted = parts

    def live_parts(self, table: str) -> dict[str, Part]:
        return dict(self._wanted[table])

    def arrow(self, table: str, version: int | None = None) -> pa.dataset.Dataset:
        schema, paths = TABLES[table].schema, sorted(self._wanted[table])
        if not paths:
            return pa.dataset.dataset(schema.empty_table())
        return pa.dataset.dataset(paths, schema=schema, format="parquet", filesystem=self.arrow_files(table))


def _commit(writer: RepairWriter, report: RepairReport) -> None:
    """Take the lost parts out of the tables, and the rows that have to be made again, in one commit."""
    dataset, found = writer.dataset, writer.found
    before = {table: found.tables[table].live for table in TABLES}
    by_commits = {table: found.history.live(table, found.history.last) for table in TABLES}
    wanted = {table: _wanted(found, table) for table in TABLES}
    bad = {fault.path for fault in found.report.faults if fault.kind is FaultKind.PART}
    lost = {
        table: [part for name, part in parts.items() if f"{table}/{name}" in bad or _is_lost(found, table, part)]
        for table, parts in wanted.items()
    }
    for table, parts in lost.items():
        for part in parts:
            del wanted[table][part.path]
            report.lost_rows[table] = report.lost_rows.get(table, 0) + part.rows
    shares: Shares = {}
    for part in _salvaged(writer, lost["forgotten"]):
        wanted["forgotten"][part.path] = part
    repaired = _Repaired(dataset, wanted)
    gone = _rows_to_remove(writer, repaired, lost)
    report.pending = set[str]().union(*gone.values())
    made = Committer(repaired, writer.lineage)._shares([], _replacements(gone, wanted), ())
    for table in TABLES:
        old, new = set[str](), list[dict[str, Any]]()
        if table in made:
            old, new = {entry["path"] for entry in made[table]["remove"]}, made[table]["add"]
        unknown = [p for n, p in wanted[table].items() if n not in before[table] or n not in by_commits[table]]
        added = [_digested(dataset, part).entry() for part in unknown if part.path not in old] + new
        known = {**by_commits[table], **before[table]}
        removed = [known[name].entry() for name in known if name not in wanted[table] or name in old]
        if added or removed or _is_misaligned(found, table):
            shares[table] = {"add": added, "remove": removed}
    if shares:
        writer.commit_shares(shares)


def _wanted(found: Verification, table: str) -> dict[str, Part]:
    """The parts that should make up a table: as the commits have it, if they are all there, else as its log has it."""
    now, history = found.tables[table], found.history
    if history.is_whole and now.number <= history.last:
        return history.live(table, history.last)
    return found.expected(table)


def _is_lost(found: Verification, table: str, part: Part) -> bool:
    """Whether a part that the verification did not check is missing or damaged."""
    return part.path not in found.expected(table) and fault_of_part(found.dataset, part) is not None


def _is_misaligned(found: Verification, table: str) -> bool:
    return any(fault.kind is FaultKind.ALIGNMENT and fault.path == table for fault in found.report.faults)


def _digested(dataset: Dataset, part: Part) -> Part:
    if part.digest is not None:
        return part
    return Part(
        part.table, part.path, part.size, part.rows, checksum_of(dataset.store, f"{part.table}/{part.path}").digest
    )


def _rows_to_remove(writer: RepairWriter, repaired: Dataset, lost: Mapping[str, Sequence[Part]]) -> dict[str, set[str]]:
    """By table, the videos whose rows have to go so that a run makes them again."""
    faults = writer.found.report.by_kind()
    torn = any(faults.get(kind) for kind in (FaultKind.COMMIT, FaultKind.ALIGNMENT, FaultKind.ROWS))
    tables = set(TABLES) if torn else {table for table, parts in lost.items() if parts}
    readable = {table: _videos_of(writer.dataset, parts) for table, parts in lost.items()}
    media = {fault.video_id for fault in faults.get(FaultKind.MEDIA, ()) if fault.video_id is not None}
    return incomplete_videos(repaired, tables, readable, media)


def _videos_of(dataset: Dataset, parts: Sequence[Part]) -> set[str]:
    """The videos in damaged parts, as far as they can still be read."""
    videos: set[str] = set()
    for part in parts:
        if "video_id" in TABLES[part.table].schema.names:
            with contextlib.suppress(Exception):
                videos.update(dataset.distinct(part.table, part.path, ["video_id"])["video_id"].drop_null().to_pylist())
    return videos


def _replacements(gone: Mapping[str, Collection[str]], wanted: Mapping[str, Mapping[str, Part]]) -> list[Replacement]:
    return [
        Replacement(table, ("video_id",), frozenset((video,) for video in videos), frozenset(wanted[table]))
        for table, videos in gone.items()
        if videos
    ]


def _salvaged(writer: RepairWriter, parts: Sequence[Part]) -> list[Part]:
    """New parts with the rows of damaged ones that can still be read: what was forgotten must not come back."""
    new = PartWriter(writer.dataset.store, writer.lineage, part_bytes=1 << 30)
    for part in parts:
        with contextlib.suppress(Exception):
            new.add_rows(part.table, writer.dataset.read_part(part.table, part.path))
    return new.finish()
