"""Pins: consistent versions of all tables, kept under a name."""

from __future__ import annotations

import json
import re

from obstore.exceptions import AlreadyExistsError

from curation.dataset.checksums import copy_of_pin, record_pin
from curation.dataset.dataset import Dataset
from curation.dataset.object_store import put
from curation.dataset.snapshots import versions_now
from curation.errors import UsageError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
"""A name of a pinned version, or of a release."""


def pin(dataset: Dataset, name: str) -> dict[str, int]:
    """Keep the current versions of the tables under `name`, and return them. Raises UsageError for an invalid name.

    They are consistent: those after the last commit that is applied to all tables.
    """
    if not NAME.fullmatch(name):
        raise UsageError(f"'{name}' is not a valid name for a version; use letters, digits, '.', '_' and '-'")
    versions = versions_now(dataset)
    try:
        put(dataset.store, _path(name), json.dumps(versions).encode(), create=True, flush=True)
        record_pin(dataset, _path(name))
    except AlreadyExistsError:
        raise UsageError(f"a version is already pinned as '{name}'; take another name, or --remove that one") from None
    return versions


def unpin(dataset: Dataset, name: str) -> None:
    """Release a pinned version; the next vacuum deletes what only it needed. Raises UsageError."""
    if not dataset.has(_path(name)):
        raise UsageError(f"no version is pinned as '{name}'")
    dataset.delete([_path(name), copy_of_pin(_path(name))])


def pins(dataset: Dataset) -> dict[str, dict[str, int]]:
    """The pinned versions by name, each with the version of every table."""
    names = sorted(path.removeprefix("pins/").removesuffix(".json") for path, _, _ in dataset.list("pins/"))
    return {name: dataset.get_json(_path(name)) or {} for name in names}


def pins_on_disk(dataset: Dataset) -> list[str]:
    """The paths of the pins, damaged ones included."""
    return [path for path, _, _ in dataset.list("pins/")]


def parts_at(dataset: Dataset, table: str, version: int) -> set[str]:
    """The names of the parts that made up a table at a version."""
    return set(dataset.parts_of(table, dataset.delta(table, version)))


def listed_parts(dataset: Dataset, table: str) -> set[str]:
    """The names of the parts that make up a table now or at a pinned version."""
    versions = {pinned[table] for pinned in pins(dataset).values() if table in pinned}
    return set(dataset.live_parts(table)).union(*(parts_at(dataset, table, version) for version in versions))


def _path(name: str) -> str:
    return f"pins/{name}.json"
