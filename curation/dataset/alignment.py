"""Whether the tables and `commits/` of a dataset belong together; in a copy made while a run wrote, they may not.

Each table knows the number of the last commit that was applied to it. One that is *ahead* of `commits/` lists parts
that no commit names; one that is *behind* lacks rows of commits that its writer had applied.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from curation.dataset.commits import APPLICATION, read_commits
from curation.dataset.dataset import Dataset
from curation.errors import DatasetError
from curation.schema import TABLES

READERS = 16


def numbers_applied(dataset: Dataset) -> dict[str, int]:
    """By table, the number of the last commit that was applied to it; 0 if none was. Raises DatasetError."""

    def number(table: str) -> int:
        delta = dataset.delta_or_none(table)
        return 0 if delta is None else delta.transaction_version(APPLICATION) or 0

    with ThreadPoolExecutor(READERS) as pool:
        return dict(zip(TABLES, pool.map(number, TABLES), strict=True))


def last_number(dataset: Dataset, after: int = 0) -> int:
    """The number of the last opening or commit, however damaged; `after` if there is none after that."""
    folder = "commits/"
    numbers = (Path(path).stem for path, _, _ in dataset.list(folder, after=f"{folder}{after:020d}.json"))
    return max((int(number) for number in numbers if number.isdecimal()), default=after)


def check_alignment(dataset: Dataset, swept: int, applied: Mapping[str, int]) -> None:
    """Raises DatasetError if writing to the dataset could lose rows. `swept` is the last epoch that was swept."""
    last = last_number(dataset)
    ahead = {table: number for table, number in applied.items() if number > last}
    if ahead:
        table, number = max(ahead.items(), key=lambda item: item[1])
        ends = f"end with {last}" if last else "are missing"
        raise _torn(dataset, f"{table} is ahead: it has commit {number}, but the commits {ends}")
    for number, record in read_commits(dataset, max(0, min(swept, last) - 1)):
        for table, before in record.get("applied", {}).items():
            if applied.get(table, 0) < before:
                raise _torn(dataset, f"{table} is behind: it lacks commit {before}, which was applied to it")
        for table, share in record.get("tables", {}).items():
            if applied.get(table, 0) < number:
                _check_parts(dataset, number, [f"{table}/{part['path']}" for part in share["add"]])


def _check_parts(dataset: Dataset, number: int, paths: list[str]) -> None:
    """Raises DatasetError if one of these parts, which a commit still has to add, is missing."""
    for path in paths:
        if not dataset.has(path):
            raise _torn(dataset, f"commit {number} is not applied to all tables, and its part {path} is missing")


def _torn(dataset: Dataset, what: str) -> DatasetError:
    return DatasetError(
        f"the tables of {dataset.uri} and its commits do not belong together, as in a copy made while a run wrote: "
        f"{what}; `vidla verify {dataset.uri} --repair` mends it"
    )
