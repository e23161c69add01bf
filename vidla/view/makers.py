"""The texts of two prompts or models side by side: those of now, and earlier ones that vacuum has not deleted."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from curation.dataset import database
from curation.dataset.database import literal
from curation.dataset.parts import Part
from curation.dataset.vacuum import parts_on_disk
from curation.errors import DatasetError, PromptError, UsageError, one_line
from curation.ids import digest
from curation.prompts import load_prompts
from vidla.view.choice import PAGE
from vidla.view.tables import LiveTables, Row
from vidla.view.words import marked

MADE_BY = "by:"  # a maker's name in a URL, after which its id follows
_KINDS = {  # the table of each kind of text, the condition for its rows, and their key
    "captions of frames": ("captions", "true", "frame_id"),
    "summaries of captions": ("summaries", "kind = 'captions'", "clip_id"),
    "summaries of subtitles": ("summaries", "kind = 'subtitles'", "clip_id"),
}
_MADE_WITH = ("engine", "model", "revision", "prompt_digest")


@dataclass(frozen=True)
class Maker:
    """A model with a prompt, and the number of its texts of one kind."""

    kind: str
    engine: str
    model: str
    revision: str
    prompt_digest: str
    texts: int

    @property
    def name(self) -> str:
        """Its name in a URL."""
        return MADE_BY + digest(self.kind, self.engine, self.model, self.revision, self.prompt_digest)[:16]

    @property
    def title(self) -> str:
        revision = f" {self.revision[:8]}" if self.revision else ""
        name = bundled_prompts().get(self.prompt_digest, self.prompt_digest[:8])
        prompt = f", prompt {name}" if name else ""
        return f"{self.engine}/{self.model}{revision}{prompt} ({self.texts:,} texts)"

    @property
    def condition(self) -> str:
        """The rows of its table that it has made."""
        given = (f"{column} = {literal(getattr(self, column))}" for column in _MADE_WITH)
        return " and ".join([_KINDS[self.kind][1], "text is not null", *given])


@functools.cache
def bundled_prompts() -> Mapping[str, str]:
    """Names of the prompts that come with vidla, by digest."""
    try:
        return {prompt.digest: f"{prompt.id} {prompt.version}" for prompt in load_prompts().values()}
    except PromptError:
        return {}


def makers(tables: LiveTables) -> Sequence[Maker]:
    """Everything that has made texts which are still there. Raises DatasetError."""
    tables.now()
    return _makers(tables, tables.commit)


@functools.lru_cache(4)
def _makers(tables: LiveTables, commit: int) -> Sequence[Maker]:
    columns = ", ".join(_MADE_WITH)
    found = []
    for kind, (table, condition, key) in _KINDS.items():
        query = f"select {columns}, count(distinct {key}) as texts from texts where {condition} and text is not null"
        rows = _rows(tables, table, f"{query} group by all order by max(created_at) desc, {columns}")
        found += [Maker(kind, **row) for row in rows]
    return found


def compared_makers(tables: LiveTables, a: str, b: str, which: str, page: int) -> Mapping[str, Any]:
    """What the page shows of two makers, as `compare_page` has it of two versions. Raises UsageError, DatasetError."""
    known = {maker.name: maker for maker in makers(tables)}
    if not {a, b} <= known.keys() or known[a].kind != known[b].kind:
        raise UsageError("choose two versions, or two that made texts of the same kind")
    table, _, key = _KINDS[known[a].kind]
    conditions = {"changed": "a <> b", "a": "b is null", "b": "a is null"}
    if which not in conditions:
        raise UsageError(f"choose one of {', '.join(conditions)}")
    sides = (("a", known[a].condition), ("b", known[b].condition))
    last = ", ".join(f"arg_max(text, created_at) filter ({condition}) as {side}" for side, condition in sides)
    pairs = f"""from (
        select {key} as key, any_value(video_id) as video_id, {last} from texts
        where {" or ".join(f"({condition})" for _, condition in sides)} group by {key})"""
    counts = ", ".join(f"count(*) filter ({condition}) as {name}" for name, condition in conditions.items())
    (count,) = _rows(tables, table, f"select {counts}, count(*) as clips {pairs}")
    rows = _rows(
        tables,
        table,
        f"select * {pairs} where {conditions[which]} order by video_id, key limit {PAGE} offset {(page - 1) * PAGE}",
    )
    clips = _clips_of(tables, key, [row["key"] for row in rows])
    return {
        "count": count,
        "unit": "frames" if key == "frame_id" else "clips",
        "clips": [
            {**_NO_CLIP, **clips.get(row["key"], {}), "caption_text": marked(row["a"], row["b"])} for row in rows
        ],
    }


_NO_CLIP: Row = {"clip_id": None, "frame_ids": [], "subtitle_text": None}


def _clips_of(tables: LiveTables, key: str, keys: Sequence[str]) -> Mapping[str, Row]:
    """By key, the clip that is shown for it: of a frame, the shortest that it is in, with this frame alone."""
    if not keys:
        return {}
    among = ", ".join(map(literal, keys))
    if key == "clip_id":
        columns = 'clip_id as key, clip_id, scale, start, "end", frame_ids'
        rows = tables.rows(f"select {columns} from clips where clip_id in ({among})")
    else:
        rows = tables.rows(
            f"""select key, clip_id, scale, start, "end", [key] as frame_ids
            from (select *, unnest(frame_ids) as key from clips) where key in ({among})
            qualify row_number() over (partition by key order by "end" - start) = 1"""
        )
    return {row["key"]: row for row in rows}


def _rows(tables: LiveTables, table: str, query: str) -> list[Row]:
    """The answer to a query on `texts`: all rows of a table that are still there, whatever version they are of."""
    now = tables.now()
    parts = [Part(table, name, size, 0) for name, size in sorted(parts_on_disk(tables.dataset, table))]
    with database.transaction() as connection:
        try:
            connection.register("texts", now.arrow_of(table, parts, now.arrow(table).schema))
            found: list[Row] = connection.sql(query).to_arrow_table().to_pylist()
            return found
        except (duckdb.Error, OSError) as error:
            raise DatasetError(f"the texts cannot be read: {one_line(str(error).partition(chr(10))[0])}") from None
