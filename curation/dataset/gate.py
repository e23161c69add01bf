"""The gate of downloads, `download.only_where`: an SQL condition on a row of `pages`."""

from __future__ import annotations

import functools
import threading

import duckdb
import pyarrow as pa

from curation.dataset.conditions import one_condition
from curation.dataset.database import connect
from curation.dataset.dataset import Dataset
from curation.errors import ConfigError, UsageError, one_line
from curation.records import Page
from curation.schema import TABLES, to_row

COLUMNS = TABLES["pages"].schema


class Gate:
    """Lets the videos through whose page meets `condition`; a page for which it is null, or fails, does not.

    Raises ConfigError if it is not a condition on the columns of `pages`.

    >>> gate = Gate("duration < 60 and 'en' in subtitles")
    >>> gate.admits(Page(request_key="r", uri="https://example.org/", duration=12.0, subtitles=("de", "en")))
    True
    >>> gate.admits(Page(request_key="r", uri="https://example.org/"))
    False
    >>> Gate("cast(title as integer) > 3").admits(Page(request_key="r", uri="https://example.org/", title="A talk"))
    False
    """

    def __init__(self, condition: str) -> None:
        try:
            self.condition = one_condition(condition)
        except UsageError as error:
            raise ConfigError(f"download.only_where: {error}") from None
        self._lock = threading.Lock()
        self._connection = connect()
        try:
            self._admitted(COLUMNS.empty_table())
        except duckdb.Error as error:
            raise ConfigError(
                f"download.only_where is not a condition on the columns of pages: {one_line(error)}"
            ) from None
        self._forgive_failures()

    def _forgive_failures(self) -> None:
        """Let the condition be null where it fails, so that no page stops a run."""
        plain = self.condition
        self.condition = f"try{plain}"
        try:
            self._admitted(COLUMNS.empty_table())
        except duckdb.Error:  # DuckDB tries neither subqueries nor random numbers
            self.condition = plain

    def admits(self, page: Page) -> bool:
        """Whether the video of `page` may be fetched."""
        row = {name: [value] for name, value in to_row(page).items()}
        table = pa.table(row, schema=pa.schema([COLUMNS.field(name) for name in row]))
        with self._lock:
            return bool(self._admitted(table))

    def _admitted(self, pages: pa.Table) -> int:
        return len(self._connection.from_arrow(pages).filter(self.condition).fetchall())

    def closed_to(self, dataset: Dataset) -> pa.Array:
        """The request_keys of the pages in `dataset` that do not meet the condition."""
        query = f"select request_key from pages where failure is null and {self.condition} is not true"
        return dataset.sql(query)["request_key"].combine_chunks()


@functools.lru_cache(8)
def gate_of(condition: str) -> Gate:
    """The gate of a condition, made once in a process. Raises ConfigError."""
    return Gate(condition)
