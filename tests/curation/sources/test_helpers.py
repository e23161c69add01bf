"""`download.helpers`, plugin folders and arguments of extractors: passed to yt-dlp, and to nothing else."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from curation import guard
from curation.download_settings import DownloadSettings
from curation.errors import ConfigError
from curation.rejects import Kind, Rejected
from curation.secret import Secret
from curation.settings import resolve
from curation.sources import ytdlp
from curation.sources.address_policy import Policy

PLUGIN = '''
"""A made-up site on no network: its pages ask a provider of tokens on this machine, or try to get around the rules."""
from yt_dlp.extractor.youtube import YoutubeIE
from yt_dlp.extractor.youtube.pot.provider import (
    PoTokenContext, PoTokenProvider, PoTokenRequest, PoTokenResponse, register_provider)
from yt_dlp.networking import Request

HELPER = "http://127.0.0.1:{port}"


@register_provider
class TokensPTP(PoTokenProvider):
    PROVIDER_NAME = "tokens"
    _SUPPORTED_CONTEXTS = None
    _SUPPORTED_CLIENTS = None

    def is_available(self):
        return True

    def _real_request_pot(self, request):
        path = "/moved" if request.video_id == "moved" else "/token"
        return PoTokenResponse(self._request_webpage(Request(HELPER + path), request).read().decode())


class TokenSiteIE(YoutubeIE):
    IE_NAME = "tokensite"
    _VALID_URL = r"https://tokens\\.example/(?P<id>\\w+)"

    def _real_extract(self, url):
        name = self._match_id(url)
        if name == "direct":
            self._download_webpage(HELPER + "/token", name)
        request = PoTokenRequest(
            context=PoTokenContext.GVS, innertube_context={{"client": {{"clientName": "WEB"}}}}, video_id=name)
        token = self._pot_director.get_po_token(request)
        title = ",".join(self._configuration_arg("title", ["none"], ie_key="tokensite"))
        media = HELPER if name == "media" else "https://media.example"
        found = {{"id": name, "title": title, "categories": [token or "no token"]}}
        return {{**found, "url": f"{{media}}/{{token}}.mp4", "ext": "mp4"}}
'''


class Helper(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        self.send_response(302 if self.path == "/moved" else 200)
        self.send_header("Location", "http://127.0.0.1:9/elsewhere")
        self.end_headers()
        self.wfile.write(b"dG9rZW4tZm9yLXRoaXMtb25l" if self.path == "/token" else b"")


@pytest.fixture
def helper() -> Iterator[http.server.ThreadingHTTPServer]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Helper)
    server.asked = []  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield server
    server.shutdown()
    guard.stop_all()
    guard.resume()


def settings(helper: http.server.ThreadingHTTPServer, folder: Path, *, named: bool = True) -> DownloadSettings:
    plugins = folder / "plugins" / "tokens" / "yt_dlp_plugins" / "extractor"
    plugins.mkdir(parents=True, exist_ok=True)
    (plugins / "tokens.py").write_text(PLUGIN.format(port=helper.server_port))
    guard.stop_all()
    guard.resume()
    return DownloadSettings(
        plugin_folders=(str(folder / "plugins"),),
        helpers=(f"127.0.0.1:{helper.server_port}",) if named else (),
        extractor_args=(Secret("tokensite:title=one,two"),),
        ask_rights=False,
        attempts=1,
        stall_s=5.0,
    )


@pytest.mark.slow
def test_a_provider_of_tokens_is_asked_where_it_is_named(
    helper: http.server.ThreadingHTTPServer, tmp_path: Path
) -> None:
    page = ytdlp.fetch_page("https://tokens.example/good", settings(helper, tmp_path))
    assert page["categories"] == ["dG9rZW4tZm9yLXRoaXMtb25l"]
    assert page["title"] == "one,two", "arguments of extractors arrive"
    assert helper.asked == ["/token"]  # type: ignore[attr-defined]


@pytest.mark.slow
@pytest.mark.hostile("addresses")
@pytest.mark.parametrize(("name", "named"), [("good", False), ("direct", True), ("moved", True), ("media", True)])
def test_nothing_else_reaches_it(
    name: str, named: bool, helper: http.server.ThreadingHTTPServer, tmp_path: Path
) -> None:
    (tmp_path / "media").mkdir()
    with pytest.raises(Rejected) as caught:
        ytdlp.fetch_media(
            f"https://tokens.example/{name}",
            tmp_path / "media",
            settings(helper, tmp_path, named=named),
            60.0,
            ranged=False,
        )
    assert caught.value.kind in (Kind.REFUSED, Kind.CONNECTION), caught.value
    asked = helper.asked  # type: ignore[attr-defined]
    assert asked == {"good": [], "direct": [], "moved": ["/moved"], "media": ["/token"]}[name]


@pytest.mark.parametrize("url", ["http://[::1]:4416/get", "http://LOCALHOST:80/get", "http://localhost/get"])
def test_a_helper_is_known_in_any_spelling(url: str) -> None:
    policy = Policy(helpers=("[::1]:4416", "LocalHost:80"), asking_helpers=True)
    assert policy.is_asked_helper(url)
    assert not policy.is_asked_helper("http://localhost:8080/get")


@pytest.mark.parametrize(
    "assignment",
    [
        "helpers=['127.0.0.1']",
        "helpers=['http://127.0.0.1:4416']",
        "helpers=['127.0.0.1:99999']",
        "extractor_args=['youtube']",
    ],
)
def test_a_setting_that_cannot_work_is_one_line(assignment: str) -> None:
    with pytest.raises(ConfigError, match=rf"download\.{assignment.partition('=')[0]}: each must"):
        resolve(None, [f"download.{assignment}"])
