"""The assembly line: many items at once, the texts of several waves at once, runs that end early."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from aiohttp import web

from curation.dataset.dataset import Dataset
from curation.errors import EngineError
from pipelines.driver.known_rows import Downloaded
from pipelines.driver.plan import NOTHING, Downloads, Plan
from pipelines.driver.state import State
from pipelines.driver.waves import waves_of
from pipelines.worker.batches import batches
from pipelines.worker.text_engines import WantedTexts
from pipelines.worker.thread_pools import Slots
from tests.conftest import VIDLA
from tests.support.dataset_files import download_of, request_of
from tests.support.scripted_server import Asked, ScriptedServer, say, status
from tests.support.segmented import CAPTIONS, SUMMARIES, caption_for, image_of, run, segment_videos, settings_for, texts
from tests.support.web_server import WebServer


def count(dataset: Dataset, table: str) -> int:
    return dataset.read(table).num_rows


# --- waves ----------------------------------------------------------------------------------------------------------


def test_batches_are_bounded_by_number_and_by_size() -> None:
    assert list(batches("abcde", 2)) == [["a", "b"], ["c", "d"], ["e"]]
    assert list(batches([3, 3, 5, 9, 1, 1, 1], 3, 6, lambda n: n)) == [[3, 3], [5], [9], [1, 1, 1]]
    assert list(batches([], 2)) == []


def test_a_wave_ends_where_it_would_hold_too_many_bytes(tmp_path: Path) -> None:
    settings = settings_for("http://nowhere", assignments=["run.wave_bytes=100", "run.wave_videos=4"])
    state = State(Dataset(str(tmp_path)), settings, WantedTexts("", {}))
    for number, size in enumerate((60, 60, 30)):
        download = Downloaded(f"r{number}", f"v{number}", "", "", f"sources/{number}", size)
        state.downloads[download.request_key] = download
        state.by_video[download.video_id] = (download,)
    state.fetched_count, state.fetched_bytes = 3, 150
    unknown = [{**dataclasses.asdict(request_of(number)), "attempts": 0, "redo": False} for number in range(3)]
    downloads = Downloads(pa.Table.from_pylist(unknown, schema=NOTHING.rows.schema), {})  # taken to have 50 bytes each
    plan = Plan(downloads, segment=["v0", "v1", "v2"], text=["v3", "v4", "v5"])
    waves = waves_of(plan, state, settings.run)
    assert [wave.number for wave in waves] == [1, 2, 3, 4, 5]
    assert [list(wave.segment) for wave in waves] == [["v0"], ["v1", "v2"], [], [], []]
    assert [list(wave.text) for wave in waves] == [[], ["v3", "v4"], ["v5"], [], []]
    assert [len(wave.downloads) for wave in waves] == [0, 0, 0, 2, 1]


# --- room -----------------------------------------------------------------------------------------------------------


def test_room_is_never_more_than_there_is_and_a_big_wish_is_served() -> None:
    room, lock, held, most, served = Slots(8), threading.Lock(), 0, 0, []

    def take(wanted: int) -> None:
        nonlocal held, most
        for _ in range(20):
            with room.taken(wanted):
                with lock:
                    held += min(wanted, 8)
                    most = max(most, held)
                time.sleep(0.0005)
                with lock:
                    held -= min(wanted, 8)
        served.append(wanted)

    threads = [threading.Thread(target=take, args=(wanted,)) for wanted in (1, 1, 1, 2, 3, 7, 8, 50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(180)
    assert sorted(served) == [1, 1, 1, 2, 3, 7, 8, 50]
    assert most == 8


# --- at once --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_slow_item_holds_up_none_of_its_wave(tmp_path: Path) -> None:
    videos, others = 12, asyncio.Event()
    slow: list[str] = []

    async def script(asked: Asked) -> web.StreamResponse:
        image = image_of(asked)
        if image is not None:
            slow[:] = slow or [image]
            if image == slow[0]:
                await asyncio.wait_for(others.wait(), 60)  # never, if the others waited for this one
            elif sum(image_of(a) is not None for a in asked.server.asked) == videos * CAPTIONS:
                others.set()
        return await texts(asked)

    with ScriptedServer(script) as server:
        settings = settings_for(server.url)
        dataset = segment_videos(tmp_path / "d", settings, range(videos))
        assert run(dataset, settings) == 0
    assert count(dataset, "captions") == videos * CAPTIONS
    assert len(server.asked) == videos * (CAPTIONS + SUMMARIES)


@pytest.mark.slow
def test_servers_are_kept_busy_from_wave_to_wave(tmp_path: Path) -> None:
    videos, pause_s = 64, 0.5

    async def script(asked: Asked) -> web.StreamResponse:
        await asyncio.sleep(pause_s)
        return await texts(asked)

    with ScriptedServer(script) as server:
        settings = settings_for(server.url, assignments=["run.wave_videos=16"])
        dataset = segment_videos(tmp_path / "d", settings, range(videos))
        assert run(dataset, settings) == 0
    assert len(server.asked) == videos * (CAPTIONS + SUMMARIES)
    middle = server.asked[16 : -len(server.asked) // 10]
    # A busy machine sends fewer at once; benchmarks/texts.py has the figure of an idle one.
    assert sum(asked.in_flight >= 12 for asked in middle) > len(middle) / 3
    kinds = [image_of(asked) is None for asked in middle]
    assert kinds.index(True) < len(kinds) // 2, "summaries go beside the next wave's captions"
    assert not all(kinds[kinds.index(True) :])


@pytest.mark.slow
def test_waves_that_rewrite_each_others_parts_leave_every_row_right(tmp_path: Path) -> None:
    videos = 18

    async def script(asked: Asked) -> web.StreamResponse:
        image = image_of(asked)
        return await (texts(asked) if image is None else say(asked, caption_for(f"{image}{asked.body['max_tokens']}")))

    with ScriptedServer(script) as server:
        settings = settings_for(server.url)
        dataset = segment_videos(tmp_path / "d", settings, range(videos))
        assert run(dataset, settings) == 0  # all in one part of each table
        before = {row["frame_id"]: row["text"] for row in dataset.read("captions").to_pylist()}
        again = settings_for(server.url, assignments=["captions.max_tokens=20", "run.wave_videos=2"])
        server.asked.clear()
        assert run(dataset, again) == 0  # the books balance
        assert sum(image_of(asked) is not None for asked in server.asked) == videos * CAPTIONS
        server.asked.clear()
        assert run(dataset, again) == 0
        assert not server.asked
    captions = {row["frame_id"]: row["text"] for row in dataset.read("captions").to_pylist()}
    assert len(captions) == count(dataset, "captions") == videos * CAPTIONS
    assert captions.keys() == before.keys()
    assert not set(captions.values()) & set(before.values())
    for clip in dataset.read("clips").to_pylist():
        assert clip["caption_original"] == " ".join(captions[frame_id] for frame_id in clip["frame_ids"])


# --- before its time ------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_an_engine_that_gives_up_keeps_what_was_made_and_the_next_run_makes_the_rest(tmp_path: Path) -> None:
    videos, answered = 30, 40

    async def dying(asked: Asked) -> web.StreamResponse:
        await asyncio.sleep(0.05)
        return await (texts if len(asked.server.asked) <= answered else status(401, "no such key"))(asked)

    with ScriptedServer(dying) as server:
        settings = settings_for(server.url, assignments=["run.wave_videos=10", "run.text_waves=2"])
        dataset = segment_videos(tmp_path / "d", settings, range(videos))
        with pytest.raises(EngineError, match="no such key"):
            run(dataset, settings)
        made = count(dataset, "captions")
        assert 0 < made <= answered
        assert made % CAPTIONS == 0
        assert count(dataset, "clips") == 0
        server.script, before = texts, len(server.asked)
        assert run(dataset, settings) == 0
        images = sum(image_of(asked) is not None for asked in server.asked[before:])
        assert images == videos * CAPTIONS - made
        assert len(server.asked) - before == videos * (CAPTIONS + SUMMARIES) - made
        assert count(dataset, "usage") == made // CAPTIONS + 2 * videos
        before = len(server.asked)
        assert run(dataset, settings) == 0
        assert len(server.asked) == before


@pytest.mark.slow
def test_in_one_job_a_stage_that_ends_early_leaves_those_behind_it_to_the_next_run(tmp_path: Path) -> None:
    videos = 10
    answered = videos * CAPTIONS - 3  # whichever they are, seven videos have all of theirs
    said, all_said = itertools.count(1), asyncio.Event()

    async def dying(asked: Asked) -> web.StreamResponse:
        if len(asked.server.asked) > answered:
            await all_said.wait()
            return await status(401, "no such key")(asked)
        response = await texts(asked)
        if next(said) == answered:
            all_said.set()
        return response

    with ScriptedServer(dying) as server:
        settings = settings_for(server.url)
        dataset = segment_videos(tmp_path / "d", settings, range(videos))
        with pytest.raises(EngineError, match="no such key"):
            run(dataset, settings, one_job=True)
        assert count(dataset, "captions") > 0
        assert count(dataset, "clips") == count(dataset, "rejects") == 0
        assert all(image_of(asked) for asked in server.asked)
        server.script = texts
        assert run(dataset, settings, one_job=True) == 0
        assert run(dataset, settings) == 0
        assert count(dataset, "clips") == videos * 7


@pytest.mark.slow
def test_an_engine_that_does_not_start_ends_the_run_though_media_is_under_way(
    tmp_path: Path, vidla: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    engine = ("kind=openai", "model=m", 'base_urls=["nowhere://"]')
    wanted = [f"--set={texts}.engine.{setting}" for texts in ("captions", "summaries") for setting in engine]
    begun = time.monotonic()
    with WebServer(tmp_path) as web_server:
        patient = ["--set=download.allow_private=true", "--set=download.stall_s=250", "--set=download.attempts=1"]
        ended = vidla("curate", web_server.url("/stall"), "--dataset", tmp_path / "d", *wanted, *patient)
    assert ended.returncode == 1
    assert "base_urls" in ended.stderr.splitlines()[-1]
    assert "Traceback" not in ended.stderr
    assert time.monotonic() - begun < 120
    assert count(Dataset(str(tmp_path / "d")), "requests") == 1


@pytest.mark.slow
def test_nothing_to_do_starts_nothing(tmp_path: Path) -> None:
    with ScriptedServer(texts) as server:
        settings = settings_for(server.url)
        dataset = segment_videos(tmp_path / "d", settings, range(1))
        assert run(dataset, settings) == 0
    nowhere = settings_for("nowhere://")  # an engine that does not start; where a model is served is in no digest
    assert run(dataset, nowhere) == 0


@pytest.mark.slow
def test_a_run_that_is_stopped_keeps_what_was_made(tmp_path: Path) -> None:
    videos = 8

    async def script(asked: Asked) -> web.StreamResponse:
        if len(asked.server.asked) > 4 * CAPTIONS:
            await asyncio.sleep(200)
        return await texts(asked)

    with ScriptedServer(script) as server:
        settings = settings_for(server.url)
        dataset = segment_videos(tmp_path / "d", settings, range(videos))
        (tmp_path / "vidla.toml").write_text(
            "\n".join(
                f'[{texts}.engine]\nkind = "openai"\nmodel = "m"\nbase_urls = ["{server.url}"]\nmax_in_flight = 16'
                for texts in ("captions", "summaries")
            )
        )
        command = [VIDLA, "curate", "--dataset", tmp_path / "d", "--config", tmp_path / "vidla.toml"]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 360
        while len(server.asked) < 4 * CAPTIONS + 8 and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=180)
        assert process.returncode == 130
        assert "goes on from there" in said
        made = count(dataset, "captions")
        assert 0 < made <= 4 * CAPTIONS
        server.script, before = texts, len(server.asked)
        assert run(dataset, settings) == 0
        assert sum(image_of(asked) is not None for asked in server.asked[before:]) == videos * CAPTIONS - made
    assert download_of(0).video_id in dataset.read("clips")["video_id"].to_pylist()
