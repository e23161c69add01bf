"""Memory that one thread frees is there for all: a process here has dozens of threads, and runs for days."""

from __future__ import annotations

import ctypes
import os

from curation.dataset import video_rows

M_MMAP_THRESHOLD, M_ARENA_MAX = -3, -8  # of malloc.h
LARGE = 2**20  # bytes
_LIBC = ctypes.CDLL(None)


def share() -> None:
    """Have no more stores of freed memory than threads can run at a time; usually each thread has its own.

    What is large is not put there at all: it goes back to the system.
    """
    if hasattr(_LIBC, "mallopt"):  # glibc
        _LIBC.mallopt(M_ARENA_MAX, os.cpu_count() or 1)
        _LIBC.mallopt(M_MMAP_THRESHOLD, LARGE)


def give_back() -> None:
    """Hand what the work has needed back to the system, before something else wants as much."""
    video_rows.forget()
    if hasattr(_LIBC, "malloc_trim"):  # glibc
        _LIBC.malloc_trim(0)
