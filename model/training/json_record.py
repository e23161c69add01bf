"""Reads the JSON files of a run: each holds one record, and nothing else is taken for it."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

T = TypeVar("T")


def read_record(path: Path, kind: type[T]) -> T:
    """The record of type `kind`, a dataclass, in the JSON file `path`.

    Raises OSError, and ValueError with one line that says where the content is another.
    """
    try:
        return TypeAdapter(kind).validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise ValueError(f"{place}: {first['msg']}" if place else first["msg"]) from None
