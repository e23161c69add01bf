"""Writes docs/data.md from the schema: `python -m curation.dataset.schema_doc docs/data.md`."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from curation.rejects import RETRYABLE, Kind
from curation.schema import LINEAGE, TABLES, Table

INTRODUCTION = """\
# The data

<!-- Written by `python -m curation.dataset.schema_doc docs/data.md` from curation/records.py. Edit that, not this. -->

A dataset is a folder, or a prefix in an object store:

| path | contents |
|---|---|
| `<table>/*.parquet` | the rows, as zstd Parquet |
| `<table>/_delta_log/` | the table's Delta Lake log: which of these files make up which version |
| `media/` | stored media: one mp4 per video; every clip is a range of one |
| `sources/` | source media between download and segment |
| `commits/`, `lease.json` | the order of all commits, and the current writer |
| `pins/` | pinned versions: the version of each table, which `vidla vacuum` keeps |
| `releases/` | what was frozen under a name ([release.md](release.md)) |
| `<table>/_kept/` | what is left of parts that releases need, where something in them was forgotten |
| `logs/` | the logs of runs, as lines of JSON |
| `checksums/` | checksums of the logs of tables and runs, and copies of pins |
| `verdicts/` | what people said of clips, until the next writer takes it into `labels` |
| `quarantine/` | damaged files that `vidla verify --repair` has set aside; `vidla vacuum` deletes them |

Times are seconds (float64) on the stored media's clock, which starts at 0, unless a column says otherwise. Ids are
derived from the input, so that they are the same everywhere. Digests are BLAKE2, 32 hex digits; those of rows of
`signals`, which SQL computes, are of SHA-256. Unknown values are null.

## Reading it

Through the log, which always shows the current table:

```python
from deltalake import DeltaTable
import duckdb, polars as pl

clips = DeltaTable("data/clips").to_pyarrow_dataset()                 # or DeltaTable("data/clips", version=17)
duckdb.sql("select scale, count(*) from clips group by scale")
pl.scan_delta("data/clips").filter(pl.col("scale") == "short").collect()
```

By glob, with any Parquet reader: correct as long as nothing was superseded, and after `vidla vacuum`. The glob must be
exactly `table/*.parquet`, because checkpoints of the log are Parquet files too:

```python
from datasets import load_dataset

load_dataset("parquet", data_files="data/clips/*.parquet", streaming=True)
```

A clip's media is the range from `start` to `end` of `media_uri`; `vidla export` cuts it out without re-encoding.
Stored media must lie in the dataset: what a row names elsewhere, or by a link out of it, is not read.
The images in `frames` are JPEGs: `cast_column("image", datasets.Image())` displays them.

The series of `timelines` are lists with a value for each second, so that the seconds of a clip are a slice. DuckDB
counts from 1:

```sql
select clip_id, list_avg(motion[floor(start)::int + 1 : ceil("end")::int]) as motion
from clips join timelines using (video_id)
```

Two fingerprints are compared by the bits in which they differ: `(int(a, 16) ^ int(b, 16)).bit_count()`. Up to 31 of 256
is PDQ's bound for copies. Pictures with little to see, title cards and black frames match those of strangers: look at
`quality`, and at how common a hash is.

## Verifying, repairing, backing up

`vidla verify DIR` checks every file: parts against the digests in their commits, stored media and sources against
those in their rows, the logs of tables against the commits and `checksums/`, commits, pins and the lease against their
own checksums, and the rows of the tables against each other. It lists what is missing or damaged by kind, and exits
with 1. `--sample N` reads only N parts and N media files, chosen at random. Parts of older versions have no digest:
they are read, and counted as "without digest".

`vidla verify DIR --repair` works as the writer of the dataset, in one commit. Rows of lost parts, and videos whose
stored media is damaged, become pending, and the next `vidla curate --dataset DIR` makes them again; texts that are
still good are not paid for twice. Lost `requests` need their lists again. Damaged pins, commits and logs of tables are
written again from what else is known. Lost `timelines` are measured again by `vidla curate --refresh timelines`.
Nothing is deleted: damaged files go to `quarantine/`. An interrupted repair is
repeated.

On a local disk, what is reported as committed outlives a power cut: the files that a commit lists are flushed before
it, the logs of the tables after it, and both before anything that they replace is deleted. A power cut may leave files
without content that nothing refers to; the next run sweeps them. Emptied or cut logs of tables, and the lease, are made
again when a dataset is opened for writing. Anything else that is emptied or cut is told in one line, and
`vidla verify --repair` mends it.

A backup is a copy of the whole folder or prefix, made while no run writes to it (`vidla inspect` shows a writer), or a
snapshot of the file system or bucket. Do not leave out `commits/`, `lease.json`, `pins/` and `checksums/`. A copy made
while a run commits is torn: some of its tables have commits that others lack. No command writes to such a copy or
deletes from it; it says which table is ahead or behind, and `vidla verify COPY --repair` mends it: what the copy lacks
is pending then. Verify each backup once: `vidla verify COPY`.

## Tables
"""


def page() -> str:
    """The contents of docs/data.md."""
    tables = "\n".join(_table(table) for table in TABLES.values())
    rows = "\n".join(_rows(LINEAGE))
    lineage = f"### In every table\n\nThe origin of the row.\n\n{_HEAD}\n{rows}\n"
    kinds = ", ".join(f"`{kind}`" for kind in Kind if kind not in RETRYABLE)
    retryable = ", ".join(f"`{kind}`" for kind in Kind if kind in RETRYABLE)
    rejects = f"### Kinds of reject\n\nA retry can help: {retryable}.\n\nIt cannot: {kinds}.\n"
    return f"{INTRODUCTION}\n{tables}\n{lineage}\n{rejects}"


_HEAD = "| column | type | null | meaning |\n|---|---|---|---|"


def _table(table: Table) -> str:
    own = [field for field in table.schema if field.name not in LINEAGE.names]
    key = ", ".join(f"`{name}`" for name in table.key)
    what = " ".join(inspect.cleandoc(table.record.__doc__ or "").split())
    rows = "\n".join(_rows(own))
    return f"### {table.name}\n\n{what} One row for each {key}.\n\n{_HEAD}\n{rows}\n"


def _rows(fields: pa.Schema | list[pa.Field], above: str = "") -> Iterator[str]:
    for field in fields:
        meaning = (field.metadata or {}).get(b"comment", b"").decode().replace("|", "\\|")
        null = "may be" if field.nullable else ""
        yield f"| `{above}{field.name}` | {_type(field.type)} | {null} | {meaning} |"
        inner = field.type.value_type if pa.types.is_list(field.type) else field.type
        if pa.types.is_struct(inner):
            yield from _rows(list(inner), f"{above}{field.name}.")


def _type(kind: pa.DataType) -> str:
    if pa.types.is_list(kind):
        return f"list of {_type(kind.value_type)}"
    if pa.types.is_struct(kind):
        return "struct"
    return str(kind).replace("double", "float64")


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")
