"""Restoring the log of a table from the commits: each of its versions is the share of one commit."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from curation.dataset.checksums import LATEST, log_of
from curation.dataset.commits import APPLICATION
from curation.dataset.creation import create_table
from curation.dataset.dataset import Dataset
from curation.dataset.history import History, Share
from curation.dataset.object_store import put
from curation.dataset.quarantine import set_aside
from curation.schema import TABLES


def restore_log(dataset: Dataset, table: str, history: History, damaged: Collection[str]) -> list[str]:
    """Write the `damaged` versions of a table's log again, as far as its commits tell; returns the changed files.

    Checkpoints are left out: the versions that they sum up are all there. The damaged files are set aside.
    """
    folder = log_of(table)
    present = {path for path, _, _ in dataset.list(folder)}
    hint = f"{folder}{LATEST}"
    lost_sums = {path for path in damaged if ".checkpoint." in path or path == hint}
    aside = present.intersection({*lost_sums, hint} if lost_sums else ())
    versions = {int(Path(path).stem): path for path in {*present, *damaged} if _is_version(path)}
    lost = sorted(version for version, path in versions.items() if path in damaged)
    lost += sorted(set(range(max(versions, default=0))) - versions.keys())
    applied = {v: _number(dataset.get(path)) for v, path in versions.items() if v not in lost}
    for version in sorted(lost):
        path = f"{folder}{version:020d}.json"
        share = _share_of(version, applied, history.shares.get(table, []))
        applied[version] = None if share is None else share.number
        if path in present:
            set_aside(dataset, path)
        put(
            dataset.store,
            path,
            "".join(f"{json.dumps(a)}\n" for a in _actions(table, version, share)).encode(),
            flush=True,
        )
    for path in aside:
        set_aside(dataset, path)
    return [*{*aside, *lost_sums}, *(f"{folder}{version:020d}.json" for version in lost)]


def _is_version(path: str) -> bool:
    return path.endswith(".json") and Path(path).stem.isdecimal()


def _number(data: bytes) -> int | None:
    """The number of the commit that a version of a log is the share of; None if it only changed columns."""
    actions = (json.loads(line) for line in data.splitlines())
    return next((a["txn"]["version"] for a in actions if a.get("txn", {}).get("appId") == APPLICATION), None)


def _share_of(version: int, applied: dict[int, int | None], shares: list[Share]) -> Share | None:
    """The first share that lies between those of the versions before and after, and that no version has."""
    before = max((number for v, number in applied.items() if v < version and number), default=0)
    after = min((number for v, number in applied.items() if v > version and number), default=1 << 62)
    return next((share for share in shares if before < share.number < after), None) if version else None


def _actions(table: str, version: int, share: Share | None) -> Iterator[dict[str, Any]]:
    if share is None:
        created = _created(table)
        yield from (action for action in created if version == 0 or "metaData" in action)
        return
    now = time.time_ns() // 1_000_000
    yield {"commitInfo": {"timestamp": now, "operation": "WRITE", "operationParameters": {}}}
    for part in share.added:
        stats = json.dumps({"numRecords": part.rows})
        yield {"add": {**_file(part.path), "size": part.size, "modificationTime": now, "stats": stats}}
    for path in share.removed:
        yield {"remove": {**_file(path), "deletionTimestamp": now, "extendedFileMetadata": False}}
    yield {"txn": {"appId": APPLICATION, "version": share.number}}


def _file(path: str) -> dict[str, Any]:
    return {"path": path, "partitionValues": {}, "dataChange": True}


def _created(table: str) -> list[dict[str, Any]]:
    """The first version of an empty table's log."""
    with tempfile.TemporaryDirectory(prefix="vidla-log-") as folder:
        empty = Dataset(folder)
        create_table(f"{empty.uri}/{table}", TABLES[table])
        return [json.loads(line) for line in empty.get(f"{log_of(table)}{0:020d}.json").splitlines()]
