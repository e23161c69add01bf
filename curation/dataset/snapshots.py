"""A dataset as of one commit, whatever is written to it meanwhile."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow.dataset

from curation.dataset.commits import APPLICATION, read_commits
from curation.dataset.dataset import Dataset
from curation.dataset.lease import read_lease
from curation.schema import TABLES


class DatasetSnapshot(Dataset):
    """A dataset whose tables are read at fixed versions."""

    def __init__(self, location: str, versions: Mapping[str, int]) -> None:
        super().__init__(location, patient=False)
        self._versions = versions

    def arrow(self, table: str, version: int | None = None) -> pyarrow.dataset.Dataset:
        at = self._versions.get(table) if version is None else version
        if at is None:  # the table is newer than this version of the dataset
            return pyarrow.dataset.dataset(TABLES[table].schema.empty_table())
        return super().arrow(table, at)


def as_of_one_commit(dataset: Dataset) -> DatasetSnapshot:
    """The dataset as of the last commit that is applied to all of its tables, however busy its writer is."""
    return DatasetSnapshot(dataset.uri, versions_now(dataset) if dataset.exists() else {})


def versions_now(dataset: Dataset) -> dict[str, int]:
    """The version of each table after the last commit that is applied to all of them. Waits for no writer."""
    settled = int(read_lease(dataset).get("settled", 0))
    deltas = {table: delta for table in TABLES if (delta := dataset.delta_or_none(table)) is not None}
    applied = {table: delta.transaction_version(APPLICATION) or 0 for table, delta in deltas.items()}
    commits = [(number, set(record.get("tables", ()))) for number, record in read_commits(dataset, settled)]
    last = settled
    for number, tables in commits:
        if any(applied.get(table, 0) < number for table in tables):
            break
        last = number
    versions = {}
    for table, delta in deltas.items():
        later = sum(last < number <= applied[table] for number, tables in commits if table in tables)
        versions[table] = delta.version() - later
        while later and (dataset.delta(table, versions[table]).transaction_version(APPLICATION) or 0) > last:
            versions[table] -= 1  # columns were added since
    return versions
