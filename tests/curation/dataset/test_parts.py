"""The content of parts: its digest stands in the commit, and every page has a checksum."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from curation.dataset.commits import read_commits
from curation.dataset.compact import compact
from curation.dataset.dataset import Dataset
from curation.dataset.writer import Writer
from curation.ids import file_digest
from curation.schema import TABLES
from tests.support.dataset_files import make_dataset


def added(dataset: Dataset) -> dict[str, str]:
    """The digests of all parts that commits have added, by path."""
    shares = (share for _, record in read_commits(dataset, 0) for share in record.get("tables", {}).items())
    return {f"{table}/{part['path']}": part["digest"] for table, share in shares for part in share["add"]}


def test_a_commit_has_the_digest_of_each_part_that_it_adds(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data")
    with Writer(dataset, "compact", {}) as writer:
        made = compact(writer).made
    digests = added(dataset)
    assert {f"{table}/{part.path}" for table, parts in made.items() for part in parts} < digests.keys()
    assert {path: file_digest(tmp_path / "data" / path) for path in digests} == digests
    live = {f"{table}/{path}" for table in TABLES for path in dataset.live_parts(table)}
    assert live <= digests.keys()


@pytest.mark.hostile("datasets")
@pytest.mark.parametrize("compacted", [False, True])
def test_a_flipped_bit_within_a_page_is_found_by_its_checksum(tmp_path: Path, compacted: bool) -> None:
    dataset = make_dataset(tmp_path / "data")
    if compacted:
        with Writer(dataset, "compact", {}) as writer:
            compact(writer)
    (path, *_) = dataset.live_parts("clips")
    file = tmp_path / "data" / "clips" / path
    column = pq.read_metadata(file).row_group(0).column(0)
    data = bytearray(file.read_bytes())
    first = column.dictionary_page_offset or column.data_page_offset
    data[first + column.total_compressed_size - 1] ^= 4  # the last byte of the last page
    file.write_bytes(data)
    with pytest.raises(OSError, match=r"(?i)crc|checksum"):
        pq.read_table(file, page_checksum_verification=True, partitioning=None)
