"""`vidla` in a process that kills itself (SIGKILL) at one of its writes to the dataset.

    python -m tests.support.killed_run [PREFIX:]N HOW ARGUMENTS...

Writes to the object store and to Delta logs count; with PREFIX, only writes to the store at paths that begin with it.
HOW: "before" the write, "torn" (with part of the file on disk, as an interrupted write leaves it) or "after" it. Exit
status 0: the run ended before its Nth write.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import obstore
from deltalake import DeltaTable

from curation.dataset import local_files
from vidla.cli import main

prefix, _, number = sys.argv[1].rpartition(":")
at, how = int(number), sys.argv[2]
numbers = count(1)
put, write, transact = obstore.put, local_files.write, DeltaTable.create_write_transaction


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def killing_put(store: Any, path: str, data: Any, **options: Any) -> Any:
    return kill_around(path.startswith(prefix), lambda: put(store, path, data, **options))


def killing_write(path: Path, data: Any, **options: Any) -> Any:
    def tear() -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        whole = data.read_bytes() if isinstance(data, Path) else bytes(data)
        path.with_name(f"{path.name}#1").write_bytes(whole[: len(whole) // 2])

    return kill_around(not prefix or f"/{prefix}" in str(path), lambda: write(path, data, **options), tear)


def kill_around(counts: bool, write: Callable[[], Any], tear: Callable[[], None] = lambda: None) -> Any:
    mine = counts and next(numbers) == at
    if mine and how == "torn":
        tear()
    if mine and how != "after":
        die()
    result = write()
    if mine:
        die()
    return result


def killing_transaction(table: DeltaTable, *arguments: Any, **options: Any) -> Any:
    return kill_around(not prefix, lambda: transact(table, *arguments, **options))


obstore.put = killing_put  # type: ignore[assignment]
local_files.write = killing_write
DeltaTable.create_write_transaction = killing_transaction  # type: ignore[method-assign, assignment]
sys.argv = ["vidla", *sys.argv[3:]]
main()
