"""Making the Delta tables of a dataset, and adding the columns that older tables lack."""

from __future__ import annotations

import pyarrow as pa
from deltalake import DeltaTable, Schema

from curation.schema import Table

CHECKPOINT_VERSIONS = 10  # versions of a table's log from one checkpoint to the next


def create_table(uri: str, table: Table, options: dict[str, str] | None = None) -> DeltaTable:
    """The empty Delta table at `uri`; made if there is none."""
    return DeltaTable.create(
        uri,
        schema=table.schema,
        mode="ignore",
        name=table.name,
        description=(table.record.__doc__ or "").strip(),
        # otherwise checkpoints drop the log of versions older than a month, even of pinned ones
        configuration={"delta.enableExpiredLogCleanup": "false", "delta.checkpointInterval": str(CHECKPOINT_VERSIONS)},
        storage_options=options,
    )


def add_columns(delta: DeltaTable, table: Table) -> None:
    """Add the columns, nested ones too, that an older table lacks."""
    existing = {field.name: field.type for field in pa.schema(delta.schema())}
    new = [field for field in table.schema if existing.get(field.name) != field.type]
    if new:
        added = [_uncommented(field) if field.name in existing else field for field in new]
        delta.alter.add_columns(Schema.from_arrow(pa.schema(added)).fields)


def _uncommented(field: pa.Field) -> pa.Field:
    """`field` without comments, nested ones included: an existing column keeps its own, which may differ."""
    kind = field.type
    if pa.types.is_list(kind):
        kind = pa.list_(_uncommented(kind.value_field))
    elif pa.types.is_struct(kind):
        kind = pa.struct([_uncommented(inner) for inner in kind])
    return pa.field(field.name, kind, field.nullable)
