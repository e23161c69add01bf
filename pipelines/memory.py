"""Memory that one thread frees is there for all: a process here has dozens of threads, and runs for days."""

from __future__ import annotations

import ctypes
import os

M_ARENA_MAX = -8  # of malloc.h
_libc = ctypes.CDLL(None)  # glibc, where it has what is asked of it here


def share() -> None:
    """Have no more stores of freed memory than threads can run at a time; usually each thread has its own."""
    if hasattr(_libc, "mallopt"):
        _libc.mallopt(M_ARENA_MAX, os.cpu_count() or 1)


def give_back() -> None:
    """Hand what is freed back to the system, from between what is in use as well."""
    if hasattr(_libc, "malloc_trim"):
        _libc.malloc_trim(0)
