"""The content of parts: its digest stands in the commit, and every page has a checksum."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from curation.dataset import parts
from curation.dataset.commits import read_commits
from curation.dataset.compact import compact
from curation.dataset.dataset import Dataset
from curation.dataset.writer import Writer
from curation.ids import file_digest
from curation.records import Row, SubtitleTrack, VideoRequest
from curation.schema import TABLES
from tests.support.dataset_files import download_of, make_dataset, request_of


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


_REQUEST = {"request_key": "k", "uri": "https://a.example/x"}


@pytest.mark.hostile("text")
@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (VideoRequest(**_REQUEST, metadata="\ud83d"), "requests"),
        (VideoRequest(**_REQUEST, start="soon"), "requests"),  # type: ignore[arg-type]
        (VideoRequest(**_REQUEST, id=["a"]), "requests"),  # type: ignore[arg-type]
        (VideoRequest(**_REQUEST, local=None), "no value for local"),  # type: ignore[arg-type]
        (VideoRequest(request_key="k", uri=b"\xff"), "requests"),  # type: ignore[arg-type]
        (dataclasses.replace(download_of(0), source_bytes=2**63), "downloads"),
        (dataclasses.replace(download_of(0), subtitles=None), "downloads"),  # type: ignore[arg-type]
        (dataclasses.replace(download_of(0), subtitles=(SubtitleTrack("en", "manual", "vtt", None),)), "for subtitles"),  # type: ignore[arg-type]
        (dataclasses.replace(download_of(0), subtitles=(None,)), "downloads"),  # type: ignore[arg-type]
        (dataclasses.replace(download_of(0), subtitles=("text",)), "downloads"),  # type: ignore[arg-type]
        (dataclasses.replace(download_of(0), title="x" * 3000), "more than 2000 bytes"),
    ],
)
def test_of_rows_that_cannot_be_written_together_none_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bad: Any, says: str
) -> None:
    monkeypatch.setattr(parts, "ROW_BYTES", 2000)
    writer = parts.PartWriter(Dataset(str(tmp_path)).store, parts.Lineage("run", 1), 1 << 20)
    good = Row(request_of(0), "digest")
    with pytest.raises(parts.UnwritableRow, match=says):
        writer.add([good, Row(bad, "digest")])
    writer.add([good])
    assert [(part.table, part.rows) for part in writer.finish()] == [("requests", 1)]


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
