"""Hosts are not crowded: one site's names together, each request at a place of its server, over all processes."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest

from curation.rejects import Kind, Rejected
from curation.sources.fetch import Fetched, fetch
from curation.sources.host_places import HostPlaces, server_of
from curation.sources.sites import site_of
from tests.support.fetching import QUICK, ask, got, rejected, warmed
from tests.support.web_server import WebServer

# --- sites ----------------------------------------------------------------------------------------------------------

SITES = {
    "https://www.youtube.com/watch?v=x": "youtube.com",
    "https://youtu.be/x": "youtube.com",
    "https://m.youtube.com/watch?v=x": "youtube.com",
    "https://music.youtube.com/watch?v=x": "youtube.com",
    "https://www.youtube-nocookie.com/embed/x": "youtube.com",
    "https://YouTube.com./watch?v=x": "youtube.com",
    "https://user@youtu.be:443/x": "youtube.com",
    "https://vm.tiktok.com/x": "tiktok.com",
    "https://twitter.com/x": "x.com",
    "https://dai.ly/x": "dailymotion.com",
    "http://a1.cdn.example.co.uk:8080/x": "example.co.uk",
    "http://a2.cdn.example.co.uk/x": "example.co.uk",
    "https://bucket.s3.amazonaws.com/x": "bucket.s3.amazonaws.com",
    "https://somebody.github.io/x": "somebody.github.io",
    "https://github.io/x": "github.io",
    "https://a.bücher.example/x": "xn--bcher-kva.example",
    "https://b.xn--bcher-kva.example/x": "xn--bcher-kva.example",
    "http://93.184.215.14:81/x": "93.184.215.14",
    "http://[2606:4700::1111]/x": "2606:4700::1111",
    "http://127.0.0.1:81/x": "127.0.0.1:81",
    "http://localhost/x": "localhost:http",
    "http://intranet/x": "intranet",
    "http:///x": "",
    "file:///x": None,
}


@pytest.mark.parametrize(("url", "site"), SITES.items(), ids=SITES.keys())
def test_the_site_of_a_url(url: str, site: str | None) -> None:
    assert site_of(url) == site


def test_one_server_has_its_places_under_all_of_its_names() -> None:
    hosts = ("localhost", "127.0.0.1", "[::ffff:127.0.0.1]", "LOCALHOST")
    loopback = {server_of(f"http://{host}:81/x", proxied=False) for host in hosts}
    assert loopback == {("127.0.0.1:81",)}
    assert server_of("http://93.184.215.14/x", proxied=False) == ("93.184.215.14", "93.184.215.14")
    assert server_of("http://no-such-name.invalid/x", proxied=False) == ("no-such-name.invalid",)
    assert server_of("http://localhost:81/x", proxied=True) == ("localhost:81",)


# --- places ---------------------------------------------------------------------------------------------------------


HOLDER = """
import sys, time
from curation.sources.host_places import HostPlaces
places = HostPlaces(1)
places.take((sys.argv[1],), 60.0)
print("held", flush=True)
time.sleep(600)
"""


@contextlib.contextmanager
def held_elsewhere(name: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the only place under `name`."""
    with subprocess.Popen([sys.executable, "-c", HOLDER, name], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stdout.readline() == "held\n"
        yield process
        process.kill()


@pytest.mark.hostile("failures")
def test_a_killed_process_frees_its_place() -> None:
    name, places = f"killed-{os.getpid()}.example", HostPlaces(1)
    with held_elsewhere(name) as process:
        with pytest.raises(Rejected) as caught:
            places.take((name,), 0.2)
        assert caught.value.retryable and name in caught.value.message
        process.kill()
        assert places.take((name,), 30.0) < 30.0
    places.leave()


def test_as_many_places_as_are_allowed_and_one_for_each_holder() -> None:
    name = f"counted-{os.getpid()}.example"
    first, second, third = HostPlaces(2), HostPlaces(2), HostPlaces(2)
    assert first.take((name,), 0.0) < 1 and second.take((name,), 0.0) < 1
    with pytest.raises(Rejected):
        third.take((name,), 0.1)
    first.take(("elsewhere.example",), 0.0)  # which frees the one before
    assert third.take((name,), 0.0) < 1
    for places in (first, second, third):
        places.leave()


def test_nobody_is_overtaken_again_and_again() -> None:
    """One that lets its place go and takes it again at once, as for the segments of a playlist."""
    name, greedy, modest, over = f"greedy-{os.getpid()}.example", HostPlaces(1), HostPlaces(1), threading.Event()

    def again_and_again() -> None:
        while not over.is_set():
            greedy.take((name,), 60.0)
            time.sleep(0.02)
            greedy.leave()

    thread = threading.Thread(target=again_and_again)
    thread.start()
    try:
        for _ in range(8):
            time.sleep(0.01)
            modest.take((name,), 2.0)
            modest.leave()
    finally:
        over.set()
        thread.join()


def test_nobody_waits_for_one_who_waits() -> None:
    """Two that go back and forth between two servers with a single place each."""
    names = [(f"{side}-{os.getpid()}.example", "shared address") for side in ("left", "right")]
    ended: list[int] = []

    def walk(turn: int) -> None:
        places = HostPlaces(1)
        for step in range(40):
            places.take(names[(step + turn) % 2], 60.0)
        places.leave()
        ended.append(turn)

    threads = [threading.Thread(target=walk, args=(turn,)) for turn in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(ended) == [0, 1, 2, 3]


@pytest.mark.hostile("neighbours")
@pytest.mark.parametrize("put", ["readable by others", "a link", "a folder"])
def test_the_file_of_places_is_nobody_elses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, put: str) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    path = tmp_path / f"vidla-places-{os.geteuid()}"
    if put == "a link":
        (tmp_path / "other").touch()
        path.symlink_to(tmp_path / "other")
    elif put == "a folder":
        path.mkdir()
    else:
        path.touch()
        path.chmod(0o644)
    with pytest.raises(Rejected) as caught:
        HostPlaces(1).take(("example.org",), 0.0)
    assert "TMPDIR" in caught.value.message


# --- requests in turn -----------------------------------------------------------------------------------------------


def together(folder: Path, urls: list[str], per_host: int) -> list[Fetched | BaseException]:
    """Fetch all at once, each in a thread and a child process of its own."""
    ended: list[Fetched | BaseException] = []

    def one(number: int, url: str) -> None:
        place = folder / str(number)
        place.mkdir()
        try:
            ended.append(fetch(ask(url), QUICK.model_copy(update={"per_host": per_host, "stall_s": 60.0}), place))
        except BaseException as error:
            ended.append(error)

    threads = [threading.Thread(target=one, args=(n, url)) for n, url in enumerate(urls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(180)
    return ended


def by_redirect(web: WebServer, server: WebServer, _: str) -> str:
    return web.url(f"/to/video.mp4?{quote(server.url('/held/video.mp4'), safe='')}")


def by_segments(web: WebServer, server: WebServer, _: str) -> str:
    asked = {"url": server.url("/held/0.ts"), "count": 3, "seconds": 1}
    return web.url(f"/playlist/x.m3u8?{urlencode(asked)}")


def by_another_name(_: WebServer, server: WebServer, name: str) -> str:
    """Different sites for whoever sees only names."""
    return server.url("/held/video.mp4", name)


@pytest.mark.hostile("pages")
@pytest.mark.parametrize(
    ("way", "per_host"), [(by_redirect, 1), (by_redirect, 2), (by_segments, 1), (by_another_name, 1)]
)
def test_a_server_is_not_crowded_however_it_is_reached(
    media: Path, tmp_path: Path, way: Callable[[WebServer, WebServer, str], str], per_host: int
) -> None:
    """Each of three videos is listed at a site of its own; all lead to one server."""
    with contextlib.ExitStack() as stack:
        server, *webs = [stack.enter_context(WebServer(media)) for _ in range(4)]
        names = ("127.0.0.1", "localhost", "[::ffff:127.0.0.1]")
        ended = together(tmp_path, [way(web, server, name) for web, name in zip(webs, names, strict=True)], per_host)
        assert [type(e) for e in ended] == [Fetched] * 3, ended
        assert server.most_at_once == per_host


def test_downloads_that_lead_to_each_other_end(media: Path, tmp_path: Path) -> None:
    with WebServer(media) as left, WebServer(media) as right:
        ended = together(tmp_path, [by_redirect(left, right, ""), by_redirect(right, left, "")], 1)
        assert all(isinstance(e, Fetched) for e in ended), ended


def test_a_wait_for_a_place_counts_neither_as_the_pages_time_nor_as_a_stall(web: WebServer, tmp_path: Path) -> None:
    (name,) = server_of(web.url(""), proxied=False)
    warmed(web, tmp_path)
    with held_elsewhere(name) as process:
        threading.Timer(4.0, process.kill).start()
        begun = time.monotonic()
        fetched = got(web.url("/video.mp4"), tmp_path, per_host=1, page_timeout_s=3.0, stall_s=2.0, timeout_s=20.0)
        assert time.monotonic() - begun > 3.5
    assert fetched.attempts == 1


def test_a_wait_for_a_place_ends(web: WebServer, tmp_path: Path) -> None:
    (name,) = server_of(web.url(""), proxied=False)
    with held_elsewhere(name):
        error = rejected(web.url("/video.mp4"), tmp_path, per_host=1, timeout_s=6.0)
    assert error.kind is Kind.TIMEOUT and "download.per_host" in error.message
    assert not web.asked
