"""The logs of tables that a power cut has emptied or cut: a writer that opens the dataset makes them again.

Each commit is one entry in the log of each table that it changes. Delta's readers take an empty entry for one without
changes, so that its rows would be missing without an error.
"""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from curation.dataset.checksums import log_of
from curation.dataset.dataset import Dataset
from curation.dataset.history import History
from curation.dataset.log_repair import restore_log
from curation.dataset.parts import epoch_of
from curation.errors import DamagedError
from curation.schema import TABLES

log = logging.getLogger(__name__)

_VERSION = re.compile(r"(\d{20})\.json")
_CHECKPOINT = re.compile(r"(\d{20})\.checkpoint\.parquet")


def mend_logs(dataset: Dataset) -> list[str]:
    """Write the damaged logs of a dataset on disk again, from its commits; returns the paths of the changed files.

    Looks at each table's last checkpoint and the entries after it, which make up the table as it is. Raises
    DamagedError if commits are damaged, too.
    """
    damaged = {table: found for table in TABLES if (found := _damaged(dataset, table))}
    if not damaged:
        return []
    history = History.read(dataset)
    if not history.is_whole:
        first = sorted(path for paths in damaged.values() for path in paths)[0]
        raise DamagedError(
            f"{dataset.uri}/{first} is damaged, and so are commits: `vidla verify {dataset.uri} --repair` mends them"
        )
    mended: list[str] = []
    for table, paths in damaged.items():
        for path in sorted(paths):
            log.warning("%s is damaged, as a power cut leaves it, and is made again from the commits", path)
        mended += restore_log(dataset, table, history, paths)
    return mended


def _damaged(dataset: Dataset, table: str) -> set[str]:
    """The paths of the damaged files of a table's log, as far as they matter for the table as it is."""
    folder = None if dataset.folder is None else dataset.folder / table / "_delta_log"
    if folder is None or not folder.is_dir():
        return set()
    names = {path.name for path in folder.iterdir()}
    versions = {int(match[1]) for name in names if (match := _VERSION.fullmatch(name))}
    damaged: set[str] = set()
    first = 0
    for name in sorted(filter(_CHECKPOINT.fullmatch, names), reverse=True):
        if _is_parquet(folder / name):
            first = int(name.partition(".")[0]) + 1
            break
        damaged.add(name)
    expected = (f"{version:020d}.json" for version in range(first, max(versions, default=-1) + 1))
    damaged |= {name for name in expected if not _is_entry(folder / name)}
    return {f"{log_of(table)}{name}" for name in damaged}


def _is_parquet(path: Path) -> bool:
    try:
        pq.read_metadata(path)
    except (pa.ArrowException, OSError):
        return False
    return True


def _is_entry(path: Path) -> bool:
    """Whether a file is a whole entry of a log: one that adds our parts ends with the number of its commit."""
    try:
        actions = [json.loads(line) for line in path.read_bytes().splitlines()]
        kinds = {kind for action in actions for kind in action}
        wrote = any(action.get("commitInfo", {}).get("operation") == "WRITE" for action in actions)
        ours = any(epoch_of(action.get("add", {}).get("path", "")) is not None for action in actions)
    except (FileNotFoundError, ValueError, TypeError, AttributeError):
        return False
    if int(path.stem) == 0:
        return kinds >= {"protocol", "metaData"}
    return bool(kinds) and ("txn" in kinds or not (ours or (wrote and kinds == {"commitInfo"})))
