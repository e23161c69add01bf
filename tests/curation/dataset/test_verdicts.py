"""Verdicts: files that need no lease, taken into the table by the next writer, once, whatever happens in between."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from curation.dataset import verdicts
from curation.dataset.dataset import Dataset
from curation.dataset.forget import forget
from curation.dataset.object_store import put
from curation.dataset.verdicts import FOLDER, Judged, judge, labels_now, waiting
from curation.dataset.writer import Writer
from curation.errors import UsageError
from tests.support.dataset_files import download_of, made_of, make_dataset, stored_media

CLIP = made_of(0, stored_media())["clips"][0]
JUDGED = Judged(CLIP.clip_id, CLIP.video_id)


def said(dataset: Dataset) -> list[tuple[str, str, str | None]]:
    rows = sorted(labels_now(dataset).to_pylist(), key=lambda row: (row["judged_at"], row["label_id"]))
    own = (row for row in rows if "-" in row["label_id"])  # not those that came with the dataset
    return [(row["rater"], row["verdict"], row["note"]) for row in own]


def test_a_verdict_is_read_at_once_and_taken_in_by_the_next_writer(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data", videos=1)
    with Writer(dataset, "run-2", {}) as writer:
        judge(dataset, JUDGED, "drop", " blurred ", "ada")
        assert said(dataset) == [("ada", "drop", "blurred")], "while another writes"
        assert not writer.lost.is_set()
    assert len(waiting(dataset)) == 1 and dataset.read("labels").num_rows == 1
    judge(dataset, Judged(CLIP.clip_id, CLIP.video_id, "caption", "A bee"), "minor", "", "bob")
    with Writer(dataset, "run-3", {}):
        assert not waiting(dataset)
    assert dataset.read("labels").num_rows == 3
    assert said(dataset) == [("ada", "drop", "blurred"), ("bob", "minor", None)]


@pytest.mark.hostile("failures")
@pytest.mark.parametrize("at", ["commit", "delete"])
def test_a_killed_writer_takes_in_none_twice(at: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = make_dataset(tmp_path / "data", videos=1)
    judge(dataset, JUDGED, "flag", "", "ada")

    def dead(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(*((Writer, "commit", dead) if at == "commit" else (Dataset, "delete", dead)))
        with pytest.raises(KeyboardInterrupt):
            Writer(dataset, "run-2", {}).__enter__()
    assert said(dataset) == [("ada", "flag", None)]
    with Writer(dataset, "run-3", {}):
        pass
    assert said(dataset) == [("ada", "flag", None)] and not waiting(dataset)
    assert dataset.read("labels").num_rows == 2


def test_many_judge_at_a_time(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data", videos=1)
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda number: judge(dataset, JUDGED, "keep", "", f"rater {number}"), range(64)))
    assert len({rater for rater, _, _ in said(dataset)}) == 64


def test_what_is_forgotten_is_not_judged(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data", videos=2)
    with Writer(dataset, "run-2", {}) as writer:
        forget(writer, "video", download_of(0).video_id)
    assert not [row for row in dataset.read("labels").to_pylist() if row["video_id"] == CLIP.video_id]
    judge(dataset, JUDGED, "keep", "", "ada")  # from a page that was open
    with Writer(dataset, "run-3", {}):
        pass
    assert not said(dataset) and not waiting(dataset)


@pytest.mark.hostile("datasets")
@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b'{"label_id": 1}', b"\xff", b"{}" * 10_000, b"[" * 9_000])
def test_what_is_no_verdict_is_passed_over(data: bytes, tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data", videos=1)
    put(dataset.store, f"{FOLDER}x.json", data)
    judge(dataset, JUDGED, "keep", "", "ada")
    assert len(waiting(dataset)) == 1
    with Writer(dataset, "run-2", {}):
        pass
    assert said(dataset) == [("ada", "keep", None)]


@pytest.mark.parametrize(
    ("judged", "verdict", "note"),
    [
        (JUDGED, "right", ""),
        (JUDGED, "", ""),
        (Judged("c", "v", "caption"), "keep", ""),
        (Judged("c", "v", "title"), "right", ""),
        (JUDGED, "keep", "x" * 3_000),
    ],
)
def test_what_is_no_verdict_is_refused(judged: Judged, verdict: str, note: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        judge(Dataset(str(tmp_path / "data")), judged, verdict, note, "ada")
    assert verdicts.FOLDER not in {path.name for path in tmp_path.iterdir()}
