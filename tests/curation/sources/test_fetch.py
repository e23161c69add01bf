"""Downloads from a real web server on loopback that behaves and misbehaves, and from local files."""

from __future__ import annotations

import dataclasses
import errno
import json
import logging
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import av
import pytest

from curation import guard
from curation.errors import disk_is_full
from curation.ids import content_digest
from curation.rejects import Kind, Rejected
from curation.sources import site_limits
from curation.sources.fetch import Fetched, fetch, fetch_subtitles
from curation.sources.requests import read_inputs
from curation.sources.targets import FetchTarget
from curation.subtitles import parsing, tracks
from tests.support.fetching import QUICK, ask, got, rejected
from tests.support.web_server import SECRET, WebServer

# --- what works -----------------------------------------------------------------------------------------------------


def test_a_direct_file_is_fetched_completely_with_its_row(web: WebServer, media: Path, tmp_path: Path) -> None:
    fetched = got(ask(web.url("/video.mp4"), note="x"), tmp_path)
    data = (media / "video.mp4").read_bytes()
    assert fetched.media.read_bytes() == data
    row = fetched.download
    assert (row.source_bytes, row.source_digest) == (len(data), content_digest(data))
    assert row.video_id == f"content-{content_digest(data)}"
    assert (row.uri, row.title, row.extractor) == (web.url("/video.mp4"), "video", "Generic")
    assert (row.upload_date, row.opt_out, row.subtitles) == (None, None, ())
    assert row.metadata == '{"note": "x"}'
    assert fetched.attempts == 1


def test_the_id_is_from_the_list_if_the_site_has_none_and_includes_the_range(web: WebServer, tmp_path: Path) -> None:
    fetched = got(ask(web.url("/video.mp4"), id="seven", start=1, end=2.5), tmp_path)
    assert fetched.download.video_id == "list-seven~1000000-2500000"
    assert (fetched.download.start, fetched.download.end) == (1.0, 2.5)


@pytest.mark.parametrize(
    "path", ["/no-length", "/no-type/video.mp4", "/hops/3", "/endless-redirect", "/vod.m3u8", "/dash.mpd"]
)
def test_other_ways_to_serve_a_video(web: WebServer, tmp_path: Path, path: str) -> None:
    fetched = got(web.url(path), tmp_path)
    with av.open(str(fetched.media)) as container:
        frames = sum(1 for _ in container.decode(video=0))
        assert container.streams.audio
    assert frames == 24


def test_page_metadata_and_manual_subtitles_are_fetched_too(web: WebServer, tmp_path: Path) -> None:
    row = got(web.url("/watch"), tmp_path).download
    assert row.title == "A talk"
    page = json.loads(row.page or "")
    assert (page["id"], page["ext"]) == ("watch-1", "mp4")
    assert [(t.language, t.kind, t.format) for t in row.subtitles] == [("en", "manual", "vtt")]
    assert "en.vtt" in row.subtitles[0].text


def test_subtitles_of_a_stream(web: WebServer, tmp_path: Path) -> None:
    (track,) = got(web.url("/captioned"), tmp_path).download.subtitles
    assert (track.language, track.kind, track.format) == ("en", "manual", "vtt")
    assert "1.vtt" in track.text and "2.vtt" in track.text


@pytest.mark.hostile("pages")
@pytest.mark.slow
@pytest.mark.parametrize("page", ["/watch-broken-track", "/watch-stalling-track"])
def test_failing_subtitles_do_not_cost_the_video(
    web: WebServer, tmp_path: Path, page: str, caplog: pytest.LogCaptureFixture
) -> None:
    row = got(web.url(page), tmp_path, attempts=1, stall_s=1.0).download
    assert row.source_bytes and row.subtitles == ()
    assert "no manual subtitles in en" in caplog.text


def test_subtitles_named_in_the_list_are_fetched_and_decoded(web: WebServer, tmp_path: Path) -> None:
    row = got(ask(web.url("/video.mp4"), subtitles=web.url("/subtitles/latin1.srt")), tmp_path).download
    assert [(t.language, t.kind, t.format) for t in row.subtitles] == [("und", "manual", "srt")]
    assert "Übergrößenträger" in row.subtitles[0].text


@pytest.mark.hostile("subtitles")
@pytest.mark.parametrize(
    ("module", "name", "bound", "message"),
    [
        (parsing, "_GUESS_S", 0.0, "its subtitles could not be read within"),
        (tracks, "ROW_CHARACTERS", 10, "those before fill a row"),
    ],
    ids=["time", "row"],
)
def test_subtitles_beyond_a_bound_do_not_cost_the_video(
    web: WebServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    module: ModuleType,
    name: str,
    bound: float,
    message: str,
) -> None:
    monkeypatch.setattr(module, name, bound)
    row = got(ask(web.url("/video.mp4"), subtitles=web.url("/subtitles/latin1.srt")), tmp_path).download
    assert row.source_bytes and row.subtitles == ()
    assert message in caplog.text


@pytest.mark.hostile("subtitles")
@pytest.mark.parametrize(
    ("name", "note", "kept"),
    [
        ("page.vtt", "an HTML page instead of subtitles", 0),
        ("no-cue.vtt", "there is no cue in them (vtt)", 1),
        ("missing.en.vtt", "HTTP 404", 0),
        ("en.json", "no file in a known format", 0),
    ],
)
def test_subtitles_of_the_list_that_cannot_be_had_are_noted(
    web: WebServer, tmp_path: Path, name: str, note: str, kept: int
) -> None:
    row = got(ask(web.url("/video.mp4"), subtitles=web.url(f"/subtitles/{name}")), tmp_path).download
    assert row.source_bytes and len(row.subtitles) == kept
    assert note in (row.subtitle_note or "")


@pytest.mark.parametrize("form", ["ass", "sbv"])
def test_subtitles_in_other_formats_are_fetched(web: WebServer, tmp_path: Path, form: str) -> None:
    row = got(ask(web.url("/video.mp4"), subtitles=web.url(f"/subtitles/x.en.{form}")), tmp_path).download
    assert [(t.language, t.format) for t in row.subtitles] == [("en", form)]
    assert row.subtitle_note is None


@pytest.mark.parametrize(("page", "languages", "noted"), [("/watch", ["en"], False), ("/watch-broken-track", [], True)])
def test_subtitles_are_fetched_without_the_media(
    web: WebServer, tmp_path: Path, page: str, languages: list[str], noted: bool
) -> None:
    found = fetch_subtitles(ask(web.url(page)), QUICK, tmp_path)
    assert [t.language for t in found.tracks] == languages
    assert ("manual subtitles in en: HTTP 404" in (found.note or "")) is noted
    assert not any(path.startswith("/video") for path in web.paths())


def test_subtitles_of_the_list_are_fetched_though_the_page_is_gone(web: WebServer, tmp_path: Path) -> None:
    gone = web.url("/gone.mp4")
    found = fetch_subtitles(ask(gone, subtitles=web.url("/subtitles/x.en.sbv")), QUICK, tmp_path)
    assert [t.language for t in found.tracks] == ["en"] and found.note is None
    with pytest.raises(Rejected, match="404"):
        fetch_subtitles(ask(gone), QUICK, tmp_path)


def test_a_subtitle_file_beside_a_video_that_cannot_be_read_is_noted(media: Path, tmp_path: Path) -> None:
    video = tmp_path / "video.mp4"
    shutil.copy(media / "video.mp4", video)
    (tmp_path / "video.en.srt").write_text("<html>Sorry</html>")
    (target,) = read_inputs([str(video)], QUICK)
    assert isinstance(target, FetchTarget)
    row = fetch(target, QUICK, tmp_path).download
    assert row.subtitles == () and row.subtitle_note == "subtitles in video.en.srt: an HTML page instead of subtitles"


@pytest.mark.hostile("addresses")
def test_subtitles_are_fetched_under_the_same_policy(
    web: WebServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    asked = ask(web.url("/video.mp4"), subtitles="http://169.254.169.254/x.en.vtt")
    assert got(asked, tmp_path).download.subtitles == ()
    assert "169.254.169.254 is a link-local or metadata address" in caplog.text


def test_cookies_and_user_agent_are_sent_and_the_cookie_file_stays_as_it_is(web: WebServer, tmp_path: Path) -> None:
    assert rejected(web.url("/for-members"), tmp_path).kind is Kind.LOGIN_REQUIRED
    (tmp_path / "download").rmdir()
    cookies = tmp_path / "cookies.txt"
    text = f"# Netscape HTTP Cookie File\n127.0.0.1\tFALSE\t/\tFALSE\t0\tmember\t{SECRET}\n"
    cookies.write_text(text)
    got(web.url("/for-members"), tmp_path, cookies_file=str(cookies), user_agent="Forest/1.0")
    assert cookies.read_text() == text
    assert web.asked[-1][1]["User-Agent"] == "Forest/1.0"


@pytest.mark.slow
def test_the_rate_limit_holds(web: WebServer, media: Path, tmp_path: Path) -> None:
    size = (media / "video.mp4").stat().st_size
    begun = time.monotonic()
    got(web.url("/video.mp4"), tmp_path, rate_limit=size // 2)
    assert time.monotonic() - begun > 1.0


# --- what fails, and how it is told apart ---------------------------------------------------------------------------

_STATUSES = {
    "/missing.mp4": Kind.NOT_FOUND,
    "/missing-noindex": Kind.NOT_FOUND,
    "/gone": Kind.NOT_FOUND,
    "/login": Kind.LOGIN_REQUIRED,
    "/forbidden": Kind.LOGIN_REQUIRED,
    "/captcha": Kind.BOT_CHECK,
    "/cloudflare": Kind.BOT_CHECK,
    "/media403": Kind.BOT_CHECK,
    "/country": Kind.GEO_BLOCKED,
    "/legal": Kind.GEO_BLOCKED,
    "/teapot": Kind.UNSUPPORTED,
    "/text.html": Kind.NO_VIDEO,
    "/picture.jpg": Kind.NO_VIDEO,
    "/picture-as-video": Kind.NO_VIDEO,
    "/page-as-video": Kind.NO_VIDEO,
    "/sound.mp3": Kind.NO_VIDEO,
    "/empty": Kind.NO_VIDEO,
    "/huge": Kind.TOO_LARGE,
    "/two-videos": Kind.UNSUPPORTED,
    "/loop": Kind.REFUSED,
    "/hops/9": Kind.REFUSED,
    "/chase/0": Kind.REFUSED,
    "/to-metadata": Kind.REFUSED,
    "/to-file": Kind.REFUSED,
    "/to-ftp": Kind.REFUSED,
    "/to-nonsense": Kind.REFUSED,
    "/to-nowhere": Kind.REFUSED,
    "/watch-inside": Kind.REFUSED,
    "/watch-no-host": Kind.UNSUPPORTED,
    "/watch-no-port": Kind.REFUSED,
    "/live": Kind.LIVE,
    "/inside": Kind.REFUSED,
    "/local": Kind.REFUSED,
    "/encrypted": Kind.UNSUPPORTED,
    "/hole": Kind.NOT_FOUND,
    "/bomb": Kind.TOO_LARGE,
    "/endless-page": Kind.TOO_LARGE,
    "/endless-error": Kind.LOGIN_REQUIRED,
}


@pytest.mark.hostile("pages")
@pytest.mark.parametrize(("path", "kind"), _STATUSES.items(), ids=_STATUSES.keys())
def test_permanent_failures_are_not_retried(web: WebServer, tmp_path: Path, path: str, kind: Kind) -> None:
    error = rejected(web.url(path), tmp_path)
    assert error.kind is kind, error
    assert "tried" not in error.message and "\n" not in error.message


_PASSING = {
    "/busy": Kind.RATE_LIMITED,
    "/throttled": Kind.RATE_LIMITED,
    "/broken500": Kind.SERVER_ERROR,
    "/stall-before-headers": Kind.TIMEOUT,
    "/stall-in-body": Kind.TIMEOUT,
    "/reset-at-once": Kind.CONNECTION,
    "/reset-in-body": Kind.CONNECTION,
    "/short": Kind.CONNECTION,
}


@pytest.mark.hostile("pages")
@pytest.mark.slow
@pytest.mark.parametrize(("path", "kind"), _PASSING.items(), ids=_PASSING.keys())
def test_transient_failures_are_retried(web: WebServer, tmp_path: Path, path: str, kind: Kind) -> None:
    error = rejected(web.url(path), tmp_path, attempts=2, stall_s=1.0)
    assert error.kind is kind, error
    assert error.retryable and "(tried 2 times)" in error.message


@pytest.mark.parametrize("path", ["/busy-once", "/flaky500", "/flaky503"])
def test_after_transient_failures_the_video_is_fetched(web: WebServer, tmp_path: Path, path: str) -> None:
    begun = time.monotonic()
    assert got(web.url(path), tmp_path).attempts > 1
    if path == "/busy-once":
        assert time.monotonic() - begun >= 1.0, "Retry-After was not waited for"


@pytest.mark.hostile("pages")
def test_a_wait_beyond_the_time_left_is_not_begun(web: WebServer, tmp_path: Path) -> None:
    begun = time.monotonic()
    assert rejected(web.url("/busy-for-an-hour"), tmp_path).kind is Kind.RATE_LIMITED
    assert time.monotonic() - begun < 180
    assert len(web.asked) == 1


def test_a_broken_download_resumes_where_it_ended(web: WebServer, media: Path, tmp_path: Path) -> None:
    fetched = got(web.url("/reset-in-body-once"), tmp_path)
    assert fetched.media.read_bytes() == (media / "video.mp4").read_bytes()
    assert web.asked[-1][1]["Range"].startswith("bytes=")


@pytest.mark.hostile("pages")
def test_a_file_that_has_changed_is_fetched_from_the_start(web: WebServer, media: Path, tmp_path: Path) -> None:
    fetched = got(web.url("/changed-after-reset"), tmp_path)
    assert fetched.media.read_bytes() == (media / "video.mp4").read_bytes()


@pytest.mark.hostile("pages")
@pytest.mark.slow
@pytest.mark.parametrize("path", ["/drip", "/drip-headers"])
def test_the_time_is_bounded_however_slowly_it_comes(web: WebServer, tmp_path: Path, path: str) -> None:
    begun = time.monotonic()
    error = rejected(web.url(path), tmp_path, timeout_s=4.0)
    assert error.kind is Kind.TIMEOUT
    assert time.monotonic() - begun < 60


@pytest.mark.hostile("pages")
@pytest.mark.slow
@pytest.mark.parametrize("path", ["/endless", "/endless-segment"])
def test_bytes_are_counted_as_they_come(web: WebServer, tmp_path: Path, path: str) -> None:
    assert rejected(web.url(path), tmp_path, max_bytes=3_000_000).kind is Kind.TOO_LARGE
    assert sum(p.stat().st_size for p in (tmp_path / "download").iterdir()) <= 3_000_000


def test_connection_refused(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/video.mp4"
        error = rejected(url, tmp_path, attempts=1)
    assert (error.kind, error.message) == (Kind.CONNECTION, "connection refused")


def test_an_unknown_host(tmp_path: Path) -> None:
    error = rejected("http://no-such-name.invalid/video.mp4", tmp_path, attempts=1)
    assert error.kind is Kind.CONNECTION and "does not resolve" in error.message


@pytest.mark.hostile("pages")
def test_too_long_unless_a_range_is_asked_for(web: WebServer, tmp_path: Path) -> None:
    error = rejected(web.url("/video.mp4"), tmp_path, max_duration_s=1.5)
    assert error.kind is Kind.TOO_LONG
    shutil.rmtree(tmp_path / "download")
    got(ask(web.url("/video.mp4"), start=0.5, end=1.0), tmp_path, max_duration_s=1.5)


_SITE = {
    "private": Kind.PRIVATE,
    "bot": Kind.BOT_CHECK,
    "age": Kind.LOGIN_REQUIRED,
    "members": Kind.LOGIN_REQUIRED,
    "removed": Kind.NOT_FOUND,
    "terminated": Kind.NOT_FOUND,
    "premiere": Kind.LIVE,
    "live": Kind.LIVE,
    "throttled": Kind.RATE_LIMITED,
    "drm": Kind.UNSUPPORTED,
    "bug": Kind.UNSUPPORTED,
    "redesigned": Kind.UNSUPPORTED,
    "uninstalled": Kind.UNSUPPORTED,
    "odd": Kind.UNSUPPORTED,
    "country": Kind.GEO_BLOCKED,
    "geo": Kind.GEO_BLOCKED,
    "empty": Kind.NO_VIDEO,
    "long": Kind.TOO_LONG,
    "heavy": Kind.TOO_LARGE,
    "list": Kind.UNSUPPORTED,
}


@pytest.mark.usefixtures("fake_site")
def test_messages_of_a_site(web: WebServer, tmp_path: Path) -> None:
    for name, kind in _SITE.items():
        error = rejected(web.url(f"/site/{name}"), tmp_path, attempts=1)
        assert error.kind is kind, (name, error)
        (tmp_path / "download").rmdir()
        site_limits.forget_sites()


@pytest.mark.usefixtures("fake_site")
def test_a_sites_own_id_and_metadata(web: WebServer, tmp_path: Path) -> None:
    row = got(ask(web.url("/site/Abc-1"), id="of the list"), tmp_path).download
    assert row.video_id == "fakesite-Abc-1"
    assert (row.channel, row.channel_id, row.upload_date, row.licence) == ("Forest", "UC1", "2024-02-29", "CC BY 4.0")
    assert row.language == "en" and SECRET not in (row.description or "")


@pytest.mark.usefixtures("fake_site")
def test_manual_before_automatic_and_wanted_languages_in_order(web: WebServer, tmp_path: Path) -> None:
    row = got(web.url("/site/subtitled"), tmp_path, subtitle_languages=("en", "de", "nl")).download
    # English's manual file is missing, so its automatic captions stand in, but after all manual ones.
    assert [(t.language, t.kind) for t in row.subtitles] == [("de", "manual"), ("en", "automatic")]
    assert "auto-en-orig" in row.subtitles[1].text


@pytest.mark.usefixtures("fake_site")
def test_machine_translations_are_not_captions(web: WebServer, tmp_path: Path) -> None:
    assert got(web.url("/site/translated"), tmp_path, subtitle_languages=("en",)).download.subtitles == ()


@pytest.mark.hostile("failures")
def test_a_full_disk_is_not_the_videos_fault(web: WebServer, tmp_path: Path) -> None:
    (tmp_path / "download").mkdir()
    (tmp_path / "download" / "media.mp4.part").symlink_to("/dev/full")
    with pytest.raises(OSError) as caught:
        fetch(ask(web.url("/video.mp4")), QUICK, tmp_path / "download")
    assert caught.value.errno == errno.ENOSPC
    assert disk_is_full(caught.value), "so it ends the run instead of rejecting the video"


@pytest.mark.slow
def test_a_wait_ends_when_everything_is_stopped(web: WebServer, tmp_path: Path) -> None:
    threading.Timer(1.0, guard.stop_all).start()
    begun = time.monotonic()
    try:
        with pytest.raises(guard.Stopped):
            got(web.url("/busy-for-an-hour"), tmp_path, timeout_s=7200.0)
    finally:
        guard.resume()
    assert time.monotonic() - begun < 90


# --- policy ---------------------------------------------------------------------------------------------------------


@pytest.mark.hostile("pages")
def test_a_file_url_that_was_not_named_on_the_command_line(media: Path, tmp_path: Path) -> None:
    asked = next(read_inputs([str(media / "video.mp4")], QUICK))
    assert isinstance(asked, FetchTarget)
    stranger = dataclasses.replace(asked, request=dataclasses.replace(asked.request, local=False))
    assert rejected(stranger, tmp_path).kind is Kind.REFUSED


# --- secrets --------------------------------------------------------------------------------------------------------


@pytest.mark.hostile("secrets")
def test_a_signed_url_is_fetched_as_it_is_and_never_seen_again(
    web: WebServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    asked = ask(web.url(f"/signed?X-Amz-Signature={SECRET}&X-Amz-Expires=60"), further=f"https://x.org/?token={SECRET}")
    fetched = got(asked, tmp_path)
    assert SECRET in web.paths()[-1]
    assert SECRET not in repr(asked) + repr(fetched) + caplog.text


@pytest.mark.hostile("secrets")
@pytest.mark.parametrize(
    "path", ["/busy", "/missing.mp4", "/text.html", "/reset-at-once", "/short", "/to-signed", "/opted-out"]
)
def test_failures_do_not_give_secrets_away(
    web: WebServer, tmp_path: Path, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    url = web.url(f"{path}?X-Amz-Signature={SECRET}", f"user:{SECRET}@127.0.0.1")
    error = rejected(url, tmp_path, attempts=2)
    assert any(SECRET in p for p in web.paths())
    assert SECRET not in str(error) + repr(error.__cause__) + repr(error.__context__) + caplog.text


# --- politeness -----------------------------------------------------------------------------------------------------


def _together(work: list[Callable[[], object]]) -> list[object]:
    ended: list[object] = []

    def run(function: Callable[[], object]) -> None:
        try:
            ended.append(function())
        except Rejected as error:
            ended.append(error)

    threads = [threading.Thread(target=run, args=(w,)) for w in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(180)
    return ended


@pytest.mark.slow
def test_downloads_from_one_host_are_bounded(web: WebServer, tmp_path: Path) -> None:
    settings = QUICK.model_copy(update={"per_host": 2, "stall_s": 30.0})

    def one(number: int) -> Fetched:
        folder = tmp_path / str(number)
        folder.mkdir()
        return fetch(ask(web.url(f"/slow?n={number}")), settings, folder)

    ended = _together([lambda n=n: one(n) for n in range(6)])  # type: ignore[misc]
    assert sum(isinstance(e, Fetched) for e in ended) == 6
    assert web.most_at_once == 2
    assert not site_limits._sites


@pytest.mark.hostile("pages")
def test_a_site_that_keeps_refusing_is_left_alone(web: WebServer, tmp_path: Path) -> None:
    for number in range(site_limits.REFUSALS):
        rejected(web.url(f"/captcha?{number}"), tmp_path)
        (tmp_path / "download").rmdir()
    asked = len(web.asked)
    with pytest.raises(site_limits.SiteRests):
        fetch(ask(web.url("/video.mp4")), QUICK, tmp_path)
    assert len(web.asked) == asked


# --- local files ----------------------------------------------------------------------------------------------------


def test_a_local_file_is_linked_with_the_subtitles_beside_it(media: Path, tmp_path: Path) -> None:
    source = tmp_path / "forest.mp4"
    source.write_bytes((media / "video.mp4").read_bytes())
    (tmp_path / "forest.en.vtt").write_text("WEBVTT\n\n00:00.000 --> 00:01.000\nHello\n")
    asked = next(read_inputs([str(source)], QUICK))
    assert isinstance(asked, FetchTarget)
    fetched = got(asked, tmp_path)
    assert fetched.media.samefile(source)
    assert fetched.download.title == "forest"
    assert fetched.download.video_id == f"content-{fetched.download.source_digest}"
    assert [(t.language, t.kind) for t in fetched.download.subtitles] == [("en", "manual")]


def _local(path: Path) -> FetchTarget:
    path.touch()
    asked = next(read_inputs([str(path)], QUICK))
    assert isinstance(asked, FetchTarget)
    path.unlink()
    return asked


@pytest.mark.hostile("neighbours")
@pytest.mark.parametrize(
    ("put", "kind"),
    [
        (lambda path: None, Kind.NOT_FOUND),
        (lambda path: path.touch(), Kind.NO_VIDEO),
        (lambda path: path.mkdir(), Kind.REFUSED),
        (lambda path: os.mkfifo(path), Kind.REFUSED),
        (lambda path: path.symlink_to("/etc/passwd"), Kind.REFUSED),
        (lambda path: path.symlink_to("/dev/zero"), Kind.REFUSED),
        (lambda path: os.truncate(os.open(path, os.O_CREAT | os.O_WRONLY), 1 << 40), Kind.TOO_LARGE),
    ],
    ids=["gone", "empty", "folder", "pipe", "link", "device", "too large"],
)
def test_local_files_that_have_been_replaced(tmp_path: Path, put: Callable[[Path], object], kind: Kind) -> None:
    asked = _local(tmp_path / "x.mp4")
    put(tmp_path / "x.mp4")
    assert rejected(asked, tmp_path).kind is kind


@pytest.mark.hostile("pages")
def test_scripts_of_a_page_are_not_run_in_phantomjs(
    web: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """A machine that has it: yt-dlp would start it, and it would make requests of its own."""
    started = tmp_path / "started"
    tool = tmp_path / "bin" / "phantomjs"
    tool.parent.mkdir()
    tool.write_text(f"#!/bin/sh\ntouch {started}\necho 2.1.1\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")
    request.getfixturevalue("fake_site")  # starts new children, which see that PATH
    error = rejected(web.url("/site/scripted"), tmp_path)
    assert error.kind is Kind.UNSUPPORTED and "PhantomJS" in error.message
    assert not started.exists()


@pytest.mark.hostile("pages")
@pytest.mark.slow
def test_ffmpeg_never_gets_a_url(web: WebServer, tmp_path: Path) -> None:
    """A machine whose ffmpeg records its arguments: merging DASH runs it, but on local files only."""
    notes = tmp_path / "notes"
    bin = tmp_path / "bin"
    bin.mkdir()
    for name in ("ffmpeg", "ffprobe"):
        tool = bin / name
        tool.write_text(f'#!/bin/sh\necho {name} "$@" >> {notes}\nexec /usr/bin/{name} "$@"\n')
        tool.chmod(0o755)
    path = os.environ["PATH"]
    os.environ["PATH"] = f"{bin}:{path}"
    guard.stop_all()
    guard.resume()
    try:
        got(web.url("/dash.mpd"), tmp_path)
    finally:
        os.environ["PATH"] = path
        guard.stop_all()
        guard.resume()
    (arguments,) = notes.read_text().splitlines()  # yt-dlp asks not even for its version
    assert arguments.startswith("ffmpeg -f mov ")
    assert "-c copy" in arguments and arguments.count("-protocol_whitelist file") == 2
    assert "http" not in arguments
