"""Rights as a page's site states them: YouTube's answer on training in its documented form, robots.txt, tdmrep.json."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from curation.download_settings import DownloadSettings
from curation.licences import spdx_of
from curation.sources import rights, ytdlp
from tests.support.web_server import ROUTES, WebServer, make_media

VIDEO = "dQw4w9WgXcQ"
URL = f"https://www.youtube.com/watch?v={VIDEO}"
QUICK = DownloadSettings(allow_private=True, attempts=1, stall_s=5.0)
FAKE_YOUTUBE = '''
"""A fake of YouTube's page and of the address of its API, neither of which can be reached by tests."""
from curation.sources import rights
from yt_dlp.extractor.common import InfoExtractor

BASE = "{base}"
rights.TRAINABILITY = BASE + "/youtube/v3/videoTrainability?id="


class FakeYoutubeIE(InfoExtractor):
    _VALID_URL = r"https://www\\.youtube\\.com/watch\\?v=(?P<id>[\\w-]{{11}})"

    def _real_extract(self, url):
        page = BASE + "/watch-page"
        return {{"id": self._match_id(url), "title": "A talk", "url": BASE + "/video.mp4", "webpage_url": page,
                 "license": "CC BY 4.0", "age_limit": 18}}
'''


@pytest.mark.parametrize(
    ("answer", "permitted"),
    [
        ({"kind": "youtube#videoTrainability", "videoId": VIDEO, "permitted": ["none"]}, ("none",)),
        ({"videoId": VIDEO, "permitted": ["all"]}, ("all",)),
        ({"videoId": VIDEO, "permitted": ["Some Lab", "Another"]}, ("Some Lab", "Another")),
        ({"videoId": "another-one", "permitted": ["all"]}, None),
        ({"videoId": VIDEO, "permitted": "all"}, None),
        ({"videoId": VIDEO, "permitted": []}, None),
        ([], None),
    ],
)
def test_who_may_train(answer: object, permitted: tuple[str, ...] | None) -> None:
    assert rights.permitted_to_train(json.dumps(answer).encode(), VIDEO) == permitted


@pytest.mark.hostile("pages")
@pytest.mark.parametrize("data", [b"", b"\xff\xfe", b"[" * 100_000, b"{" * 600_000, b"<html>", b'{"videoId": 1e999}'])
def test_answers_that_are_none(data: bytes) -> None:
    assert rights.permitted_to_train(data, VIDEO) is None
    assert rights.tdm_reserved(data, URL) is None
    assert rights.robots_allow(data, URL) is True


@pytest.mark.parametrize(
    ("location", "reserved"),
    [
        ("/", True),
        ("/clips/", True),
        ("/clips/*.mp4$", True),
        ("/clips/*.mp$", False),
        ("/talks/", False),
        ("/a$", False),
    ],
)
def test_the_first_rule_that_matches_decides(location: str, reserved: bool) -> None:
    rules = [{"location": location, "tdm-reservation": 1}, {"location": "/clips/", "tdm-reservation": 0}]
    found = rights.tdm_reserved(json.dumps(rules).encode(), "https://example.org/clips/a.mp4")
    assert found is reserved


@pytest.mark.parametrize(
    ("robots", "allowed"),
    [
        ("User-agent: *\nDisallow: /*.mp4$", False),
        ("User-agent: *\nDisallow: /*.mp4$\nAllow: /clips/a*", True),
        ("User-agent: *\nDisallow: /\nAllow: /clips", True),
        ("User-agent: *\nAllow: /\nDisallow: /clips/", False),
        ("User-agent: *\nDisallow: /clips\nAllow: /clips", True),
        ("User-agent: *\nDisallow:", True),
        ("\ufeffUser-agent: *\nDisallow: /", False),
        ("User-agent: VidLA/2\nuser-agent: other\ndisallow: /clips # all of them\n\nUser-agent: *\nDisallow:", False),
        ("User-agent: *\nDisallow: /\n\nUser-agent: vidla\nDisallow: /talks", True),
        ("User-agent: *\nDisallow: /talks\n\nUser-agent: *\nDisallow: /cl%69ps", False),
        ("Disallow: /\nUser-agent: vidlas\nDisallow: /", True),
    ],
)
def test_robots_txt_is_read_as_its_standard_says(robots: str, allowed: bool) -> None:
    assert rights.robots_allow(robots.encode(), "https://example.org/clips/a.mp4") is allowed


@pytest.mark.hostile("pages")
@pytest.mark.parametrize(
    "robots",
    [
        b"User-agent: *\nDisallow: /" + b"*a" * 240_000,
        b"User-agent: *\n" + b"Disallow: /*a*a*a*a*a*a*b$\n" * 10_000,
        b"User-agent: *\n" * 20_000 + b"Disallow: /x\n" * 10_000,
    ],
    ids=["one long rule", "many rules", "many agents"],
)
def test_no_robots_txt_takes_long(robots: bytes) -> None:
    before = time.process_time()
    assert rights.robots_allow(robots, "https://example.org/" + "a" * 2000) is True
    assert time.process_time() - before < 5


@pytest.mark.parametrize(
    ("stated", "spdx"),
    [
        ("https://creativecommons.org/licenses/by-nc-nd/3.0/us/", "CC-BY-NC-ND-3.0"),
        ("CC BY-SA 4.0", "CC-BY-SA-4.0"),
        ("CC0 1.0 Universal", "CC0-1.0"),
        ("Creative Commons Attribution license (reuse allowed)", None),
        ("by-nc", None),
        ("CC BY 9.9", None),
        (None, None),
    ],
)
def test_a_licence_is_named_where_its_statement_tells_which(stated: str | None, spdx: str | None) -> None:
    assert spdx_of(stated) == spdx


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake_site: None) -> Iterator[WebServer]:
    """The loopback server of the API and of the site's files, and children that know the fake of YouTube."""
    answer = {"kind": "youtube#videoTrainability", "etag": "e", "videoId": VIDEO, "permitted": ["none"]}
    monkeypatch.setitem(ROUTES, "youtube", lambda h: h.answer(200, json.dumps(answer).encode(), "application/json"))
    robots = b"User-agent: *\nDisallow: /watch-page\n"
    monkeypatch.setitem(ROUTES, "robots.txt", lambda h: h.answer(200, robots, "text/plain", X_Robots_Tag="noindex"))
    rules = [{"location": "/watch", "tdm-reservation": 1}]
    monkeypatch.setitem(ROUTES, ".well-known", lambda h: h.answer(200, json.dumps(rules).encode(), "application/json"))
    (tmp_path / "media").mkdir()
    plugins = tmp_path / "plugins" / "yt_dlp_plugins" / "extractor"
    plugins.mkdir(parents=True)
    monkeypatch.syspath_prepend(str(tmp_path / "plugins"))
    with WebServer(make_media(tmp_path / "media")) as server:
        (plugins / "fake_youtube.py").write_text(FAKE_YOUTUBE.format(base=server.url("")))
        yield server


@pytest.mark.slow
def test_a_page_says_what_its_site_states(web: WebServer, tmp_path: Path) -> None:
    page = ytdlp.page_of("key", URL, ytdlp.fetch_page(URL, QUICK))
    assert page.training == ("none",)
    assert (page.robots_allow, page.tdm_reserved) == (False, True), "and the header of robots.txt opts nothing out"
    assert (page.licence, page.licence_spdx, page.age_limit) == ("CC BY 4.0", "CC-BY-4.0", 18)
    assert web.times[f"/youtube/v3/videoTrainability?id={VIDEO}"] == 1


@pytest.mark.slow
@pytest.mark.hostile("pages")
@pytest.mark.parametrize("route", ["stall-before-headers", "endless", "reset-in-body", "a-server-error"])
def test_a_site_that_does_not_answer_costs_the_video_nothing(
    route: str, web: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("robots.txt", ".well-known", "youtube"):
        monkeypatch.setitem(ROUTES, name, ROUTES.get(route, lambda h: h.answer(500)))
    page = ytdlp.page_of("key", URL, ytdlp.fetch_page(URL, QUICK.model_copy(update={"stall_s": 1.0})))
    assert (page.title, page.training, page.tdm_reserved) == ("A talk", (), None)
