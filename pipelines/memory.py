"""Memory that one thread frees is there for all: a process here has dozens of threads, and runs for days."""

from __future__ import annotations

import ctypes
import os

M_ARENA_MAX = -8  # of malloc.h


def share() -> None:
    """Have no more stores of freed memory than threads can run at a time; usually each thread has its own."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):  # glibc
        libc.mallopt(M_ARENA_MAX, os.cpu_count() or 1)
