"""A run whose dataset is taken over by another writer stops asking and paying at once, and says why."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from curation.dataset import lease as leases
from curation.dataset.dataset import Dataset
from curation.dataset.lease import LEASE
from curation.dataset.object_store import put
from curation.dataset.writer import Writer
from tests.conftest import VIDLA
from tests.support.bucket import Bucket
from tests.support.scripted_server import Asked, ScriptedServer
from tests.support.segmented import segment_videos, settings_for, texts
from tests.support.watching import wait_until
from tests.support.web_server import WebServer, make_media

pytestmark = [pytest.mark.slow, pytest.mark.hostile("failures")]

SOON_S = 15.0  # three heartbeats, on a busy machine


@pytest.fixture(autouse=True)
def stale_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "STALE_S", 1.0)


def check_that_it_ends(dataset: Dataset, process: subprocess.Popen[str], asked: Callable[[], int]) -> None:
    """Take the dataset over while `process` is suspended; let it go on, and see it stop."""
    process.send_signal(signal.SIGSTOP)
    lease = dataset.get_json(LEASE)
    assert lease is not None
    lease["holder"]["boot"] = "another machine"
    put(dataset.store, LEASE, json.dumps(lease).encode())
    with Writer(dataset, "successor", {}):
        process.send_signal(signal.SIGCONT)
        begun = time.monotonic()
        said = process.communicate(timeout=120)[1]
        assert time.monotonic() - begun < SOON_S
        before = asked()
        time.sleep(1.0)
        assert asked() == before, "nothing is asked for any more"
    assert process.returncode == 1, said
    assert f"vidla: process {os.getpid()} on " in said.splitlines()[-1]
    assert said.splitlines()[-1].endswith(f"took over {dataset.uri}; nothing more is written here")
    assert "Traceback" not in said


@pytest.mark.parametrize("store", ["disk", pytest.param("bucket", marks=pytest.mark.long)])
def test_downloads_stop(store: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    location = str(tmp_path / "data")
    if store == "bucket":
        bucket: Bucket = request.getfixturevalue("bucket")
        location = f"{bucket.uri}/data"
    with WebServer(make_media(tmp_path)) as web:
        urls = [web.url(f"/stall-in-body/{number}.mp4") for number in range(40)]
        (tmp_path / "list.txt").write_text("".join(f"{url}\n" for url in urls))
        options = ["--set", "download.allow_private=true", "--set", "download.per_host=4"]
        command = [VIDLA, "curate", tmp_path / "list.txt", "--dataset", location, *options]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            wait_until(lambda: len(web.asked) > 2)
            check_that_it_ends(Dataset(location), process, lambda: len(web.asked))


def test_texts_stop(tmp_path: Path) -> None:
    async def slowly(asked: Asked) -> object:
        import asyncio

        await asyncio.sleep(2.0)
        return await texts(asked)

    with ScriptedServer(slowly) as server:  # type: ignore[arg-type]
        settings = settings_for(server.url, assignments=["captions.engine.max_in_flight=2"])
        dataset = segment_videos(tmp_path / "data", settings, range(30))
        engine = ["kind=openai", "model=m", f'base_urls=["{server.url}"]', "max_in_flight=2"]
        given = [f"--set={kind}.engine.{value}" for kind in ("captions", "summaries") for value in engine]
        command = [VIDLA, "curate", "--dataset", dataset.uri, *given]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
            wait_until(lambda: len(server.asked) > 4)
            check_that_it_ends(dataset, process, lambda: len(server.asked))
            assert len(server.asked) < 120, "it was not done"
