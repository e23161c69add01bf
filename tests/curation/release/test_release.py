"""Releases: clips frozen under a name, read at their versions, without what is forgotten or has opted out since."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from curation.card import card
from curation.dataset.commits import Replacement
from curation.dataset.dataset import Dataset
from curation.dataset.edits import removal, replacing
from curation.dataset.forget import forget, look
from curation.dataset.pins import pins
from curation.dataset.vacuum import vacuum
from curation.dataset.verify import verify
from curation.dataset.writer import Writer
from curation.errors import DatasetError, UsageError
from curation.export.export import export
from curation.export.manifest import MANIFEST
from curation.export.selection import EVERYTHING, clips_of
from curation.release.freeze import freeze, remove, state_of
from curation.release.release import names_of_releases, path_of_release, read_release, release_at
from curation.release.release_digest import tally
from curation.release.released_dataset import ReleasedDataset, open_source
from curation.splits import is_held_out
from tests.support.bucket import Bucket
from tests.support.dataset_files import (
    add_videos,
    commit_rows,
    download_of,
    made_of,
    make_dataset,
    page_of,
    reject_of,
    request_of,
    stored_media,
)

Command = Callable[..., "subprocess.CompletedProcess[str]"]


def writer_of(dataset: Dataset) -> Writer:
    return Writer(dataset, "run-2", {"command": "test"})


def rewrite_texts(dataset: Dataset, number: int, text: str) -> None:
    """Give the clips of a video another caption, as after another prompt; the former rows are superseded."""
    rows = made_of(number, stored_media(seed=number))
    clips = [dataclasses.replace(clip, caption_text=text) for clip in rows["clips"]]
    with writer_of(dataset) as writer:
        commit_rows(writer, f"texts of {number}", {"clips": clips}, [_of_video(dataset, "clips", number)])


def _of_video(dataset: Dataset, table: str, number: int) -> Replacement:
    return replacing(dataset, table, "video_id", [download_of(number).video_id])


def released(dataset: Dataset, name: str = "v1") -> ReleasedDataset:
    source = open_source(f"{dataset.folder}@{name}")
    assert isinstance(source, ReleasedDataset)
    return source


def texts(dataset: Dataset) -> dict[str, str | None]:
    return {row["clip_id"]: row["caption_text"] for row in clips_of(dataset, EVERYTHING)}


# --- freezing -------------------------------------------------------------------------------------------------------


def test_a_release_names_versions_selection_split_and_digest(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "talks", videos=3)
    made = freeze([dataset], "v1", "scale = 'short'", 0.4)
    assert (made.clips, made.videos, made.seconds) == (12, 3, 72.0)
    assert pins(dataset)[made.datasets[0].pin] == made.datasets[0].versions
    assert read_release(dataset, "v1") == made == release_at(f"{tmp_path}/talks@v1")
    assert release_at(str(tmp_path / "talks" / path_of_release("v1"))) == made
    assert names_of_releases(dataset) == ["v1"]
    counted = tally(released(dataset), made.held_out)
    held_out = sum(4 for n in range(3) if is_held_out(download_of(n).video_id, 0.4))
    assert (counted.digest, counted.held_out_clips) == (made.digest, held_out)


def test_a_release_stays_what_it_was(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "talks", videos=2)
    made = freeze([dataset], "v1", "scale = 'long'", 0.1)
    before = texts(released(dataset))
    rewrite_texts(dataset, 0, "Another bee")
    with writer_of(dataset) as writer:
        add_videos(writer, [5])
        vacuum(writer)
    assert texts(released(dataset)) == before
    assert state_of(released(dataset)).is_whole
    assert freeze([dataset], "v2", "scale = 'long'", 0.1).digest != made.digest


def test_the_digest_is_of_the_content_alone(tmp_path: Path) -> None:
    """Neither of the run that wrote the rows, nor of their order, nor of the parts that they lie in."""
    once, twice = make_dataset(tmp_path / "a", videos=2), Dataset(str(tmp_path / "b"))
    with Writer(twice, "another-run", {"command": "curate"}) as writer:
        add_videos(writer, [1, 0])
    assert freeze([once], "v1", None, 0.1).digest == freeze([twice], "v1", None, 0.5).digest


def test_a_name_is_taken_once_and_a_failure_leaves_nothing(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "talks", videos=1)
    freeze([dataset], "v1", None, 0.1)
    before = set(pins(dataset))
    for name, where, fault in (
        ("v1", None, "has a release 'v1'"),
        ("v2", "scale = 'huge'", "no clip is chosen"),
        ("v2", "no_column = 1", "no_column"),
        ("v2", "1; drop table clips", "not one condition"),
        ("../v2", None, "not a valid name"),
    ):
        with pytest.raises(UsageError, match=fault):
            freeze([dataset], name, where, 0.1)
    with pytest.raises(UsageError, match="named twice"):
        freeze([dataset, dataset], "v2", None, 0.1)
    assert set(pins(dataset)) == before and names_of_releases(dataset) == ["v1"]


def test_several_datasets_are_one_release_and_the_first_has_the_say(tmp_path: Path) -> None:
    first, second = make_dataset(tmp_path / "a", videos=2), make_dataset(tmp_path / "b", videos=0)
    with writer_of(second) as writer:
        add_videos(writer, [1, 7])
    rewrite_texts(second, 1, "Told otherwise")
    made = freeze([first, second], "all", "scale = 'medium'", 0.1)
    assert (made.clips, made.videos) == (6, 3)
    assert set(texts(released(first, "all")).values()) == {"A bee"}
    report = export(released(first, "all"), tmp_path / "out", "mp4")
    assert report.present == 6 and not report.failed


def test_a_removed_release_lets_go_of_its_versions(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "talks", videos=1)
    freeze([dataset], "v1", None, 0.1)
    rewrite_texts(dataset, 0, "Another bee")
    remove(dataset, "v1")
    assert not pins(dataset) and not names_of_releases(dataset)
    with pytest.raises(UsageError, match="no release 'v1'; there are none"):
        read_release(dataset, "v1")


def test_a_release_without_its_pin_says_so(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "talks", videos=1)
    made = freeze([dataset], "v1", None, 0.1)
    rewrite_texts(dataset, 0, "Another bee")
    dataset.delete([f"pins/{made.datasets[0].pin}.json"])
    with writer_of(dataset) as writer:
        vacuum(writer)
    with pytest.raises(DatasetError, match="has lost 1 parts of clips"):
        state_of(released(dataset))


def test_a_dataset_that_has_moved_takes_its_releases_along(tmp_path: Path) -> None:
    freeze([make_dataset(tmp_path / "talks", videos=1)], "v1", None, 0.1)
    shutil.move(tmp_path / "talks", tmp_path / "moved")
    assert state_of(released(Dataset(str(tmp_path / "moved")))).is_whole


def test_releases_lie_in_buckets_too(tmp_path: Path, bucket: Bucket) -> None:
    made = make_dataset(tmp_path / "talks", videos=1)
    assert made.folder is not None
    bucket.upload(made.folder)
    dataset = Dataset(bucket.uri)
    freeze([dataset], "v1", "scale = 'long'", 0.1)
    source = open_source(f"{dataset.uri}/{path_of_release('v1')}")
    assert export(source, tmp_path / "out", "webdataset").present == 1


# --- forgetting and opting out --------------------------------------------------------------------------------------


def test_what_is_forgotten_is_not_given_out_and_nothing_else_goes(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "talks", videos=3)
    freeze([dataset], "v1", "scale = 'long'", 0.1)
    for number in range(3):
        rewrite_texts(dataset, number, f"Caption {number}")
    gone = download_of(1).video_id
    assert [*look(dataset, "video", gone).pins] == [*pins(dataset)]
    with writer_of(dataset) as writer:
        forget(writer, "video", gone)
        vacuum(writer)
    source = released(dataset)
    assert set(texts(source).values()) == {"A bee"}, "the superseded rows of others are still there"
    assert not [clip for clip in texts(source) if clip.startswith(gone)]
    state = state_of(source)
    assert not state.is_whole
    assert list(state.lines()) == [
        "its digest does not match any more: 1 of its 3 clips and 1 of its 3 videos went",
        "1 clips were forgotten since; their ids are not kept",
    ]
    assert export(source, tmp_path / "out", "mp4").present == 2
    assert not verify(dataset).faults
    assert not [p for p in (tmp_path / "talks").rglob("*.parquet") if gone.encode() in p.read_bytes()]


def test_what_is_forgotten_later_leaves_kept_parts_too(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "talks", videos=3)
    freeze([dataset], "v1", "scale = 'long'", 0.1)
    for number in (0, 2):
        with writer_of(dataset) as writer:
            forget(writer, "video", download_of(number).video_id)
    assert list(texts(released(dataset))) == [clip for clip in texts(dataset) if ".long." in clip]
    remove(dataset, "v1")
    with writer_of(dataset) as writer:
        vacuum(writer)
    assert not [*(tmp_path / "talks").glob("*/_kept/*")]


@pytest.mark.parametrize("how", ["refused", "page", "reserved"])
def test_what_opts_out_since_is_not_given_out(how: str, tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "talks", videos=2)
    freeze([dataset], "v1", "scale = 'long'", 0.1)
    key, page = request_of(0).request_key, page_of(0)
    with writer_of(dataset) as writer:
        if how == "refused":
            rows = {"rejects": [reject_of(key, None, page.uri, "download", "opted_out")]}
            commit_rows(writer, how, rows)
        else:
            told = {"failure": "opted_out"} if how == "page" else {"tdm_reserved": True}
            pages = {"pages": [dataclasses.replace(page, **told)]}  # type: ignore[arg-type]
            commit_rows(writer, how, pages, [replacing(dataset, "pages", "request_key", [key])])
    state = state_of(released(dataset))
    assert (state.now.clips, len(state.opted_out)) == (1, 1)
    assert state.opted_out[0].startswith(download_of(0).video_id)
    assert len(texts(released(dataset))) == 1


def test_a_reservation_that_was_known_changes_nothing(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "talks", videos=0)
    with writer_of(dataset) as writer:
        add_videos(writer, [1])
        pages = {"pages": [dataclasses.replace(page_of(1), tdm_reserved=True)]}
        commit_rows(writer, "page", pages, [replacing(dataset, "pages", "request_key", [request_of(1).request_key])])
    freeze([dataset], "v1", None, 0.1)
    assert state_of(released(dataset)).is_whole


def test_what_leaves_a_list_stays_in_a_release(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "talks", videos=2)
    freeze([dataset], "v1", None, 0.1)
    with writer_of(dataset) as writer:
        writer.commit("prune", [], removal(dataset, [request_of(0).request_key]))
        vacuum(writer)
    assert state_of(released(dataset)).is_whole
    assert export(released(dataset), tmp_path / "out", "mp4").present == 14


# --- what takes a release -------------------------------------------------------------------------------------------


def test_exports_and_cards_read_its_versions_and_record_it(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "talks", videos=2)
    made = freeze([dataset], "v1", "scale <> 'short'", 0.3)
    rewrite_texts(dataset, 0, "Another bee")
    source = released(dataset)
    for form in ("mp4", "hf", "parquet"):
        export(source, tmp_path / form, form)
        about = json.loads((tmp_path / form / MANIFEST).read_text())
        assert about["release"] == {"name": "v1", "digest": made.digest}
    assert json.loads((tmp_path / "hf" / MANIFEST).read_text())["held_out"] == 0.3
    assert "Another bee" not in "".join(path.read_text() for path in (tmp_path / "mp4").glob("*.json"))
    rows = pq.read_table(tmp_path / "parquet" / "clips")
    assert set(rows["scale"].to_pylist()) == {"medium", "long"} and set(rows["caption_text"].to_pylist()) == {"A bee"}
    assert made.digest in card(source) and "Another bee" not in card(source)
    with pytest.raises(UsageError, match=r"holds out 0\.3"):
        export(source, tmp_path / "more", "hf", held_out=0.5)


def test_the_command_freezes_lists_checks_and_removes(tmp_path: Path, vidla: Command) -> None:
    dataset, place = make_dataset(tmp_path / "talks", videos=2), tmp_path / "talks"
    made = vidla("release", place, "--name", "v1", "--where", "scale = 'long'")
    assert made.returncode == 0, made.stderr
    assert "@v1: 2 clips of 2 videos, 0.01 h, 2.00% held out, digest " in made.stdout
    assert vidla("release", "list", place).stdout == made.stdout
    checked = vidla("release", "check", f"{place}@v1")
    assert (checked.returncode, checked.stdout) == (0, f"{made.stdout}its rows are what they were\n")
    with writer_of(dataset) as writer:
        forget(writer, "video", download_of(0).video_id)
    checked = vidla("release", "check", f"{place}@v1")
    assert checked.returncode == 1 and "1 of its 2 clips" in checked.stdout
    exported = vidla("export", f"{place}@v1", tmp_path / "out", "--format", "mp4")
    assert exported.returncode == 0 and "1 clips of" in exported.stderr and "not given out" in exported.stderr
    assert vidla("release", "remove", f"{place}@v1").returncode == 0
    again = vidla("release", "check", f"{place}@v1")
    assert again.returncode == 2 and again.stderr.startswith("vidla: ") and "there are none" in again.stderr
    missing = vidla("release", "check", place)
    assert missing.returncode == 2 and "is not a release" in missing.stderr
