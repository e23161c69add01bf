"""The lease: which process writes to a dataset, and whether it is alive."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

LEASE = "lease.json"
HEARTBEAT_S = 5.0
STALE_S = 30.0


def holder() -> dict[str, Any]:
    """A description of this process from which others, here or elsewhere, can tell whether it is alive."""
    return {"host": socket.gethostname(), "boot": _boot_id(), "pid": os.getpid(), "started": _started(os.getpid())}


def holder_text(holder: Mapping[str, Any]) -> str:
    return f"process {holder['pid']} on {holder['host']}"


def is_alive(lease: Mapping[str, Any]) -> bool:
    """Whether the lease's holder is alive: checked directly on this machine, by its heartbeat on others."""
    who = lease["holder"]
    if who["boot"] and who["boot"] == _boot_id():
        return bool(_started(who["pid"]) == who["started"])
    return time.time() - float(lease["heartbeat"]) < STALE_S


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
