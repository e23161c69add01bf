"""The single writer of a dataset."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self

from obstore.exceptions import AlreadyExistsError

from curation.dataset import checksums
from curation.dataset.alignment import check_alignment, numbers_applied
from curation.dataset.commits import Committer, apply, path_of, read_commits, stamp, superseded
from curation.dataset.damaged_logs import mend_logs
from curation.dataset.dataset import Dataset
from curation.dataset.lease import HEARTBEAT_S, LEASE, LOST_S, STALE_S, LeaseWatch, holder, holder_text, read_lease
from curation.dataset.object_store import put
from curation.dataset.parts import Lineage, prefix_of
from curation.dataset.pins import listed_parts
from curation.dataset.seals import sealed
from curation.dataset.verdicts import take_in
from curation.errors import DatasetError, Superseded
from curation.schema import TABLES

log = logging.getLogger(__name__)


class DatasetLocked(DatasetError):
    """Another live writer holds the dataset."""


class Writer(Committer):
    """The one writer of a dataset, as a context manager.

    Entering takes the lease, opens an epoch, applies the commits that a dead writer left half applied, and deletes its
    uncommitted parts. Raises DatasetLocked if a live writer keeps the lease for longer than `wait_s`. Calls `on_loss`,
    in another thread, as soon as another writer has taken over; `lost` is set then.
    """

    def __init__(
        self,
        dataset: Dataset,
        run_id: str,
        about: Mapping[str, Any],
        wait_s: float = 0.0,
        on_loss: Callable[[Superseded], None] = lambda why: None,
    ) -> None:
        self._about = about
        self._on_loss = on_loss
        self._mended: list[str] = []  # logs of tables
        self._wait_s = wait_s
        self._beat: threading.Thread | None = None
        self._closing = threading.Event()
        self._lease = Dataset(dataset.uri, patient=False)  # a late heartbeat is useless
        self.lost = threading.Event()
        super().__init__(dataset, Lineage(run_id, epoch=0))

    def __enter__(self) -> Self:
        before = self._await_lease()
        self._mended = mend_logs(self.dataset)
        self.dataset.create()
        last = int(before.get("settled", 0))
        swept = int(before.get("swept", 0))
        self._applied = numbers_applied(self.dataset)
        check_alignment(self.dataset, swept, self._applied)
        epoch = self._open(last)
        self.lineage = dataclasses.replace(self.lineage, epoch=epoch)
        self._write_lease(swept=swept, settled=last)
        try:
            self._settle(swept, last)
            self._begin(epoch)
            take_in(self)
        except BaseException:  # after which this process may live on, and open the dataset again
            self._closing.set()
            if self._beat is not None:
                self._beat.join()
            with contextlib.suppress(Exception):
                self._end_lease(functools.partial(self._write_lease, swept=swept, settled=last, open_=False))
            raise
        return self

    def _settle(self, swept: int, settled: int) -> None:
        """Apply the commits of dead writers since `settled`, and delete the parts that they left since `swept`."""
        added: set[tuple[str, str]] = set()
        for number, record in read_commits(self.dataset, min(settled, swept)):
            if record["kind"] == "commit" and number < self.lineage.epoch:
                apply(self.dataset, number, record, self._applied)
                added |= {(table, part["path"]) for table, share in record["tables"].items() for part in share["add"]}
        self._sweep(swept, added)

    def _begin(self, epoch: int) -> None:
        """Keep the lease from now on, in an epoch whose older commits are settled."""
        self.lineage = dataclasses.replace(self.lineage, epoch=epoch)
        self._seen = epoch
        self._write_lease(swept=epoch, settled=epoch)
        self._beat = threading.Thread(target=self._keep_lease, name="lease", daemon=True)
        self._beat.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        if self._beat is not None:
            self._beat.join()
        with contextlib.suppress(Exception):  # only readers miss them
            if not self.lost.is_set():
                self._add_checkpoints()
        with contextlib.suppress(Exception):  # the dataset is consistent without it; an error under way matters more
            if not self.lost.is_set():
                checksums.record(self.dataset, self.lineage.epoch, self._mended)
        with contextlib.suppress(Exception):
            self._end_lease(functools.partial(self._renew_lease, open_=False))

    def _add_checkpoints(self) -> None:
        """Spare the readers of a bucket a request for every entry of a log since its last checkpoint."""
        if self.dataset.folder is not None:
            return
        changed = [table for table, number in self._applied.items() if number > self.lineage.epoch]
        with ThreadPoolExecutor(len(TABLES)) as pool:
            list(pool.map(lambda table: self.dataset.delta(table).create_checkpoint(), changed))

    def _await_lease(self) -> dict[str, Any]:
        """The last lease, once it has ended or its holder is dead. Raises DatasetLocked."""
        deadline = time.monotonic() + self._wait_s
        watch, told = LeaseWatch(), False
        while not watch.is_over(lease := read_lease(self.dataset)):
            who = holder_text(lease["holder"])
            if watch.is_sure and time.monotonic() >= deadline:
                raise DatasetLocked(f"{who} is writing to {self.dataset.uri}; wait for it (--wait SECONDS) or stop it")
            if not watch.is_sure and not told:
                log.warning("%s holds %s; looking for %g s whether it is alive", who, self.dataset.uri, STALE_S)
                told = True
            time.sleep(0.5)
        return lease

    def _open(self, last: int) -> int:
        """Create the opening after all existing commits; returns its number."""
        while True:
            for number, _ in read_commits(self.dataset, last):
                last = number
            applied = {table: number for table, number in self._applied.items() if number}
            about = {"about": dict(self._about), "applied": applied}
            record = {"kind": "open", "holder": holder(), **about, **stamp(self)}
            path, data = path_of(last + 1), sealed(record)
            opening = functools.partial(put, self.dataset.store, path, data, create=True, flush=True)
            try:
                opening()
            except AlreadyExistsError:
                continue
            if self.dataset.folder is None:
                self._check_refused(opening)
            return last + 1

    def _check_refused(self, opening: Callable[[], None]) -> None:
        """Raises DatasetError if creating an existing file succeeds: some stores overwrite it."""
        try:
            opening()
        except AlreadyExistsError:
            return
        raise DatasetError(
            f"the store of {self.dataset.uri} overwrites files that must only be created if absent (it ignores "
            "If-None-Match), so that two writers could undo each other's commits: use another store"
        )

    def _sweep(self, swept: int, added: set[tuple[str, str]]) -> None:
        """Delete the uncommitted parts of writers since the last sweep, none of which can commit any more.

        A part that a table or a pinned version lists stays, whatever the commits say.
        """
        low, high = prefix_of(swept), prefix_of(self.lineage.epoch)
        for table in TABLES:
            names = [path.rpartition("/")[2] for path, _, _ in self.dataset.list(f"{table}/", after=f"{table}/{low}")]
            orphans = {n for n in names if low <= n < high and (table, n) not in added}
            if orphans:
                orphans -= listed_parts(self.dataset, table)
                self.dataset.delete(f"{table}/{name}" for name in orphans)
        if self.dataset.folder is not None:
            for pattern in ("*#[0-9]*", "*/*#[0-9]*", "*/*/*#[0-9]*"):  # left by interrupted writes on disk
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
        put(self._lease.store, LEASE, sealed(lease), flush=True)

    def _keep_lease(self) -> None:
        renewed = time.monotonic()
        while not self._closing.wait(HEARTBEAT_S) and not self.lost.is_set():
            try:
                self._renew_lease(open_=True)
                renewed = time.monotonic()
            except Superseded as why:
                self._lose(why)
            except Exception:  # a few missed heartbeats do no harm: the epoch decides
                if time.monotonic() - renewed >= LOST_S:
                    stale = f"the lease of {self.dataset.uri} could not be renewed for {LOST_S:g} s"
                    self._lose(Superseded(f"{stale}, and another run may have taken it over; all commits are kept"))

    def _lose(self, why: Superseded) -> None:
        log.error("%s", why)
        self.lost.set()
        self._on_loss(why)

    def _end_lease(self, write: Callable[[], None]) -> None:
        """End the lease by writing it a last time."""
        try:
            write()
        except Superseded:
            pass
        except Exception:
            if self.dataset.folder is None:  # a store that cannot be reached may have another writer's lease by now
                raise
            self._lease.delete([LEASE])  # a full disk takes nothing more

    def _renew_lease(self, *, open_: bool) -> None:
        """Write the lease again. Raises Superseded if a younger writer has taken it."""
        lease = read_lease(self._lease)
        if int(lease.get("epoch", 0)) > self.lineage.epoch:
            raise superseded(self.dataset, lease["holder"])
        for _, record in read_commits(self._lease, self._seen):
            if record["kind"] == "open":
                raise superseded(self.dataset, record["holder"])
        self._write_lease(swept=self.lineage.epoch, settled=self._seen, open_=open_)
