"""From inputs to requests: lists, files, folders and playlists; one form per URI; no secrets are stored."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import tempfile
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.download_settings import DownloadSettings
from curation.errors import InputError
from curation.records import Reject, VideoRequest
from curation.rejects import Kind, Rejected
from curation.sources import requests
from curation.sources.input_lists import Place, read_rows
from curation.sources.requests import read_inputs
from curation.sources.targets import FetchTarget, target_of
from curation.subtitles.tracks import plan, read
from curation.uris import InvalidUri, canonical, forms, is_redacted, redact
from tests.support.web_server import ROUTES, SECRET, WebServer

SETTINGS = DownloadSettings(allow_private=True, stall_s=2.0, timeout_s=60.0, attempts=1)


def read_all(*inputs: Path | str, **changes: Any) -> list[FetchTarget | Reject]:
    return list(read_inputs([str(i) for i in inputs], SETTINGS.model_copy(update=changes)))


def requests_of(*inputs: Path | str, **changes: Any) -> list[VideoRequest]:
    found = read_all(*inputs, **changes)
    assert all(isinstance(f, FetchTarget) for f in found), found
    return [f.request for f in found if isinstance(f, FetchTarget)]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    if path.suffix == ".txt":
        path.write_text("# a list\n\n" + "".join(f"{r['url']}\n" for r in rows))
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    elif path.suffix == ".csv":
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(dict.fromkeys(k for r in rows for k in r)))
            writer.writeheader()
            writer.writerows(rows)
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    return path


# --- lists ----------------------------------------------------------------------------------------------------------

_ROWS = [
    {
        "url": "https://videos.example/a.mp4",
        "id": "a",
        "subtitles": "https://videos.example/a.en.vtt",
        "start": 1.5,
        "end": 9,
        "topic": "forest",
    },
    {"url": "https://videos.example/b.mp4", "id": "b"},
]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_every_kind_of_list_gives_the_same_requests(tmp_path: Path, suffix: str) -> None:
    first, second = requests_of(write(tmp_path / f"list{suffix}", _ROWS))
    assert (first.uri, first.id, first.start, first.end) == ("https://videos.example/a.mp4", "a", 1.5, 9.0)
    assert (first.subtitles, first.subtitle_language) == ("https://videos.example/a.en.vtt", "en")
    assert first.metadata == '{"topic": "forest"}'
    assert second == VideoRequest(request_key=second.request_key, uri="https://videos.example/b.mp4", id="b")
    assert first.request_key != second.request_key
    assert not first.local


def test_a_text_list(tmp_path: Path) -> None:
    found = requests_of(write(tmp_path / "LIST.TXT".replace("TXT", "txt"), _ROWS))
    assert [r.uri for r in found] == ["https://videos.example/a.mp4", "https://videos.example/b.mp4"]


def test_byte_order_marks_and_windows_lines(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_bytes("\ufeffurl,title\r\nhttps://videos.example/a.mp4,Übung\r\n".encode())
    assert requests_of(path)[0].metadata == '{"title": "Übung"}'


def test_metadata_of_every_type_is_json(tmp_path: Path) -> None:
    table = pa.table(
        {
            "url": ["https://videos.example/a.mp4"],
            "tags": [["x", "y"]],
            "when": pa.array([0], pa.timestamp("us", "UTC")),
            "video": [b"\0" * 1000],
            "score": [float("nan")],
        }
    )
    pq.write_table(table, tmp_path / "list.parquet")
    kept = json.loads(requests_of(tmp_path / "list.parquet")[0].metadata or "")
    assert kept == {"tags": ["x", "y"], "when": "1970-01-01 00:00:00+00:00", "score": None}


_BAD = [
    ({"url": ""}, Kind.INVALID_REQUEST, "no url"),
    ({"url": "not a url"}, Kind.INVALID_REQUEST, "space"),
    ({"url": "videos.example"}, Kind.INVALID_REQUEST, "scheme"),
    ({"url": "https:///x.mp4"}, Kind.INVALID_REQUEST, "no host"),
    ({"url": "https://videos.example:port/x.mp4"}, Kind.INVALID_REQUEST, "port"),
    ({"url": "https://[::1/x.mp4"}, Kind.INVALID_REQUEST, "host"),
    ({"url": "file:///etc/passwd"}, Kind.REFUSED, "--files-under"),
    ({"url": "FILE:/etc/passwd"}, Kind.REFUSED, "--files-under"),
    ({"url": "/etc/passwd"}, Kind.REFUSED, "--files-under"),
    ({"url": "../x.mp4"}, Kind.REFUSED, "--files-under"),
    ({"url": "C:\\x.mp4"}, Kind.REFUSED, "--files-under"),
    ({"url": "ftp://videos.example/x.mp4"}, Kind.REFUSED, "'ftp'"),
    ({"url": "ytsearch10:forest"}, Kind.REFUSED, "'ytsearch10'"),
    ({"url": "https://videos.example/a", "start": "soon"}, Kind.INVALID_REQUEST, "'soon' is neither a number"),
    ({"url": "https://videos.example/a", "start": "nan"}, Kind.INVALID_REQUEST, "neither a number"),
    ({"url": "https://videos.example/a", "start": "-1"}, Kind.INVALID_REQUEST, "from 0 up"),
    ({"url": "https://videos.example/a", "start": "5", "end": "5"}, Kind.INVALID_REQUEST, "not after start"),
    ({"url": "https://videos.example/a", "end": "0"}, Kind.INVALID_REQUEST, "not after start"),
    ({"url": "https://videos.example/a", "subtitles": "/etc/passwd"}, Kind.REFUSED, "subtitles is a file"),
]


@pytest.mark.hostile("lists")
@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_an_invalid_row_is_rejected_and_reading_continues(tmp_path: Path, suffix: str) -> None:
    good = {"url": "https://videos.example/good.mp4"}
    found = read_all(write(tmp_path / f"list{suffix}", [*(row for row, _, _ in _BAD), good]))
    assert len(found) == len(_BAD) + 1
    assert isinstance(found[-1], FetchTarget)
    for reject, (row, kind, message) in zip(found, _BAD, strict=False):
        assert isinstance(reject, Reject)
        assert (reject.kind, reject.stage, reject.retryable) == (kind.value, "download", False), (row, reject)
        assert message in reject.message and f"list{suffix}, row " in reject.message, reject
    keys = [r.key for r in found if isinstance(r, Reject)]
    assert len(set(keys)) == len(keys)
    assert keys == [r.key for r in read_all(tmp_path / f"list{suffix}") if isinstance(r, Reject)]


@pytest.mark.hostile("lists")
def test_lines_that_are_not_rows(tmp_path: Path) -> None:
    (tmp_path / "list.jsonl").write_text(
        '{"url": "https://a.example/1"}\nnonsense\n[1]\n{"url": 7}\n{"url": "https://a.example/2", "x": NaN}\n'
        + "[" * 100_000
        + '\n{"url": "https://a.example/3", "id": true}\n\n{"url": "https://a.example/4"}\n'
    )
    found = read_all(tmp_path / "list.jsonl")
    assert [isinstance(f, FetchTarget) for f in found] == [True, False, False, False, False, False, False, True]


@pytest.mark.hostile("lists")
def test_csv_rows_that_do_not_fit(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text(
        'url,id\nhttps://a.example/1,1,2\nhttps://a.example/2\nhttps://a.example/3,"never closed\n'
        'https://a.example/4,"two\nlines"\nhttps://a.example/5,odd"quotes"\nhttps://a.example/6,"odd"quotes\n'
    )
    first, second, third, fourth, fifth, sixth = read_all(tmp_path / "list.csv")
    assert isinstance(first, Reject) and "row 2: 3 cells under 2 columns" in first.message
    assert isinstance(second, FetchTarget)
    assert isinstance(third, Reject) and "row 4: not CSV" in third.message
    assert isinstance(fourth, FetchTarget) and fourth.request.id == "two\nlines"
    assert isinstance(fifth, FetchTarget) and fifth.request.id == 'odd"quotes"'
    assert isinstance(sixth, FetchTarget) and sixth.request.id == "oddquotes"


@pytest.mark.hostile("lists")
def test_a_line_without_an_end_does_not_fill_the_memory(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("https://a.example/1\n" + "x" * (20 << 20))
    tracemalloc.start()
    found = read_all(tmp_path / "list.txt")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert isinstance(found[0], FetchTarget) and not any(isinstance(f, FetchTarget) for f in found[1:])
    assert peak < 12 << 20


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".txt", ".csv", ".jsonl", ".parquet"])
def test_memory_does_not_grow_with_the_list(tmp_path: Path, suffix: str) -> None:
    def peak(count: int) -> int:
        rows = [{"url": f"https://videos.example/{n}.mp4", "note": "x" * 50} for n in range(count)]
        path = write(tmp_path / f"{count}{suffix}", rows)
        del rows
        tracemalloc.start()
        assert sum(isinstance(f, FetchTarget) for f in read_inputs([str(path)], SETTINGS)) == count
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return highest

    peak(2_000)  # fills the caches that urllib and re have
    assert peak(8_000) < 1.2 * peak(2_000)


@pytest.mark.hostile("lists")
@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("list.csv", b"", "no header"),
        ("list.csv", b"link,id\nx,y\n", "no column 'url', only 'link', 'id'"),
        ("list.csv", b"url,url\nx,y\n", "duplicate column among 'url', 'url'"),
        ("list.parquet", b"PAR1 not really", "not readable as Parquet"),
        ("notes.pdf", b"x", "neither a video nor a list"),
    ],
)
def test_files_that_are_not_lists(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read_all(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_misuse_is_reported_before_anything_is_read(tmp_path: Path) -> None:
    good = write(tmp_path / "list.txt", _ROWS)
    (tmp_path / "empty").mkdir()
    os.mkfifo(tmp_path / "pipe.mp4")
    for bad in (tmp_path / "none.txt", "ftp://a.example/x", "https://", tmp_path / "pipe.mp4"):
        with pytest.raises(InputError):
            read_inputs([str(good), str(bad)], SETTINGS)
    with pytest.raises(InputError, match="contains no video"):
        read_all(tmp_path / "empty")
    with pytest.raises(InputError, match="cookies_file"):
        read_all(good, cookies_file=str(tmp_path / "none"))


_STOPPING = [{"url": f"https://a.example/{name}"} for name in ("1", "hang", "2", "crash", "3", "4", "swell", "5", "6")]


@pytest.mark.hostile("lists")
@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_a_row_that_stops_the_child_is_rejected_alone(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "CHILD", "tests.support.slow_lists")
    monkeypatch.setattr(requests, "ROWS", 4)
    monkeypatch.setattr(requests, "BATCH_S", 10.0)
    monkeypatch.setattr(requests, "ROW_S", 10.0)
    found = read_all(write(tmp_path / f"list{suffix}", _STOPPING))
    assert [f.request.uri[-1] for f in found if isinstance(f, FetchTarget)] == ["1", "2", "3", "4", "5", "6"]
    hung, crashed, swollen = (f.message for f in found if isinstance(f, Reject))
    assert "it cannot be read" in hung and "no end after" in hung
    assert "SIGKILL" in crashed and "MemoryError" in swollen


@pytest.mark.hostile("lists")
def test_a_list_that_cannot_be_read_at_all_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "CHILD", "tests.support.slow_lists")
    with pytest.raises(InputError, match=r"list.txt: not readable after row 0: .*SIGKILL"):
        read_all(write(tmp_path / "list.txt", [{"url": "https://a.example/crash-always"}]))


@pytest.mark.hostile("lists")
@pytest.mark.parametrize(
    ("lines", "numbers"),
    [
        (['"never closed', "good,x"], [3]),
        (['good,"a', 'b"', '"never closed', "good"], [2, 5]),
        (['"a"b', "good"], [3]),
        (['good,"never', 'good,"never', "good"], [4]),
        (['x,"', '""', '""', "good"], [5]),
        (['""', '"', "good"], [4]),
        (["x," + "y" * 140_000, "good"], [3]),
        (['x,"' + "y" * (2 << 20), "good"], [3]),
        (["x,y,z", "", "good"], [4]),
        (["\x00", "good"], [3]),
    ],
)
def test_lines_of_csv_cost_only_themselves(tmp_path: Path, lines: list[str], numbers: list[int]) -> None:
    (tmp_path / "list.csv").write_text("\n".join(["url,id", *lines]).replace("good", "https://a.example/good"))
    batch = read_rows(tmp_path / "list.csv", Place(), 100)
    rows = batch.rows
    while batch.after:
        batch = read_rows(tmp_path / "list.csv", batch.after, 100)
        rows += batch.rows
    good = [n for n, row in rows if not isinstance(row, str) and row.get("url") == "https://a.example/good"]
    assert good == numbers


@given(st.lists(st.text(st.sampled_from('ab",\r\n \u00e4'), max_size=12), max_size=12), st.integers(1, 5))
def test_csv_that_programs_write_is_read_as_it_was_in_batches_of_any_size(cells: list[str], count: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "list.csv")
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([["url", "id"], *(["x", cell] for cell in cells)])
        place: Place | None = Place()
        found = []
        while place:
            batch = read_rows(path, place, count)
            found += [row for _, row in batch.rows]
            place = batch.after
    assert found == [{"url": "x", "id": cell} if cell else {"url": "x"} for cell in cells]


@pytest.mark.hostile("lists")
@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"id": "x" * 1001}, "1001 characters"),
        ({"id": 2**63}, "64-bit"),
        ({"end": 1e250}, "1e+250"),
        ({"start": 1e10}, "later than any"),
        ({"start": 10**400}, "neither a number"),
        ({"x": [[[[]]]] * 300_000}, "a line of more than"),
        ({"x": json.loads("[" * 65 + "]" * 65)}, "nested more than 64"),
        ({"x": json.loads('{"a":' * 65 + "1" + "}" * 65)}, "nested more than 64"),
    ],
)
def test_ids_times_lengths_and_nesting_are_bounded(tmp_path: Path, row: dict[str, Any], says: str) -> None:
    asked = [{"url": "https://a.example/1", **row}, {"url": "https://a.example/2"}]
    (tmp_path / "list.jsonl").write_text("".join(json.dumps(r) + "\n" for r in asked))
    reject, target = read_all(tmp_path / "list.jsonl")
    assert isinstance(reject, Reject) and says in reject.message
    assert isinstance(target, FetchTarget)


def test_an_old_list_with_carriage_returns(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_bytes(b"url,id\rhttps://a.example/1,a\rhttps://a.example/2,b\r")
    assert [r.id for r in requests_of(tmp_path / "list.csv")] == ["a", "b"]


# --- local files ----------------------------------------------------------------------------------------------------


def test_a_folder_and_the_subtitles_beside_its_videos(tmp_path: Path) -> None:
    folder = tmp_path / "films"
    (folder / "sub").mkdir(parents=True)
    names = ["b.MP4", "a.mp4", "sub/c d#1.webm", ".hidden.mp4", "notes.txt", "list.csv"]
    names += ["a.de.vtt", "a.en-GB.srt", "a.vtt", "a.en-auto.vtt", "ab.en.vtt", "b.fr.vtt", "b.srt", "sub/c d#1.en.vtt"]
    for name in names:
        (folder / name).write_text("x")
    (folder / "out.mp4").symlink_to("/etc/passwd")
    found = read_all(folder)
    by_name = {f.request.uri.rsplit("/", 1)[1]: f.request for f in found if isinstance(f, FetchTarget)}
    assert list(by_name) == ["a.mp4", "b.MP4", "c%20d%231.webm"]
    assert all(r.local and r.uri.startswith("file:///") for r in by_name.values())

    def beside(name: str) -> tuple[str, str | None]:
        request = by_name[name]
        return (request.subtitles or "").rsplit("/", 1)[-1], request.subtitle_language

    assert beside("a.mp4") == ("a.en-GB.srt", "en-GB")
    assert beside("b.MP4") == ("b.srt", None)
    assert beside("c%20d%231.webm") == ("c%20d%231.en.vtt", "en")
    (link,) = (f for f in found if isinstance(f, Reject))
    assert link.kind == Kind.REFUSED.value and link.uri.endswith("/out.mp4")
    assert requests_of(folder / "a.mp4", subtitle_languages=("nl", "de"))[0].subtitle_language == "de"


def test_a_file_may_be_named_by_path_or_uri(tmp_path: Path) -> None:
    (tmp_path / "a b.mp4").touch()
    by_path, by_uri = requests_of(tmp_path / "a b.mp4", (tmp_path / "a b.mp4").as_uri())
    assert by_path == by_uri and by_path.local


# --- playlists ------------------------------------------------------------------------------------------------------


@pytest.fixture
def web(tmp_path: Path, fake_site: None) -> Iterator[WebServer]:
    """A web server, and yt-dlp with tests/support/fake_site as a plugin."""
    with WebServer(tmp_path) as server:
        yield server


def test_playlists_are_expanded_and_videos_are_not_opened(web: WebServer) -> None:
    feed = requests_of(web.url("/feed.rss"))
    assert [r.uri for r in feed] == [web.url(f"/video.mp4?part={n}") for n in (1, 2, 3)]
    assert json.loads(feed[0].metadata or "") == {
        "playlist": "A series",
        "playlist_id": web.url("/feed.rss"),
        "title": "Part 1",
    }
    assert web.paths() == ["/feed.rss"]
    series = requests_of(web.url("/site/list"))
    assert [r.uri for r in series] == [web.url(f"/site/{n}") for n in ("one", "two", "three")]


@pytest.mark.hostile("pages")
def test_a_playlist_with_a_name_without_end(web: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def feed(handler: Any) -> None:
        entry = f'<item><title>{{}}</title><enclosure url="{web.url("/video.mp4?part={}")}" type="video/mp4"/></item>'
        items = entry.format("x" * (2 << 20), 1) + entry.format("&#xD83D; cut", 2)
        text = f'<rss version="2.0"><channel><title>{"y" * (2 << 20)}</title>{items}</channel></rss>'
        handler.answer(200, text.replace("&#xD83D;", "\ud83d").encode("utf-8", "replace"), "text/xml")

    monkeypatch.setitem(ROUTES, "long.rss", feed)
    first, second = requests_of(web.url("/long.rss"))
    assert json.loads(first.metadata or "")["title"] == "x" * 1000
    assert json.loads(second.metadata or "")["playlist"] == "y" * 1000


def test_a_page_with_several_videos_and_one_with_one(web: WebServer) -> None:
    assert [r.uri for r in requests_of(web.url("/two-videos"))] == [
        web.url("/video.mp4"),
        web.url("/no-length/video.mp4"),
    ]
    assert [r.uri for r in requests_of(web.url("/watch"))] == [web.url("/watch")]


@pytest.mark.hostile("pages")
def test_a_playlist_that_fails_midway_is_reported(web: WebServer) -> None:
    first, second = read_all(web.url("/site/broken-list"))
    assert isinstance(first, FetchTarget) and first.request.uri.endswith("/site/one")
    assert isinstance(second, Reject)
    assert (second.kind, second.retryable) == (Kind.SERVER_ERROR.value, True)
    assert "failed after 1 entries" in second.message


@pytest.mark.hostile("pages")
@pytest.mark.parametrize("path", ["/missing", "/site/private", "/site/plain", "/stall-before-headers", "/endless-page"])
def test_a_url_that_cannot_be_listed_becomes_a_single_request(web: WebServer, path: str) -> None:
    assert [r.uri for r in requests_of(web.url(path))] == [web.url(path)]


@pytest.mark.hostile("addresses")
def test_playlists_are_opened_under_the_same_policy(web: WebServer) -> None:
    assert [r.uri for r in requests_of(web.url("/feed.rss"), allow_private=False)] == [web.url("/feed.rss")]
    assert not web.asked


def test_the_name_of_a_video_is_enough(web: WebServer) -> None:
    requests_of(web.url("/video.mp4"))
    assert not web.asked


# --- URIs -----------------------------------------------------------------------------------------------------------

YOUTUBE = "https://www.youtube.com/watch?v=dQw4w9WgXcQ"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("HTTPS://Videos.Example:443/A.mp4#t=5", "https://videos.example/A.mp4"),
        ("http://videos.example:80", "http://videos.example/"),
        ("http://videos.example:8080/x", "http://videos.example:8080/x"),
        ("https://videos.example./x", "https://videos.example/x"),
        ("https://bücher.example/ä b.mp4".replace(" ", "%20"), "https://xn--bcher-kva.example/%C3%A4%20b.mp4"),
        ("https://a.example/x?utm_source=s&v=1&fbclid=2&b=%20&UTM_Medium=y", "https://a.example/x?v=1&b=%20"),
        ("https://a.example/x?v=2&v=1&flag", "https://a.example/x?v=2&v=1&flag"),
        ("https://[2001:DB8::1]:443/x", "https://[2001:db8::1]/x"),
        ("https://youtu.be/dQw4w9WgXcQ?si=abc&t=7", YOUTUBE),
        ("http://m.youtube.com/watch?feature=share&v=dQw4w9WgXcQ&list=PL1&index=2", YOUTUBE),
        ("https://youtube.com/shorts/dQw4w9WgXcQ", YOUTUBE),
        ("https://www.youtube-nocookie.com/embed/dQw4w9WgXcQ?rel=0", YOUTUBE),
        ("https://www.youtube.com/live/dQw4w9WgXcQ", YOUTUBE),
        ("https://www.youtube.com/playlist?list=PL1", "https://www.youtube.com/playlist?list=PL1"),
        ("https://notyoutube.com/watch?v=dQw4w9WgXcQ&t=7", "https://notyoutube.com/watch?v=dQw4w9WgXcQ&t=7"),
    ],
)
def test_one_form_for_each_uri(url: str, expected: str) -> None:
    assert canonical(url) == expected
    assert canonical(expected) == expected
    assert forms(url).identity == forms(expected).identity


_SIGNED = [
    f"https://b.s3.example/x.mp4?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={SECRET}%2Fus&X-Amz-Signature={SECRET}",
    f"https://storage.example/x.mp4?X-Goog-Expires=60&X-Goog-Signature={SECRET}",
    f"https://cdn.example/x.mp4?Expires=1700000000&Signature={SECRET}~&Key-Pair-Id={SECRET}&Policy={SECRET}",
    f"https://acc.blob.example/c/x.mp4?sv=2022&se=2026-01-01&sr=b&sp=r&sig={SECRET}%3D",
    f"https://cdn.example/x.mp4?hdnea=exp=1~acl=/*~hmac={SECRET}",
    f"https://cdn.example/x.mp4?token={SECRET}&expires=1700000000",
    f"https://cdn.example/x.mp4?st={SECRET}&e=1700000000",
    f"https://cdn.example/x.mp4?access_token={SECRET}&exp=1700000000",
    f"https://cdn.example/x.mp4?X%2DAmz%2DSignature={SECRET}",
]


@pytest.mark.hostile("secrets")
@pytest.mark.parametrize("url", _SIGNED)
def test_a_url_with_a_new_signature_is_the_same_request(url: str) -> None:
    kept = canonical(url)
    assert SECRET not in kept and is_redacted(kept)
    assert SECRET in forms(url).fetched
    signed_again = url.replace(SECRET, "another").replace("1700000000", "1800000000")
    assert forms(url).identity == forms(signed_again).identity


@pytest.mark.parametrize(
    "query",
    ["e=5", "date=2020", "user=bob", "hash=abc", "policy=5", "e=5&sig=x", "v=1&X-Amz-Signature=x", "token=abc", "st=1"],
)
def test_parameters_that_may_distinguish_videos_are_kept(query: str) -> None:
    one = forms(f"https://a.example/x?{query}").identity
    assert one != forms(f"https://a.example/x?{query.replace('=', '=9', 1)}").identity


@pytest.mark.parametrize(
    ("url", "identity"),
    [
        ("https://a.example/x?id=1&token=a", "https://a.example/x?id=1&token=a"),
        ("https://a.example/x?id=1&token=a&expires=1700000000", "https://a.example/x?id=1"),
        ("https://b.s3.example/x.mp4?v=2&X-Amz-Date=1&X-Amz-Signature=a", "https://b.s3.example/x.mp4?v=2"),
        ("https://acc.blob.example/x.mp4?sv=2022&sp=r&sr=b&sig=a&v=1", "https://acc.blob.example/x.mp4?v=1"),
        ("https://cdn.example/x.mp4?st=a&e=1700000000&v=1", "https://cdn.example/x.mp4?v=1"),
        ("https://cdn.example/x.mp4?st=a&e=17", "https://cdn.example/x.mp4?st=a&e=17"),
        ("https://a.example/x?api_token=a&bearer=c&otp=d", "https://a.example/x?api_token=a&bearer=c&otp=d"),
        ("https://me:p@a.example/x?x=9aT4kQz7Lw2XvB8mNc5R", "https://me:p@a.example/x?x=9aT4kQz7Lw2XvB8mNc5R"),
        ("https://a.example/x?hdnts=exp=1~hmac=a&v=1", "https://a.example/x?v=1"),
        ("https://a.example/x?Policy=a&Signature=b&Key-Pair-Id=c&Expires=1&v=1", "https://a.example/x?v=1"),
        ("https://a.example/x?hash=a&md5=b", "https://a.example/x?hash=a&md5=b"),
        ("https://a.example/x?key=a#t=1", "https://a.example/x?key=a"),
    ],
)
def test_what_identifies_a_request_is_what_it_was_in_0_1_0(url: str, identity: str) -> None:
    """More is redacted since; datasets hold the keys of requests."""
    assert forms(url).identity == identity


def test_a_url_without_secrets_can_be_fetched_again() -> None:
    for query in ("user=bob", "e=5", "date=2020", "code=abc", "hash=abc", "t=7"):
        assert not is_redacted(canonical(f"https://a.example/x?{query}"))


@pytest.mark.hostile("secrets")
@pytest.mark.parametrize("name", ["key", "api_key", "password", "sessionid", "auth"])
def test_other_secrets_are_kept_out_but_part_of_the_request(name: str) -> None:
    url = f"https://a.example/x?{name}={SECRET}&v=1"
    assert canonical(url) == f"https://a.example/x?{name}=REDACTED&v=1"
    assert forms(url).identity != forms(url.replace(SECRET, "another")).identity


@pytest.mark.hostile("secrets")
@pytest.mark.parametrize(
    "text",
    [
        f"https://user:{SECRET}@a.example/x",
        f"https://{SECRET}@a.example/x",
        f"Max retries exceeded with url: /x.mp4?v=1&X-Amz-Signature={SECRET} (Caused by ...)",
        f"see 'https://a.example/x?token={SECRET}' and \"https://b.example/?sig={SECRET}\"",
        f"https://a.example/x#access_token={SECRET}",
        f"https://a.example/go?to=https%3A%2F%2Fb.example%2Fx%3FX-Amz-Signature%3D{SECRET}",
        f"https://a.example/x;jsessionid={SECRET}?v=1",
        f"https://a.example/hdntl=exp=1~hmac={SECRET}/x.m3u8",
        f"socks5://user:{SECRET}@127.0.0.1:9050",
        "https://a.example/x?data=eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.s3cr3t",
    ],
)
def test_redaction(text: str) -> None:
    assert SECRET not in redact(text)
    assert redact(redact(text)) == redact(text)


def test_redaction_leaves_the_rest_alone() -> None:
    plain = "https://a.example/watch?v=dQw4w9WgXcQ&expires=soon&list=1 is at 12:30, a@b.example // no secret? yes=1"
    assert redact(plain) == plain


@pytest.mark.hostile("secrets")
@given(
    st.text(st.characters(codec="utf-8"), max_size=60),
    st.sampled_from(["sig", "X-Amz-Signature", "token", "Signature"]),
)
def test_signatures_are_removed_from_any_url(rest: str, name: str) -> None:
    url = f"https://a.example/{rest}?{name}={SECRET}"
    try:
        kept = canonical(url)
    except InvalidUri as error:
        assert SECRET not in str(error)
        return
    if SECRET in forms(url).fetched:  # a fragment is dropped whole
        assert SECRET not in kept


def test_secrets_stay_out_of_everything_that_is_read(tmp_path: Path) -> None:
    rows = [
        {"url": f"https://a.example/x.mp4?sig={SECRET}", "subtitles": f"https://a.example/x.vtt?sig={SECRET}"},
        {"url": f"https://a.example/y.mp4?sig={SECRET}", "thumbnail": f"https://a.example/y.jpg?sig={SECRET}"},
        {"url": f"https://a.example/z.mp4?sig={SECRET}", "start": "x"},
        {"url": f"https://user:{SECRET}@a.example:x/"},
        {"url": f"ftp://user:{SECRET}@a.example/"},
    ]
    found = read_all(write(tmp_path / "list.jsonl", rows))
    assert len(found) == 5
    assert SECRET not in repr(found)
    assert SECRET not in "".join(str(dataclasses.asdict(f.request if isinstance(f, FetchTarget) else f)) for f in found)
    first = found[0]
    assert isinstance(first, FetchTarget) and SECRET in first.url.reveal()
    assert first.subtitles_url and SECRET in first.subtitles_url.reveal()
    with pytest.raises(Rejected, match="signed"):
        target_of(first.request)


def test_a_row_of_the_table_can_be_fetched_again(tmp_path: Path) -> None:
    (asked, _) = read_all(write(tmp_path / "list.csv", _ROWS))
    assert isinstance(asked, FetchTarget)
    assert target_of(asked.request) == asked


# --- subtitle tracks ------------------------------------------------------------------------------------------------


def test_which_subtitles_to_fetch() -> None:
    def chosen(manual: str, automatic: str, *wanted: str) -> list[str]:
        files = ({n: {"url": n} for n in names.split()} for names in (manual, automatic))
        return ["|".join(f"{t.kind[0]}:{t.file['url']}" for t in group) for group in plan(*files, wanted)]

    assert chosen("de en", "en fr", "en", "fr") == ["m:en|a:en", "a:fr"]
    assert chosen("en-GB en_US", "", "en") == ["m:en-GB"]
    assert chosen("", "en-orig en fr", "en", "fr") == ["a:en-orig"]
    assert chosen("", "de-orig en", "en") == []
    assert chosen("fr en", "de", "all") == ["a:de", "m:en", "m:fr"]
    assert chosen("en fr", "", "fr", "all") == ["m:fr", "m:en"]
    assert chosen("enm", "", "en") == []


def test_files_that_are_not_subtitles() -> None:
    with pytest.raises(Rejected, match="an HTML page"):
        read(b"<html>Sorry</html>", "en", "manual")
    track, fault = read("\ufeffWEBVTT\n\n00:00.000 --> 00:01.000\nHi\n".encode("utf-16"), None, "manual")
    assert fault is None and (track.format, track.language) == ("vtt", "und")
