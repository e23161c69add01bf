"""Signals: measured once, from what is in the tables, and again only where an input has changed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from curation.dataset.books import balance
from curation.dataset.compact import compact
from curation.dataset.dataset import Dataset
from curation.dataset.edits import removal, replacing
from curation.dataset.forget import forget, undo
from curation.dataset.parts import PartWriter
from curation.dataset.renames import Renaming, rename
from curation.dataset.vacuum import vacuum
from curation.dataset.verify import verify
from curation.dataset.writer import Writer
from curation.quality import signal_queries
from curation.quality.score import ScoreReport, score
from curation.records import Timeline
from tests.support.dataset_files import Rows, commit_rows, download_of, made_of, make_dataset, request_of

VIDEOS = [download_of(number).video_id for number in range(3)]
SHORT = f"{VIDEOS[0]}.short.0-6000000"


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return make_dataset(tmp_path / "data", videos=3)


def scored(dataset: Dataset) -> ScoreReport:
    with Writer(dataset, "scores", {}) as writer:
        return score(writer)


def signals(dataset: Dataset) -> dict[str, Mapping[str, Any]]:
    rows = dataset.read("signals").to_pylist()
    assert len({row["clip_id"] for row in rows}) == len(rows)
    return {row["clip_id"]: row for row in rows}


def change(dataset: Dataset, table: str, rows: Rows, video_id: str) -> None:
    """Replace the rows of a video in a table."""
    with Writer(dataset, "change", {}) as writer:
        commit_rows(writer, "change", rows, [replacing(dataset, table, "video_id", [video_id])])


def change_clips(dataset: Dataset, **values: Any) -> None:
    """Give the first clip of video 0 other values."""
    clip, *others = made_of(0, b"")["clips"]
    change(dataset, "clips", {"clips": [dataclasses.replace(clip, **values), *others]}, VIDEOS[0])


# --- what is measured -----------------------------------------------------------------------------------------------


def test_pictures_are_measured_over_the_clips_own_range(dataset: Dataset) -> None:
    timeline: Timeline = made_of(0, b"")["timelines"][0]
    ramp = tuple(second / 24 for second in range(24))
    change(dataset, "timelines", {"timelines": [dataclasses.replace(timeline, still=ramp, contrast=ramp)]}, VIDEOS[0])
    change_clips(dataset, start=0.5, end=2.25)
    scored(dataset)
    rows = signals(dataset)
    assert rows[SHORT]["still"] == pytest.approx((0.5 * 0 + 1 * 1 + 0.25 * 2) / 24 / 1.75, abs=1e-6)
    assert rows[SHORT]["luminance_spread"] == rows[SHORT]["still"]
    assert rows[f"{VIDEOS[0]}.long.0-24000000"]["still"] == pytest.approx(23 / 48, abs=1e-6)
    assert rows[SHORT]["picture_area"] == 0.75


def test_a_clip_without_a_timeline_has_the_signals_of_its_texts(dataset: Dataset) -> None:
    change(dataset, "timelines", {}, VIDEOS[0])
    scored(dataset)
    row = signals(dataset)[SHORT]
    assert row["still"] is row["picture_area"] is None and row["words_per_second"] == pytest.approx(2 / 6)


THAI = "ผึ้งเต้นรำเพื่อบอกทางไปหาดอกไม้"
TEXTS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"subtitle_original": None}, {"words_per_second": None, "subtitle_trigrams": None}),
    ({"subtitle_original": "  …  "}, {"words_per_second": None}),
    ({"subtitle_original": THAI}, {"words_per_second": None, "subtitle_trigrams": None}),
    ({"subtitle_text": THAI}, {"subtitle_generic": None, "text_agreement": None}),
    ({"subtitle_original": "one two one two one two"}, {"words_per_second": 1.0, "subtitle_trigrams": 0.5}),
    ({"subtitle_original": "Größe und Größe"}, {"words_per_second": 0.5, "subtitle_trigrams": 1.0}),
    ({"caption_text": "The bees bees bees dance"}, {"caption_trigrams": 1.0, "caption_generic": False}),
    ({"caption_text": "A photo of some people in the background."}, {"caption_generic": True}),
    ({"caption_text": None}, {"caption_generic": None, "caption_key": None, "text_agreement": None}),
    ({"subtitle_text": "Bees dance", "caption_text": "Many bees dance on honeycombs"}, {"text_agreement": 1.0}),
    ({"subtitle_text": "Bees dance here", "caption_text": "bees fly over meadows"}, {"text_agreement": 1 / 3}),
]


def test_texts_are_measured(dataset: Dataset) -> None:
    clips = [
        dataclasses.replace(made_of(0, b"")["clips"][0], clip_id=f"{VIDEOS[0]}.{number}", **texts)
        for number, (texts, _) in enumerate(TEXTS)
    ]
    change(dataset, "clips", {"clips": clips}, VIDEOS[0])
    scored(dataset)
    rows = signals(dataset)
    for number, (texts, expected) in enumerate(TEXTS):
        row = rows[f"{VIDEOS[0]}.{number}"]
        assert {name: row[name] for name in expected} == pytest.approx(expected), texts


def test_texts_that_differ_in_case_and_punctuation_alone_have_one_key(dataset: Dataset) -> None:
    change_clips(dataset, subtitle_text="Bees… dance!", caption_text=f"{THAI}!")
    scored(dataset)
    rows = signals(dataset)
    other = rows[f"{VIDEOS[1]}.short.0-6000000"]
    assert rows[SHORT]["subtitle_key"] == other["subtitle_key"] is not None
    assert rows[SHORT]["caption_key"] not in (None, other["caption_key"])


# --- when -----------------------------------------------------------------------------------------------------------


def test_what_is_up_to_date_is_not_measured_again(dataset: Dataset) -> None:
    assert scored(dataset) == ScoreReport(21, 3)
    before = signals(dataset)
    assert scored(dataset) == ScoreReport(0, 0) and signals(dataset) == before
    assert not balance(dataset).strays


def _other_text(dataset: Dataset) -> None:
    change_clips(dataset, caption_text="Another bee")


def _other_range(dataset: Dataset) -> None:
    change_clips(dataset, end=5.0)


def _other_media(dataset: Dataset) -> None:
    video = dataclasses.replace(made_of(0, b"")["videos"][0], media_digest="f" * 32)
    change(dataset, "videos", {"videos": [video]}, VIDEOS[0])


def _no_timeline(dataset: Dataset) -> None:
    change(dataset, "timelines", {}, VIDEOS[0])


def _gone_clip(dataset: Dataset) -> None:
    change(dataset, "clips", {"clips": made_of(0, b"")["clips"][1:]}, VIDEOS[0])


@pytest.mark.parametrize("edit", [_other_text, _other_range, _other_media, _no_timeline, _gone_clip])
def test_a_changed_input_has_its_video_measured_again(dataset: Dataset, edit: Callable[[Dataset], None]) -> None:
    change_clips(dataset)
    with Writer(dataset, "media", {}) as writer:  # that of `_other_media` before its change
        videos = {"videos": [made_of(0, b"")["videos"][0]]}
        commit_rows(writer, "media", videos, [replacing(dataset, "videos", "video_id", VIDEOS[:1])])
    scored(dataset)
    before = signals(dataset)
    edit(dataset)
    assert scored(dataset).videos == 1
    after = signals(dataset)
    assert after.keys() == {row["clip_id"] for row in dataset.read("clips", ["clip_id"]).to_pylist()}
    assert {k: r for k, r in after.items() if r["video_id"] != VIDEOS[0]} == {
        k: r for k, r in before.items() if r["video_id"] != VIDEOS[0]
    }
    assert scored(dataset) == ScoreReport(0, 0)


def test_a_killed_measurement_goes_on(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signal_queries, "WAVE_S", 24)  # one video in each wave
    commits = 0

    def dies(*_: object) -> None:
        nonlocal commits
        commits += 1
        if commits == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), Writer(dataset, "killed", {}) as writer:
        score(writer, dies)
    assert scored(dataset) == ScoreReport(7, 1)
    assert len(signals(dataset)) == 21 and scored(dataset) == ScoreReport(0, 0)


# --- what else is done to a dataset ---------------------------------------------------------------------------------


def test_signals_go_with_what_is_forgotten_and_come_back_after_it_is_undone(dataset: Dataset) -> None:
    scored(dataset)
    with Writer(dataset, "forget", {}) as writer:
        forget(writer, "video", VIDEOS[0])
    assert {row["video_id"] for row in signals(dataset).values()} == set(VIDEOS[1:])
    files = [path for path, _, _ in dataset.list("signals/") if path.endswith(".parquet")]
    held = [dataset.read_part("signals", path.removeprefix("signals/"))["video_id"].to_pylist() for path in files]
    assert files and not any(VIDEOS[0] in videos for videos in held), "in older parts neither"
    with Writer(dataset, "undo", {}) as writer:
        undo(writer, "video", VIDEOS[0])
    assert scored(dataset) == ScoreReport(0, 0)


def test_signals_go_with_pruned_requests(dataset: Dataset) -> None:
    scored(dataset)
    with Writer(dataset, "prune", {}) as writer:
        writer.commit("prune", [], removal(dataset, [request_of(1).request_key]))
    assert {row["video_id"] for row in signals(dataset).values()} == {VIDEOS[0], VIDEOS[2]}


def test_renamed_videos_keep_their_signals(dataset: Dataset) -> None:
    scored(dataset)
    before = signals(dataset)
    with Writer(dataset, "rename", {}) as writer:
        parts = PartWriter(dataset.store, writer.lineage, 1 << 30)
        replaced = rename(dataset, parts, {VIDEOS[0]: Renaming("list-new")})
        writer.commit("rename", parts.finish(), replaced)
    after = signals(dataset)
    assert after["list-new.short.0-6000000"]["still"] == before[SHORT]["still"]
    assert len(after) == len(before) and SHORT not in after
    assert scored(dataset) == ScoreReport(0, 0), "their inputs are the same"


def test_signals_are_compacted_vacuumed_and_verified(dataset: Dataset) -> None:
    scored(dataset)
    before = signals(dataset)
    with Writer(dataset, "compact", {}) as writer:
        compact(writer)
    with Writer(dataset, "vacuum", {}) as writer:
        vacuum(writer)
    assert signals(dataset) == before and len(dataset.live_parts("signals")) == 1
    assert not verify(dataset).faults
    (part,) = dataset.live_parts("signals")
    assert dataset.folder is not None
    file = dataset.folder / "signals" / part
    file.write_bytes(bytes([file.read_bytes()[0] ^ 1]) + file.read_bytes()[1:])
    assert [fault.path for fault in verify(dataset).faults] == [f"signals/{part}"]
