"""The rows of a list: .txt, .csv, .jsonl or .parquet, read in batches, so that memory does not grow with it.

A row that cannot be read is an error message in its place; those after it are read all the same.
"""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from curation.errors import InputError
from curation.sources.targets import names_video

LINE_BYTES = 1 << 20  # of one line, and of the rows in a batch of lines
PARQUET_ROWS = 1024  # decoded at a time
Row = Mapping[str, Any] | str
"""A row's values by column, or an error message."""
Numbered = tuple[int, Row]
"""A row and its number, from 1; in .csv that of its first line."""


@dataclass(frozen=True)
class Place:
    """Where the next row begins: the number of lines before it (in .parquet: rows) and, in texts, of bytes."""

    number: int = 0
    offset: int = 0
    header: tuple[str, ...] = ()


@dataclass(frozen=True)
class RowBatch:
    """Rows, and the place after them; None at the end of the list."""

    rows: list[Numbered]
    after: Place | None


def read_rows(path: Path, place: Place, count: int) -> RowBatch:
    """Up to `count` rows of the list at `path`, from `place` on. Raises InputError."""
    if path.suffix.lower() == ".parquet":
        return _parquet.rows(path, place, count)
    return _text_rows(path, place, count)


def all_rows(path: Path) -> Iterator[Numbered]:
    """The rows of a list of our own making. Raises InputError."""
    place: Place | None = Place()
    while place:
        batch = read_rows(path, place, 1000)
        yield from batch.rows
        place = batch.after


# --- texts ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Line:
    """A line of a text and its size in bytes; None if it is too long."""

    text: str | None
    size: int


def _text_rows(path: Path, place: Place, count: int) -> RowBatch:
    with path.open("rb") as file:
        if place == Place() and path.suffix.lower() == ".csv":
            place = _after_header(path, file)
        lines, is_last = _lines(file, place.offset)
    if path.suffix.lower() == ".csv":
        rows, used = _csv_rows(path, lines, is_last, place, count)
    else:
        used = len(lines[:count])
        parse = _jsonl_row if path.suffix.lower() == ".jsonl" else _txt_row
        found = (
            (place.number + n, _too_long() if line.text is None else parse(line.text))
            for n, line in enumerate(lines[:count], 1)
        )
        rows = [(number, row) for number, row in found if row is not None]
    ended = is_last and used == len(lines)
    offset = place.offset + sum(line.size for line in lines[:used])
    return RowBatch(rows, None if ended else replace(place, number=place.number + used, offset=offset))


def _lines(file: BinaryIO, offset: int) -> tuple[list[_Line], bool]:
    """The lines from `offset` on that fit into LINE_BYTES, or the one that is longer; and whether they are the last."""
    file.seek(offset)
    block = file.read(LINE_BYTES)
    is_last = len(block) < LINE_BYTES
    pieces = block.splitlines(keepends=True)
    if not is_last and (len(pieces) > 1 or not block.endswith(b"\n")):
        pieces = pieces[:-1]  # it may go on; so may \r, with \n
    if not pieces and not is_last:
        size = len(block)
        while block and b"\n" not in block:
            block = file.read(LINE_BYTES)
            size += block.find(b"\n") + 1 or len(block)
        return [_Line(None, size)], not block
    if offset == 0 and pieces and pieces[0].startswith(b"\xef\xbb\xbf"):  # a byte order mark
        return [_Line(pieces[0][3:].decode(errors="replace"), len(pieces[0])), *map(_line, pieces[1:])], is_last
    return [*map(_line, pieces)], is_last


def _line(piece: bytes) -> _Line:
    return _Line(piece.decode(errors="replace"), len(piece))


def _too_long() -> str:
    return f"a line of more than {LINE_BYTES} bytes"


def _txt_row(line: str) -> Row | None:
    """One URL per line; blank lines and lines that begin with # are skipped."""
    line = line.strip()
    return {"url": line} if line and not line.startswith("#") else None


def _jsonl_row(line: str) -> Row | None:
    if not line.strip():
        return None
    try:
        row = json.loads(line, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        return f"not JSON: {error}"
    return row if isinstance(row, dict) else "not a JSON object"


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


# --- CSV ------------------------------------------------------------------------------------------------------------


def _after_header(path: Path, file: BinaryIO) -> Place:
    lines, is_last = _lines(file, 0)
    used, cells = next(_csv_records(lines, is_last), (0, ""))
    if isinstance(cells, str):
        raise InputError(f"{path}: no header line")
    header = tuple(c.strip() for c in cells)
    _check_columns(path, header)
    return Place(used, sum(line.size for line in lines[:used]), header)


def _csv_rows(path: Path, lines: list[_Line], is_last: bool, place: Place, count: int) -> tuple[list[Numbered], int]:
    """The rows in `lines`, and the number of lines that they take. Raises InputError if one has swallowed others."""
    rows: list[Numbered] = []
    taken = 0
    for used, cells in _csv_records(lines, is_last):
        if used > 1 and _are_rows(lines[taken + 1 : taken + used], place.header):
            first, last = place.number + taken + 1, place.number + taken + used
            raise InputError(
                f"{path}, line {first}: a quote is opened and not closed before line {last}, and the lines between "
                "look like rows: close it, or double it if it is a part of the text"
            )
        if cells:
            rows.append((place.number + taken + 1, _csv_row(cells, place.header)))
        taken += used
        if len(rows) == count:
            break
    return rows, taken


def _are_rows(lines: Sequence[_Line], header: tuple[str, ...]) -> bool:
    """Whether lines inside one cell, at least two or with at least three columns, are all like rows of the list.

    Such a line has as many cells, and one in the place of the URL that names a video.
    """
    if len(lines) * (len(header) - 1) < 2:
        return False
    place = header.index("url")
    for line in lines:
        cells = (line.text or "").split(",")  # one with quotes of its own would have closed the cell
        if len(cells) != len(header) or not names_video(cells[place].strip()):
            return False
    return True


def _csv_row(cells: list[str] | str, header: tuple[str, ...]) -> Row:
    if isinstance(cells, str):
        return cells
    if len(cells) > len(header):
        return f"{len(cells)} cells under {len(header)} columns"
    return {k: v for k, v in zip(header, cells, strict=False) if v != ""}


def _csv_records(lines: list[_Line], is_last: bool) -> Iterator[tuple[int, list[str] | str]]:
    """The records in `lines`, each with its number of lines; one that may go on after them is left.

    A line whose quote is never closed is an error of its own: the lines after it are read as if it were not there.
    """
    at = 0
    while at < len(lines):
        reader = csv.reader((lines[n].text or "" for n in range(at, len(lines))), strict=True)
        before = 0
        while at + before < len(lines):
            try:
                cells: list[str] | str = next(reader, [])
                used = reader.line_num - before
            except csv.Error:
                if at + reader.line_num == len(lines) and not is_last and at + before > 0:
                    return
                used, cells = 1, _lone_record(lines[at + before])
            if lines[at + before].text is None:
                cells = _too_long()
            yield used, cells
            before += used
            if before != reader.line_num:
                break  # begin anew after the line at fault
        at += before


def _lone_record(line: _Line) -> list[str] | str:
    """The cells of a line that is complete but not strict CSV; otherwise an error message."""
    reader = csv.reader([line.text or "", ""])
    try:
        cells = next(reader)
    except csv.Error as lenient:
        return f"not CSV: {lenient}"
    if reader.line_num > 1:
        return "not CSV: a quote is opened and never closed"
    return cells


# --- Parquet --------------------------------------------------------------------------------------------------------


class _OpenParquet:
    """The Parquet file that was read last, kept open where its next row begins."""

    def __init__(self) -> None:
        self._at: tuple[Path, int] | None = None
        self._rows: Iterator[Row] = iter(())

    def rows(self, path: Path, place: Place, count: int) -> RowBatch:
        """Up to `count` rows from `place` on. Raises InputError."""
        if self._at != (path, place.number):
            self._rows = itertools.islice(_parquet_rows(path), place.number, None)
        self._at = None
        numbered = list(enumerate(itertools.islice(self._rows, count), place.number + 1))
        if len(numbered) < count:
            return RowBatch(numbered, None)
        self._at = path, place.number + count
        return RowBatch(numbered, Place(place.number + count))


_parquet = _OpenParquet()


def _parquet_rows(path: Path) -> Iterator[Row]:
    """Rows, read batch by batch. Binary columns are skipped: JSON metadata cannot hold them."""
    number = 0
    try:
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            _check_columns(path, schema.names)
            columns = [f.name for f in schema if not (pa.types.is_binary(f.type) or pa.types.is_large_binary(f.type))]
            for batch in file.iter_batches(batch_size=PARQUET_ROWS, columns=columns):
                for row in _rows_of_batch(batch):
                    number += 1
                    yield row
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path}: not readable as Parquet after row {number}: {error}") from None


def _rows_of_batch(batch: pa.RecordBatch) -> Iterator[Row]:
    try:
        rows = batch.to_pylist()
    except (ValueError, TypeError, OverflowError):  # one of its values is none that Python has
        rows = [_row_of_values(batch, n) for n in range(len(batch))]
    return (row if isinstance(row, str) else {k: v for k, v in row.items() if v is not None} for row in rows)


def _row_of_values(batch: pa.RecordBatch, number: int) -> Row:
    row = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            row[name] = _value(column[number])
        except (ValueError, TypeError, OverflowError, pa.ArrowException) as error:
            return f"{name} cannot be read: {error}"
    return row


def _value(scalar: Any) -> Any:
    """A value of a column. Invalid UTF-8 is replaced; times beyond Python's range become text."""
    if not scalar.is_valid:
        return None
    kind = scalar.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return scalar.as_buffer().to_pybytes().decode(errors="replace")
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return [_value(v) for v in scalar.values]
    if pa.types.is_struct(kind):
        return {name: _value(scalar[name]) for name in scalar}
    try:
        return scalar.as_py()
    except (ValueError, OverflowError):
        return scalar.cast(pa.string()).as_py()


def _check_columns(path: Path, columns: Iterable[str]) -> None:
    names = list(columns)
    if "url" not in names:
        raise InputError(f"{path}: no column 'url', only {', '.join(map(repr, names))}")
    if len(set(names)) < len(names):
        raise InputError(f"{path}: duplicate column among {', '.join(map(repr, names))}")


SUFFIXES = (".txt", ".csv", ".jsonl", ".parquet")
"""The suffixes of lists."""
