"""Memory shared by all threads, and returned to the system: a process has dozens of threads, and runs for days."""

from __future__ import annotations

import ctypes
import os

from curation.dataset import video_rows

M_MMAP_THRESHOLD, M_ARENA_MAX = -3, -8  # of malloc.h
LARGE = 2**20  # bytes
_LIBC = ctypes.CDLL(None)


def share() -> None:
    """Limit malloc's arenas to the number of processors; by default, nearly every thread gets its own.

    Blocks of LARGE bytes and more bypass them, and return to the system when they are freed.
    """
    if hasattr(_LIBC, "mallopt"):  # glibc
        _LIBC.mallopt(M_ARENA_MAX, os.cpu_count() or 1)
        _LIBC.mallopt(M_MMAP_THRESHOLD, LARGE)


def give_back() -> None:
    """Return freed memory to the system, and the rows that are kept for the next video."""
    video_rows.clear_caches()
    if hasattr(_LIBC, "malloc_trim"):  # glibc
        _LIBC.malloc_trim(0)
