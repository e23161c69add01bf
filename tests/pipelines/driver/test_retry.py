"""`vidla retry`: it tries again what it is told to, of any kind; and subtitles alone, without the media."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer

from curation.dataset.books import balance
from curation.dataset.dataset import Dataset
from curation.errors import UsageError
from curation.rejects import RETRYABLE, Kind, Stage
from curation.settings import resolve
from pipelines.driver.curate import curate
from pipelines.driver.known_rows import Rejection, Retry
from tests.support.scripted_server import ScriptedServer
from tests.support.web_server import VTT, WebServer, make_media
from vidla import curate_commands

WORDS = "Bees dance."
STAGES = (Stage.DOWNLOAD, Stage.SEGMENT)
SETTINGS = [
    "download.allow_private=true",
    "download.attempts=1",
    "tilings.short.min_s=0.5",
    "subtitles.sentence_ends=pauses",
]


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_media(tmp_path_factory.mktemp("media"))


@pytest.fixture
def web(media: Path) -> Iterator[WebServer]:
    with WebServer(media, strict=absent) as server:
        yield server


def absent(h: Any) -> None:
    h.answer(404, b"<html>not here</html>")


def speaking(h: Any) -> None:
    h.answer(200, VTT.format(WORDS).encode(), "text/vtt")


@contextmanager
def settings() -> Iterator[list[str]]:
    """Settings with a served model."""
    with ScriptedServer() as server:
        served = ("kind=openai", "model=m", f'base_urls=["{server.url}"]')
        yield [*SETTINGS, *(f"{texts}.engine.{value}" for texts in ("captions", "summaries") for value in served)]


def run(folder: Path, *inputs: Path, stages: tuple[Stage, ...] = (Stage.DOWNLOAD,), **how: Any) -> None:
    with settings() as given:
        curate([str(path) for path in inputs], str(folder / "d"), resolve(None, given), stages, [], 0.0, 1.0, **how)


def retry(folder: Path, **options: Any) -> None:
    """The command."""
    context: Any = SimpleNamespace(obj=[])
    with settings() as given, pytest.raises(typer.Exit) as ended:
        curate_commands.retry(context, str(folder / "d"), assignments=given, **options)
    assert ended.value.exit_code == 0


def rows(folder: Path, query: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = Dataset(str(folder / "d")).sql(query).to_pylist()
    return found


@pytest.mark.parametrize("kind", Kind)
def test_any_kind_can_be_named_or_forced(kind: Kind) -> None:
    rejection = Rejection(Stage.SEGMENT, "v1", "v1", kind, "d", 1, kind in RETRYABLE)
    assert Retry().includes(rejection) is (kind in RETRYABLE)
    for retry in (Retry(kind), Retry(force=True), Retry(force=True, keys=frozenset({"v1"}))):
        assert retry.includes(rejection)
    other = next(k for k in Kind if k != kind)
    for retry in (Retry(other), Retry(other, force=True), Retry(force=True, keys=frozenset({"v2"}))):
        assert not retry.includes(rejection)


@pytest.mark.slow
def test_rejects_that_no_retry_helps_are_tried_again_if_they_are_named(web: WebServer, tmp_path: Path) -> None:
    urls = tmp_path / "urls.txt"
    urls.write_text("".join(f"{web.url(f'/strict?{n}')}\n" for n in range(2)))
    run(tmp_path, urls)
    assert rows(tmp_path, "select distinct kind, attempts from rejects") == [{"kind": "not_found", "attempts": 1}]
    web.strict = lambda h: h.video()
    run(tmp_path, retry=Retry())
    assert len(rows(tmp_path, "select * from rejects")) == 2
    with pytest.raises(UsageError, match=r"no request of this dataset is for http://elsewhere\.example/"):
        retry(tmp_path, url=["http://elsewhere.example/"])
    retry(tmp_path, force=True, url=[web.url("/strict?1")])
    assert rows(tmp_path, "select uri from downloads") == [{"uri": web.url("/strict?1")}]
    run(tmp_path, retry=Retry("not_found"))
    assert not rows(tmp_path, "select * from rejects") and len(rows(tmp_path, "select * from downloads")) == 2


@pytest.mark.slow
def test_missing_subtitles_are_asked_for_again_without_the_media(web: WebServer, tmp_path: Path) -> None:
    row = {"url": web.url("/video.mp4"), "subtitles": web.url("/strict/x.en.vtt")}
    (tmp_path / "list.jsonl").write_text(json.dumps(row))
    run(tmp_path, tmp_path / "list.jsonl", stages=tuple(Stage))
    assert rows(tmp_path, "select scale, subtitle_text from clips") == [{"scale": "short", "subtitle_text": None}]
    (missing,) = rows(tmp_path, "select subtitle_note, subtitles from downloads")
    assert "HTTP 404" in missing["subtitle_note"] and missing["subtitles"] == []
    words = "sentences, sentence_ends, subtitle_kind, language, language_confidence, words"
    made = rows(tmp_path, f"select * exclude ({words}) from videos")
    captions = rows(tmp_path, "select * from captions")
    frames = rows(tmp_path, "select frame_id, run_id from frames order by all")

    run(tmp_path, retry=Retry(subtitles=True))  # it is missing still
    assert rows(tmp_path, "select subtitle_note, subtitles from downloads") == [missing]
    assert len(rows(tmp_path, "select * from clips")) == 1

    web.strict = speaking
    media_requests = web.times["/video.mp4"]
    run(tmp_path, retry=Retry(subtitles=True))  # as if it were stopped before the video is cut again
    run(tmp_path, stages=tuple(Stage))
    (row,) = rows(tmp_path, "select subtitle_note, len(subtitles) n, digest from downloads")
    assert (row["subtitle_note"], row["n"]) == (None, 1)
    (video,) = rows(tmp_path, "select *, sentences[1].text as said from videos")
    assert (video["said"], video["subtitle_kind"], video["language"]) == (WORDS, "manual", "en")
    assert {name: video[name] for name in made[0] if name not in ("run_id", "created_at")} == {
        name: value for name, value in made[0].items() if name not in ("run_id", "created_at")
    }
    assert rows(tmp_path, "select frame_id, run_id from frames order by all") == frames
    assert rows(tmp_path, "select sentence_count, subtitle_text, subtitle_source from clips") == [
        {"sentence_count": 1, "subtitle_text": WORDS, "subtitle_source": "manual"}
    ]
    assert rows(tmp_path, "select * from captions") == captions
    asked = web.times["/video.mp4"] - media_requests
    assert asked <= 1  # for the page alone: the media is read no further than its type
    books = balance(Dataset(str(tmp_path / "d")))
    assert books.imbalances() == [] and books.notes == ()


@pytest.mark.long
def test_a_subtitle_file_beside_a_video_is_read_again(media: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number, name in enumerate(("one", "two")):
        data = (media / "video.mp4").read_bytes() + b"\0\0\0\x08free" * number  # an empty box: other bytes
        (tmp_path / "in" / f"{name}.mp4").write_bytes(data)
        (tmp_path / "in" / f"{name}.en.vtt").write_text("<html>Sorry</html>")
    run(tmp_path, tmp_path / "in", stages=STAGES)
    for name in ("one", "two"):
        (tmp_path / "in" / f"{name}.en.vtt").write_text(VTT.format(f"This is {name}."))
    retry(tmp_path, subtitles=True, url=[str(tmp_path / "in" / "one.mp4")])
    query = "select sentences[1].text as said from videos order by all"
    assert rows(tmp_path, query) == [{"said": "This is one."}, {"said": None}]
    retry(tmp_path, subtitles=True)
    assert rows(tmp_path, query) == [{"said": "This is one."}, {"said": "This is two."}]
    assert rows(tmp_path, "select distinct subtitle_note as note from downloads") == [{"note": None}]
