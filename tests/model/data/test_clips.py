"""The clips that a run reads: the pinned version, the selection, the split, and changes of the dataset."""

from __future__ import annotations

import dataclasses
import hashlib
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from curation.dataset.commits import Replacement
from curation.dataset.dataset import Dataset
from curation.dataset.forget import forget
from curation.dataset.pins import pins, unpin
from curation.dataset.vacuum import vacuum
from curation.dataset.writer import Writer
from curation.errors import DatasetError, UsageError
from curation.records import Clip, PictureBox
from curation.splits import is_held_out, is_in_subset
from model.data.clips import (
    CLIP_SCHEMA,
    Clips,
    DatasetVersion,
    Split,
    boxes_of,
    pin_version,
    resume_version,
    select_clips,
    write_clips,
)
from model.settings import DataSettings, TrainingError
from tests.support.dataset_files import add_videos, commit_rows, made_of, make_dataset, stored_media

VIDEOS = 12
PER_VIDEO = {"short": 4, "medium": 2, "long": 1}
ALL = DataSettings(held_out=0)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return make_dataset(tmp_path_factory.mktemp("clips") / "dataset", VIDEOS)


@pytest.fixture(scope="module")
def version(dataset: Dataset) -> DatasetVersion:
    return pin_version(dataset, "tests")


def chosen(dataset: Dataset, version: DatasetVersion, path: Path, share: Split = "train", **settings: Any) -> Clips:
    return select_clips(dataset, version, ALL.model_copy(update=settings), share, path / "clips.arrow")


def ids(clips: Clips) -> list[str]:
    return [clips[i].clip_id for i in range(len(clips))]


def test_selects_every_clip_ordered_by_scale(dataset: Dataset, version: DatasetVersion, tmp_path: Path) -> None:
    clips = chosen(dataset, version, tmp_path)
    assert clips.counts == {scale: VIDEOS * count for scale, count in PER_VIDEO.items()}
    assert clips.has_texts == (True, True)
    assert clips.without_text == 0
    rows = {row["clip_id"]: row for row in dataset.read("clips").to_pylist()}
    digests = {row["video_id"]: row["media_digest"] for row in dataset.read("videos").to_pylist()}
    assert sorted(ids(clips)) == sorted(rows) and set(clips.videos()) == set(digests)
    order = [("short", "medium", "long").index(clips[i].scale) for i in range(len(clips))]
    assert order == sorted(order)
    for i in range(len(clips)):
        clip, row = clips[i], rows[clips[i].clip_id]
        assert (clip.start, clip.end, clip.media_uri) == (row["start"], row["end"], row["media_uri"])
        assert (clip.subtitle, clip.caption) == (row["subtitle_text"], row["caption_text"])
        assert (clip.scale, clip.video_id) == (row["scale"], row["video_id"])
        assert clip.media_digest is not None and clip.media_digest.hex() == digests[clip.video_id]
    assert pickle.loads(pickle.dumps(clips))[5] == clips[5]
    with pytest.raises(IndexError):
        clips[len(clips)]


def test_the_first_held_out_clips_are_drawn_from_all_held_out_videos(
    dataset: Dataset, version: DatasetVersion, tmp_path: Path
) -> None:
    clips = chosen(dataset, version, tmp_path, "held_out", held_out=0.999)
    assert clips.counts["short"] == VIDEOS * PER_VIDEO["short"]
    for first, scale in ((0, "short"), (clips.counts["short"], "medium")):
        names = ids(clips)[first : first + clips.counts[scale]]  # type: ignore[index]
        assert names == sorted(names, key=lambda name: hashlib.sha256(f"evaluate:{name}".encode()).hexdigest())
    assert len({clips[i].video_id for i in range(VIDEOS)}) > 5  # by id, these were of three videos


def test_selects_by_a_condition_and_by_scale(dataset: Dataset, version: DatasetVersion, tmp_path: Path) -> None:
    spoken = chosen(dataset, version, tmp_path, where="subtitle_text is not null -- spoken")
    assert len(spoken) == VIDEOS * (2 + 1 + 1)
    assert chosen(dataset, version, tmp_path, scales={"short": 0.0, "long": 2.0}).counts == {
        "short": 0,
        "medium": 0,
        "long": VIDEOS,
    }
    with pytest.raises(DatasetError, match=r"no clip of .* is selected: check data.where"):
        chosen(dataset, version, tmp_path, where="language = 'xx'")


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("no_such_column = 1", "no_such_column"),
        ("scale ==", "syntax error"),
        ("cast(clip_id as integer) = 1", "Could not convert"),
        ("scale = 'short') or (scale = 'long'", "syntax error"),  # it would have trained on held-out clips
    ],
)
def test_a_condition_that_is_none_is_told_in_a_line(
    where: str, message: str, dataset: Dataset, version: DatasetVersion, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=rf"^data\.where: .*({message})") as raised:
        chosen(dataset, version, tmp_path, where=where)
    assert "\n" not in str(raised.value)


def test_conditions_of_texts_leave_out_a_text(dataset: Dataset, version: DatasetVersion, tmp_path: Path) -> None:
    told = {"captions_where": "scale != 'long'", "subtitles_where": "scale = 'short' and caption_text is not null"}
    clips, whole = chosen(dataset, version, tmp_path, **told), chosen(dataset, version, tmp_path / "whole")
    assert clips.counts == {"short": VIDEOS * 4, "medium": VIDEOS * 2, "long": 0} and clips.without_text == VIDEOS
    for i in range(len(clips)):
        clip, row = clips[i], whole[i]
        assert clip.clip_id == row.clip_id and clip.caption == row.caption
        assert clip.subtitle == (row.subtitle if clip.scale == "short" else None)
    assert chosen(dataset, version, tmp_path, "held_out", held_out=0.5, captions_where="false").counts["short"] > 0
    with pytest.raises(DatasetError, match=r"check data.where, data.captions_where, data.subtitles_where"):
        chosen(dataset, version, tmp_path, captions_where="false", subtitles_where="1 = 0")


@pytest.mark.parametrize("name", ["captions_where", "subtitles_where"])
@pytest.mark.parametrize("wrong", ["scale ==", "no_column = 1", "true) or (true"])
def test_a_wrong_condition_of_texts_is_told_in_a_line(
    name: str, wrong: str, dataset: Dataset, version: DatasetVersion, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=rf"^data\.{name}: ") as raised:
        chosen(dataset, version, tmp_path, **{name: wrong})
    assert "\n" not in str(raised.value)


def test_leaves_out_clips_without_any_text(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "dataset", 1)
    clips: Sequence[Clip] = made_of(20, stored_media(seed=20))["clips"]
    former = "An unrecognised scene: dark."  # of an older version
    texts: list[tuple[str | None, str | None]] = [(None, None), ("", former), ("Heard.", former), (None, " Seen. ")]
    rows = [
        dataclasses.replace(clip, subtitle_text=subtitle, caption_text=caption)
        for clip, (subtitle, caption) in zip(clips, texts, strict=False)
    ]
    with Writer(dataset, "run-2", {}) as writer:
        commit_rows(writer, "texts", {"clips": rows})
    found = chosen(dataset, pin_version(dataset, "tests"), tmp_path, where=f"video_id = '{clips[0].video_id}'")
    assert found.without_text == 2
    assert [(found[i].subtitle, found[i].caption) for i in range(len(found))] == [("Heard.", None), (None, "Seen.")]


def test_splits_by_video(dataset: Dataset, version: DatasetVersion, tmp_path: Path) -> None:
    videos = set(dataset.read("clips", ["video_id"])["video_id"].to_pylist())
    train = chosen(dataset, version, tmp_path / "train", held_out=0.3)
    kept = chosen(dataset, version, tmp_path / "held out", "held_out", held_out=0.3, subset=0.01)
    sides = [{clips[i].video_id for i in range(len(clips))} for clips in (train, kept)]
    assert sides == [{v for v in videos if is_held_out(v, 0.3) is side} for side in (False, True)]
    assert all(sides)
    for share in (0.2, 0.5, 1.0):
        part = chosen(dataset, version, tmp_path / "part", subset=share)
        assert {part[i].video_id for i in range(len(part))} == {v for v in videos if is_in_subset(v, share)}
    assert not len(chosen(dataset, version, tmp_path / "none", "held_out"))


def test_is_the_same_however_the_rows_lie(dataset: Dataset, version: DatasetVersion, tmp_path: Path) -> None:
    other = Dataset(str(tmp_path / "other"))
    with Writer(other, "run-1", {"settings": {}}) as writer:
        add_videos(writer, reversed(range(VIDEOS)))
    assert ids(chosen(other, pin_version(other, "tests"), tmp_path / "a")) == ids(
        chosen(dataset, version, tmp_path / "b")
    )


def test_writes_a_selection_once(dataset: Dataset, version: DatasetVersion, tmp_path: Path) -> None:
    path = tmp_path / "clips.arrow"
    written = select_clips(dataset, version, ALL, "train", path)
    stamp = path.stat().st_mtime_ns
    assert ids(select_clips(dataset, version, ALL.model_copy(update={"workers": 7}), "train", path)) == ids(written)
    assert path.stat().st_mtime_ns == stamp
    select_clips(dataset, version, ALL.model_copy(update={"where": "scale = 'long'"}), "train", path)
    assert len(Clips(path)) == VIDEOS
    assert len(written) == 7 * VIDEOS  # an open old file can still be read
    assert written[7 * VIDEOS - 1].scale == "long"
    assert [p.name for p in tmp_path.iterdir()] == ["clips.arrow"]


@pytest.mark.parametrize("size", [0, 2**12, 2**20])
def test_a_full_disk_is_named_with_the_path(size: int, small_disk: Path) -> None:
    rows = [{"clip_id": f"{i}" * 99, "scale": 0, "caption": "A bee" * 200} for i in range(5000)]
    (small_disk / "filler").write_bytes(bytes(3 * 2**20 - size))
    path = small_disk / "clips" / "train.arrow"
    with pytest.raises(TrainingError, match=rf"^cannot write the selected clips to {path}: .*No space left") as raised:
        write_clips([pa.Table.from_pylist(rows, schema=CLIP_SCHEMA)], "all", path)
    assert "\n" not in str(raised.value) and not list(path.parent.glob("*"))


def test_spans_batches(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "dataset", 1)
    clip: Clip = made_of(20, stored_media(seed=20))["clips"][0]
    many = [dataclasses.replace(clip, clip_id=f"c{i:06d}", start=float(i)) for i in range(2**17 + 5)]
    with Writer(dataset, "run-2", {}) as writer:
        commit_rows(writer, "many", {"clips": many})
    clips = chosen(dataset, pin_version(dataset, "tests"), tmp_path, where="clip_id like 'c%'")
    assert len(clips) == len(many)
    for i in (0, 1, 2**16 - 1, 2**16, 2**17 - 1, 2**17, 2**17 + 4):
        assert clips[i].start == i


# --- the version ----------------------------------------------------------------------------------------------------


def test_a_pinned_version_stays_as_it_was(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "dataset", 3)
    version = pin_version(dataset, "mine")
    assert pins(dataset)[version.pin] == version.tables
    before = ids(chosen(dataset, version, tmp_path / "before"))
    with Writer(dataset, "run-2", {"command": "curate", "settings": {"new": True}}) as writer:
        add_videos(writer, [7])
        vacuum(writer)
    assert ids(chosen(dataset, version, tmp_path / "after")) == before
    later = pin_version(dataset, "mine")
    assert later.pin != version.pin  # a run of the same name elsewhere keeps its own
    assert later.configuration != version.configuration
    assert len(chosen(dataset, later, tmp_path / "later")) == len(before) + 7


@pytest.mark.parametrize("run", ["my run", "läuft", "a" * 200, "..", "'; drop", "train"])
def test_a_run_may_have_any_name(run: str, tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "dataset", 1)
    version = pin_version(dataset, run)
    assert pins(dataset) == {version.pin: version.tables}


def test_a_changed_dataset_is_refused(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "dataset", 3)
    version = pin_version(dataset, "mine")
    assert resume_version(dataset, version, "mine", allow_changed=False) == version
    with Writer(dataset, "run-2", {}) as writer:
        add_videos(writer, [7])
    with pytest.raises(
        DatasetError, match=r"have changed since the checkpoint .*=true continues on version \d+, which"
    ):
        resume_version(dataset, version, "mine", allow_changed=False)
    assert resume_version(dataset, version, "mine", allow_changed=True) == version


def test_what_is_forgotten_is_not_trained_on_again(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "dataset", 3)
    version = pin_version(dataset, "mine")
    gone = dataset.read("clips", ["video_id"])["video_id"][0].as_py()
    with Writer(dataset, "run-2", {}) as writer:
        forget(writer, "video", gone)
    with pytest.raises(DatasetError, match=r"continues on the current one: parts of .* were removed"):
        resume_version(dataset, version, "mine", allow_changed=False)
    again = resume_version(dataset, version, "mine", allow_changed=True)
    assert again.tables == pins(dataset)[again.pin]
    clips = chosen(dataset, again, tmp_path)
    assert len(clips) == 2 * 7
    assert gone not in {clips[i].video_id for i in range(len(clips))}


def test_a_version_that_is_not_pinned_any_more_is_not_whole(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "dataset", 1)
    version = pin_version(dataset, "mine")
    unpin(dataset, version.pin)
    with pytest.raises(DatasetError, match="were removed"):
        resume_version(dataset, version, "mine", allow_changed=False)


def test_another_dataset_is_told_apart(tmp_path: Path) -> None:
    version = pin_version(make_dataset(tmp_path / "one", 1), "mine")
    other = make_dataset(tmp_path / "two", 1)
    with pytest.raises(DatasetError, match="changed since the checkpoint"):
        resume_version(other, version, "mine", allow_changed=False)


def test_bars_are_cropped_to_all_that_a_clip_shows(tmp_path: Path) -> None:
    """A video in letterbox for nine seconds and in pillarbox then, and one without a timeline."""
    dataset = make_dataset(tmp_path / "dataset", 2)
    letterbox, pillarbox = PictureBox(top=0.125, bottom=0.875), PictureBox(left=0.25, right=0.75)
    first, other = (made_of(number, b"")["timelines"][0] for number in (0, 1))
    changed = dataclasses.replace(first, picture_boxes=(letterbox,) * 9 + (pillarbox,) * 15)
    replaced = [
        Replacement("timelines", ("video_id",), frozenset({(t.video_id,)}), frozenset(dataset.live_parts("timelines")))
        for t in (first, other)
    ]
    with Writer(dataset, "boxes", {}) as writer:
        commit_rows(writer, "boxes", {"timelines": [changed]}, replaced)
    version = pin_version(dataset, "boxes")
    clips = chosen(dataset, version, tmp_path, crop_bars=True)
    boxes = {(c.video_id, c.start, c.end): c.box for c in (clips[i] for i in range(len(clips)))}
    assert {boxes[other.video_id, start, start + 6.0] for start in (0.0, 6.0, 12.0, 18.0)} == {None}
    assert [boxes[first.video_id, start, start + 6.0] for start in (0.0, 6.0, 12.0)] == [
        letterbox,
        PictureBox(),
        pillarbox,
    ]
    assert boxes[first.video_id, 0.0, 24.0] == PictureBox(), "what is shown at any time is kept"
    asked = [{"video_id": video, "start": start, "end": end} for video, start, end in boxes]
    assert [box and PictureBox(*box) for box in boxes_of(dataset, asked)] == list(boxes.values())
    uncropped = chosen(dataset, version, tmp_path / "all")
    assert {uncropped[i].box for i in range(len(uncropped))} == {None}
