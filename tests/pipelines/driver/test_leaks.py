"""No secret gets out: a canary in the settings and in URLs, then everything searched that a run leaves."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

import apache_beam as beam
import pytest
from aiohttp import web

from curation.config import Section
from curation.dataset.dataset import Dataset
from curation.errors import ConfigError, VidlaError
from curation.rejects import Stage
from curation.secret import Secret
from curation.settings import Settings, resolve
from pipelines.driver.curate import curate
from pipelines.runners import runner
from tests.conftest import make_video
from tests.support.leaks import ArgumentWatch, files_with, holds
from tests.support.scripted_server import Asked, ScriptedServer, say
from tests.support.secret_urls import BY_LOOKS, BY_PLACE, CANARY
from tests.support.web_server import WebServer

pytestmark = pytest.mark.hostile("secrets")

KEY = "sk-live9Qw3xT7bN2vLk8Rz5Yp1"


def test_the_search_finds_what_is_hidden() -> None:
    text = CANARY.encode()
    for data in (b"x" + text + b"y", base64.b64encode(b"ab" + text + b"cdef"), CANARY.encode("utf-16-le")):
        assert holds(data, CANARY) and not holds(data, KEY)
    assert holds(b"key: " + base64.b64encode(zlib.compress(b"some " + text)), CANARY)


# --- the settings -----------------------------------------------------------------------------------------------------


def text_settings(section: type[Section], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The key of each setting that is a text or a list of texts, with its type."""
    for name, field in section.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            yield from text_settings(kind, f"{prefix}{name}.")
        elif {str, Secret} & {kind, *get_args(kind)}:
            yield f"{prefix}{name}", kind


TEXT_SETTINGS = dict(text_settings(Settings))


def assignment(key: str, text: str) -> str:
    return f"{key}={json.dumps([text] if get_origin(TEXT_SETTINGS[key]) is tuple else text)}"


def test_there_are_text_settings() -> None:
    assert len(TEXT_SETTINGS) > 25
    assert {"download.proxy", "captions.engine.base_urls", "summaries.engine.vllm.extra_args"} < TEXT_SETTINGS.keys()


@pytest.mark.parametrize("key", TEXT_SETTINGS)
def test_a_canary_in_a_setting_is_not_recorded(key: str) -> None:
    """A secret one is not recorded at all; any other loses a URL's password and token, if it may hold such a text."""
    is_secret = Secret in (TEXT_SETTINGS[key], *get_args(TEXT_SETTINGS[key]))
    text = CANARY if is_secret else f"https://me:{CANARY}@a.example/x?api_token={CANARY}"
    try:
        settings = resolve(None, [assignment(key, text)])
    except ConfigError as error:
        assert CANARY not in str(error)
        return
    assert not holds(json.dumps(settings.shown()).encode(), CANARY)
    if is_secret:
        assert not holds(repr(settings).encode(), CANARY)


# --- a run ------------------------------------------------------------------------------------------------------------


async def quotes_the_key(asked: Asked) -> web.StreamResponse:
    """Refuse the first request, quoting what came with it."""
    if len(asked.server.asked) == 1:
        return web.json_response({"error": {"message": f"no: {asked.headers}"}}, status=400)
    scene = len(asked.server.asked)
    return await say(asked, f"A moving pattern of bars lies over field {scene}, whose colour is new in scene {scene}.")


async def rejects_the_key(asked: Asked) -> web.StreamResponse:
    return web.json_response({"error": {"message": f"Incorrect API key provided: {asked.headers}"}}, status=401)


def url_list(file: Path, server: WebServer) -> Path:
    """A list whose URLs lead to the server, and which quotes all of them."""
    forms = [form.format(CANARY) for form in (BY_PLACE | BY_LOOKS).values()]
    here = server.url("").removeprefix("http://")
    urls = [form.replace("https://", "http://").replace("cdn.example", here) for form in forms if "cdn.example" in form]
    rows = [{"url": url, "note": form, "more": {"list": [form]}} for url, form in zip(urls, forms, strict=False)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.mark.slow
def test_a_run_tells_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("A_KEY", KEY)
    pipelines: list[beam.Pipeline] = []
    make = runner._pipeline
    monkeypatch.setattr(runner, "_pipeline", lambda arguments: pipelines.append(make(arguments)) or pipelines[-1])
    video = make_video(tmp_path / "video.mp4", 42)
    dataset = tmp_path / "dataset"
    with WebServer(tmp_path) as site, ScriptedServer(quotes_the_key) as server, ArgumentWatch() as watch:
        userinfo = server.url.replace("//", f"//me:{CANARY}@")
        settings = resolve(
            None,
            [
                "download.allow_private=true",
                "download.attempts=1",
                "download.per_host=8",
                f"download.proxy={site.url('').replace('//', f'//me:{CANARY}@')}",
                *(f"{texts}.engine.{key}" for texts in ("captions", "summaries") for key in ("kind=openai", "model=m")),
                f'captions.engine.base_urls=["{server.url}"]',
                "captions.engine.api_key_env=A_KEY",
                f'summaries.engine.base_urls=["{userinfo}"]',
                f'summaries.engine.vllm.extra_args=["--x", "{CANARY}"]',
            ],
        )
        run = (str(dataset), settings, tuple(Stage), (), 0.0, 2.0)
        curate([str(video), str(url_list(tmp_path / "list.jsonl", site))], *run)
        server.script = rejects_the_key
        again = settings.model_copy(update={"captions": settings.captions.model_copy(update={"seed": 1})})
        with pytest.raises(VidlaError) as raised:
            curate([], str(dataset), again, *run[2:], yes=True)
    assert Dataset(str(dataset)).read("clips").num_rows > 0
    assert Dataset(str(dataset)).read("rejects").num_rows >= 40
    shown = capfd.readouterr()
    jobs = [pipeline.to_runner_api().SerializeToString() for pipeline in pipelines]
    assert len(jobs) >= 4 and watch.seen
    for secret in (CANARY, KEY):
        assert files_with(dataset, secret) == []
        assert [number for number, job in enumerate(jobs) if holds(job, secret)] == []
        assert not [line for line in watch.seen if secret in line]
        assert secret not in str(raised.value) + shown.out + shown.err
    assert {asked.headers.get("Authorization", "")[:6] for asked in server.asked} == {"Bearer", "Basic "}
