"""A run stops before it would pass its limits, keeps what it has made, and goes on later."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from curation.dataset.dataset import Dataset
from curation.errors import UsageError
from curation.prices import Prices
from curation.rejects import Stage
from curation.settings import Settings
from pipelines.driver.budget import Amount, Budget, RunLimits
from pipelines.driver.curate import curate
from pipelines.worker.work_items import VideoItem
from tests.support.scripted_server import Asked, ScriptedServer
from tests.support.segmented import CAPTIONS, SUMMARIES, run, segment_videos, settings_for, texts
from vidla.inspect import show

MAX_TOKENS = 20
SHORT = [f"{kind}.max_tokens={MAX_TOKENS}" for kind in ("captions", "summaries.captions", "summaries.subtitles")]
FREE = Prices(flink_hour=0.0, caption_flink_hour=0.0, summarize_flink_hour=0.0, caption_input_million=1e6)


def limited(dataset: Dataset, settings: Settings, limits: RunLimits, **more: Any) -> int:
    return curate([], dataset.uri, settings, tuple(Stage), [], 0.0, 1.0, limits=limits, **more)


def tokens(dataset: Dataset) -> int:
    (row,) = dataset.sql("select coalesce(sum(input_tokens + output_tokens), 0)::bigint as n from usage").to_pylist()
    return int(row["n"])


@pytest.mark.slow
def test_a_run_stops_before_its_tokens_are_passed_and_goes_on_later(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with ScriptedServer(texts) as server:
        settings = settings_for(server.url, assignments=[*SHORT, "run.wave_videos=2"])
        dataset = segment_videos(tmp_path / "d", settings, range(6))
        whole = segment_videos(tmp_path / "whole", settings, range(6))
        assert run(whole, settings) == 0
        limit, runs, spent = tokens(whole) // 2, 0, 0
        capfd.readouterr()
        while dataset.read("clips").num_rows < whole.read("clips").num_rows:
            assert limited(dataset, settings, RunLimits(tokens=limit)) == 0
            said = capfd.readouterr().out
            assert tokens(dataset) - spent <= limit, "the limit holds for each run"
            spent, runs = tokens(dataset), runs + 1
            assert (f"Stopped at --max-tokens {limit:,}: {spent:,} tokens" in said) == (runs == 1) or runs > 1
            assert " pending" in said
        assert 2 <= runs <= 4
        assert len(server.asked) == 2 * 6 * (CAPTIONS + SUMMARIES), "no text was paid for twice"
    columns = "clip_id, caption_text, subtitle_text"
    assert dataset.sql(f"select {columns} from clips order by all") == whole.sql(
        f"select {columns} from clips order by all"
    )


def test_a_limit_too_small_for_one_video_says_how_much_it_takes(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with ScriptedServer(texts) as server:
        settings = settings_for(server.url, assignments=SHORT)
        dataset = segment_videos(tmp_path / "d", settings, range(1))
        for limits, name in (
            (RunLimits(tokens=CAPTIONS * MAX_TOKENS - 1), f"--max-tokens {CAPTIONS * MAX_TOKENS - 1}"),
            (RunLimits(cost=0.0, prices=Prices()), "--max-cost 0"),
        ):
            assert limited(dataset, settings, limits) == 0
            said = capfd.readouterr().out
            assert f"Stopped at {name}: 0 tokens" in said
            assert f"the next video may take {CAPTIONS * MAX_TOKENS} tokens" in said
        assert not server.asked
        with pytest.raises(UsageError, match="do not work with --one-job"):
            limited(dataset, settings, RunLimits(tokens=1), one_job=True)


def test_a_run_that_a_limit_ended_says_what_is_left_and_so_does_inspect(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with ScriptedServer(texts) as server:
        before, after = (settings_for(server.url, assignments=[*SHORT, f"captions.seed={n}"]) for n in (0, 1))
        dataset = segment_videos(tmp_path / "d", before, range(2))
        assert run(dataset, before) == 0
        assert _noted(dataset, capfd) == []
        limit = CAPTIONS * (MAX_TOKENS + 10)  # the captions of one video
        assert limited(dataset, after, RunLimits(tokens=limit), yes=True) == 0
        left = next(line for line in capfd.readouterr().out.splitlines() if line.startswith("Left: "))
        query = "select count(*)::int as n from captions where sampling->>'seed' = '1'"
        replaced = dataset.sql(query).to_pylist()[0]["n"]
        assert 0 < replaced < 2 * CAPTIONS
        captions = f"up to {2 * CAPTIONS - replaced} captions"
        assert left.startswith("Left: 0 videos to download, 0 to segment, 2 awaiting texts; of what is there, ")
        assert captions in left
        (line,) = _noted(dataset, capfd)
        assert captions in line
        assert limited(dataset, after, RunLimits(tokens=10**6), yes=True) == 0
        assert "Left: " not in capfd.readouterr().out and _noted(dataset, capfd) == []


def _noted(dataset: Dataset, capfd: pytest.CaptureFixture[str]) -> list[str]:
    """What `vidla inspect` says of rows that would be made again."""
    capfd.readouterr()
    show(dataset, Console(width=1000))
    return [line for line in capfd.readouterr().out.splitlines() if "made again" in line or "makes again" in line]


def test_texts_that_return_from_earlier_versions_are_free(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with ScriptedServer(texts) as server:
        before, after = (settings_for(server.url, assignments=[*SHORT, f"captions.seed={n}"]) for n in (0, 1))
        dataset = segment_videos(tmp_path / "d", before, range(2))
        for settings in (before, after):
            assert run(dataset, settings) == 0
        asked, spent = len(server.asked), tokens(dataset)
        capfd.readouterr()
        assert limited(dataset, before, RunLimits(tokens=0), yes=True) == 0
        said = capfd.readouterr()
        assert "Stopped" not in said.out
        assert f"up to {2 * CAPTIONS} captions ({2 * CAPTIONS} of them exist already)" in said.err
        assert "All that is to be done takes about 0 tokens in, 0 out, " in said.err
        assert (len(server.asked), tokens(dataset)) == (asked, spent)
        reusing = settings_for(server.url, assignments=[*SHORT, "captions.seed=0", f'run.reuse=["{dataset.uri}"]'])
        other = segment_videos(tmp_path / "other", reusing, range(2))
        assert run(other, after) == 0
        capfd.readouterr()
        assert limited(other, reusing, RunLimits(tokens=0), yes=True) == 0
        said = capfd.readouterr()
        assert "Stopped" not in said.out
        assert f"up to {2 * CAPTIONS} captions ({2 * CAPTIONS} of them exist already)" in said.err


@pytest.mark.slow
def test_hours_end_the_run_with_what_is_in_flight_made(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    begun = threading.Event()

    async def slow(asked: Asked) -> Any:
        begun.set()
        return await texts(asked)

    with ScriptedServer(slow) as server:
        settings = settings_for(server.url, assignments=[*SHORT, "run.wave_videos=1", "run.text_waves=1"])
        dataset = segment_videos(tmp_path / "d", settings, range(4))
        assert limited(dataset, settings, RunLimits(hours=0.0)) == 0
        assert not server.asked and "Stopped at --max-hours 0" in capfd.readouterr().out
        assert limited(dataset, settings, RunLimits(hours=1.0)) == 0
        assert "Stopped" not in capfd.readouterr().out
    assert begun.is_set() and dataset.read("clips").num_rows == 4 * 7


@given(st.lists(st.integers(0, 9), min_size=1, max_size=20), st.integers(0, 30), st.integers(1, 3))
def test_what_is_admitted_never_passes_the_limit_together(costs: list[int], limit: int, workers: int) -> None:
    class Known(Budget):
        """Where an item takes what `costs` says."""

        def _most(self, stage: Stage, item: Any) -> Amount:
            return Amount(0.0, costs[int(item.video_id)])

    budget = Known(RunLimits(tokens=limit), Dataset("/nowhere"), Settings())
    spent, most, lock = 0, 0, threading.Lock()
    waiting: list[VideoItem] = []

    def work(items: list[VideoItem]) -> None:
        nonlocal spent, most
        while items:
            with budget.admitting(Stage.CAPTION, items) as (admitted, later):
                assert sorted([*admitted, *later], key=items.index) == items
                if not admitted:
                    waiting.extend(later)
                    return
                taken = sum(costs[int(item.video_id)] for item in admitted)
                with lock:
                    spent += taken
                    most = max(most, spent)
                budget.add(Amount(0.0, taken))
            items = later

    shares = [[VideoItem(str(n), "", {}) for n in range(w, len(costs), workers)] for w in range(workers)]
    threads = [threading.Thread(target=work, args=(share,)) for share in shares]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most <= limit
    assert (budget.reached is None) == (sum(costs) <= limit)
    assert workers > 1 or all(costs[int(item.video_id)] for item in waiting)  # what costs nothing never waits
