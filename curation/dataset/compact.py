"""Merging small parts into large ones, for all tables in one commit. Rows and their order stay the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from curation.dataset.dataset import Dataset
from curation.dataset.object_store import put, read_errors, write_errors
from curation.dataset.parts import FORMAT, ROW_GROUP_BYTES, Part, conform, part_name
from curation.dataset.writer import Writer
from curation.ids import file_digest
from curation.schema import TABLES

TARGET_BYTES = 64 * 2**20
_MARGIN = 1.1  # the size of the rest is only estimated, and a rest below the target becomes another small part


@dataclass(frozen=True)
class CompactReport:
    """By table, the parts that were merged, and those made from them."""

    merged: Mapping[str, Sequence[Part]] = field(default_factory=dict)
    made: Mapping[str, Sequence[Part]] = field(default_factory=dict)

    @property
    def parts(self) -> tuple[int, int]:
        """The number of parts that were merged, and of those made from them."""
        return sum(map(len, self.merged.values())), sum(map(len, self.made.values()))

    @property
    def size(self) -> int:
        """Bytes of the new parts."""
        return sum(part.size for parts in self.made.values() for part in parts)


def compact(writer: Writer, target: int = TARGET_BYTES) -> CompactReport:
    """Merge the parts of each table that are smaller than `target` bytes into parts of at least that, in one commit.

    If a table's small parts have fewer bytes in all, they become one part. Rows keep their order. Vacuum deletes the
    old parts. Holds one row group in memory at a time; new parts grow in a scratch folder.
    """
    dataset = writer.dataset
    small = {table: [p for p in dataset.live_parts(table).values() if p.size < target] for table in TABLES}
    merged = {table: parts for table, parts in small.items() if len(parts) > 1}
    made = {table: list(_merge(dataset, writer.lineage.epoch, parts, target)) for table, parts in merged.items()}
    if merged:
        old = [part for parts in merged.values() for part in parts]
        new = [part for parts in made.values() for part in parts]
        writer.commit(f"{writer.lineage.run_id}:compact", new, merged=old)
    return CompactReport(merged, made)


def _merge(dataset: Dataset, epoch: int, parts: Sequence[Part], target: int) -> Iterator[Part]:
    """Merge small parts of one table into new parts of at least `target` bytes, keeping the order of rows.

    A part ends only where the remaining rows fill another one, so that only a single new part may be smaller.
    """
    table = parts[0].table
    total = sum(part.size for part in parts)
    groups = _row_groups(dataset, parts)
    taken = written = 0  # bytes of the old parts so far, and of the new ones
    group = next(groups, None)
    with dataset.scratch() as scratch:
        while group is not None:
            new = _NewPart(table, epoch, scratch)
            while group is not None:
                rows, read = group
                new.write(rows)
                taken += read
                group = next(groups, None)
                shrunk = (written + new.size) / max(1, taken)
                if new.size >= target and (total - taken) * shrunk >= _MARGIN * target:
                    break
            part = new.finish(dataset)
            written += part.size
            yield part


def _row_groups(dataset: Dataset, parts: Sequence[Part]) -> Iterator[tuple[pa.Table, int]]:
    """The rows of `parts` in groups of about ROW_GROUP_BYTES, each with the number of bytes read for it."""
    schema = TABLES[parts[0].table].schema
    pieces: list[pa.Table] = []
    read = 0
    for part in parts:
        path = f"{part.table}/{part.path}"
        with read_errors(f"{dataset.uri}/{path}"), pq.ParquetFile(path, filesystem=dataset.filesystem) as file:
            count = file.metadata.num_row_groups
            for number in range(count):
                pieces.append(conform(file.read_row_group(number), schema, schema.names))
                read += part.size // count
                if sum(piece.nbytes for piece in pieces) >= ROW_GROUP_BYTES:
                    yield pa.concat_tables(pieces).combine_chunks(), read
                    pieces, read = [], 0
    if pieces:
        yield pa.concat_tables(pieces).combine_chunks(), read


class _NewPart:
    """A part that grows in a local file until it is complete."""

    def __init__(self, table: str, epoch: int, scratch: Path) -> None:
        self.table = table
        self.name = part_name(epoch)
        self.rows = 0
        self._path = scratch / self.name
        self._writer = pq.ParquetWriter(self._path, TABLES[table].schema, **FORMAT)

    @property
    def size(self) -> int:
        """Bytes so far, without the footer."""
        return self._path.stat().st_size

    def write(self, group: pa.Table) -> None:
        with write_errors(f"{self.table}/{self.name}"):
            self._writer.write_table(group, row_group_size=len(group))
        self.rows += len(group)

    def finish(self, dataset: Dataset) -> Part:
        with write_errors(f"{self.table}/{self.name}"):
            self._writer.close()
        size, content = self.size, file_digest(self._path)
        put(dataset.store, f"{self.table}/{self.name}", self._path)
        self._path.unlink()
        return Part(self.table, self.name, size, self.rows, content)
