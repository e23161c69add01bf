"""The clips of a release, read as one dataset: at the pinned versions, without what must not be given out any more."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.dataset
from obstore.store import ObjectStore

from curation.dataset import database
from curation.dataset.conditions import one_condition
from curation.dataset.dataset import Dataset
from curation.dataset.forget import ForgottenKeys
from curation.dataset.kept_parts import FOLDER, kept_parts
from curation.dataset.media_paths import checked
from curation.dataset.pins import parts_at
from curation.dataset.snapshots import DatasetSnapshot
from curation.dataset.vacuum import parts_on_disk
from curation.errors import DatasetError, UsageError
from curation.export.selection import count_clips
from curation.rejects import Kind, Stage
from curation.release.release import FrozenDataset, Release, release_at
from curation.schema import TABLES
from curation.texts.unrecognised import CLIPS_SQL


@dataclass(frozen=True)
class Withdrawn:
    """The videos of a release that must not be given out any more: forgotten since, or opted out since."""

    forgotten: frozenset[str] = frozenset()
    opted_out: frozenset[str] = frozenset()

    @property
    def videos(self) -> list[str]:
        return sorted(self.forgotten | self.opted_out)


class VersionOfDataset(DatasetSnapshot):
    """A dataset of a release, at the versions that the release pins."""

    def __init__(self, frozen: FrozenDataset, release: str) -> None:
        super().__init__(frozen.uri, frozen.versions)
        self.frozen = frozen
        self.release = release
        self._tables_then: dict[str, pyarrow.dataset.Dataset] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "frozen": self.frozen}  # for reading media

    def table_then(self, table: str) -> pyarrow.dataset.Dataset:
        """The rows of a table at the release. Raises DatasetError if parts of it are lost."""
        if table not in self._tables_then:
            self._tables_then[table] = self._opened_then(table)
        return self._tables_then[table]

    def _opened_then(self, table: str) -> pyarrow.dataset.Dataset:
        version = self.frozen.versions.get(table)
        if version is None:
            return self.arrow(table)
        needed, there = parts_at(self, table, version), {name for name, _ in parts_on_disk(self, table)}
        if needed <= there:
            return self.arrow(table)
        kept = {name for name, _ in kept_parts(self, table)}
        if lost := needed - there - kept:
            raise DatasetError(
                f"{self.uri} has lost {len(lost)} parts of {table} that the release '{self.release}' needs: was its "
                f"pin '{self.frozen.pin}' removed? Make a new release"
            )
        files = [name if name in there else f"{FOLDER}{name}" for name in sorted(needed)]
        schema = TABLES[table].schema
        return pyarrow.dataset.dataset(files, schema, "parquet", filesystem=self.arrow_files(table))

    @cached_property
    def withdrawn(self) -> Withdrawn:
        """The videos that must not be given out any more, by the dataset as it is now."""
        now = Dataset(self.uri, patient=False)
        return Withdrawn(frozenset(self._forgotten(now)), frozenset(self._opted_out(now)))

    def _forgotten(self, now: Dataset) -> Iterator[str]:
        forgotten = ForgottenKeys.load(now)
        if not forgotten.keys:
            return
        for batch in self.table_then("downloads").to_batches(["video_id", "request_key", "uri"]):
            for video_id, key, uri in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                if forgotten.has_video(video_id) or forgotten.has_request(key, uri):
                    yield video_id

    def _opted_out(self, now: Dataset) -> list[str]:
        """The videos whose site has refused them for an opt-out since, or has reserved them."""
        tables = {f"{table}_now": now.arrow(table) for table in ("pages", "rejects")}
        tables |= {f"{table}_then": self.table_then(table) for table in ("pages", "downloads")}
        with database.connect() as connection:
            for name, rows in tables.items():
                connection.register(name, rows)
            return [video for (video,) in connection.sql(_OPTED_OUT).fetchall()]


_OPTED_OUT = f"""
    select distinct video_id from downloads_then
    where request_key in (
        select key from rejects_now where stage = '{Stage.DOWNLOAD}' and kind = '{Kind.OPTED_OUT}'
        union all
        select request_key from pages_now where failure = '{Kind.OPTED_OUT}'
        union all
        (select request_key from pages_now where tdm_reserved
            except select request_key from pages_then where tdm_reserved))"""


class ReleasedDataset(Dataset):
    """The clips of a release and all that belongs to them, for SQL; its media is read from where it lies.

    A video that several of its datasets have is that of the first of them.
    """

    def __init__(self, release: Release, *, whole: bool = False) -> None:
        """`whole`: with what must not be given out any more. Raises DatasetError if one of its datasets is missing."""
        self.release = release
        self._whole = whole
        self.members = tuple(VersionOfDataset(frozen, release.name) for frozen in release.datasets)
        super().__init__(release.datasets[0].uri, patient=False)
        self.uri = f"{self.uri}@{release.name}"
        for member in self.members:
            if not member.exists():
                raise member.missing()

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "release": self.release, "members": self.members}

    @cached_property
    def store(self) -> ObjectStore:
        return self.members[0].store

    @cached_property
    def options(self) -> dict[str, str] | None:
        return self.members[0].options

    @cached_property
    def folder(self) -> Path | None:
        return self.members[0].folder

    def exists(self) -> bool:
        return True

    def holder(self, media_uri: str) -> Dataset:
        """The dataset that holds a file of stored media. Raises FileNotFoundError for what is not the name of one."""
        path = checked(media_uri)
        return next((member for member in self.members[:-1] if member.has(path)), self.members[-1])

    def arrow(self, table: str, version: int | None = None) -> pyarrow.dataset.Dataset:
        raise NotImplementedError("a release is read by SQL")

    def register(self, connection: duckdb.DuckDBPyConnection, table: str, version: int | None = None) -> None:
        """Make the release's rows of a table known; of `clips`, those that it has chosen. The versions are its own."""
        rows = " union all by name ".join(self._rows(connection, table, n) for n in range(len(self.members)))
        if table != "clips":
            connection.execute(f"create or replace temp view {table} as {rows}")
            return
        where = one_condition(self.release.where) if self.release.where else "true"
        for other in TABLES:
            if other != "clips" and re.search(rf"\b{other}\b", where, re.IGNORECASE):
                self.register(connection, other)
        chosen = f"select * from {CLIPS_SQL} as clips where {where}"
        connection.execute(f"create or replace temp view clips as with clips as ({rows}) {chosen}")

    def _rows(self, connection: duckdb.DuckDBPyConnection, table: str, number: int) -> str:
        """The rows of one of its datasets, as SQL: without what is withdrawn, or is in a dataset before it."""
        member, names = self.members[number], TABLES[table].schema.names
        connection.register(f"{table}_{number}", member.table_then(table))
        conditions = []
        if not self._whole and "video_id" in names and member.withdrawn.videos:
            connection.register(f"withdrawn_{number}", pa.table({"video_id": member.withdrawn.videos}))
            conditions.append(f"coalesce(video_id not in (select video_id from withdrawn_{number}), true)")
        if column := next((c for c in ("video_id", "request_key") if c in names), None):
            of = "videos" if column == "video_id" else "requests"
            for before in range(number):
                connection.register(f"before_{before}_{of}", self.members[before].table_then(of))
                conditions.append(f"coalesce({column} not in (select {column} from before_{before}_{of}), true)")
        return f"select * from {table}_{number} where {' and '.join(conditions) or 'true'}"


def open_source(location: str) -> Dataset:
    """The dataset, or the release, that `location` names. Raises UsageError, DatasetError."""
    release = release_at(location)
    return Dataset(location) if release is None else ReleasedDataset(release)


def release_of(dataset: Dataset) -> dict[str, str] | None:
    """The name and digest of a release, as they are recorded in what is made from it; None if it is a dataset."""
    if not isinstance(dataset, ReleasedDataset):
        return None
    return {"name": dataset.release.name, "digest": dataset.release.digest}


def homes_of(dataset: Dataset) -> tuple[Dataset, ...]:
    """The datasets in which the files of a dataset, or release, lie."""
    return dataset.members if isinstance(dataset, ReleasedDataset) else (dataset,)


def held_out_of(dataset: Dataset, given: float | None, option: str) -> float | None:
    """The share of the videos that is held out: that of a release, else the `given` one.

    Raises UsageError if `option` gives another one than the release.
    """
    if not isinstance(dataset, ReleasedDataset):
        return given
    share = dataset.release.held_out
    if given not in (None, share):
        raise UsageError(f"the release {dataset.uri} holds out {share}: leave out {option}, which says {given}")
    return share


def gone_from(dataset: Dataset) -> Iterator[str]:
    """A line on the clips of a release that are not given out any more, if there are any."""
    if isinstance(dataset, ReleasedDataset) and (gone := dataset.release.clips - count_clips(dataset)):
        yield f"{gone:,} clips of {dataset.uri} are not given out any more; `vidla release check` says why"
