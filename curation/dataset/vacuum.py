"""Vacuum: deleting files that neither the current tables nor a pinned version need."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from curation.dataset.dataset import Dataset
from curation.dataset.kept_parts import FOLDER, kept_parts, unneeded_kept_parts
from curation.dataset.parts import epoch_of
from curation.dataset.pins import parts_at, pins
from curation.dataset.quarantine import set_aside_files
from curation.dataset.writer import Writer
from curation.errors import DatasetError
from curation.schema import TABLES


@dataclass(frozen=True)
class VacuumReport:
    """The numbers of deleted files, their bytes, and the superseded parts `kept` for pinned versions."""

    parts: int = 0
    media: int = 0
    sources: int = 0
    size: int = 0
    kept: int = 0


def vacuum(writer: Writer) -> VacuumReport:
    """Delete parts, stored media and sources that neither the current tables nor a pinned version need.

    Files that a repair has set aside are deleted too.

    Afterwards `table/*.parquet` is exactly the table, unless a pinned version needs superseded parts. Files that vidla
    did not write are left alone.
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
    parts += unneeded_kept_parts(dataset, needed)
    doomed = [*parts, *unused_media, *unused_sources, *set_aside_files(dataset)]
    writer.check()
    dataset.delete(path for path, _ in doomed)
    return VacuumReport(len(parts), len(unused_media), len(unused_sources), sum(size for _, size in doomed), kept)


def parts_on_disk(dataset: Dataset, table: str) -> Iterator[tuple[str, int]]:
    """Name and size of every part that vidla wrote into a table's folder, needed or not."""
    for path, size, _ in dataset.list(f"{table}/"):
        name = path.removeprefix(f"{table}/")
        if epoch_of(name) is not None:
            yield name, size


def uncommitted_files(dataset: Dataset) -> list[str]:
    """Media and sources that no part names, of any version: what killed runs have left. Needs the writer's lease.

    Raises DatasetError if a part is missing, which may have named some.
    """
    named: set[str] = set()
    for table, column in (("videos", "media_uri"), ("clips", "media_uri"), ("downloads", "source_uri")):
        parts = {table: {name for name, _ in parts_on_disk(dataset, table)}}
        if missing := dataset.live_parts(table).keys() - parts[table]:
            raise DatasetError(f"{dataset.uri}/{table} lacks {len(missing)} of its parts, such as {min(missing)}")
        parts[table] |= {name for name, _ in kept_parts(dataset, table)}
        named |= _uris(dataset, table, column, parts)
    return [path for folder in ("media/", "sources/") for path, _, _ in dataset.list(folder) if path not in named]


def _uris(dataset: Dataset, table: str, column: str, parts: Mapping[str, Collection[str]]) -> set[str]:
    """The values of a column in the existing `parts` of a table: forgetting deletes some of pinned versions."""
    existing = {name: name for name, _ in parts_on_disk(dataset, table)}
    existing |= {f"{FOLDER}{name}": name for name, _ in kept_parts(dataset, table)}
    files = (file for file, name in existing.items() if name in parts[table])
    columns = (dataset.read_part(table, file, [column])[column] for file in files)
    return {uri for values in columns for uri in values.unique().to_pylist()}
