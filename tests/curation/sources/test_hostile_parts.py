"""Sites that deliver something other than media: a picture or a sound that is a list of this machine's own files."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from curation.download_settings import DownloadSettings
from curation.rejects import Kind, Rejected
from curation.sources.fetch import fetch
from curation.sources.requests import read_inputs
from curation.sources.targets import FetchTarget
from tests.support.hostile_media import gallery, shows_private
from tests.support.media_files import make
from tests.support.web_server import WebServer

SETTINGS = DownloadSettings(allow_private=True, attempts=1, stall_s=5.0, timeout_s=60.0)
LINKS = (
    "a DASH manifest named mp4",
    "an HLS playlist named mp4",
    "a list to join",
    "a movie with its samples elsewhere",
)
PART = (
    '<AdaptationSet mimeType="{0}/mp4" contentType="{0}"><Representation id="{0}" bandwidth="1000" {1} codecs="{2}">'
    "<BaseURL>{3}</BaseURL></Representation></AdaptationSet>"
)
MANIFEST = (
    '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT2S"'
    ' profiles="urn:mpeg:dash:profile:isoff-on-demand:2011"><Period>{0}</Period></MPD>'
)


@pytest.fixture
def web(tmp_path: Path) -> Iterator[WebServer]:
    """A DASH stream of /picture.mp4 and /sound.m4a, and the parts themselves."""
    media = tmp_path / "media"
    media.mkdir()
    with WebServer(media) as server:
        parts = [
            PART.format("video", 'width="160" height="120"', "avc1.42c00d", server.url("/picture.mp4")),
            PART.format("audio", "", "mp4a.40.2", server.url("/sound.m4a")),
        ]
        (media / "stream.mpd").write_text(MANIFEST.format("".join(parts)))
        make(media / "picture.mp4", "-t", "2", sound=None)
        make(media / "sound.m4a", "-vn", "-t", "2")
        yield server


def attempt(url: str, folder: Path) -> Rejected | None:
    asked = next(iter(read_inputs([url], SETTINGS)))
    assert isinstance(asked, FetchTarget)
    folder.mkdir()
    try:
        fetch(asked, SETTINGS, folder)
    except Rejected as rejected:
        return rejected
    return None


def test_two_parts_are_merged(web: WebServer, tmp_path: Path) -> None:
    assert attempt(web.url("/stream.mpd"), tmp_path / "download") is None
    assert [path.name for path in (tmp_path / "download").glob("media.*")] == ["media.mp4"]


@pytest.mark.hostile("media")
@pytest.mark.parametrize("part", ["picture.mp4", "sound.m4a"])
@pytest.mark.parametrize("name", LINKS)
def test_a_part_that_names_a_local_file_is_not_merged(web: WebServer, tmp_path: Path, name: str, part: str) -> None:
    shutil.copy(gallery().files[name], web.media / part)
    rejected = attempt(web.url("/stream.mpd"), tmp_path / "download")
    assert rejected is not None
    assert rejected.kind in (Kind.UNSUPPORTED, Kind.UNREADABLE, Kind.NO_VIDEO), rejected
    assert not any(shows_private(path, gallery().private) for path in (tmp_path / "download").iterdir())


@pytest.mark.hostile("media")
@pytest.mark.parametrize("name", LINKS[:3])
def test_a_file_that_names_a_local_file_is_no_media(web: WebServer, tmp_path: Path, name: str) -> None:
    shutil.copy(gallery().files[name], web.media / "picture.mp4")
    rejected = attempt(web.url("/picture.mp4"), tmp_path / "download")
    assert rejected is not None and rejected.kind in (Kind.NO_VIDEO, Kind.UNSUPPORTED), rejected
