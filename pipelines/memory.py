"""Memory that one thread frees is there for all: a process here has dozens of threads, and runs for days."""

from __future__ import annotations

import ctypes
import os

from curation import lookup

M_ARENA_MAX = -8  # of malloc.h
_LIBC = ctypes.CDLL(None)


def share() -> None:
    """Have no more stores of freed memory than threads can run at a time; usually each thread has its own."""
    if hasattr(_LIBC, "mallopt"):  # glibc
        _LIBC.mallopt(M_ARENA_MAX, os.cpu_count() or 1)


def give_back() -> None:
    """Hand what the work has needed back to the system, before something else wants as much."""
    lookup.forget()
    if hasattr(_LIBC, "malloc_trim"):  # glibc
        _LIBC.malloc_trim(0)
