"""The books: wanted = made + rejected + pending, and strays are found."""

from __future__ import annotations

from pathlib import Path

import pytest

from curation.dataset.books import Account, balance
from curation.dataset.commits import Replacement
from curation.dataset.dataset import Dataset
from curation.dataset.object_store import put
from curation.dataset.parts import PartWriter
from curation.dataset.writer import Writer
from curation.schema import TABLES
from tests.support.dataset_files import (
    add_videos,
    commit_rows,
    download_of,
    made_of,
    make_dataset,
    reject_of,
    request_of,
    stored_media,
    verdict_of,
)

STAGES = ("download", "segment", "caption", "summarize")


def counts(dataset: Dataset) -> dict[str, tuple[int, int, int, int]]:
    return {a.stage: (a.wanted, a.made, a.rejected, a.pending) for a in balance(dataset).accounts}


def writer_of(dataset: Dataset) -> Writer:
    return Writer(dataset, "run-2", {"command": "test"})


def test_the_books_of_a_finished_run_balance(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data", videos=2, uncaptioned=1)
    books = balance(dataset)
    assert counts(dataset) == {
        "download": (4, 3, 1, 0),
        "segment": (3, 2, 1, 0),
        "caption": (8, 6, 2, 0),
        "summarize": (14, 14, 0, 0),
    }
    assert books.imbalances(STAGES) == []
    assert books.lines()[0] == "4 requests = 3 downloaded + 1 rejected + 0 pending"


def test_an_empty_dataset_balances(tmp_path: Path) -> None:
    dataset = Dataset(str(tmp_path / "data"))
    dataset.create()
    assert balance(dataset).imbalances(STAGES) == []
    assert counts(dataset) == dict.fromkeys(STAGES, (0, 0, 0, 0))


def test_pending_items_are_an_imbalance_of_their_stage_alone(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data")
    with writer_of(dataset) as writer:
        commit_rows(writer, "more", {"requests": [request_of(5), request_of(6)], "downloads": [download_of(6)]})
    books = balance(dataset)
    assert counts(dataset)["download"] == (6, 4, 1, 1)
    assert counts(dataset)["segment"] == (4, 2, 1, 1)
    assert books.imbalances() == []
    assert books.imbalances(["download"]) == ["1 of 6 requests are neither downloaded nor rejected"]
    assert books.imbalances(["segment"]) == ["1 of 4 videos are neither segmented nor rejected"]


def test_the_same_video_asked_for_twice_is_one_video(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data")
    again = request_of(7)
    with writer_of(dataset) as writer:
        twin = {**vars(download_of(0)), "request_key": again.request_key, "uri": again.uri}
        commit_rows(writer, "again", {"requests": [again], "downloads": [type(download_of(0))(**twin)]})
    assert counts(dataset)["download"] == (5, 4, 1, 0)
    assert counts(dataset)["segment"] == (3, 2, 1, 0)
    assert balance(dataset).imbalances(STAGES) == []


def test_a_made_item_counts_as_made_even_if_a_later_attempt_is_rejected(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data")
    video = download_of(0)
    with writer_of(dataset) as writer:
        rejects = [
            reject_of(video.request_key, None, video.uri, "download", "timeout"),
            reject_of(video.video_id, video.video_id, video.uri, "segment", "unreadable"),
        ]
        commit_rows(writer, "later", {"rejects": rejects})
    assert counts(dataset)["download"] == (4, 3, 1, 0)
    assert counts(dataset)["segment"] == (3, 2, 1, 0)


@pytest.mark.parametrize("key", ["clip", "video"])
def test_clips_may_be_rejected_one_by_one_or_with_their_video(tmp_path: Path, key: str) -> None:
    dataset = make_dataset(tmp_path / "data")
    rows = made_of(5, stored_media(seed=5))
    video_id = download_of(5).video_id
    keys = [s.clip_id for s in rows["segments"]] if key == "clip" else [video_id]
    with writer_of(dataset) as writer:
        put(dataset.store, rows["videos"][0].media_uri, stored_media(seed=5))
        made = {name: rows[name] for name in ("videos", "frames", "segments", "captions")}
        rejects = [reject_of(k, video_id, download_of(5).uri, "summarize", "engine") for k in keys]
        asked = {"requests": [request_of(5)], "downloads": [download_of(5)]}
        commit_rows(writer, "without texts", {**asked, **made, "rejects": rejects})
    assert counts(dataset)["summarize"] == (21, 14, 7, 0)


STRAYS = {
    "downloads": "1 downloads without a request",
    "videos": "1 videos without a download",
    "frames": "4 frames without a video",
    "captions": "4 captions of missing frames",
    "segments": "7 segments without a video",
    "summaries": "6 summaries without a segment",
    "clips": "7 clips without a segment",
}


@pytest.mark.parametrize("table", STRAYS)
def test_a_row_without_its_parent_is_an_imbalance(tmp_path: Path, table: str) -> None:
    dataset = make_dataset(tmp_path / "data")
    media = stored_media(seed=5)
    rows = {**made_of(5, media), "downloads": [download_of(5)]}[table]
    with writer_of(dataset) as writer:
        put(dataset.store, made_of(5, media)["videos"][0].media_uri, media)
        commit_rows(writer, "stray", {table: rows})
    assert STRAYS[table] in balance(dataset).imbalances()


def test_texts_of_a_video_that_was_cut_again_are_outdated_and_not_wrong(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data")
    longest = [segment for segment in made_of(0, stored_media())["segments"] if segment.scale == "long"]
    gone = frozenset({(download_of(0).video_id,)})
    with writer_of(dataset) as writer:
        cut = Replacement("segments", ("video_id",), gone, frozenset(dataset.live_parts("segments")))
        commit_rows(writer, "cut", {"segments": longest}, [cut])
    books, again = balance(dataset), "of a video are outdated: it has been cut again since"
    assert [line.partition(",")[0] for line in books.outdated] == [f"4 summaries {again}", f"6 clips {again}"]
    assert books.imbalances(["download", "segment"]) == []
    assert len(books.imbalances(STAGES)) == 2, "a complete run leaves none"


@pytest.mark.parametrize("table", [name for name in TABLES if name != "forgotten"])
def test_a_duplicate_row_is_an_imbalance(tmp_path: Path, table: str) -> None:
    dataset = make_dataset(tmp_path / "data", uncaptioned=1)
    with writer_of(dataset) as writer:
        commit_rows(writer, "policy", {"policies": [verdict_of(made_of(0, b"")["clips"][0])]})
        source = dataset.read(table).slice(0, 1)
        parts = PartWriter(dataset.store, writer.lineage, 1 << 30)
        parts.add_rows(table, source.cast(TABLES[table].schema))
        writer.commit("twice", parts.finish())
    assert f"1 duplicate rows of {table}" in balance(dataset).imbalances()


def test_missing_and_torn_media_are_imbalances(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data")
    first, second = sorted((tmp_path / "data" / "media").glob("*/*.mp4"))
    first.unlink()
    second.write_bytes(second.read_bytes()[:-1])
    assert balance(dataset).imbalances() == [
        "1 videos whose stored media is missing",
        "1 videos whose stored media has another size",
    ]


def test_a_video_awaiting_texts_is_pending_not_wrong(tmp_path: Path) -> None:
    dataset = Dataset(str(tmp_path / "data"))
    with writer_of(dataset) as writer:
        add_videos(writer, [0])
        commit_rows(writer, "more", {"requests": [request_of(1)], "downloads": [download_of(1)]})
        media = stored_media(seed=1)
        rows = made_of(1, media)
        put(dataset.store, rows["videos"][0].media_uri, media)
        commit_rows(writer, "segmented", {name: rows[name] for name in ("videos", "frames", "segments")})
    books = balance(dataset)
    assert books.imbalances(["download", "segment"]) == []
    assert Account("caption", "frames", "captioned", 8, 4, 0) in books.accounts
    assert len(books.imbalances(STAGES)) == 2
