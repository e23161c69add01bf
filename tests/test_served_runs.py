"""The text side as a whole against a real vLLM: every text where it belongs, whatever is killed meanwhile."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import re
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from PIL import Image

from curation.config import EngineSettings, Settings, resolve
from curation.engines.vllm import VllmServer
from curation.records import content_digest
from curation.tables import Dataset
from tests.conftest import SERVED_MODEL, VIDLA
from tests.segmented import CAPTIONS, Rows, run, segment_videos
from tests.watching import is_closed, wait_until

pytestmark = pytest.mark.slow

MARK = "VIDLA_TEST_RUN"  # in the environment of a command and of all that it starts
VIDEOS = 20
BRIEF = (
    "captions.max_tokens=12",
    "summaries.captions.max_tokens=16",
    "summaries.subtitles.max_tokens=16",
    *(f"{texts}.attempts=2" for texts in ("captions", "summaries.captions", "summaries.subtitles")),
    "run.wave_videos=4",
    "run.text_waves=2",
)


def assignments(engine: EngineSettings, *more: str) -> list[str]:
    """What has an engine make both kinds of text, briefly, and in waves that are committed soon."""
    engine = engine.model_copy(update={"max_in_flight": 16})
    given = dict(_flat(engine.model_dump(mode="json", exclude_defaults=True)))
    both = [f"{texts}.engine.{key}={value}" for texts in ("captions", "summaries") for key, value in given.items()]
    return [*both, *BRIEF, *more]


def _flat(section: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in section.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", json.dumps(value)


def at(*urls: str, **more: Any) -> EngineSettings:
    return EngineSettings(kind="openai", model=SERVED_MODEL, base_urls=urls, **more)


# --- datasets -------------------------------------------------------------------------------------------------------


def jpeg(seed: str) -> bytes:
    """A small picture, another for another seed."""
    picture, file = Image.frombytes("RGB", (4, 2), hashlib.sha256(seed.encode()).digest()[:24]), io.BytesIO()
    picture.resize((64, 36)).save(file, "JPEG")
    return file.getvalue()


def pictured(rows: Rows) -> Rows:
    """Every frame has a picture that no other has, but for the first of video 0, whose image is corrupt."""
    frames = list(rows["frames"])
    for number, frame in enumerate(frames):
        if (frame.video_id, number) != ("list-v0", 0):
            image = jpeg(frame.frame_id)
            frames[number] = dataclasses.replace(frame, image=image, image_digest=content_digest(image))
    return {**rows, "frames": frames}


def waiting(location: Path, settings: Settings | None = None) -> Dataset:
    """A dataset that waits for its texts."""
    return segment_videos(location, settings or resolve(), range(VIDEOS), pictured)


def rows(dataset: Dataset, query: str) -> list[dict[str, Any]]:
    return [dict(row) for row in dataset.sql(query).to_pylist()]


def count(dataset: Dataset, table: str) -> int:
    return dataset.read(table).num_rows


def told(dataset: Dataset) -> dict[str, list[dict[str, Any]]]:
    """What the texts are, and the rejects, whatever engine made them in whichever run."""
    return {
        table: rows(dataset, f"select {columns} from {table} order by all")
        for table, columns in (
            ("captions", "frame_id, video_id, time, status, text, raw_text"),
            ("summaries", "clip_id, kind, status, text, raw_text"),
            ("clips", "clip_id, subtitle_text, caption_text, subtitle_status, caption_status"),
            ("rejects", "stage, key, kind"),
        )
    }


def asked(dataset: Dataset) -> list[dict[str, Any]]:
    """How many requests were sent for what is in the tables, by stage, in all runs together."""
    return rows(
        dataset, "select stage, sum(requests)::int n, sum(failures)::int failed from usage group by stage order by all"
    )


@pytest.fixture(scope="module")
def undisturbed(text_server: str, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """A dataset whose texts a server made without any trouble."""
    settings = resolve(None, assignments(at(text_server)))
    dataset = waiting(tmp_path_factory.mktemp("undisturbed") / "dataset", settings)
    assert run(dataset, settings) == 0
    assert count(dataset, "captions") == VIDEOS * CAPTIONS - 1
    assert [row["kind"] for row in rows(dataset, "select kind from rejects")] == ["unreadable"]
    return dataset


# --- commands -------------------------------------------------------------------------------------------------------


@contextmanager
def curating(dataset: Dataset, given: Iterable[str]) -> Iterator[subprocess.Popen[str]]:
    """`vidla curate` on a dataset; killed where it still runs in the end. Nothing that it has started outlives it."""
    command = [VIDLA, "curate", "--dataset", dataset.uri, *(f"--set={assignment}" for assignment in given)]
    environment = {**os.environ, MARK: dataset.uri}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()
    wait_until(lambda: not processes_of(dataset))


def processes_of(dataset: Dataset) -> list[psutil.Process]:
    """A command that works on `dataset` and all that it has started, whoever their parents are by now."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):  # it is gone by now, or the kernel's
            if process.environ().get(MARK) == dataset.uri:
                found.append(process)
    return found


def ports_of(dataset: Dataset) -> set[int]:
    """Where the vLLM that a command on `dataset` has started listens, or will."""
    lines = [" ".join(_command_line(process)) for process in processes_of(dataset)]
    return {int(port[1]) for line in lines if (port := re.search(r"api_server .*--port (\d+)", line))}


def _command_line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def wait_for_captions(dataset: Dataset, process: subprocess.Popen[str]) -> None:
    """Until some captions are committed; others are being made then."""

    def some() -> bool:
        assert process.poll() is None, process.communicate()[1]
        return count(dataset, "captions") > 0

    wait_until(some, 240)
    assert count(dataset, "captions") < VIDEOS * CAPTIONS - 1


def said_by(process: subprocess.Popen[str]) -> str:
    """What a command has said on standard error, once it has ended by itself."""
    said = process.communicate(timeout=280)[1]
    assert "Traceback" not in said
    return said


# --- it is killed ---------------------------------------------------------------------------------------------------


@pytest.mark.timeout(600)
@pytest.mark.parametrize("victim", ["VLLM::EngineCore", pytest.param("-m", marks=pytest.mark.long)])
def test_a_server_that_is_killed_in_mid_run_costs_nothing(
    vllm_settings: EngineSettings, undisturbed: Dataset, tmp_path: Path, victim: str
) -> None:
    dataset = waiting(tmp_path / "dataset")
    with curating(dataset, assignments(vllm_settings)) as process:
        wait_for_captions(dataset, process)
        (first,) = ports_of(dataset)
        (killed,) = (p for p in processes_of(dataset) if victim in _command_line(p)[:2])
        killed.kill()
        wait_until(lambda: not ports_of(dataset) <= {first}, 120)
        (second,) = ports_of(dataset)
        said = said_by(process)
    assert process.returncode == 0, said
    assert told(dataset) == told(undisturbed)
    assert asked(dataset) == asked(undisturbed)
    (again,) = rows(dataset, "select sum(retries)::int n from usage")
    assert again["n"] > 0
    assert is_closed(first) and is_closed(second)


@pytest.mark.timeout(600)
def test_a_server_that_stays_away_ends_the_run_and_the_next_one_goes_on(
    vllm_settings: EngineSettings, text_server: str, undisturbed: Dataset, tmp_path: Path
) -> None:
    dataset, server = waiting(tmp_path / "dataset"), VllmServer(vllm_settings)
    try:
        url = server.ready()[0]
        with curating(dataset, assignments(at(url, patience_s=5.0))) as process:
            wait_for_captions(dataset, process)
            server.close()
            said = said_by(process)
    finally:
        server.close()
    assert process.returncode == 1
    assert re.search(rf"^vidla: {url} has not answered for \d+ s .* the same command goes on from there$", said, re.M)
    made = told(dataset)["captions"]
    assert 0 < len(made) < VIDEOS * CAPTIONS - 1
    assert all(caption in told(undisturbed)["captions"] for caption in made)
    assert asked(dataset) != asked(undisturbed)

    with curating(dataset, assignments(at(text_server, patience_s=5.0))) as process:
        said = said_by(process)
    assert process.returncode == 0, said
    assert told(dataset) == told(undisturbed)
    assert asked(dataset) == asked(undisturbed), "what was answered before is not asked again"
    assert len(rows(dataset, "select distinct run_id from usage")) == 2
