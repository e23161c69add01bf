"""A text with the same digest is not asked for again, if this dataset or another one named for reuse has it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from curation.dataset.dataset import Dataset
from curation.errors import DatasetError
from curation.records import Caption, Summary
from tests.support.scripted_server import ScriptedServer
from tests.support.segmented import (
    CAPTIONS,
    SUMMARIES,
    image_of,
    moved,
    run,
    segment_videos,
    settings_for,
    still,
    texts,
)


def rows(dataset: Dataset, query: str) -> list[dict[str, Any]]:
    return [dict(row) for row in dataset.sql(query).to_pylist()]


def texts_of(dataset: Dataset) -> list[dict[str, Any]]:
    return rows(dataset, "select clip_id, subtitle_text, caption_text from clips order by clip_id")


@pytest.mark.slow
def test_another_tiling_asks_for_no_frame_again(tmp_path: Path) -> None:
    with ScriptedServer(texts) as server:
        settings = settings_for(server.url)
        dataset = segment_videos(tmp_path / "d", settings, range(3))
        assert run(dataset, settings) == 0
        before, captions = len(server.asked), rows(dataset, "select frame_id, text from captions order by frame_id")
        clips = rows(dataset, "select clip_id from clips order by clip_id")
        tiled = [
            "tilings.short.min_s=3",
            "tilings.short.target_s=4",
            "tilings.medium.min_s=6",
            "tilings.medium.target_s=8",
        ]
        assert run(dataset, settings_for(server.url, assignments=[*tiled, "tilings.medium.max_s=45"])) == 0
        new = server.asked[before:]
    assert not [asked for asked in new if image_of(asked)]
    assert rows(dataset, "select frame_id, text from captions order by frame_id") == captions
    assert not rows(dataset, "select clip_id from segments except select clip_id from clips")
    assert rows(dataset, "select clip_id from clips order by clip_id") != clips


@pytest.mark.slow
def test_frames_that_are_kept_at_other_times_keep_their_captions(tmp_path: Path) -> None:
    with ScriptedServer(texts) as server:
        settings = settings_for(server.url)
        dataset = segment_videos(tmp_path / "d", settings, range(3))
        assert run(dataset, settings) == 0
        before, made = len(server.asked), texts_of(dataset)
        # the output of the single pass depends on this setting; here, the same frames half a second later
        changed = settings_for(server.url, assignments=["media.crf=30"])
        segment_videos(tmp_path / "d", changed, range(3), moved)
        assert run(dataset, changed) == 0
        assert len(server.asked) == before
    assert texts_of(dataset) == made
    late = "select captions.frame_id from captions join frames using (frame_id, time, video_id)"
    assert len(rows(dataset, late)) == 3 * CAPTIONS == dataset.read("captions").num_rows
    reused = rows(
        dataset, "select stage, sum(reused)::int n from usage where requests = 0 group by stage order by stage"
    )
    assert reused[0] == {"stage": "caption", "n": 3 * CAPTIONS}


@pytest.mark.slow
def test_equal_frames_of_a_video_are_asked_for_once(tmp_path: Path) -> None:
    with ScriptedServer(texts) as server:
        settings = settings_for(server.url)
        dataset = segment_videos(tmp_path / "d", settings, range(2), still)
        assert run(dataset, settings) == 0
        assert sum(image_of(asked) is not None for asked in server.asked) == 2
    assert rows(dataset, "select count(*) n, count(distinct text) told from captions") == [{"n": 8, "told": 2}]
    assert rows(dataset, "select sum(reused)::int n from usage where stage = 'caption'") == [{"n": 6}]


@pytest.mark.slow
def test_another_dataset_gives_its_texts(tmp_path: Path) -> None:
    with ScriptedServer(texts) as server:
        settings = settings_for(server.url)
        first = segment_videos(tmp_path / "first", settings, range(3))
        assert run(first, settings) == 0
        before = len(server.asked)
        with ScriptedServer(texts) as elsewhere:  # served under another URL, it is the same model
            taking = settings_for(elsewhere.url, assignments=[f'run.reuse=["{tmp_path / "first"}"]'])
            second = segment_videos(tmp_path / "second", taking, range(5), lambda rows: moved(rows, 0.25))
            assert run(second, taking) == 0
            assert len(elsewhere.asked) == 2 * (CAPTIONS + SUMMARIES)  # of the two videos that only it has
        assert len(server.asked) == before
    there = ", ".join(f"'{row['video_id']}'" for row in rows(first, "select distinct video_id from captions"))
    for table, record, key in (("captions", Caption, "raw_text, video_id"), ("summaries", Summary, "clip_id, kind")):
        columns = ", ".join(c for c in record.__dataclass_fields__ if c not in ("frame_id", "time"))
        query = f"select {columns}, digest from {table} where video_id in ({there}) order by {key}"
        assert rows(second, query) == rows(first, query)
    (run_id,) = rows(second, "select distinct run_id from captions")
    assert run_id not in rows(first, "select distinct run_id from captions")


@pytest.mark.slow
def test_a_dataset_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with ScriptedServer(texts) as server:
        settings = settings_for(server.url, assignments=[f'run.reuse=["{tmp_path / "nowhere"}"]'])
        dataset = segment_videos(tmp_path / "d", settings, range(1))
        with pytest.raises(DatasetError, match=r"run\.reuse.*nowhere"):
            run(dataset, settings)
    assert not server.asked


@pytest.mark.long  # in short runs a scripted server shows it, above
def test_the_same_video_in_a_second_dataset_needs_no_model(
    tmp_path: Path, videos: list[Path], vidla: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    first, second = Dataset(str(tmp_path / "first")), Dataset(str(tmp_path / "second"))
    assert vidla("curate", videos[2], "--dataset", tmp_path / "first").returncode == 0
    taken = vidla("curate", videos[2], "--dataset", tmp_path / "second", "--set", f'run.reuse=["{tmp_path / "first"}"]')
    assert taken.returncode == 0, taken.stderr
    assert texts_of(second) == texts_of(first)
    spent = rows(second, "select sum(requests)::int asked, sum(reused)::int reused from usage")
    there = rows(second, "select (select count(*) from captions) + (select count(*) from summaries) n")
    assert spent == [{"asked": 0, "reused": there[0]["n"]}]
