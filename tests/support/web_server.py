"""A web server on loopback that serves a small video well, and misbehaves in all the ways of the web."""

from __future__ import annotations

import gzip
import socket
import struct
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, parse_qsl, unquote, urlsplit

VTT = "WEBVTT\n\n00:00:00.000 --> 00:00:01.000\n{}\n"
SRT = "1\n00:00:00,000 --> 00:00:01,000\n{}\n"
SECRET = "s3cr3t"

Route = Callable[["_Handler"], None]
ROUTES: dict[str, Route] = {}


def make_media(folder: Path) -> Path:
    """Two seconds of test picture with a tone, as MP4, HLS and DASH (in two files), and each of them alone."""
    picture = ["-f", "lavfi", "-i", "testsrc2=size=96x64:rate=12:duration=2"]
    tone = ["-f", "lavfi", "-i", "sine=frequency=440:duration=2"]
    codecs = ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", "12", "-c:a", "aac"]
    for arguments in (
        [*picture, *tone, *codecs, "-movflags", "+faststart", "video.mp4"],
        [*picture, *tone, *codecs, "-f", "hls", "-hls_time", "1", "-hls_playlist_type", "vod", "vod.m3u8"],
        [*picture, *tone, *codecs, "-f", "dash", "-seg_duration", "1", "dash.mpd"],
        [*tone, "sound.mp3"],
        [*picture, "-frames:v", "1", "picture.jpg"],
    ):
        subprocess.run(["ffmpeg", "-v", "error", "-nostdin", "-y", *arguments], cwd=folder, check=True, timeout=180)
    return folder


@dataclass
class WebServer:
    """Serves the files in `media` and the misbehaving ROUTES; records its requests."""

    media: Path
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    strict: Route = field(default=lambda h: h.video())  # the route of that name, as a test decides
    most_at_once: int = 0
    _at_once: int = 0

    def __enter__(self) -> WebServer:
        self.times: Counter[str] = Counter()
        self.ended = threading.Event()
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads = True
        self._server.web = self  # type: ignore[attr-defined]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self._server.shutdown()
        self._server.server_close()

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self._server.server_port}{path}"

    def paths(self) -> list[str]:
        return [path for path, _ in self.asked]

    def begin(self, path: str, headers: dict[str, str]) -> int:
        """Count a request; returns the number of requests for its path so far."""
        with self._lock:
            self.asked.append((path, headers))
            self.times[path] += 1
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            return self.times[path]

    def end(self) -> None:
        with self._lock:
            self._at_once -= 1


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: Any) -> None:
        """Ignore clients that hang up: many of these routes provoke that."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    web: WebServer
    lines: list[tuple[str, str]]  # more headers, of which several may have one name

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.web = self.server.web  # type: ignore[attr-defined]
        self.route, _, self.rest = urlsplit(self.path).path.lstrip("/").partition("/")
        self.lines = []
        self.counted = True
        self.time = self.web.begin(self.path, dict(self.headers))
        try:
            ROUTES.get(self.route, _file)(self)
        except (ConnectionError, TimeoutError):
            self.close_connection = True
        finally:
            self.end()

    def end(self) -> None:
        if self.counted:
            self.counted = False
            self.web.end()

    def answer(self, status: int, body: bytes = b"", kind: str = "text/html", **headers: str) -> None:
        self.end()  # a client that has the answer is gone before this thread can count that
        self.head(status, kind, len(body), **headers)
        self.wfile.write(body)

    def head(self, status: int, kind: str, length: int | None, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        if length is None:
            self.close_connection = True
            self.send_header("Connection", "close")
        else:
            self.send_header("Content-Length", str(length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        for name, value in self.lines:
            self.send_header(name, value)
        self.end_headers()

    def video(self, **headers: str) -> None:
        """The video, or the requested range of it."""
        data = self.data("video.mp4")
        wanted = (self.headers.get("Range") or "").removeprefix("bytes=").removesuffix("-")
        if not wanted.isdecimal() or "no-range" in self.path:
            return self.answer(200, data, "video/mp4", ETag='"1"', **headers)
        start = int(wanted)
        span = f"bytes {start}-{len(data) - 1}/{len(data)}"
        return self.answer(206, data[start:], "video/mp4", Content_Range=span, ETag='"1"', **headers)

    def data(self, name: str) -> bytes:
        return (self.web.media / name).read_bytes()

    def half(self, length: int | None = -1, **headers: str) -> None:
        """The first half of the video, announced with the full length or with `length`."""
        data = self.data("video.mp4")
        self.head(200, "video/mp4", len(data) if length == -1 else length, ETag='"1"', **headers)
        self.wfile.write(data[: len(data) // 2])
        self.wfile.flush()

    def reset(self) -> None:
        """Abort the connection, so that the client sees a reset."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def wait(self, seconds: float = 30.0) -> None:
        self.web.ended.wait(seconds)

    def browsed(self) -> bool:
        """Whether this is yt-dlp's first request for a URL, whose body it leaves unread if it is media."""
        return self.time % 2 == 1


def route(name: str) -> Callable[[Route], Route]:
    def register(function: Route) -> Route:
        ROUTES[name] = function
        return function

    return register


def status(code: int, body: str = "", **headers: str) -> Route:
    return lambda h: h.answer(code, f"<html><p>{body}</p></html>".encode(), **headers)


def page(body: str, **headers: str) -> Route:
    return status(200, body, **headers)


def redirect(target: str) -> Route:
    return lambda h: h.answer(302, Location=target.format(base=h.web.url("")))


def _file(h: _Handler) -> None:
    path = h.web.media / h.route
    kinds = {".mp4": "video/mp4", ".m3u8": "application/vnd.apple.mpegurl", ".ts": "video/mp2t", ".mp3": "audio/mpeg"}
    kinds |= {".mpd": "application/dash+xml", ".jpg": "image/jpeg", ".m4s": "video/iso.segment"}
    if h.route == "video.mp4":
        h.video()
    elif path.is_file():
        h.answer(200, path.read_bytes(), kinds.get(path.suffix, "application/octet-stream"))
    else:
        h.answer(404, b"<html>nothing here</html>")


# --- statuses -------------------------------------------------------------------------------------------------------

ROUTES |= {
    "gone": status(410),
    "login": status(401, "please"),
    "forbidden": status(403, "no"),
    "captcha": status(403, "Solve this captcha to go on"),
    "cloudflare": status(403, "Just a moment...", cf_mitigated="challenge"),
    "country": status(403, "This video is not available in your country"),
    "legal": status(451),
    "busy": status(429),
    "busy-for-an-hour": status(429, Retry_After="3600"),
    "broken500": status(500),
    "teapot": status(418),
    "missing-noindex": status(404, X_Robots_Tag="noindex"),
    "throttled": status(403, "You have exceeded a rate limit"),
}


def first(times: int, then: Route) -> Callable[[Route], Route]:
    """A route that misbehaves `times` times and then continues with `then`."""
    return lambda bad: lambda h: bad(h) if h.time <= times else then(h)


def video(h: _Handler) -> None:
    h.video()


ROUTES["strict"] = lambda h: h.web.strict(h)
ROUTES["busy-once"] = first(1, video)(status(429, Retry_After="1"))
ROUTES["flaky500"] = first(2, video)(status(500))
ROUTES["flaky503"] = first(1, video)(status(503, Retry_After="0"))


@route("media403")
def _(h: _Handler) -> None:
    h.video() if h.browsed() else h.answer(403)


# --- broken connections ---------------------------------------------------------------------------------------------


@route("stall-before-headers")
def _(h: _Handler) -> None:
    h.wait()
    h.close_connection = True


@route("stall-in-body")
def _(h: _Handler) -> None:
    h.half()
    h.wait()


@route("drip-headers")
def _(h: _Handler) -> None:
    h.wfile.write(b"HTTP/1.1 200 OK\r\n")
    while not h.web.ended.wait(0.1):
        h.wfile.write(b"X")


@route("drip-redirects")
def _(h: _Handler) -> None:
    """Each page refers to the next one after a while, so that no single one takes long."""
    h.wait(0.3)
    h.answer(200, f'<meta http-equiv="refresh" content="0; url=/drip-redirects/{h.rest}1">'.encode())


@route("drip-page")
def _(h: _Handler) -> None:
    h.head(200, "text/html", None)
    h.wfile.write(b"<html>")
    while not h.web.ended.wait(0.1):
        h.wfile.write(b"more ")


@route("drip")
def _(h: _Handler) -> None:
    h.head(200, "video/mp4", 1 << 20)
    for byte in h.data("video.mp4"):
        h.wfile.write(bytes([byte]))
        h.wait(0.1)


@route("reset-at-once")
def _(h: _Handler) -> None:
    h.reset()


@route("reset-in-body")
def _(h: _Handler) -> None:
    h.half()
    h.wait(0.1)
    h.reset()


@route("reset-in-body-once")
def _(h: _Handler) -> None:
    if h.time == 2:
        h.half()
        h.wait(0.1)
        return h.reset()
    return h.video()


@route("changed-after-reset")
def _(h: _Handler) -> None:
    """The file has changed when the rest is requested; a good server detects that by If-Range."""
    if h.time == 2:
        data = b"\0" * len(h.data("video.mp4"))
        h.head(200, "video/mp4", len(data), ETag='"0"')
        h.wfile.write(data[: len(data) // 2])
        h.wait(0.1)
        return h.reset()
    if h.headers.get("If-Range") not in (None, '"1"'):
        del h.headers["Range"]
    return h.video()


@route("short")
def _(h: _Handler) -> None:
    """Announces more bytes than it sends."""
    h.half()
    h.close_connection = True


@route("no-length")
def _(h: _Handler) -> None:
    h.head(200, "video/mp4", None)
    h.wfile.write(h.data("video.mp4"))


# --- too much -------------------------------------------------------------------------------------------------------


def _pour(h: _Handler, chunk: bytes) -> None:
    while not h.web.ended.is_set():
        h.wfile.write(chunk)


@route("endless")
def _(h: _Handler) -> None:
    h.head(200, "video/mp4", None)
    _pour(h, h.data("video.mp4"))


@route("endless-page")
def _(h: _Handler) -> None:
    h.head(200, "text/html", None)
    _pour(h, b"<html>" + b"more " * 10_000)


@route("endless-error")
def _(h: _Handler) -> None:
    h.head(403, "text/html", None)
    _pour(h, b"<html>" + b"more " * 10_000)


@route("huge")
def _(h: _Handler) -> None:
    h.head(200, "video/mp4", 1 << 50)
    h.wait(1)


@route("bomb")
def _(h: _Handler) -> None:
    members = [gzip.compress(b"<html>"), *[gzip.compress(b" " * (1 << 20))] * 300]
    h.answer(200, b"".join(members), Content_Encoding="gzip")


# --- redirects ------------------------------------------------------------------------------------------------------

ROUTES |= {
    "loop": redirect("{base}/loop"),
    "to-metadata": redirect("http://169.254.169.254/latest/meta-data/video.mp4"),
    "to-file": redirect("file:///etc/passwd"),
    "to-ftp": redirect("ftp://127.0.0.1/video.mp4"),
    "to-nonsense": lambda h: h.answer(302, Location="http://\xff\xfe/video.mp4"),
    "to-nowhere": lambda h: h.answer(302, Location="http://"),
    "to-signed": redirect("{base}/busy?X-Amz-Signature=" + SECRET),
}


@route("endless-redirect")
def _(h: _Handler) -> None:
    h.head(302, "text/html", None, Location="/video.mp4")
    _pour(h, b"<html>" + b"more " * 10_000)


@route("to")
def _(h: _Handler) -> None:
    """A redirect to the URL that is the query, in UTF-8."""
    h.answer(302, Location=unquote(urlsplit(h.path).query).encode().decode("latin-1"))


@route("hops")
def _(h: _Handler) -> None:
    left = int(h.rest)
    h.answer(302, Location=f"/hops/{left - 1}") if left else h.video()


@route("chase")
def _(h: _Handler) -> None:
    """A second look at an URL is always sent on to the next one, so that whoever looks twice never arrives."""
    if h.rest == "0" or h.time > 1:
        h.answer(302, Location=f"/chase/{int(h.rest) + 1}")
    else:
        h.answer(200, b"<html>nearly there</html>")


# --- pages and subtitles --------------------------------------------------------------------------------------------

_VIDEO = '<title>A talk</title><video src="/video.mp4">{}</video>'
ROUTES |= {
    "text.html": page("No moving picture here."),
    "watch": page(_VIDEO.format('<track kind="subtitles" srclang="en" src="/subtitles/en.vtt">')),
    "watch-odd-track": page(_VIDEO.format('<track kind="subtitles" srclang="en" src="/subtitles/en.json">')),
    "watch-broken-track": page(_VIDEO.format('<track kind="subtitles" srclang="en" src="/subtitles/missing.vtt">')),
    "watch-stalling-track": page(
        _VIDEO.format('<track kind="subtitles" srclang="en" src="/stall-before-headers/en.vtt">')
    ),
    "two-videos": page('<video src="/video.mp4"></video><video src="/no-length/video.mp4"></video>'),
    "watch-inside": page('<video src="http://169.254.169.254/video.mp4"></video>'),
    "watch-no-host": page('<video src="http://[::1/video.mp4"></video>'),
    "watch-no-port": page('<video src="http://127.0.0.1:99999/video.mp4"></video>'),
    "picture-as-video": lambda h: h.answer(200, h.data("picture.jpg"), "video/mp4"),
    "page-as-video": lambda h: h.answer(200, b"<!DOCTYPE html><html>Sorry</html>", "video/mp4"),
    "empty": lambda h: h.answer(200, b"", "video/mp4"),
    "no-type": lambda h: h.answer(200, h.data("video.mp4"), "application/octet-stream"),
}


@route("subtitles")
def _(h: _Handler) -> None:
    name = h.rest
    if name.startswith("missing"):
        h.answer(404, b"<html>no subtitles</html>")
    elif name.endswith(".json"):
        h.answer(200, b"{}", "application/json")
    elif name == "latin1.srt":
        h.answer(
            200, SRT.format("Übergrößenträger dürfen natürlich über die Brücke gehen").encode("latin-1"), "text/plain"
        )
    elif name == "page.vtt":
        h.answer(200, b"<html>Sorry</html>")
    elif name == "no-cue.vtt":
        h.answer(200, b"WEBVTT\n\nNOTE there is nothing --> to say\n", "text/vtt")
    elif name.endswith(".ass"):
        h.answer(200, b"[Events]\nDialogue: 0,0:00:00.00,0:00:01.00,Default,,0,0,0,,By hand.\n", "text/plain")
    elif name.endswith(".sbv"):
        h.answer(200, b"0:00:00.000,0:00:01.000\nBy hand.\n", "text/plain")
    else:
        h.answer(200, VTT.format(name).encode(), "text/vtt")


@route("feed.rss")
def _(h: _Handler) -> None:
    items = "".join(
        f'<item><title>Part {n}</title><enclosure url="{h.web.url(f"/video.mp4?part={n}")}" type="video/mp4"/></item>'
        for n in (1, 2, 3)
    )
    h.answer(200, f'<rss version="2.0"><channel><title>A series</title>{items}</channel></rss>'.encode(), "text/xml")


# --- opting out -----------------------------------------------------------------------------------------------------

ROUTES |= {
    "opted-out": lambda h: h.video(X_Robots_Tag="noai, noimageai"),
    "opted-out-page": page(_VIDEO.format(""), X_Robots_Tag="noai"),
    "opted-out-media": lambda h: h.video(**({} if h.browsed() else {"X_Robots_Tag": "noai"})),
    "reserved": lambda h: h.video(TDM_Reservation="1"),
}


@route("saying")
def _(h: _Handler) -> None:
    """The video, with the header lines that the query names."""
    h.lines = parse_qsl(urlsplit(h.path).query)
    h.video()


@route("opted-out-redirect")
def _(h: _Handler) -> None:
    h.answer(302, Location="/video.mp4", X_Robots_Tag="noai")


# --- streams --------------------------------------------------------------------------------------------------------


def playlist(*lines: str, end: bool = True) -> Route:
    head = ["#EXTM3U", "#EXT-X-VERSION:3", "#EXT-X-TARGETDURATION:1", "#EXT-X-MEDIA-SEQUENCE:0"]
    body = "\n".join([*head, *lines, *(["#EXT-X-ENDLIST"] if end else [])]).encode()
    return lambda h: h.answer(200, body, "application/vnd.apple.mpegurl")


MASTER = """#EXTM3U
#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="s",NAME="English",LANGUAGE="en",URI="/captions/en.m3u8"
#EXT-X-STREAM-INF:BANDWIDTH=100000,RESOLUTION=96x64,SUBTITLES="s"
/vod.m3u8
"""


@route("playlist")
def _(h: _Handler) -> None:
    """The playlist of which the query names the segments' seconds, number, and URLs (in turns, numbered)."""
    asked = parse_qs(urlsplit(h.path).query)
    urls, seconds = asked["url"], asked["seconds"][0]
    lines = (f"#EXTINF:{seconds},\n{urls[n % len(urls)]}?{n}" for n in range(int(asked["count"][0])))
    playlist(*lines)(h)


ROUTES |= {
    "tiny.ts": lambda h: h.answer(200, b"tiny", "video/mp2t"),
    "captioned": lambda h: h.answer(200, MASTER.encode(), "application/vnd.apple.mpegurl"),
    "captions": playlist("#EXTINF:1.0,", "/subtitles/1.vtt", "#EXTINF:1.0,", "/subtitles/2.vtt"),
    "live": playlist("#EXTINF:1.0,", "/vod0.ts", end=False),
    "hole": playlist("#EXTINF:1.0,", "/vod0.ts", "#EXTINF:1.0,", "/missing.ts"),
    "inside": playlist("#EXTINF:1.0,", "http://169.254.169.254/vod0.ts"),
    "local": playlist("#EXTINF:1.0,", "file:///etc/passwd"),
    "endless-segment": playlist("#EXTINF:1.0,", "/endless/0.ts"),
    "encrypted": playlist('#EXT-X-KEY:METHOD=SAMPLE-AES,URI="/key"', "#EXTINF:1.0,", "/vod0.ts"),
}


# --- who is asking --------------------------------------------------------------------------------------------------


@route("for-members")
def _(h: _Handler) -> None:
    h.video() if f"member={SECRET}" in (h.headers.get("Cookie") or "") else h.answer(401, b"<html>log in</html>")


@route("signed")
def _(h: _Handler) -> None:
    h.video() if f"X-Amz-Signature={SECRET}" in h.path else h.answer(403)


@route("held")
def _(h: _Handler) -> None:
    """A segment or a video, after a while in which others could come."""
    h.wait(0.3)
    h.answer(200, h.data("vod0.ts"), "video/mp2t") if h.rest.endswith(".ts") else h.video()


@route("slow")
def _(h: _Handler) -> None:
    """Waits until somebody else is here too (once), and then a little for more."""
    until = time.monotonic() + 60
    while h.web.most_at_once < 2 and time.monotonic() < until:
        h.wait(0.05)
    h.wait(0.3)
    h.video()
