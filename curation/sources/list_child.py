"""The function that runs in the guarded child process: rows of a list to targets. JSON in, JSON out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from curation.errors import InputError
from curation.rejects import Kind, Rejected
from curation.sources.input_lists import Place, Row, read_rows
from curation.sources.targets import reject_input, row_name, target_in_row
from curation.uris import redact


def targets(argument: dict[str, Any]) -> dict[str, Any]:
    """The targets in up to `count` rows of the list {path, place, count, fault, files_under}.

    With a `fault`, it is that of all. Files must be below `files_under`, and are refused without it. Returns {found,
    after}: of each row {request, url, subtitles_url, row, states} or {reject}, and the place after them. A list that
    cannot be read is {"error": message}.
    """
    path = Path(argument["path"])
    place = Place(**argument["place"])
    try:
        batch = read_rows(path, place, argument["count"])
    except InputError as error:
        return {"error": str(error)}
    under = argument["files_under"] and Path(argument["files_under"])
    found = [_target(path.name, number, argument["fault"] or row, under) for number, row in batch.rows]
    return {"found": found, "after": batch.after and vars(batch.after)}


def _target(name: str, number: int, row: Row, files_under: Path | None) -> dict[str, Any]:
    try:
        if isinstance(row, str):
            raise Rejected(Kind.INVALID_REQUEST, row)
        target = target_in_row(row, files_under)
    except Rejected as error:
        url = None if isinstance(row, str) else row.get("url")
        uri = redact(url[:2000]) if isinstance(url, str) and url.strip() else f"{name}#{number}"
        message = f"{row_name(name, number)}: {error.message}"
        return {"reject": vars(reject_input(error.kind, message, uri, name, number, _content(row)))}
    subtitles = target.subtitles_url
    return {
        "request": vars(target.request),
        "url": target.url.reveal(),
        "subtitles_url": subtitles and subtitles.reveal(),
        "row": row_name(name, number),
        "states": not name.lower().endswith(".txt"),
    }


def _content(row: Row) -> Any:
    """What the key of a reject is made from, besides the row's number."""
    try:
        return row if isinstance(row, str) else {k: str(v) for k, v in row.items()}
    except (ValueError, RecursionError):  # a number, or nesting, that Python does not write
        return "a row"
