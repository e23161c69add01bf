"""Lists as people write them: times, quotes that are not closed, files below a folder, playlists."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from curation.download_settings import DownloadSettings
from curation.errors import InputError
from curation.records import Reject
from curation.rejects import Kind
from curation.sources import ytdlp
from curation.sources.fetch import fetch
from curation.sources.requests import Answer, read_inputs
from curation.sources.targets import FetchTarget
from curation.uris import is_playlist

SETTINGS = DownloadSettings()


def listed(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read(*inputs: Path, files_under: Path | None = None) -> list[Answer]:
    return list(read_inputs([str(path) for path in inputs], SETTINGS, files_under))


def target(answer: Answer) -> FetchTarget:
    assert isinstance(answer, FetchTarget), answer
    return answer


def reject(answer: Answer) -> Reject:
    assert isinstance(answer, Reject), answer
    return answer


# --- times ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("0:00", 0.0),
        ("0:05", 5.0),
        ("00:00:05", 5.0),
        ("1:02:03.5", 3723.5),
        (" 75:30 ", 4530.0),
        ("5", 5.0),
        ("5.25", 5.25),
        (5, 5.0),
        ("", None),
    ],
)
def test_times_as_people_write_them(tmp_path: Path, written: Any, seconds: float | None) -> None:
    row = {"url": "https://a.example/1", "start": written, "end": "2:00:00"}
    assert target(read(listed(tmp_path / "list.jsonl", row))[0]).request.start == seconds


@pytest.mark.hostile("lists")
@pytest.mark.parametrize(
    "written", ["1:75", "1:75:00", "1:60", ":30", "1::2", "-1:00", "1:-2", "1:2:3:4", "9" * 200 + ":00"]
)
def test_what_is_no_time_is_rejected(tmp_path: Path, written: str) -> None:
    (answer,) = read(listed(tmp_path / "list.jsonl", {"url": "https://a.example/1", "start": written}))
    assert "row 1: start " in reject(answer).message


# --- quotes ---------------------------------------------------------------------------------------------------------


def rows_of_csv(tmp_path: Path, text: str) -> list[Answer]:
    (tmp_path / "list.csv").write_text(text)
    return read(tmp_path / "list.csv")


@pytest.mark.hostile("lists")
@pytest.mark.parametrize(("opened", "rows"), [(3, 2), (3, 10), (7, 3)])
@pytest.mark.parametrize("header", ["url,title,topic", "title,url,topic"])
@pytest.mark.parametrize(
    "url", ["https://a.example/{}", "HTTP://a.example/{}", "talks/talk {}.mp4", "./{}", "/data/{}"]
)
def test_a_quote_that_swallows_rows_is_an_error_with_its_line(
    tmp_path: Path, header: str, opened: int, rows: int, url: str
) -> None:
    names = header.split(",")
    lines = [
        ",".join({"url": url.format(n), "title": f"Talk {n}", "topic": "bees"}[name] for name in names)
        for n in range(1, 20)
    ]
    last = opened + rows - 1  # line 1 is the header's
    lines[opened - 2] = lines[opened - 2].replace("bees", '"a 5 inch')
    lines[last - 2] = lines[last - 2].replace("bees", 'screen"')
    with pytest.raises(InputError, match=rf"list.csv, line {opened}: a quote is opened .* before line {last}"):
        rows_of_csv(tmp_path, "\n".join([header, *lines]) + "\n")


@pytest.mark.parametrize(
    "description",
    [
        "See\nhttps://a.example/2\nhttps://a.example/3",
        "Links:\nhttps://a.example/2, and more",
        "line\n\nline, line\n",
        "https://a.example/2,x,y,z\nhttps://a.example/3,x,y,z",
        "a talk, about bees\nanother, about wasps",
    ],
)
def test_a_cell_of_several_lines_is_no_error(tmp_path: Path, description: str) -> None:
    (answer,) = rows_of_csv(tmp_path, f'url,description\nhttps://a.example/1,"{description}"\n')
    assert json.loads(target(answer).request.metadata or "") == {"description": description}


def test_a_quote_that_is_never_closed_costs_its_own_row(tmp_path: Path) -> None:
    first, second = rows_of_csv(tmp_path, 'url,title\nhttps://a.example/1,"never\nhttps://a.example/2,x\n')
    assert "row 2: not CSV: a quote is opened and never closed" in reject(first).message
    assert target(second).request.uri == "https://a.example/2"


# --- files ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """A folder of films with a link out of it and one within, beside a private file."""
    folder = tmp_path / "films"
    (folder / "talks").mkdir(parents=True)
    for name in ("talks/a b.mp4", "talks/a b.en.vtt", "talks/other.srt", "notes.txt", "../private.mp4"):
        (folder / name).write_text(name)
    (folder / "out.mp4").symlink_to("../private.mp4")
    (folder / "outside").symlink_to(tmp_path)
    (folder / "in.mp4").symlink_to("talks/a b.mp4")
    (folder / "loop.mp4").symlink_to("loop.mp4")
    return folder


@pytest.mark.parametrize(
    "name", ["talks/a b.mp4", "./talks/a b.mp4", "{}/talks/a b.mp4", "file://{}/talks/a%20b.mp4", "in.mp4"]
)
def test_a_list_may_name_files_below_a_folder(films: Path, tmp_path: Path, name: str) -> None:
    row = {"url": name.format(films), "id": "bees", "topic": "dance", "start": "0:01"}
    (answer,) = read(listed(tmp_path / "list.jsonl", row), files_under=films)
    request = target(answer).request
    assert request.uri == (films / "talks" / "a b.mp4").as_uri()
    assert (request.local, request.id, request.start, request.metadata) == (True, "bees", 1.0, '{"topic": "dance"}')
    assert (request.subtitles or "").endswith("/a%20b.en.vtt") and request.subtitle_language == "en"
    assert fetch(target(answer), SETTINGS, tmp_path).download.video_id == "list-bees~1000000-"
    (elsewhere,) = read(listed(tmp_path / "list.jsonl", row))
    assert reject(elsewhere).kind == Kind.REFUSED and "--files-under" in reject(elsewhere).message


@pytest.mark.parametrize("row", [{"url": "x.MKV"}, {"url": "https://a.example/1", "subtitles": "talks/bees.en.vtt"}])
def test_a_relative_path_is_refused_as_a_file(tmp_path: Path, row: dict[str, str]) -> None:
    (answer,) = read(listed(tmp_path / "list.jsonl", row))
    assert reject(answer).kind == Kind.REFUSED and "--files-under" in reject(answer).message


@pytest.mark.parametrize("url", ["no URL", "a.example/watch", "https:/x.mp4", "http://"])
def test_what_is_neither_a_url_nor_a_file_is_invalid(tmp_path: Path, url: str) -> None:
    (answer,) = read(listed(tmp_path / "list.jsonl", {"url": url}))
    assert reject(answer).kind == Kind.INVALID_REQUEST


def test_the_same_file_is_one_request_whether_listed_or_named(films: Path, tmp_path: Path) -> None:
    (listed_one,) = read(listed(tmp_path / "list.jsonl", {"url": "talks/a b.mp4"}), files_under=films)
    (named_one,) = read(films / "talks" / "a b.mp4")
    assert listed_one == named_one


def test_subtitles_of_a_listed_file_are_a_file_below_the_folder(films: Path, tmp_path: Path) -> None:
    rows = [
        {"url": "talks/a b.mp4", "subtitles": "talks/other.srt"},
        {"url": "talks/a b.mp4", "subtitles": "../private.mp4"},
        {"url": "talks/a b.mp4", "subtitles": "https://a.example/x.vtt"},
        {"url": "https://a.example/x.mp4", "subtitles": "talks/other.srt"},
    ]
    first, *others = read(listed(tmp_path / "list.jsonl", *rows), files_under=films)
    assert (target(first).request.subtitles or "").endswith("/other.srt")
    assert ["not below" in reject(answer).message or "must be" in reject(answer).message for answer in others]


@pytest.mark.hostile("lists")
@pytest.mark.parametrize(
    "name",
    [
        "../private.mp4",
        "{}/../private.mp4",
        "file://{}/../private.mp4",
        "file:{}/%2e%2e/private.mp4",
        "out.mp4",
        "outside/private.mp4",
        "talks/../../private.mp4",
        "/etc/passwd",
        "~/x.mp4",
        "notes.txt",
        "talks",
        ".",
        "loop.mp4",
        "a\0b.mp4",
        "ftp://a.example/x.mp4",
    ],
)
def test_a_list_names_no_file_elsewhere(films: Path, tmp_path: Path, name: str) -> None:
    (answer,) = read(listed(tmp_path / "list.jsonl", {"url": name.format(films)}), files_under=films)
    if isinstance(answer, FetchTarget):  # below the folder by its name; it is not there
        assert answer.url.reveal().startswith(films.as_uri()) and "private" not in answer.url.reveal()
        with pytest.raises(Exception, match=r"no file|not a regular file|cannot read"):
            fetch(answer, SETTINGS, tmp_path)


@pytest.mark.hostile("lists")
def test_a_file_that_becomes_a_link_after_it_was_listed_is_not_read(films: Path, tmp_path: Path) -> None:
    (answer,) = read(listed(tmp_path / "list.jsonl", {"url": "talks/a b.mp4"}), files_under=films)
    (films / "talks" / "a b.mp4").unlink()
    (films / "talks" / "a b.mp4").symlink_to(films.parent / "private.mp4")
    with pytest.raises(Exception, match="cannot read"):
        fetch(target(answer), SETTINGS, tmp_path)


def test_a_folder_that_is_none_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a folder"):
        read(listed(tmp_path / "list.jsonl", {"url": "x.mp4"}), files_under=tmp_path / "none")


# --- playlists ------------------------------------------------------------------------------------------------------

PLAYLISTS = [
    "playlist?list=PL1",
    "channel/UC123",
    "channel/UC123/videos",
    "@bees",
    "@bees/streams",
    "c/bees",
    "user/bees/",
]
VIDEOS = ["watch?v=dQw4w9WgXcQ&list=PL1", "shorts/dQw4w9WgXcQ", "embed/dQw4w9WgXcQ", "", "channel/"]


def test_playlists_of_youtube_are_known_by_their_form() -> None:
    assert [u for u in PLAYLISTS if not is_playlist(f"https://m.youtube.com/{u}")] == []
    assert [u for u in VIDEOS if is_playlist(f"https://www.youtube.com/{u}")] == []
    assert not is_playlist("https://a.example/playlist?list=PL1")


def test_a_playlist_in_a_list_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ytdlp, "CHILD", "tests.support.slow_lists")
    rows = [
        {"url": "https://www.youtube.com/@bees", "topic": "bees", "title": "A channel"},
        {"url": "https://www.youtube.com/playlist?list=PL1", "id": "x"},
        {"url": "https://a.example/1"},
    ]
    first, second, third, fourth = read(listed(tmp_path / "list.jsonl", *rows))
    assert [target(answer).request.uri[-1] for answer in (first, second)] == ["1", "2"]
    assert json.loads(target(second).request.metadata or "") == {"topic": "bees", "title": "Talk 2", "playlist": "Bees"}
    assert "neither id" in reject(third).message
    assert target(fourth).request.metadata is None


# --- nothing of use -------------------------------------------------------------------------------------------------


def test_lists_of_which_every_row_is_refused_are_named(tmp_path: Path) -> None:
    good = listed(tmp_path / "good.jsonl", {"url": "https://a.example/1"}, {"url": "no url"})
    bad = listed(tmp_path / "bad.jsonl", {"url": "ftp://a.example/1"}, {"url": "no url"})
    inputs = read_inputs([str(good), str(bad), str(good)], SETTINGS)
    assert inputs.refused == []
    assert len(list(inputs)) == 6
    assert inputs.refused == [str(bad)]


@pytest.mark.parametrize("text", ["", "\n", "# nothing yet\n"])
def test_an_empty_list_is_an_error_before_anything_is_made(tmp_path: Path, text: str) -> None:
    (tmp_path / "list.txt").write_text(text)
    with pytest.raises(InputError, match="contains no row"):
        read_inputs([str(tmp_path / "list.txt")], SETTINGS)
