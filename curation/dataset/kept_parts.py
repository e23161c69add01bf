"""Kept parts: what is left of parts that releases need, once something in them was forgotten.

`<table>/_kept/<part>` stands in for `<table>/<part>`, which is deleted. Only releases are read with them: any other
pinned version that held something forgotten cannot be read any more.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from curation.dataset.dataset import Dataset, rows_of
from curation.dataset.object_store import put
from curation.dataset.parts import FORMAT, epoch_of
from curation.dataset.pins import parts_at, pins
from curation.schema import TABLES

FOLDER = "_kept/"
RELEASE_PIN = "release-"
"""The beginning of the names of the pins that releases make."""


def kept_parts(dataset: Dataset, table: str) -> Iterator[tuple[str, int]]:
    """The name of each part that another stands in for, and the size of that other."""
    for path, size, _ in dataset.list(f"{table}/{FOLDER}"):
        name = path.removeprefix(f"{table}/{FOLDER}")
        if epoch_of(name) is not None:
            yield name, size


def needed_by_releases(dataset: Dataset, table: str) -> set[str]:
    """The names of the parts of a table that releases need."""
    of_releases = [versions for name, versions in pins(dataset).items() if name.startswith(RELEASE_PIN)]
    numbers = {versions[table] for versions in of_releases if table in versions}
    return set().union(*(parts_at(dataset, table, number) for number in numbers))


def pins_that_need(dataset: Dataset, parts: Mapping[str, Collection[str]]) -> tuple[str, ...]:
    """The pinned versions that need some of these parts, by table, or had parts that these stand in for."""
    named = {table: {name.removeprefix(FOLDER) for name in names} for table, names in parts.items()}
    return tuple(
        pin
        for pin, versions in pins(dataset).items()
        if any(table in versions and parts_at(dataset, table, versions[table]) & named[table] for table in named)
    )


def without_it(pin: str, holds: str = "holds") -> str:
    """What becomes of a pinned version that `holds` (or held) something forgotten, in one line.

    >>> without_it("release-v1-1f2e3d4c")
    "The release pinned as 'release-v1-1f2e3d4c' holds some of it: it goes on without it"
    """
    if pin.startswith(RELEASE_PIN):
        return f"The release pinned as '{pin}' {holds} some of it: it goes on without it"
    return f"The version pinned as '{pin}' {holds} some of it: it cannot be read without that, pin a new one"


def unneeded_kept_parts(dataset: Dataset, needed: Mapping[str, Collection[str]]) -> list[tuple[str, int]]:
    """Path and size of the files that stand in for parts which are not `needed`, by table."""
    return [
        (f"{table}/{FOLDER}{name}", size)
        for table in TABLES
        for name, size in kept_parts(dataset, table)
        if name not in needed[table]
    ]


def keep_the_rest(
    dataset: Dataset,
    doomed: Mapping[str, Collection[str]],
    columns: Callable[[str], Sequence[str]],
    is_forgotten: Callable[[Mapping[str, Any]], bool],
) -> dict[str, set[str]]:
    """Before the `doomed` parts are deleted, by table: keep what releases need of them, without what is forgotten.

    `columns` has those that `is_forgotten` looks at, by table. Returns the parts that can be deleted now.
    """
    done: dict[str, set[str]] = {}
    for table, names in doomed.items():
        needed = needed_by_releases(dataset, table)
        for name in names:
            part = name.removeprefix(FOLDER)
            if part in needed:
                _keep(dataset, table, name, columns(table), is_forgotten)
            if part == name or part not in needed:
                done.setdefault(table, set()).add(name)
    return done


def _keep(
    dataset: Dataset,
    table: str,
    name: str,
    columns: Sequence[str],
    is_forgotten: Callable[[Mapping[str, Any]], bool],
) -> None:
    rows = dataset.read_part(table, name)
    stays = pa.array([not is_forgotten(row) for row in rows_of(rows.select(columns))], pa.bool_())
    buffer = io.BytesIO()
    pq.write_table(rows.filter(stays), buffer, **FORMAT)
    put(dataset.store, f"{table}/{FOLDER}{name.removeprefix(FOLDER)}", buffer.getvalue(), flush=True)
