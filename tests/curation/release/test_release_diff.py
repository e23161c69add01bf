"""The difference of two releases: which clips came, went or changed, and why."""

from __future__ import annotations

import dataclasses
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

from curation.dataset.dataset import Dataset
from curation.dataset.edits import removal, replacing, set_metadata
from curation.dataset.forget import forget
from curation.dataset.object_store import put
from curation.dataset.parts import PartWriter
from curation.dataset.writer import Writer
from curation.release.freeze import freeze
from curation.release.release_diff import Reason, diff
from curation.release.released_dataset import ReleasedDataset
from tests.support.dataset_files import (
    add_videos,
    commit_rows,
    download_of,
    made_of,
    make_dataset,
    page_of,
    request_of,
    stored_media,
)


def writer_of(dataset: Dataset, run: str) -> Writer:
    return Writer(dataset, run, {"command": "test"})


def test_each_difference_has_its_reason(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "talks", videos=8)
    before = freeze([dataset], "before", "scale = 'long' or video_id = 'list-v1'", 0.1)
    with writer_of(dataset, "changes") as writer:
        add_videos(writer, [20])
        writer.commit("prune", [], removal(dataset, [request_of(2).request_key]))
        rows = made_of(3, stored_media(seed=3))
        texts = [dataclasses.replace(clip, caption_text="Another bee") for clip in rows["clips"]]
        commit_rows(writer, "texts", {"clips": texts}, [replacing(dataset, "clips", "video_id", ["list-v3"])])
        rows = made_of(4, stored_media(seed=104))
        put(dataset.store, rows["videos"][0].media_uri, stored_media(seed=104))
        replaced = [replacing(dataset, table, "video_id", ["list-v4"]) for table in ("videos", "clips")]
        commit_rows(writer, "media", {"videos": rows["videos"], "clips": rows["clips"]}, replaced)
        clips = [c for c in made_of(5, stored_media(seed=5))["clips"] if c.scale != "long"]
        clips = [*clips, dataclasses.replace(clips[0], clip_id="list-v5.long.0-12000000", scale="long")]
        commit_rows(writer, "tiling", {"clips": clips}, [replacing(dataset, "clips", "video_id", ["list-v5"])])
        parts = PartWriter(dataset.store, writer.lineage, part_bytes=1 << 30)
        replaced = set_metadata(dataset, parts, {request_of(6).request_key: '{"topic": "wasps"}'})
        writer.commit("metadata", parts.finish(), replaced)
        refused = {"pages": [dataclasses.replace(page_of(7), failure="opted_out")]}
        commit_rows(writer, "page", refused, [replacing(dataset, "pages", "request_key", [request_of(7).request_key])])
        forget(writer, "video", download_of(0).video_id)
    after = freeze([dataset], "after", "scale = 'long' and video_id <> 'list-v1'", 0.1)
    found = diff(ReleasedDataset(before), ReleasedDataset(after))
    assert found.same == 0
    assert {reason: count.examples for reason, count in found.came.items()} == {
        Reason.NEW_VIDEO: ["list-v20.long.0-24000000"],
        Reason.TILING: ["list-v5.long.0-12000000"],
    }
    assert {reason: count.clips for reason, count in found.went.items()} == {
        Reason.SELECTION: 7,
        Reason.REMOVED: 1,
        Reason.TILING: 1,
    }
    assert {reason: dict(count.columns) for reason, count in found.changed.items()} == {
        Reason.TEXTS: {"caption_text": 1},
        Reason.MEDIA: {"media_digest": 1},
        Reason.FURTHER: {"metadata": 1},
    }


def test_what_one_dataset_has_forgotten_went_from_it(tmp_path: Path) -> None:
    here, there = make_dataset(tmp_path / "here", videos=2), make_dataset(tmp_path / "there", videos=2)
    a = freeze([here], "a", "scale = 'long'", 0.1)
    with writer_of(there, "forget") as writer:
        forget(writer, "video", download_of(0).video_id)
    b = freeze([there], "b", "scale = 'long'", 0.1)
    found = diff(ReleasedDataset(a), ReleasedDataset(b))
    assert (found.same, {str(reason): count.clips for reason, count in found.went.items()}) == (1, {"forgotten": 1})


def test_the_command_prints_it(tmp_path: Path, vidla: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    dataset, place = make_dataset(tmp_path / "talks", videos=1), tmp_path / "talks"
    freeze([dataset], "a", "scale = 'long'", 0.1)
    freeze([dataset], "b", "scale <> 'short'", 0.1)
    shown = vidla("release", "diff", f"{place}@a", f"{place}@b")
    assert shown.returncode == 0, shown.stderr
    assert "1 clips are the same" in shown.stdout and "selection" in shown.stdout
    told = json.loads(vidla("release", "diff", f"{place}@a", f"{place}@b", "--json").stdout)
    assert told["came"] == {
        "selection": {"clips": 2, "examples": ["list-v0.medium.0-12000000", "list-v0.medium.12000000-24000000"]}
    }
    assert (told["same"], told["went"], told["a"]["name"]) == (1, {}, "a")
