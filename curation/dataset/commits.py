"""How what is written looks written exactly once.

`commits/<number>.json` files, each created only if absent, are the dataset's one order of events:
- an *opening* makes its number the epoch of one writer; a commit that finds a younger epoch gives up;
- a *commit* lists, for every table, the parts added and the parts removed. Creating it is the commit. Each table then
  gets its share in one Delta transaction under the same number, which takes effect once however often it is tried;
  whoever opens the dataset next finishes what a crash between two tables left.
`lease.json` is advice only: it tells a second writer that a first one is alive.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import CommitProperties, Schema, Transaction
from deltalake.exceptions import CommitFailedError
from deltalake.transaction import AddAction, RemoveAction
from obstore.exceptions import AlreadyExistsError

from curation import __version__
from curation.dataset.dataset import Dataset, now_ms
from curation.dataset.object_store import put, writing
from curation.dataset.parts import Lineage, Part, PartWriter
from curation.errors import DatasetError
from curation.schema import TABLES

APPLICATION = "vidla"  # Delta's name for our sequence of transactions
LEASE = "lease.json"
HEARTBEAT_S = 5.0
STALE_S = 30.0
_SEPARATOR = "\x00"  # in no id
APPLY_ATTEMPTS = 20


class Held(DatasetError):
    """Another writer that is alive holds the dataset."""


class Superseded(DatasetError):
    """A younger writer has taken the dataset over: nothing more can be committed under this epoch."""


@dataclasses.dataclass(frozen=True)
class Replacement:
    """Rows to take out of a table in the commit that adds their successors: those whose `columns` have one of `values`.

    `parts` are those that may hold such rows; parts written under the current epoch are looked at as well.
    """

    table: str
    columns: tuple[str, ...]
    values: frozenset[tuple[str, ...]]
    parts: frozenset[str]

    def matches(self, rows: pa.Table) -> pa.ChunkedArray:
        """For each of `rows`, whether it goes."""
        keys = pc.binary_join_element_wise(*(rows[c] for c in self.columns), _SEPARATOR, null_handling="replace")
        return pc.is_in(keys, value_set=pa.array([_SEPARATOR.join(v) for v in self.values], pa.string()))


class Committer:
    """Commits to a dataset under one epoch. A worker may make its own: it needs no more than the number.

    `seen`, where it is given, is the last commit that the writer has seen: what came before need not be read again.
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
        """Add `parts` and take out what they replace, in all tables at once; the commit's number.

        `merged` parts go as they are: what is added holds the very same rows.
        `token` names the work: a second commit of the same token changes nothing and returns the first one's number.
        `outcome` (JSON) is what the work came to, for whoever reads the commit. Raises Superseded, and then the parts
        are gone.
        """
        written = {f"{part.table}/{part.path}" for part in parts}
        with self._lock:
            while True:
                try:
                    self._catch_up()
                except Superseded:
                    if token not in self._numbers:  # the successor has swept already: nobody else would
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
                    **_stamp(self),
                }
                try:
                    put(self.dataset.store, path_of(self._seen + 1), json.dumps(record).encode(), create=True)
                except AlreadyExistsError:
                    continue  # someone else's number: look at what it says, then try the next
                self._catch_up()
                return self._numbers[token]

    @property
    def seen(self) -> int:
        """The number of the last commit that was looked at."""
        return self._seen

    def check(self) -> None:
        """Raises Superseded where a younger writer has taken the dataset over."""
        with self._lock:
            self._catch_up()

    def _catch_up(self) -> None:
        """Read what was committed since, see whether this epoch still counts, and bring every table up to date."""
        for number, record in read_commits(self.dataset, self._seen):
            if record["kind"] == "open":
                who = holder_text(record["holder"])
                raise Superseded(f"{who} took over {self.dataset.uri}; nothing more is written here")
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
            gone, kept = self._without(table, [r for r in replacements if r.table == table])
            removed.setdefault(table, []).extend(gone)
            rewritten += kept
        for part in [*parts, *rewritten]:
            share = shares.setdefault(part.table, {"add": [], "remove": []})
            share["add"].append({"path": part.path, "size": part.size, "rows": part.rows})
        for table, gone in removed.items():
            if gone:
                share = shares.setdefault(table, {"add": [], "remove": []})
                share["remove"] += [{"path": part.path, "size": part.size, "rows": part.rows} for part in gone]
        return shares

    def _without(self, table: str, replacements: Sequence[Replacement]) -> tuple[list[Part], list[Part]]:
        """The live parts that hold rows to take out, and new parts with what else was in them."""
        ours = f"part-{self.lineage.epoch:020d}"
        named = frozenset[str]().union(*(r.parts for r in replacements))
        gone: list[Part] = []
        writer = PartWriter(self.dataset.store, self.lineage, part_bytes=1 << 62)
        for path, part in self.dataset.live_parts(table).items():
            if path not in named and not path.startswith(ours):
                continue
            keys = self.dataset.read_part(table, path, sorted({c for r in replacements for c in r.columns}))
            doomed = functools.reduce(pc.or_, [r.matches(keys) for r in replacements])
            if not pc.any(doomed).as_py():
                continue
            gone.append(part)
            if not pc.all(doomed).as_py():
                writer.add_rows(table, self.dataset.read_part(table, path).filter(pc.invert(doomed)))
        return gone, writer.finish()


class Writer(Committer):
    """The one writer of a dataset, from its opening to its end.

    Entering takes the lease (Held if a live writer has it for longer than `wait_s`), makes the epoch, finishes what a
    dead writer left half applied, and sweeps its uncommitted parts.
    """

    def __init__(self, dataset: Dataset, run_id: str, about: Mapping[str, Any], wait_s: float = 0.0) -> None:
        self._about = about
        self._wait_s = wait_s
        self._beat: threading.Thread | None = None
        self._closing = threading.Event()
        self._lease = Dataset(dataset.uri, patient=False)  # a beat that comes late is of no use
        self.lost = threading.Event()
        super().__init__(dataset, Lineage(run_id, epoch=0))

    def __enter__(self) -> Self:
        self.dataset.create()
        before = self._await_lease()
        last = int(before.get("settled", 0))
        swept = int(before.get("swept", 0))
        epoch = self._open(last)
        self.lineage = dataclasses.replace(self.lineage, epoch=epoch)
        self._write_lease(swept=swept, settled=last)
        added: set[tuple[str, str]] = set()
        for number, record in read_commits(self.dataset, min(last, swept)):
            if record["kind"] == "commit" and number < epoch:
                apply(self.dataset, number, record, self._applied)
                added |= {(table, part["path"]) for table, share in record["tables"].items() for part in share["add"]}
        self._sweep(swept, added)
        self._seen = epoch
        self._write_lease(swept=epoch, settled=epoch)
        self._beat = threading.Thread(target=self._keep_lease, name="lease", daemon=True)
        self._beat.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        if self._beat is not None:
            self._beat.join()
        with contextlib.suppress(Exception):  # the dataset is whole without it; an error under way matters more
            self._renew_lease(open_=False)

    def _await_lease(self) -> dict[str, Any]:
        deadline = time.monotonic() + self._wait_s
        while True:
            lease = self.dataset.get_json(LEASE) or {}
            if not lease.get("open") or not is_alive(lease):
                return lease
            if time.monotonic() >= deadline:
                who = holder_text(lease["holder"])
                raise Held(f"{who} is writing to {self.dataset.uri}; wait for it (--wait SECONDS) or stop it")
            time.sleep(0.5)

    def _open(self, last: int) -> int:
        """Create the opening behind every commit there is; its number."""
        while True:
            for number, _ in read_commits(self.dataset, last):
                last = number
            record = {"kind": "open", "holder": holder(), "about": dict(self._about), **_stamp(self)}
            opening = functools.partial(
                put, self.dataset.store, path_of(last + 1), json.dumps(record).encode(), create=True
            )
            try:
                opening()
            except AlreadyExistsError:
                continue
            if self.dataset.folder is None:
                self._see_refused(opening)
            return last + 1

    def _see_refused(self, opening: Callable[[], None]) -> None:
        """Some stores take a file that is to be created only if absent, and overwrite the one that is there."""
        try:
            opening()
        except AlreadyExistsError:
            return
        raise DatasetError(
            f"the store of {self.dataset.uri} overwrites files that are to be created only if absent (it ignores "
            "If-None-Match), so that two writers could undo each other's commits: take one that does not"
        )

    def _sweep(self, swept: int, added: set[tuple[str, str]]) -> None:
        """Delete parts that writers since the last sweep left uncommitted: none of them can commit any more."""
        low, high = f"part-{swept:020d}", f"part-{self.lineage.epoch:020d}"
        for table in TABLES:
            names = [path.rpartition("/")[2] for path, _, _ in self.dataset.list(f"{table}/", after=f"{table}/{low}")]
            orphans = [n for n in names if low <= n < high and (table, n) not in added]
            self.dataset.delete(f"{table}/{name}" for name in orphans)
        if self.dataset.folder is not None:
            for pattern in ("*#[0-9]*", "*/*#[0-9]*", "*/*/*#[0-9]*"):  # what an interrupted write on disk leaves
                for torn in self.dataset.folder.glob(pattern):
                    torn.unlink(missing_ok=True)
            for folder in ("scratch", "progress"):
                shutil.rmtree(self.dataset.folder / folder, ignore_errors=True)
        else:
            self.dataset.delete([path for path, _, _ in self.dataset.list("progress/")])

    def _write_lease(self, *, swept: int, settled: int, open_: bool = True) -> None:
        lease = {
            "open": open_,
            "epoch": self.lineage.epoch,
            "holder": holder(),
            "heartbeat": time.time(),
            "settled": settled,
            "swept": swept,
        }
        put(self._lease.store, LEASE, json.dumps(lease).encode())

    def _keep_lease(self) -> None:
        while not self._closing.wait(HEARTBEAT_S):
            with contextlib.suppress(Exception):  # a missed beat is no harm: the epoch decides
                self._renew_lease(open_=True)

    def _renew_lease(self, *, open_: bool) -> None:
        """Write the lease, unless a younger writer has taken it: then this one is lost."""
        lease = self._lease.get_json(LEASE) or {}
        if int(lease.get("epoch", 0)) > self.lineage.epoch:
            self.lost.set()
        else:
            self._write_lease(swept=self.lineage.epoch, settled=self._seen, open_=open_)


# --- the files ------------------------------------------------------------------------------------------------------


def path_of(number: int) -> str:
    return f"commits/{number:020d}.json"


def read_commits(dataset: Dataset, after: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """The openings and commits behind number `after`, in order."""
    paths = sorted(path for path, _, _ in dataset.list("commits/", after=path_of(after)))
    for path in paths:
        record = dataset.get_json(path)
        if record is not None:
            yield int(Path(path).stem), record


def recent_commits(dataset: Dataset, count: int) -> list[tuple[int, dict[str, Any]]]:
    """The last openings and commits, `count` or a few more, in order."""
    return list(read_commits(dataset, max(0, _settled(dataset) - count)))


def unfinished(dataset: Dataset) -> list[int]:
    """Commits that some table does not show yet: under way, or left by a writer that died for the next to finish."""
    applied: dict[str, int] = {}
    behind: list[int] = []
    for number, record in read_commits(dataset, _settled(dataset)):
        tables = record.get("tables", ())
        for table in set(tables) - set(applied):
            applied[table] = dataset.delta(table).transaction_version(APPLICATION) or 0
        if any(applied[table] < number for table in tables):
            behind.append(number)
    return behind


def _settled(dataset: Dataset) -> int:
    """The number up to which every table shows every commit, as far as the last writer told."""
    return int((dataset.get_json(LEASE) or {}).get("settled", 0))


def apply(dataset: Dataset, number: int, record: Mapping[str, Any], applied: dict[str, int]) -> None:
    """Bring every table that a commit touches up to it. Safe to repeat, and beside others who do the same.

    `applied` keeps, by table, the number of the last commit that it is known to show.
    """
    for table, share in record["tables"].items():
        if applied.get(table, 0) < number:
            applied[table] = _apply_share(dataset, table, number, share)


def _apply_share(dataset: Dataset, table: str, number: int, share: Mapping[str, Any]) -> int:
    """The number of the last commit that the table shows afterwards."""
    failures = 0
    data_change = not share.get("merged", False)  # tells who follows the table by its log that there is nothing new
    while True:
        delta = dataset.delta(table)
        done = delta.transaction_version(APPLICATION) or 0
        if done >= number:
            return done
        try:
            with writing(f"the log of {table}"):
                delta.create_write_transaction(
                    [
                        *(_add(part, data_change) for part in share["add"]),
                        *(_remove(part, data_change) for part in share["remove"]),
                    ],
                    "append",
                    Schema.from_arrow(TABLES[table].schema),
                    commit_properties=CommitProperties(app_transactions=[Transaction(APPLICATION, number)]),
                )
            return number
        except CommitFailedError:  # another one was first: look again
            failures += 1
            if failures == APPLY_ATTEMPTS:
                raise
            time.sleep(0.05 * failures)


def _add(part: Mapping[str, Any], data_change: bool) -> AddAction:
    return AddAction(part["path"], part["size"], {}, now_ms(), data_change, json.dumps({"numRecords": part["rows"]}))


def _remove(part: Mapping[str, Any], data_change: bool) -> RemoveAction:
    return RemoveAction(
        path=part["path"], data_change=data_change, deletion_timestamp=now_ms(), size=part["size"], partition_values={}
    )


def _stamp(committer: Committer) -> dict[str, Any]:
    return {
        "run_id": committer.lineage.run_id,
        "code_version": __version__,
        "created_at": datetime.now(UTC).isoformat(),
    }


# --- who holds it ---------------------------------------------------------------------------------------------------


def holder() -> dict[str, Any]:
    """This process, so that another one on this machine, or elsewhere, can tell whether it lives."""
    return {"host": socket.gethostname(), "boot": _boot_id(), "pid": os.getpid(), "started": _started(os.getpid())}


def holder_text(holder: Mapping[str, Any]) -> str:
    return f"process {holder['pid']} on {holder['host']}"


def is_alive(lease: Mapping[str, Any]) -> bool:
    """Whether the lease's holder lives: seen directly on this machine, by its heartbeat elsewhere."""
    who = lease["holder"]
    if who["boot"] and who["boot"] == _boot_id():
        return bool(_started(who["pid"]) == who["started"])
    return time.time() - float(lease["heartbeat"]) < STALE_S


def _boot_id() -> str | None:
    """This machine since it was started, and our view of its processes: a container sees only its own."""
    with contextlib.suppress(OSError):
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {Path('/proc/self/ns/pid').readlink()}"
    return None


def _started(pid: int) -> str | None:
    """When a process of this machine started, in clock ticks since boot; None where it is gone."""
    with contextlib.suppress(OSError, IndexError):
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if state == "Z" else fields[18]
    return None
