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
| `logs/` | the logs of runs, as lines of JSON |

Times are seconds (float64) on the stored media's clock, which starts at 0, unless a column says otherwise. Ids are
derived from the input, so that they are the same everywhere. Digests are BLAKE2, 32 hex digits. Unknown values are
null.

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
The images in `frames` are JPEGs: `cast_column("image", datasets.Image())` displays them.

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
