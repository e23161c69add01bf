"""Two versions of the dataset side by side: the clips whose texts differ, with the words that do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from curation.dataset import database
from curation.dataset.dataset import Dataset
from curation.dataset.pins import pins
from curation.dataset.snapshots import DatasetSnapshot, versions_after
from curation.errors import DatasetError, UsageError, one_line
from vidla.inspect import runs
from vidla.view.choice import PAGE, TEXT_COLUMNS
from vidla.view.makers import MADE_BY, compared_makers, makers
from vidla.view.tables import LiveTables, Row
from vidla.view.words import marked

_MOST_RUNS = 20
_ENDS = 'start, "end", scale, video_id, frame_ids'
_JOINED = f"""
    from (select clip_id, {_ENDS}, {", ".join(TEXT_COLUMNS)} from a) as a
    full join (select clip_id, {_ENDS}, {", ".join(TEXT_COLUMNS)} from b) as b using (clip_id)"""


@dataclass(frozen=True)
class Version:
    """A version of the tables that can be compared: its name in a URL, and what it is."""

    name: str
    title: str


def versions(dataset: Dataset) -> list[Version]:
    """Now, the pins, and the states after the latest runs, the last run first."""
    pinned = [Version(f"pin:{name}", f"pinned as {name}") for name in pins(dataset)]
    latest = reversed(runs(dataset, _MOST_RUNS))
    ran = [Version(f"run:{run['run_id']}", f"after {run['run_id']} ({run['command']})") for run in latest]
    return [Version("now", "now"), *pinned, *ran]


def at_version(tables: LiveTables, name: str) -> DatasetSnapshot:
    """The tables as of a version. Raises UsageError if there is none of that name."""
    dataset, (kind, _, which) = tables.dataset, name.partition(":")
    if name == "now":
        return tables.now()
    if kind == "pin" and (found := pins(dataset).get(which)) is not None:
        return DatasetSnapshot(dataset.uri, found, tables.copies)
    if kind == "run" and which in (ended := {run["run_id"]: run["last"] for run in runs(dataset, _MOST_RUNS)}):
        return DatasetSnapshot(dataset.uri, versions_after(dataset, ended[which]), tables.copies)
    if kind == "commit" and which.isdecimal() and len(which) < 19:
        return DatasetSnapshot(dataset.uri, versions_after(dataset, int(which)), tables.copies)
    raise UsageError(f"there is no version '{name}'")


def frozen(tables: LiveTables, name: str) -> str:
    """The name of a version that stays what it is: the last commit for "now"."""
    if name != "now":
        return name
    tables.now()
    return f"commit:{tables.commit}"


def compare_page(tables: LiveTables, a: str, b: str, which: str, page: int) -> Mapping[str, Any]:
    """What the page shows of two versions, or of two makers of texts.

    `which` is "changed", or "a" or "b" for what only one of them has. Raises UsageError, and DatasetError if the files
    of a version are deleted.
    """
    by_makers = a.startswith(MADE_BY) or b.startswith(MADE_BY)
    found = (compared_makers if by_makers else _compared_versions)(tables, a, b, which, page)
    return {
        "versions": versions(tables.dataset),
        "makers": makers(tables),
        "chosen": {"a": a, "b": b, "which": which},
        "page": page,
        "pages": max(1, -(-found["count"][which] // PAGE)),
        **found,
    }


def _compared_versions(tables: LiveTables, a: str, b: str, which: str, page: int) -> Mapping[str, Any]:
    conditions = {
        "changed": f"a.video_id is not null and b.video_id is not null and ({_differ(TEXT_COLUMNS)})",
        "a": "b.video_id is null",
        "b": "a.video_id is null",
    }
    if which not in conditions:
        raise UsageError(f"choose one of {', '.join(conditions)}")
    counts = ", ".join(f"count(*) filter ({condition}) as {name}" for name, condition in conditions.items())
    texts = ", ".join(f"{side}.{text} as {side}_{text}" for side in "ab" for text in TEXT_COLUMNS)
    ends = ", ".join(f"coalesce(a.{end}, b.{end}) as {end}" for end in map(str.strip, _ENDS.split(",")))
    (count,), clips = asked(
        at_version(tables, a),
        at_version(tables, b),
        f"select {counts}, count(*) as clips {_JOINED}",
        f"select clip_id, {ends}, {texts} {_JOINED} where {conditions[which]} "
        f"order by video_id, start, clip_id limit {PAGE} offset {(page - 1) * PAGE}",
    )
    return {
        "count": count,
        "unit": "clips",
        "clips": [
            {**clip, **{text: marked(clip[f"a_{text}"], clip[f"b_{text}"]) for text in TEXT_COLUMNS}} for clip in clips
        ],
    }


def _differ(texts: Sequence[str]) -> str:
    return " or ".join(f"a.{text} is distinct from b.{text}" for text in texts)


def asked(a: DatasetSnapshot, b: DatasetSnapshot, *queries: str) -> list[list[Row]]:
    """The answers to queries on the clips of two versions, which are called a and b. Raises DatasetError."""
    with database.transaction() as connection:
        try:
            connection.register("a", a.arrow("clips"))
            connection.register("b", b.arrow("clips"))
            return [connection.sql(query).to_arrow_table().to_pylist() for query in queries]
        except (duckdb.Error, DatasetError, OSError) as error:
            reason = one_line(str(error).partition("\n")[0])
            raise DatasetError(
                f"a version cannot be read any more ({reason}); `vidla vacuum` deletes what no pin keeps"
            ) from None
