"""Reads files of annotations: JSON, CSV, lists of ids. What is not as expected raises InputError, in one line."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from curation import storable
from curation.errors import InputError


def read_ids(path: Path) -> list[str]:
    """The ids of videos in a list, as published splits have them: the formats differ by the suffix.

    .csv: the column video_id (MSR-VTT's); .npy: an array of strings (HGR's for VATEX); .json: a list, or an object
    whose keys are the ids (ActivityNet's); else a text file with an id per line (DiDeMo's, MSVD's). Raises InputError.
    """
    suffix = path.suffix.lower()
    if suffix == ".csv":
        return [row["video_id"].strip() for row in read_rows(path, ("video_id",), "a list of ids")]
    if suffix == ".json":
        ids = list(read_json(path, "a list of ids", (list, dict)))
        if not all(isinstance(name, str) for name in ids):
            raise InputError(f"{path} is not a list of ids; it has {brief(ids)}")
        return [storable.text(name) for name in ids]
    return _read_array(path) if suffix == ".npy" else list(read_lines(path))


def _read_array(path: Path) -> list[str]:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)  # which takes no memory for what a header declares
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "SU" or not array.dtype.itemsize:
            raise ValueError
        return [name.decode() if isinstance(name, bytes) else str(name) for name in array.ravel().tolist()]
    except (OSError, ValueError, EOFError, OverflowError, SyntaxError, zipfile.BadZipFile):
        raise InputError(f"{path} is not an array of strings; write the ids into a text file, one per line") from None


def read_text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{path} is not UTF-8: its byte {error.start} is 0x{data[error.start]:02X}, line {line}: save it as UTF-8"
        ) from None


def read_lines(path: Path) -> Iterable[str]:
    return (line.strip() for line in read_text(path).splitlines() if line.strip())


def read_json(path: Path, expected: str, kind: type | tuple[type, ...]) -> Any:
    try:
        content = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not {expected}; it is not JSON: {error}") from None
    if not isinstance(content, kind) or not content:
        raise InputError(f"{path} is not {expected}; it is {brief(content)}")
    return content


def check_objects(
    path: Path, expected: str, value: Any, keys: Sequence[str], names: Sequence[str] = ()
) -> list[Mapping[str, Any]]:
    """Check that `value` is a list of objects with all of `keys`, those in `names` being texts. Raises InputError."""
    if not isinstance(value, list) or not value:
        raise InputError(f"{path} is not {expected}; it has {brief(value)}")
    wrong = next((row for row in value if not isinstance(row, dict) or not row.keys() >= set(keys)), None)
    if wrong is not None:
        found = f"only {storable.text(', '.join(wrong), 60)}" if isinstance(wrong, dict) else brief(wrong)
        raise InputError(f"{path} is not {expected}; one entry has {found}")
    for name in names:
        if odd := [row[name] for row in value if not isinstance(row[name], str)]:
            raise InputError(f"{path} is not {expected}; the {name} of one entry is {brief(odd[0])}")
    return value


def read_strings(path: Path, video: str, value: Any) -> list[str]:
    """A list of texts; those given as lists of words are joined."""
    if not isinstance(value, list):
        raise InputError(f"{path}: {brief(video)} should have a list of texts, not {brief(value)}")
    return [" ".join(text) if isinstance(text, list) and _all_texts(text) else text for text in value]


def _all_texts(values: list[Any]) -> bool:
    return all(isinstance(value, str) for value in values)


def read_rows(path: Path, columns: Sequence[str], expected: str) -> list[dict[str, str]]:
    reader = csv.DictReader(io.StringIO(read_text(path), newline=""))
    try:
        names, rows = list(reader.fieldnames or ()), list(reader)
    except csv.Error as error:
        raise InputError(f"{path} is not {expected}; it is not CSV: {error}") from None
    if not rows or not set(columns) <= set(names):
        found = f"{len(rows)} rows with {brief(', '.join(names))}"
        raise InputError(f"{path} is not {expected}, with the columns {', '.join(columns)}; it has {found}")
    short = next((row for row in rows if any(row[name] is None for name in columns)), None)
    if short is not None:
        raise InputError(f"{path}: a row has too few cells: {brief(','.join(filter(None, short.values())))}")
    return rows


def brief(value: Any) -> str:
    """The beginning of a value, to show in a line."""
    try:
        text = storable.text(json.dumps(value, ensure_ascii=False, default=str))
    except RecursionError:
        return "deeply nested"
    return text if len(text) <= 60 else f"{text[:59]}…"
