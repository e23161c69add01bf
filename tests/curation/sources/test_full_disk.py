"""A full disk during a download ends the run; a server that writes that its own is full does not."""

from __future__ import annotations

import errno
import os
import socketserver
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from curation.dataset.dataset import Dataset
from curation.dataset.object_store import write_errors
from curation.errors import DatasetError, disk_is_full
from curation.rejects import Kind, Rejected
from curation.sources.fetch import fetch
from tests.curation.sources.test_fetch import QUICK, ask
from tests.support.web_server import WebServer, make_media

pytestmark = pytest.mark.hostile("failures")

FULL = "[Errno 28] No space left on device"
TEXTS = (FULL, "Disk quota exceeded", "write error: No space left on device (os error 28)")


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebServer]:
    with WebServer(make_media(tmp_path_factory.mktemp("media"))) as server:
        yield server


# --- servers that say so --------------------------------------------------------------------------------------------


def answer(head: str, body: str = FULL) -> bytes:
    return f"HTTP/1.1 {head}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode()


LIES = {
    "the reason of a 500": answer(f"500 {FULL}"),
    "the reason of a 404": answer("404 Disk quota exceeded"),
    "the body of a 507": answer("507 Insufficient Storage"),
    "a title": answer("200 OK\r\nContent-Type: text/html", f"<html><title>{FULL}</title><body>{FULL}</body></html>"),
    "a playlist": answer("200 OK\r\nContent-Type: application/x-mpegURL", f"#EXTM3U\n#{FULL}\n{FULL}\n"),
    "the place of a redirect": answer("302 Found\r\nLocation: http://127.0.0.1:9/No%20space%20left%20on%20device"),
    "no HTTP": FULL.encode(),
    "text as a video": answer("200 OK\r\nContent-Type: video/mp4", FULL * 9),
}


@pytest.mark.parametrize("lie", LIES)
def test_what_a_server_writes_is_a_reject(lie: str, tmp_path: Path) -> None:
    class Liar(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while self.rfile.readline().strip():
                pass
            self.wfile.write(LIES[lie])

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Liar) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        settings = QUICK.model_copy(update={"attempts": 1})
        with pytest.raises(Rejected) as caught:
            fetch(ask(f"http://127.0.0.1:{server.server_address[1]}/v"), settings, tmp_path)
        server.shutdown()
    assert not disk_is_full(caught.value), "or it would end the run"


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_alone_is_no_full_disk(text: str) -> None:
    server = OSError(f"Generic S3 error: 507: {text}: Generic LocalFileSystem error: {text}")
    for error in (Rejected(Kind.SERVER_ERROR, text), ValueError(text), OSError(text), server):
        assert not disk_is_full(error)
    with pytest.raises(DatasetError) as caught, write_errors("a part"):
        raise server
    assert "the disk is full" not in str(caught.value)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_number_is_one_wherever_a_library_keeps_it(number: int) -> None:
    real = OSError(number, os.strerror(number))
    wrapped = RuntimeError("unable to write data", real)
    later = ValueError("x")
    later.__cause__ = wrapped
    assert all(map(disk_is_full, (real, wrapped, later)))


# --- a disk that is full --------------------------------------------------------------------------------------------


def fill(disk: Path, leave: int) -> None:
    with (disk / "filler").open("wb") as file:
        room = os.statvfs(disk)
        file.write(bytes(max(0, room.f_bavail * room.f_frsize - leave)))


@pytest.mark.parametrize(
    ("path", "leave"),
    [
        pytest.param("/video.mp4", 4096, id="a file"),
        pytest.param("/vod.m3u8", 4096, id="a stream"),
        pytest.param("/endless/video.mp4", 1 << 20, id="a file without end"),
        pytest.param("/dash.mpd", 4096, id="a picture and a sound apart"),
        pytest.param("/watch", 0, id="a page"),
    ],
)
def test_a_full_disk_ends_the_run(web: WebServer, small_disk: Path, path: str, leave: int) -> None:
    folder = small_disk / "download"
    folder.mkdir()
    fill(small_disk, leave)
    with pytest.raises(OSError) as caught:
        fetch(ask(web.url(path)), QUICK, folder)
    assert disk_is_full(caught.value)


@pytest.mark.slow
def test_the_command_says_that_the_disk_is_full(
    web: WebServer, small_disk: Path, vidla: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    location = small_disk / "data"
    arguments = ["--dataset", location, "--set", "download.allow_private=true"]
    ended = vidla("curate", web.url("/endless/1.mp4"), web.url("/endless/2.mp4"), *arguments)
    assert ended.returncode == 1
    assert "the disk is full" in ended.stderr.splitlines()[-1]
    assert "Traceback" not in ended.stderr
    assert Dataset(str(location)).read("rejects").num_rows == 0, "it is not the videos' fault"
