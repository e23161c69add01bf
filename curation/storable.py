"""Storable text and values: what strangers send, fit for UTF-8, JSON and Parquet, and bounded.

Used wherever strangers' text comes in: answers of guarded children and of servers, rows of lists, entries of
playlists, names of files, messages of rejects.
"""

from __future__ import annotations

import math
import re
from typing import Any

TEXT_CHARS = 100_000  # of one text from a site, or in a cell of a list
NESTING = 64  # levels of lists and objects inside each other
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
INT64 = range(-(2**63), 2**63)


class NotStorable(ValueError):
    """A value that no table can hold; the message says why."""


def text(value: str, limit: int | None = None) -> str:
    """`value` without what UTF-8 cannot hold, and no longer than `limit` characters.

    Halves of a surrogate pair are joined where they stand together, and replaced where they stand alone.

    >>> text("a lone \\ud83d, a pair \\ud83d\\ude00"), text("longer", 4)
    ('a lone \ufffd, a pair \U0001f600', 'long')
    """
    value = value[:limit]
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return value


def printable(value: str) -> str:
    r"""`value` from anywhere without commands to a terminal, in one line.

    >>> printable("\x1b[2J two\nlines")
    ' [2J two lines'
    """
    return _CONTROL.sub(" ", value)


def tree(value: Any, levels: int = NESTING) -> Any:
    """`value`, as JSON gives it, with all texts in it storable.

    Raises NotStorable if it is nested more than `levels` deep, and for numbers beyond 64 bits.

    >>> tree({"a": ["\\udc80", 1.5, None]})
    {'a': ['\ufffd', 1.5, None]}
    """
    if isinstance(value, str):
        return text(value)
    if isinstance(value, dict | list):
        if levels == 0:
            raise NotStorable(f"nested more than {NESTING} levels deep")
        if isinstance(value, list):
            return [tree(v, levels - 1) for v in value]
        return {text(k): tree(v, levels - 1) for k, v in value.items()}
    if (isinstance(value, int) and value not in INT64) or (isinstance(value, float) and not math.isfinite(value)):
        raise NotStorable("a number beyond 64 bits")
    return value
