"""A dataset as of one commit, whatever is written to it meanwhile."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow.dataset

from curation.dataset.dataset import Dataset
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
