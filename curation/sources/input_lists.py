"""The rows of a list: .txt, .csv, .jsonl or .parquet, read one by one, so that memory does not grow with the list."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from curation.errors import InputError

LINE_LIMIT = 1 << 20  # characters of one row
Row = Mapping[str, Any] | str
"""A row's values by column, or an error message."""


def rows(path: Path) -> Iterator[tuple[int, Row]]:
    """The rows of the list at `path`, numbered from 1 (in .csv: the line a row begins in). Raises InputError."""
    return READERS[path.suffix.lower()](path)


def lines(path: Path) -> Iterator[str]:
    """The lines of a text file; one longer than LINE_LIMIT comes in pieces."""
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        while line := file.readline(LINE_LIMIT):
            yield line


def _txt_rows(path: Path) -> Iterator[tuple[int, Row]]:
    """One URL per line; blank lines and lines that begin with # are skipped."""
    for number, line in enumerate(lines(path), 1):
        if (line := line.strip()) and not line.startswith("#"):
            yield number, {"url": line}


def _csv_rows(path: Path) -> Iterator[tuple[int, Row]]:
    reader = csv.reader(lines(path))
    try:
        header = [c.strip() for c in next(reader)]
    except (StopIteration, csv.Error):
        raise InputError(f"{path}: no header line") from None
    _check_columns(path, header)
    while True:
        first = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield first, f"lines {first} to {reader.line_num} are not CSV: {error}"
            continue
        if not cells:
            continue
        if len(cells) > len(header):
            yield first, f"{len(cells)} cells under {len(header)} columns"
        else:
            yield first, {k: v for k, v in zip(header, cells, strict=False) if v != ""}


def _jsonl_rows(path: Path) -> Iterator[tuple[int, Row]]:
    for number, line in enumerate(lines(path), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            yield number, f"not JSON: {error}"
            continue
        yield number, row if isinstance(row, dict) else "not a JSON object"


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _parquet_rows(path: Path) -> Iterator[tuple[int, Row]]:
    """Rows, read batch by batch. Binary columns are skipped: JSON metadata cannot hold them."""
    number = 0
    try:
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            _check_columns(path, schema.names)
            columns = [f.name for f in schema if not (pa.types.is_binary(f.type) or pa.types.is_large_binary(f.type))]
            for batch in file.iter_batches(batch_size=1024, columns=columns):
                for row in batch.to_pylist():
                    number += 1
                    yield number, {k: v for k, v in row.items() if v is not None}
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path}: not readable as Parquet after row {number}: {error}") from None


def _check_columns(path: Path, columns: Iterable[str]) -> None:
    names = list(columns)
    if "url" not in names:
        raise InputError(f"{path}: no column 'url', only {', '.join(map(repr, names))}")
    if len(set(names)) < len(names):
        raise InputError(f"{path}: duplicate column among {', '.join(map(repr, names))}")


READERS = {".txt": _txt_rows, ".csv": _csv_rows, ".jsonl": _jsonl_rows, ".parquet": _parquet_rows}
