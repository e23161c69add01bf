"""Exactly-once commits.

`commits/<number>.json` files, each created only if absent, are the dataset's single order of events:
- an *opening* makes its number the epoch of one writer; a commit that finds a younger epoch gives up;
- a *commit* lists, for every table, the parts added and the parts removed. Creating the file is the commit. Each table
  then gets its share in one Delta transaction with the same number, which takes effect once, however often it is tried;
  after a crash between two tables, the next writer applies the rest.
`lease.json` is only advice: it tells a second writer that the first one is alive.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import CommitProperties, Schema, Transaction
from deltalake.exceptions import CommitFailedError
from deltalake.transaction import AddAction, RemoveAction
from obstore.exceptions import AlreadyExistsError

from curation import __version__
from curation.dataset.dataset import Dataset
from curation.dataset.lease import holder_text, read_lease
from curation.dataset.object_store import put, write_errors
from curation.dataset.parts import Lineage, Part, PartWriter, prefix_of
from curation.dataset.seals import sealed
from curation.errors import Superseded
from curation.schema import TABLES

APPLICATION = "vidla"  # Delta's name for our sequence of transactions
_SEPARATOR = "\x00"  # occurs in no id
APPLY_ATTEMPTS = 20
REWRITTEN_BYTES = 128 * 2**20  # of a part with the rows that stay when others of their parts go
_FILES = {"downloads": "source_uri", "videos": "media_uri"}  # the columns that name files of the dataset
_FOLDERS = ("sources/", "media/")


@dataclasses.dataclass(frozen=True)
class Replacement:
    """Rows to remove from a table in the commit that adds their successors: those whose `columns` have one of `values`.

    `parts` names the parts that may hold such rows; parts written under the current epoch are always searched as well.
    """

    table: str
    columns: tuple[str, ...]
    values: frozenset[tuple[str, ...]]
    parts: frozenset[str]

    def matches(self, rows: pa.Table) -> pa.ChunkedArray:
        """For each of `rows`, whether it is removed."""
        keys = pc.binary_join_element_wise(*(rows[c] for c in self.columns), _SEPARATOR, null_handling="replace")
        return pc.is_in(keys, value_set=pa.array([_SEPARATOR.join(v) for v in self.values], pa.string()))


class Committer:
    """Commits to a dataset under one epoch. Workers can create one from the epoch number alone.

    `seen`, if given, is the number of the last commit that the writer has read; earlier ones are not read again.
    """

    def __init__(self, dataset: Dataset, lineage: Lineage, seen: int | None = None) -> None:
        self.dataset = dataset
        self.lineage = lineage
        self._lock = threading.Lock()
        self._seen = lineage.epoch if seen is None else seen
        self._numbers: dict[str, int] = {}
        self._applied: dict[str, int] = {}

    def commit(
        self,
        token: str,
        parts: Sequence[Part],
        replacements: Sequence[Replacement] = (),
        merged: Sequence[Part] = (),
        outcome: Mapping[str, Any] | None = None,
    ) -> int:
        """Add `parts` and remove the rows they replace, in all tables at once; returns the commit's number.

        `merged` parts are removed as a whole: the added ones hold exactly the same rows.
        `token` names the work: a second commit with the same token changes nothing and returns the first one's number.
        `outcome` (JSON) records the result of the work for readers of the commit.

        Raises Superseded after deleting the parts.
        """
        written = {f"{part.table}/{part.path}" for part in parts}
        flushed: set[str] = set()
        with self._lock:
            while True:
                try:
                    self._catch_up()
                except Superseded:
                    if token not in self._numbers:  # the successor's sweep may have missed them
                        self.dataset.delete(written)
                    raise
                if token in self._numbers:
                    return self._numbers[token]
                shares = self._shares(parts, replacements, merged)
                written |= {f"{table}/{part['path']}" for table, share in shares.items() for part in share["add"]}
                record = {
                    "kind": "commit",
                    "epoch": self.lineage.epoch,
                    "token": token,
                    "tables": shares,
                    "outcome": dict(outcome or {}),
                    **stamp(self),
                }
                data = sealed(record)
                unflushed = (written | self._files_of(parts)) - flushed
                self.dataset.flush(unflushed)
                flushed |= unflushed
                try:
                    put(self.dataset.store, path_of(self._seen + 1), data, create=True, flush=True)
                except AlreadyExistsError:
                    continue  # the number is taken: read that commit, then try the next
                self._catch_up()
                return self._numbers[token]

    def _files_of(self, parts: Iterable[Part]) -> set[str]:
        """The files of the dataset that the rows of these parts name, and that exist: stored media and sources."""
        if self.dataset.folder is None:
            return set()
        named: set[str] = set()
        for part in parts:
            if column := _FILES.get(part.table):
                named.update(self.dataset.read_part(part.table, part.path, [column])[column].to_pylist())
        return {path for path in named if path.startswith(_FOLDERS) and (self.dataset.folder / path).is_file()}

    @property
    def seen(self) -> int:
        """The number of the last commit that was read."""
        return self._seen

    def check(self) -> None:
        """Raises Superseded if a younger writer has taken over the dataset."""
        with self._lock:
            self._catch_up()

    def _catch_up(self) -> None:
        """Read the new commits, check that this epoch is still valid, and bring every table up to date."""
        for number, record in read_commits(self.dataset, self._seen):
            if record["kind"] == "open":
                raise superseded(self.dataset, record["holder"])
            apply(self.dataset, number, record, self._applied)
            self._numbers[record["token"]] = number
            self._seen = number

    def _shares(
        self, parts: Sequence[Part], replacements: Sequence[Replacement], merged: Sequence[Part]
    ) -> dict[str, Any]:
        shares: dict[str, Any] = {}
        removed: dict[str, list[Part]] = {}
        for part in merged:
            shares.setdefault(part.table, {"add": [], "remove": [], "merged": True})
            removed.setdefault(part.table, []).append(part)
        rewritten: list[Part] = []
        for table in {replacement.table for replacement in replacements}:
            old, new = self._without(table, [r for r in replacements if r.table == table])
            removed.setdefault(table, []).extend(old)
            rewritten += new
        for part in [*parts, *rewritten]:
            share = shares.setdefault(part.table, {"add": [], "remove": []})
            share["add"].append(part.entry())
        for table, old in removed.items():
            if old:
                share = shares.setdefault(table, {"add": [], "remove": []})
                share["remove"] += [part.entry() for part in old]
        return shares

    def _without(self, table: str, replacements: Sequence[Replacement]) -> tuple[list[Part], list[Part]]:
        """The live parts that hold rows to remove, and new parts with their other rows."""
        ours = prefix_of(self.lineage.epoch)
        named = frozenset[str]().union(*(r.parts for r in replacements))
        old: list[Part] = []
        writer = PartWriter(self.dataset.store, self.lineage, REWRITTEN_BYTES)
        for path, part in self.dataset.live_parts(table).items():
            if path not in named and not path.startswith(ours):
                continue
            keys = self.dataset.read_part(table, path, sorted({c for r in replacements for c in r.columns}))
            doomed = functools.reduce(pc.or_, [r.matches(keys) for r in replacements])
            if not pc.any(doomed).as_py():
                continue
            old.append(part)
            if not pc.all(doomed).as_py():
                writer.add_rows(table, self.dataset.read_part(table, path).filter(pc.invert(doomed)))
        return old, writer.finish()


def superseded(dataset: Dataset, holder: Mapping[str, Any]) -> Superseded:
    return Superseded(f"{holder_text(holder)} took over {dataset.uri}; nothing more is written here")


# --- the files ------------------------------------------------------------------------------------------------------


def path_of(number: int) -> str:
    return f"commits/{number:020d}.json"


def read_commits(dataset: Dataset, after: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """The openings and commits after number `after`, in order."""
    paths = sorted(path for path, _, _ in dataset.list("commits/", after=path_of(after)))
    for path in paths:
        record = dataset.get_json(path)
        if record is not None:
            yield int(Path(path).stem), record


def unfinished(dataset: Dataset) -> list[int]:
    """The numbers of commits that are not applied to all tables: under way, or left half done by a dead writer."""
    applied: dict[str, int] = {}
    behind: list[int] = []
    for number, record in read_commits(dataset, settled(dataset)):
        tables = record.get("tables", ())
        for table in set(tables) - set(applied):
            applied[table] = dataset.delta(table).transaction_version(APPLICATION) or 0
        if any(applied[table] < number for table in tables):
            behind.append(number)
    return behind


def settled(dataset: Dataset) -> int:
    """The number up to which all commits are applied to all tables, according to the last writer."""
    return int(read_lease(dataset).get("settled", 0))


def apply(dataset: Dataset, number: int, record: Mapping[str, Any], applied: dict[str, int]) -> None:
    """Apply a commit to all its tables. Safe to repeat, also concurrently with other processes.

    `applied` keeps, by table, the number of the last commit known to be applied.
    """
    written: list[str] = []
    for table, share in record["tables"].items():
        if applied.get(table, 0) < number:
            applied[table] = _apply_share(dataset, table, number, share, written)
    dataset.flush(written)


def _apply_share(dataset: Dataset, table: str, number: int, share: Mapping[str, Any], written: list[str]) -> int:
    """Apply one table's share of a commit; returns the number of the last commit applied to the table.

    The files that it adds to the table's log are added to `written`.
    """
    failures = 0
    data_change = not share.get("merged", False)  # False tells followers of the table's log that there are no new rows
    while True:
        delta = dataset.delta(table)
        done = delta.transaction_version(APPLICATION) or 0
        if done >= number:
            return done
        try:
            with write_errors(f"the log of {table}"):
                delta.create_write_transaction(
                    [
                        *(_add(part, data_change) for part in share["add"]),
                        *(_remove(part, data_change) for part in share["remove"]),
                    ],
                    "append",
                    Schema.from_arrow(TABLES[table].schema),
                    commit_properties=CommitProperties(app_transactions=[Transaction(APPLICATION, number)]),
                )
            written += dataset.log_files(table, delta.version() + 1)
            return number
        except CommitFailedError:  # another process was first: check again
            failures += 1
            if failures == APPLY_ATTEMPTS:
                raise
            time.sleep(0.05 * failures)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _add(part: Mapping[str, Any], data_change: bool) -> AddAction:
    return AddAction(part["path"], part["size"], {}, _now_ms(), data_change, json.dumps({"numRecords": part["rows"]}))


def _remove(part: Mapping[str, Any], data_change: bool) -> RemoveAction:
    return RemoveAction(
        path=part["path"], data_change=data_change, deletion_timestamp=_now_ms(), size=part["size"], partition_values={}
    )


def stamp(committer: Committer) -> dict[str, Any]:
    """The origin of an opening or commit: its run, vidla's version and the time."""
    return {
        "run_id": committer.lineage.run_id,
        "code_version": __version__,
        "created_at": datetime.now(UTC).isoformat(),
    }
