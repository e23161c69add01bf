"""What is wrong with one file of a dataset, in a few words; None if nothing is, as far as can be told."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.parquet as pq

from curation.dataset.checksums import LATEST, checksum_of, log_of
from curation.dataset.creation import create_table
from curation.dataset.dataset import Dataset, rows_of
from curation.dataset.object_store import read_errors
from curation.dataset.parts import Part
from curation.errors import DatasetError, one_line
from curation.ids import content_digest
from curation.schema import TABLES

MISSING = "it is missing"


def difference(dataset: Dataset, path: str, size: int, digest: str) -> str | None:
    """How a file differs from its size and digest."""
    try:
        found = checksum_of(dataset.store, path)
    except FileNotFoundError:
        return MISSING
    if found.size != size:
        return f"it has {found.size:,} bytes instead of {size:,}"
    return None if found.digest == digest else "its content has changed"


def fault_of_part(dataset: Dataset, part: Part) -> str | None:
    """What is wrong with a part. One without a digest is read as far as that shows anything."""
    path = f"{part.table}/{part.path}"
    if part.digest is not None:
        return difference(dataset, path, part.size, part.digest)
    try:
        with dataset.filesystem.open_input_file(path) as file:
            if file.size() != part.size:
                return f"it has {file.size():,} bytes instead of {part.size:,}"
            return _fault_within(part, pq.ParquetFile(file, page_checksum_verification=True))
    except FileNotFoundError:
        return MISSING
    except (pa.ArrowException, OSError, ValueError) as error:
        return f"it cannot be read: {one_line(error, 200)}"


def _fault_within(part: Part, file: pq.ParquetFile) -> str | None:
    if file.metadata.num_rows != part.rows:
        return f"it has {file.metadata.num_rows:,} rows instead of {part.rows:,}"
    unknown = set(file.schema_arrow.names) - set(TABLES[part.table].schema.names)
    if unknown:
        return f"it has a column '{min(unknown)}'"
    for number in range(file.num_row_groups):
        rows = file.read_row_group(number)
        rows.validate(full=True)
        if part.table == "frames":
            for row in rows_of(rows.select(["image", "image_digest"])):
                if content_digest(row["image"]) != row["image_digest"]:
                    return "the image of a frame has changed"
    return None


def fault_of_log(dataset: Dataset, path: str) -> str | None:
    """What is wrong with a file of a table's log that has no checksum: whether it can be read."""
    try:
        if path.endswith(".parquet"):
            pq.read_table(pa.BufferReader(dataset.get(path)), page_checksum_verification=True)
        else:
            data = dataset.get(path)
            for line in data.splitlines() or [b""]:
                json.loads(line)
            if not path.endswith(LATEST):
                _read_version(path, data)
    except (ValueError, pa.ArrowException, OSError) as error:
        return f"it cannot be read: {one_line(error, 200)}"
    except DatasetError:
        return "Delta cannot read it"
    return None


def _read_version(path: str, actions: bytes) -> None:
    """Have Delta read a version of a table's log: by itself if it is the first, else after a new table's first.

    Raises DatasetError.
    """
    table, version = path.partition("/")[0], int(PurePosixPath(path).stem)
    with tempfile.TemporaryDirectory(prefix="vidla-log-") as folder:
        dataset = Dataset(folder)
        log = Path(folder, log_of(table))
        if version:
            create_table(f"{dataset.uri}/{table}", TABLES[table])
        log.mkdir(parents=True, exist_ok=True)
        (log / f"{min(version, 1):020d}.json").write_bytes(actions)
        with read_errors(path):
            dataset.live_parts(table)
            dataset.delta(table).schema()
