"""The lease: which process writes to a dataset, and whether it is alive.

Its holder writes it again every few seconds. It is only advice: what decides is the last opening in `commits/`.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from curation.dataset import seals
from curation.dataset.dataset import Dataset

LEASE = "lease.json"
HEARTBEAT_S = 5.0
STALE_S = 30.0  # without a heartbeat, after which another writer may take over
LOST_S = 120.0  # without being able to write one, after which a writer no longer counts on its lease


def holder() -> dict[str, Any]:
    """A description of this process from which others, here or elsewhere, can tell whether it is alive."""
    return {"host": socket.gethostname(), "boot": _boot_id(), "pid": os.getpid(), "started": _started(os.getpid())}


def holder_text(holder: Mapping[str, Any]) -> str:
    return f"process {holder['pid']} on {holder['host']}"


def read_lease(dataset: Dataset) -> dict[str, Any]:
    """The lease; empty if there is none, or if it is damaged: everything in it is in `commits/` as well."""
    try:
        data = dataset.get(LEASE)
    except FileNotFoundError:
        return {}
    return {} if seals.fault_of(data) else dict(json.loads(data))


def is_here(lease: Mapping[str, Any]) -> bool:
    """Whether its holder is, or was, a process of this machine, so that its death would be seen."""
    boot = lease["holder"]["boot"]
    return bool(boot) and boot == _boot_id()


def is_alive(lease: Mapping[str, Any]) -> bool:
    """Whether an open lease's holder is alive, as far as one look tells: one on another machine may be dead."""
    who = lease["holder"]
    return not is_here(lease) or bool(_started(who["pid"]) == who["started"])


def is_held(lease: Mapping[str, Any]) -> bool:
    """Whether a process is writing to the dataset, as far as one look tells."""
    return bool(lease.get("open")) and is_alive(lease)


class LeaseWatch:
    """Judges from several looks at a lease whether its holder is alive.

    One on another machine is as long as the lease changes. Machines' clocks may differ, or jump: only this process's
    own monotonic clock counts.
    """

    def __init__(self) -> None:
        self._seen: Mapping[str, Any] | None = None
        self._since = 0.0
        self.is_sure = False  # that the holder is alive, if it is not dead

    def is_over(self, lease: Mapping[str, Any]) -> bool:
        """Whether the lease, as it is now, has ended, or its holder is dead."""
        if not lease.get("open"):
            return True
        if is_here(lease):
            self.is_sure = True
            return not is_alive(lease)
        if lease != self._seen:
            self.is_sure = self._seen is not None
            self._seen, self._since = lease, time.monotonic()
        return time.monotonic() - self._since >= STALE_S


def _boot_id() -> str | None:
    """Identifies this boot of the machine and our view of its processes: a container sees only its own."""
    with contextlib.suppress(OSError):
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {Path('/proc/self/ns/pid').readlink()}"
    return None


def _started(pid: int) -> str | None:
    """When a process of this machine started, in clock ticks since boot; None if it has ended."""
    with contextlib.suppress(OSError, IndexError):
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if state == "Z" else fields[18]
    return None
