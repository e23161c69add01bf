"""Pinned versions of a dataset, and clearing away what no version that counts needs any more."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import pyarrow as pa
from obstore.exceptions import AlreadyExistsError

from curation.dataset.commits import Writer, recent_commits, unfinished
from curation.dataset.dataset import Dataset
from curation.dataset.object_store import put
from curation.errors import DatasetError, Misuse
from curation.schema import TABLES

PIN_ATTEMPTS = 20
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_PART = re.compile(r"part-\d{20}-[0-9a-f]{32}\.parquet")


# --- pins -----------------------------------------------------------------------------------------------------------


def pin(dataset: Dataset, name: str) -> dict[str, int]:
    """Keep the tables as they stand now, under `name`: the version of each. Raises Misuse for a name that cannot be."""
    if not _NAME.fullmatch(name):
        raise Misuse(f"'{name}' cannot name a version; use letters, digits, '.', '_' and '-'")
    versions = versions_now(dataset)
    try:
        put(dataset.store, _path(name), json.dumps(versions).encode(), create=True)
    except AlreadyExistsError:
        raise Misuse(f"a version is pinned as '{name}' already; take another name, or unpin it") from None
    return versions


def unpin(dataset: Dataset, name: str) -> None:
    """Let go of a pinned version; the next vacuum clears what only it needed. Raises Misuse."""
    if name not in pins(dataset):
        raise Misuse(f"no version is pinned as '{name}'")
    dataset.delete([_path(name)])


def pins(dataset: Dataset) -> dict[str, dict[str, int]]:
    """The pinned versions, by name: the version of each table."""
    names = sorted(path.removeprefix("pins/").removesuffix(".json") for path, _, _ in dataset.list("pins/"))
    return {name: dataset.get_json(_path(name)) or {} for name in names}


def _path(name: str) -> str:
    return f"pins/{name}.json"


def versions_now(dataset: Dataset) -> dict[str, int]:
    """The version of each table; they belong together, also beside a writer: all show the same commits."""
    for _ in range(PIN_ATTEMPTS):
        before = _last_commit(dataset)
        behind = unfinished(dataset)
        versions = {table: dataset.delta(table).version() for table in TABLES}
        if not behind and _last_commit(dataset) == before:
            return versions
        time.sleep(0.5)
    raise DatasetError("a commit stays unfinished since its writer died; the next run, or `vidla vacuum`, finishes it")


def _last_commit(dataset: Dataset) -> int:
    return max((number for number, _ in recent_commits(dataset, 1)), default=0)


# --- vacuum ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cleared:
    """What was deleted, in files, and what `kept` superseded parts there still are, for the sake of pinned versions."""

    parts: int = 0
    media: int = 0
    sources: int = 0
    size: int = 0
    kept: int = 0


def vacuum(writer: Writer) -> Cleared:
    """Delete parts, stored media and sources that neither the tables as they stand nor a pinned version need.

    Afterwards, and if no pinned version holds on to superseded parts, a glob of `table/*.parquet` is the table.
    Files that vidla did not write are left alone.
    """
    dataset = writer.dataset
    live = {table: set(dataset.live_parts(table)) for table in TABLES}
    needed = {table: set(parts) for table, parts in live.items()}
    for versions in pins(dataset).values():
        for table, version in versions.items():
            needed[table] |= parts_at(dataset, table, version)
    on_disk = {table: list(parts_on_disk(dataset, table)) for table in TABLES}
    kept = sum(name in needed[table] - live[table] for table in TABLES for name, _ in on_disk[table])
    media = _uris(dataset, "videos", "media_uri", needed) | _uris(dataset, "clips", "media_uri", needed)
    sources = _uris(dataset, "downloads", "source_uri", needed)
    parts = [
        (f"{table}/{name}", size) for table in TABLES for name, size in on_disk[table] if name not in needed[table]
    ]
    unused_media = [(path, size) for path, size, _ in dataset.list("media/") if path not in media]
    unused_sources = [(path, size) for path, size, _ in dataset.list("sources/") if path not in sources]
    doomed = [*parts, *unused_media, *unused_sources]
    writer.check()
    dataset.delete(path for path, _ in doomed)
    return Cleared(len(parts), len(unused_media), len(unused_sources), sum(size for _, size in doomed), kept)


def parts_at(dataset: Dataset, table: str, version: int) -> set[str]:
    """The names of the parts that made up a table at a version."""
    return set(pa.table(dataset.delta(table, version).get_add_actions(flatten=True))["path"].to_pylist())


def parts_on_disk(dataset: Dataset, table: str) -> Iterator[tuple[str, int]]:
    """Name and size of every part that vidla wrote into a table's folder, needed or not."""
    for path, size, _ in dataset.list(f"{table}/"):
        name = path.removeprefix(f"{table}/")
        if _PART.fullmatch(name):
            yield name, size


def _uris(dataset: Dataset, table: str, column: str, parts: Mapping[str, Collection[str]]) -> set[str]:
    """The values of a column in `parts` of a table, as far as they are there: forgetting takes some of pinned ones."""
    there = {name for name, _ in parts_on_disk(dataset, table)}
    columns = (dataset.read_part(table, name, [column])[column] for name in there.intersection(parts[table]))
    return {uri for values in columns for uri in values.unique().to_pylist()}
