"""The function that runs in the guarded child process: rows of a list to targets. JSON in, JSON out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from curation.errors import InputError
from curation.rejects import Kind, Rejected
from curation.sources.input_lists import Place, Row, read_rows
from curation.sources.targets import reject_input, target_in_row
from curation.uris import redact


def targets(argument: dict[str, Any]) -> dict[str, Any]:
    """The targets in up to `count` rows of the list {path, place, count, fault}; with a `fault`, it is that of all.

    Returns {found, after}: of each row {request, url, subtitles_url} or {reject}, and the place after them. A list that
    cannot be read is {"error": message}.
    """
    path = Path(argument["path"])
    place = Place(**argument["place"])
    try:
        batch = read_rows(path, place, argument["count"])
    except InputError as error:
        return {"error": str(error)}
    found = [_target(path.name, number, argument["fault"] or row) for number, row in batch.rows]
    return {"found": found, "after": batch.after and vars(batch.after)}


def _target(name: str, number: int, row: Row) -> dict[str, Any]:
    try:
        if isinstance(row, str):
            raise Rejected(Kind.INVALID_REQUEST, row)
        target = target_in_row(row)
    except Rejected as error:
        url = None if isinstance(row, str) else row.get("url")
        uri = redact(url[:2000]) if isinstance(url, str) and url.strip() else f"{name}#{number}"
        message = f"{name}, row {number}: {error.message}"
        return {"reject": vars(reject_input(error.kind, message, uri, name, number, _content(row)))}
    subtitles = target.subtitles_url
    return {
        "request": vars(target.request),
        "url": target.url.reveal(),
        "subtitles_url": subtitles and subtitles.reveal(),
    }


def _content(row: Row) -> Any:
    """What the key of a reject is made from, besides the row's number."""
    try:
        return row if isinstance(row, str) else {k: str(v) for k, v in row.items()}
    except (ValueError, RecursionError):  # a number, or nesting, that Python does not write
        return "a row"
