"""The hierarchical set: nested triplets around one moment, from held-out videos, the same every time."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from curation.dataset.dataset import Dataset
from curation.dataset.writer import Writer
from curation.errors import DatasetError, UsageError
from curation.ids import clip_id_of, video_id_of
from curation.records import SCALES, Clip
from curation.splits import is_held_out
from model.evaluation.hierarchical import SCHEMA, HierarchicalSet, choose_triplets, write_set
from tests.support.dataset_files import commit_rows

SECONDS = {"short": 10.0, "medium": 30.0, "long": 60.0}
ABOVE = {"short": "medium", "medium": "long"}


def clips_of(video_id: str, longs: int, spoken: Sequence[str] = SCALES, seen: Sequence[str] = SCALES) -> list[Clip]:
    """A video of `longs` minutes in three nested tilings, with subtitles and captions at the given scales."""
    made = []
    for scale, seconds in SECONDS.items():
        for number in range(round(longs * 60 / seconds)):
            start = number * seconds
            above = ABOVE.get(scale)
            parent = start // SECONDS[above] * SECONDS[above] if above else 0.0
            made.append(
                Clip(
                    clip_id=clip_id_of(video_id, scale, start, start + seconds),
                    video_id=video_id,
                    scale=scale,
                    start=start,
                    end=start + seconds,
                    parent_id=clip_id_of(video_id, above, parent, parent + SECONDS[above]) if above else None,
                    frame_ids=(),
                    sentence_count=1,
                    media_uri=f"media/{video_id}.mp4",
                    subtitle_text=f"said {scale} {start}" if scale in spoken else None,
                    caption_text=f"seen {scale} {start}" if scale in seen else None,
                    subtitle_original=None,
                    caption_original=None,
                    subtitle_source=None,
                    caption_source=None,
                    subtitle_status=None,
                    caption_status=None,
                    language="en",
                )
            )
    return made


def dataset_of(location: Path, clips: Sequence[Clip]) -> Dataset:
    dataset = Dataset(str(location))
    with Writer(dataset, "run-1", {}) as writer:
        commit_rows(writer, "run-1:clips", {"clips": clips})
    return dataset


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Forty videos of one to three minutes; some are too short for a long clip, some lack texts."""
    clips: list[Clip] = []
    for number in range(40):
        video_id = video_id_of("list", f"v{number}")
        if number % 10 == 7:
            clips += [clip for clip in clips_of(video_id, 1) if clip.scale != "long"]
        elif number % 10 == 8:
            clips += clips_of(video_id, 2, spoken=("short", "medium"))
        elif number % 10 == 9:
            clips += clips_of(video_id, 2, spoken=("short",), seen=("long",))
        else:
            clips += clips_of(video_id, 1 + number % 3)
    return dataset_of(tmp_path_factory.mktemp("shared") / "data", clips)


def triplets_of(made: HierarchicalSet) -> list[dict[str, dict[str, object]]]:
    rows = made.rows.to_pylist()
    groups = [rows[at : at + 3] for at in range(0, len(rows), 3)]
    for group in groups:
        assert [row["scale"] for row in group] == list(SCALES)
        assert len({row["triplet_id"] for row in group}) == 1
    assert len({group[0]["triplet_id"] for group in groups}) == len(groups) == made.triplets
    return [{row["scale"]: row for row in group} for group in groups]


def test_the_clips_of_a_triplet_hold_one_moment_and_are_those_of_the_table(shared: Dataset) -> None:
    made = choose_triplets(shared, 1000, share=0.6)
    clips = {row["clip_id"]: row for row in shared.read("clips").to_pylist()}
    triplets = triplets_of(made)
    assert triplets
    for three in triplets:
        moment = int(str(three["short"]["triplet_id"]).rpartition(".")[2]) / 1e6
        for scale, row in three.items():
            clip = clips[str(row["clip_id"])]
            assert clip["start"] <= moment < clip["end"]
            assert clip["scale"] == scale
            assert is_held_out(clip["video_id"], 0.6)
            for name in ("video_id", "start", "end", "media_uri"):
                assert row[name] == clip[name]
            assert row["text"] == clip[f"{row['text_kind']}_text"]
        assert clips[str(three["short"]["clip_id"])]["parent_id"] == three["medium"]["clip_id"]
        assert clips[str(three["medium"]["clip_id"])]["parent_id"] == three["long"]["clip_id"]


def test_texts_are_of_one_kind_and_no_clip_is_in_two_triplets(shared: Dataset) -> None:
    made = choose_triplets(shared, 1000, share=1.0)
    triplets = triplets_of(made)
    kinds = {}
    for three in triplets:
        (kind,) = {row["text_kind"] for row in three.values()}
        kinds.setdefault(int(str(three["short"]["video_id"])[6:]) % 10, set()).add(kind)
    assert kinds == {8: {"caption"}} | {number: {"subtitle"} for number in range(7)}
    ids = made.rows["clip_id"].to_pylist()
    assert len(set(ids)) == len(ids)
    longs = [r for r in shared.read("clips").to_pylist() if r["scale"] == "long" and not r["video_id"].endswith("9")]
    assert len(triplets) == len(longs)
    assert made.videos == 32
    assert made.held_out == 40


def test_every_video_comes_once_before_any_comes_twice(shared: Dataset) -> None:
    videos = [three["short"]["video_id"] for three in triplets_of(choose_triplets(shared, 1000, share=1.0))]
    assert len(set(videos[:32])) == 32
    turns = [videos[: at + 1].count(video) for at, video in enumerate(videos)]
    assert turns == sorted(turns)
    assert max(turns) == 3


def test_the_set_is_the_same_every_time_a_smaller_one_a_part_of_it_and_the_seed_decides(shared: Dataset) -> None:
    whole = choose_triplets(shared, 40, share=1.0)
    assert choose_triplets(Dataset(shared.uri), 40, share=1.0).rows.equals(whole.rows)
    assert choose_triplets(shared, 10, share=1.0).rows.equals(whole.rows.slice(0, 30))
    assert not choose_triplets(shared, 40, seed=1, share=1.0).rows.equals(whole.rows)


def test_fewer_than_asked_for_is_said(shared: Dataset) -> None:
    assert str(choose_triplets(shared, 20, share=1.0)) == "20 triplets from 20 of 40 held-out videos"
    made = choose_triplets(shared, 1000, share=1.0)
    assert str(made) == (
        f"{made.triplets} triplets from 32 of 40 held-out videos; 1000 were requested, "
        "but no more long clips have texts at all three scales"
    )


def test_no_triplet_at_all_is_an_error_with_the_way_out(tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path, clips_of("list-v1", 2, spoken=("short",), seen=("long",)))
    with pytest.raises(
        DatasetError, match=r"no triplet: none of the 1 held-out videos .* curate more or longer videos"
    ):
        choose_triplets(dataset, 5, share=1.0)
    with pytest.raises(DatasetError, match="no triplet: none of the 0 held-out videos"):
        choose_triplets(dataset, 5, share=0.0)


def test_ranges_of_one_video_take_turns_as_one(tmp_path: Path) -> None:
    parts = [video_id_of("list", "v1", 0.0, 60.0), video_id_of("list", "v1", 60.0, 120.0)]
    dataset = dataset_of(tmp_path, [c for name in (*parts, "list-v2") for c in clips_of(name, 1)])
    videos = [three["short"]["video_id"] for three in triplets_of(choose_triplets(dataset, 3, share=1.0))]
    assert "list-v2" in videos[:2]


def test_the_verb_writes_a_file_that_says_what_it_was_made_of(
    shared: Dataset, tmp_path: Path, vidla: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    out = tmp_path / "triplets.parquet"
    arguments = ("hierarchical-set", "--dataset", str(shared.folder), "--n", "12", "--held-out", "0.6", out)
    ran = vidla(*arguments)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.startswith("12 triplets from 12 of ")
    table = pq.read_table(out)
    assert table.schema.equals(SCHEMA)
    assert table.equals(choose_triplets(shared, 12, share=0.6).rows)
    about = json.loads(table.schema.metadata[b"vidla"])
    assert about["held_out"] == 0.6
    assert about["clips_version"] == shared.delta("clips").version()
    assert [path.name for path in tmp_path.iterdir()] == ["triplets.parquet"]
    again = vidla(*arguments)
    assert again.returncode == 2
    assert again.stderr == f"vidla: {out} already exists; name a new file\n"
    nowhere = vidla("hierarchical-set", "--dataset", tmp_path / "none", out)
    assert nowhere.returncode == 1
    assert "no vidla dataset" in nowhere.stderr
    nothing = vidla("hierarchical-set", "--dataset", str(shared.folder), "--held-out", "0", tmp_path / "none.parquet")
    assert nothing.returncode == 1
    assert nothing.stderr.count("\n") == 1


def test_the_command_starts_without_torch() -> None:
    program = "import sys, vidla.cli, model.evaluation.hierarchical; print('torch' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=180, check=True)
    assert ran.stdout == "False\n"


def test_a_file_that_cannot_be_written_is_told_in_a_line(shared: Dataset, tmp_path: Path) -> None:
    made = choose_triplets(shared, 2, share=1.0)
    with pytest.raises(DatasetError, match=r"cannot write .*none") as raised:
        write_set(made, tmp_path / "none" / "out.parquet")
    assert "\n" not in str(raised.value)
    with pytest.raises(UsageError, match="already exists"):
        write_set(made, tmp_path)
