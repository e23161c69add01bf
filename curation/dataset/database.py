"""DuckDB in this process: one instance, since opening one takes 20 ms, and a connection of its own for every use."""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import secrets
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import duckdb

from curation.errors import UsageError

SQL_MEMORY = "1GB"  # of all queries that run at once; more is spilled to disk
SQL_THREADS = 4  # each uses some of this memory


def connect() -> duckdb.DuckDBPyConnection:
    """A connection that can read neither files nor Python's variables. Others see nothing of what it registers.

    >>> connect().sql("select 1 + 1").fetchall()
    [(2,)]
    """
    threads = min(SQL_THREADS, os.cpu_count() or 1)
    return _instance(os.getpid(), SQL_MEMORY, threads, tempfile.gettempdir()).cursor()


@contextlib.contextmanager
def transaction() -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection for some queries, closed afterwards; tables and macros that they create are gone then."""
    with connect() as connection:
        connection.begin()
        yield connection


@contextlib.contextmanager
def stopped_after(connection: duckdb.DuckDBPyConnection, seconds: float | None) -> Iterator[None]:
    """Stop what a connection is asked for in here when it takes longer. Raises UsageError."""
    if seconds is None:
        yield
        return
    timer = threading.Timer(seconds, connection.interrupt)
    timer.start()
    try:
        yield
    except duckdb.InterruptException:
        raise UsageError(f"the query takes longer than {seconds:g} s, and was stopped") from None
    finally:
        timer.cancel()


def literal(text: str) -> str:
    """A text in SQL.

    >>> literal("it's")
    "'it''s'"
    """
    return "'" + text.replace("'", "''") + "'"


@functools.lru_cache(1)
def _instance(process: int, memory: str, threads: int, spill_parent: str) -> duckdb.DuckDBPyConnection:
    """The instance of a process: a forked one needs its own. DuckDB makes its folder when it first spills."""
    opened = duckdb.connect(
        config={
            "enable_external_access": False,
            "python_enable_replacements": False,
            "memory_limit": memory,
            "threads": threads,
            "temp_directory": str(Path(spill_parent, f"vidla-sql-{process}-{secrets.token_hex(8)}")),
        }
    )
    opened.execute("set global timezone = 'UTC'")
    opened.execute("set lock_configuration = true")  # which all queries share

    def close() -> None:
        if os.getpid() == process:  # else its threads are not there
            opened.close()

    atexit.register(close)  # DuckDB's threads must end while they can still get the interpreter
    return opened
