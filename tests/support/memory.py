"""The peak memory of a process."""

from __future__ import annotations

from pathlib import Path


def peak_bytes() -> int:
    """The peak of this process alone; `ru_maxrss` would include its parent's memory at the fork."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024
