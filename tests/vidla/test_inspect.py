"""`vidla inspect` and the other verbs that look at a dataset, copy from it or clear it, as commands."""

from __future__ import annotations

import dataclasses
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from curation.dataset.books import balance
from curation.dataset.dataset import Dataset
from curation.dataset.object_store import put
from curation.dataset.parts import PartWriter
from curation.dataset.writer import Writer
from curation.errors import UsageError
from curation.records import Row, Video
from tests.support.dataset_files import commit_rows, download_of, made_of, make_dataset, request_of, stored_media
from vidla.inspect import show
from vidla.rows import of_table, read, show_rows

Vidla = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Only read in these tests."""
    return make_dataset(tmp_path_factory.mktemp("shared") / "data", videos=2, uncaptioned=1)


def screen(dataset: Dataset, width: int = 100) -> list[str]:
    console = Console(width=width, record=True, file=io.StringIO())
    show(dataset, console)
    return [" ".join(line.split()) for line in console.export_text().splitlines()]


# --- the screen -----------------------------------------------------------------------------------------------------


def test_one_screen_tells_what_is_there(shared: Dataset) -> None:
    lines = screen(shared)
    assert len(lines) <= 45
    for line in (
        "requests downloaded 4 3 1 0",
        "videos segmented 3 2 1 0",
        "frames captioned 8 6 2 0",
        "clips with texts 14 14 0 0",
        "download not_found 1 0 no luck",
        "segment unreadable 1 0 no luck",
        "caption engine 2 0 no luck",
        "subtitle manual verbatim 4",
        "subtitle – none 6",
        "caption builtin/tags ok 6",
        "The books balance.",
    ):
        assert line in lines
    assert any(line.startswith("captions builtin tags r1 ") and line.endswith(" 6") for line in lines)
    assert any(line.startswith("run-1 curate ") for line in lines)


def test_downloads_without_subtitles_that_were_asked_for_are_noted(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data", videos=1)
    note = "manual subtitles in en: HTTP 404 for the media"
    with Writer(dataset, "run-2", {"command": "test"}) as writer:
        downloads = [dataclasses.replace(download_of(n), subtitles=(), subtitle_note=note) for n in (5, 6)]
        commit_rows(writer, "more", {"requests": [request_of(n) for n in (5, 6)], "downloads": downloads})
    said = f"2 downloads lack subtitles that were asked for, for example: no {note}; `vidla retry --subtitles` asks"
    assert balance(dataset).lines()[-1].startswith(said)
    assert any(line.startswith(said) for line in screen(dataset, 200))


def test_the_histogram_shows_where_the_durations_are(shared: Dataset) -> None:
    lines = {line.split()[0]: line.split() for line in screen(shared) if line.startswith(("short", "medium", "long"))}
    assert lines["short"][1:4] == ["8", "0.01", "6.0"]
    assert lines["short"][4] == "······█·················"
    assert lines["medium"][4] == "············█···········"
    assert lines["long"][1:] == ["2", "0.01", "24.0", "·······················█"]


def test_what_does_not_balance_is_said(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data", videos=1)
    with Writer(dataset, "run-2", {"command": ["download"]}) as writer:
        commit_rows(writer, "stray", {"clips": made_of(5, stored_media())["clips"]})
        lines = screen(dataset)
    assert "7 clips without a segment" in lines
    assert "The books balance." not in lines
    assert any(line.endswith("is writing to the dataset") for line in lines)


def test_an_unfinished_commit_is_said(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data", videos=1)
    with Writer(dataset, "run-2", {"command": ["download"]}) as writer:
        parts = PartWriter(dataset.store, writer.lineage, 1 << 30)
        parts.add(Row(record, "d") for record in made_of(0, stored_media())["clips"])
        added = [{"path": p.path, "size": p.size, "rows": p.rows} for p in parts.finish()]
        record = {"kind": "commit", "epoch": writer.lineage.epoch, "token": "t", "created_at": "2024-01-01T00:00:00"}
        number = writer.lineage.epoch + 1
        tables = {"clips": {"add": added, "remove": []}}
        put(dataset.store, f"commits/{number:020d}.json", json.dumps({**record, "tables": tables}).encode())
        assert f"commit {number} is under way" in screen(dataset)


def test_text_from_strangers_gives_no_orders(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data", videos=1)
    nasty = "\x1b[2J\x1b]0;owned\x07 [bold red]x[/] \r\n[link=http://evil]"
    with Writer(dataset, "run-2", {}) as writer:
        video = dataclasses.replace(made_of(5, stored_media())["videos"][0], title=nasty, channel="[/]")
        commit_rows(writer, "nasty", {"videos": [video]})
    console = Console(width=200, record=True, file=io.StringIO())
    rows = read(dataset, of_table("videos", f"video_id = '{video.video_id}'", ["title", "channel"]), 0)
    show_rows(rows, console, as_json=False)
    text = console.export_text()
    assert "\x1b" not in text
    assert "[bold red]x[/]" in text


def test_an_empty_dataset_has_a_screen(tmp_path: Path) -> None:
    dataset = Dataset(str(tmp_path / "data"))
    with Writer(dataset, "run-1", {"command": ["curate"]}):
        pass
    lines = screen(dataset)
    assert "requests downloaded 0 0 0 0" in lines
    assert "The books balance." in lines


# --- rows of a table ------------------------------------------------------------------------------------------------


def test_rows_are_selected(shared: Dataset) -> None:
    where = "scale = 'short' and start >= 6 -- a comment"
    rows = list(read(shared, of_table("clips", where, ["clip_id", "start"]), 3))
    assert len(rows) == 3
    assert all(list(row) == ["clip_id", "start"] and row["start"] >= 6 for row in rows)
    assert len(list(read(shared, of_table("clips"), 0))) == 14


def test_an_image_is_shown_as_its_size(shared: Dataset) -> None:
    sizes = {f"{len(frame.image)} bytes" for n in (0, 1) for frame in made_of(n, stored_media())["frames"]}
    assert {row["image"] for row in read(shared, of_table("frames"), 0)} == sizes


def test_ids_stay_whole_and_texts_are_folded(shared: Dataset) -> None:
    query = of_table("clips", "scale = 'short'", ["clip_id", "start", "caption_text", "subtitle_text", "parent_id"])
    console = Console(width=80, record=True, file=io.StringIO())
    rows = [{**row, "caption_text": "a bee " * 9, "parent_id": None} for row in read(shared, query, 3)]
    show_rows(rows, console, as_json=False)
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= 80
    begins = [line.split() for line in lines if line.startswith("list-")]
    assert [cells[:2] for cells in begins] == [[row["clip_id"], str(row["start"])] for row in rows]
    assert all(cells[-1] == "–" for cells in begins)


def test_rows_are_ordered(shared: Dataset) -> None:
    rows = list(read(shared, of_table("clips", None, ["scale", "start"], "scale, start desc"), 0))
    assert rows == sorted(rows, key=lambda row: (row["scale"], -row["start"]))
    assert [row["scale"] for row in read(shared, of_table("clips", order_by="parent_id"), 2)] == ["medium", "medium"]


def test_a_sample_depends_on_its_seed_alone(shared: Dataset) -> None:
    def drawn(number: int, seed: int, where: str | None = None) -> list[str]:
        return [row["clip_id"] for row in read(shared, of_table("clips", where, sample=number, seed=seed), 0)]

    assert len(set(drawn(5, 0))) == 5
    assert drawn(5, 0) == drawn(5, 0) == drawn(9, 0)[:5] != drawn(5, 1)
    assert set(drawn(99, 0)) == set(drawn(99, 1))
    assert len(drawn(99, 0, "scale = 'short'")) == 8
    ordered = list(read(shared, of_table("clips", None, ["start"], "start", 5), 0))
    assert ordered == sorted(ordered, key=lambda row: row["start"])


@pytest.mark.hostile("datasets")
@pytest.mark.parametrize(
    ("order_by", "message"),
    [
        ("strat", "clips has no column 'strat'; did you mean 'start'?"),
        ("start downwards", "is no order"),
        ("start desc desc", "is no order"),
        ("start; drop table clips", "is no order"),
        ("", "has no column ''"),
        ("start,", "has no column ''"),
    ],
)
def test_what_is_no_order_is_said(order_by: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        of_table("clips", order_by=order_by)
    assert message in str(caught.value)


@pytest.mark.hostile("datasets")
@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("drop table clips", "takes one SELECT"),
        ("select 1; select 2", "takes one SELECT"),
        ("copy clips to '/tmp/x'", "takes one SELECT"),
        ("attach '/tmp/x'", "takes one SELECT"),
        ("", "takes one SELECT"),
        ("select * from read_text('/etc/passwd')", "disabled by configuration"),
        ("select * from '/etc/passwd'", "does not exist"),
        ("select * from glob('/*')", "disabled by configuration"),
        ("from clips select nothing", "not found"),
    ],
)
def test_a_query_only_reads_the_tables(shared: Dataset, query: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        list(read(shared, query, 0))
    assert message in str(caught.value)


@pytest.mark.hostile("datasets")
@pytest.mark.parametrize(
    ("table", "where", "columns", "message"),
    [
        ("clip", None, None, "no table is called 'clip'; did you mean 'clips'?"),
        ("clips", None, ["strat"], "clips has no column 'strat'; did you mean 'start'?"),
        ("clips", "scal = 'x'", None, 'Referenced column "scal" not found'),
        ("clips", "scale = 'x", None, "unterminated"),
        ("clips", "1) ; drop table clips; select (1", None, "is not one condition"),
        ("clips", "1=1; drop table clips", None, "is not one condition"),
        ("clips", "1) or (1", None, "is not one condition"),
        ("clips", "1 /* and", None, "is not one condition"),
        ("clips", "1, 2", None, "is not one condition"),
        ("clips", "1 union select 2", None, "is not one condition"),
        ("clips", "1 limit 1", None, "is not one condition"),
        ("clips", "1 from read_csv('/etc/passwd')", None, "is not one condition"),
        ("clips", "", ["clip_id; drop"], "has no column"),
        ("clips", "1 as x", None, "is not one condition"),
        ("clips", "exists (select 1 from '/etc/passwd')", None, "does not exist"),
        ("clips", "exists (from read_text('/etc/passwd'))", None, "disabled by configuration"),
    ],
)
def test_what_cannot_be_asked_is_said_in_a_line(
    shared: Dataset, table: str, where: str | None, columns: list[str] | None, message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        list(read(shared, of_table(table, where, columns), 0))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


# --- the commands ---------------------------------------------------------------------------------------------------


def test_json_is_a_line_a_row(shared: Dataset, vidla: Vidla) -> None:
    done = vidla("inspect", shared.folder, "videos", "--json", "--where", "has_audio", "--limit", "1")
    assert (done.returncode, done.stderr) == (0, "")
    (row,) = map(json.loads, done.stdout.splitlines())
    assert set(row) >= {field.name for field in dataclasses.fields(Video)} | {"run_id", "created_at"}
    assert row["sentences"][0]["text"] == "Bees dance."


def test_the_overview_is_an_object(shared: Dataset, vidla: Vidla) -> None:
    done = vidla("inspect", shared.folder, "--json")
    (found,) = map(json.loads, done.stdout.splitlines())
    assert found["books"][1] | {"made": 2} == found["books"][1] and found["balances"]
    assert {row["kind"] for row in found["rejects"]} == {"not_found", "unreadable", "engine"}
    assert [run["command"] for run in found["runs"]] == ["curate"]


def test_a_query_is_answered(shared: Dataset, vidla: Vidla) -> None:
    done = vidla("inspect", shared.folder, "--sql", "select scale, count(*) as n from clips group by all order by n;")
    assert [line.split() for line in done.stdout.splitlines()[-3:]] == [["long", "2"], ["medium", "4"], ["short", "8"]]
    done = vidla("inspect", shared.folder, "--sql", "select image from frames", "--limit", "3")
    assert done.stdout.splitlines()[-1] == "3 of 8 rows; --limit N shows more, 0 all"


def test_an_image_and_a_clip_are_written(shared: Dataset, tmp_path: Path, vidla: Vidla) -> None:
    frame = made_of(0, stored_media())["frames"][0]
    assert vidla("inspect", shared.folder, "--image", frame.frame_id, "-o", tmp_path / "a.jpg").returncode == 0
    assert (tmp_path / "a.jpg").read_bytes() == frame.image
    clip = made_of(0, stored_media())["clips"][0]
    assert vidla("inspect", shared.folder, "--clip", clip.clip_id, "-o", tmp_path / "a.mp4").returncode == 0
    assert b"ftyp" in (tmp_path / "a.mp4").read_bytes()[:12]
    done = vidla("inspect", shared.folder, "--image", "none", "-o", tmp_path / "b.jpg")
    assert done.returncode == 2 and done.stderr.endswith("has no frame 'none'\n")


@pytest.mark.slow
def test_the_command_ends_with_2_for_misuse_and_1_for_failure(shared: Dataset, tmp_path: Path, vidla: Vidla) -> None:
    assert shared.folder is not None
    for arguments, code in (
        (("inspect", shared.folder, "clips", "--where", "scal = 'x'"), 2),
        (("inspect", shared.folder, "--where", "true"), 2),
        (("inspect", shared.folder, "--sql", "select 1", "--where", "true"), 2),
        (("inspect", shared.folder, "clips", "-o", tmp_path / "out"), 2),
        (("inspect", tmp_path / "nothing"), 1),
        (("vacuum", tmp_path / "nothing"), 1),
        (("forget", shared.folder), 2),
        (("forget", shared.folder, "--video", "a", "--url", "http://b"), 2),
        (("export", shared.folder, tmp_path / "out", "--format", "avi"), 2),
        (("export", shared.folder, shared.folder / "out", "--format", "mp4"), 2),
    ):
        done = vidla(*arguments)
        assert done.returncode == code, arguments
        assert done.stdout == ""
        (line,) = done.stderr.splitlines()
        assert line.startswith("vidla: ")
    assert not (tmp_path / "nothing").exists(), "a command that looks makes no dataset"


def test_looking_needs_no_beam_and_no_torch(shared: Dataset) -> None:
    code = f"""
import sys
sys.argv = ["vidla", "inspect", {str(shared.folder)!r}]
from vidla.cli import run
assert not run()
heavy = {{"apache_beam", "torch", "transformers", "av", "yt_dlp", "cv2"}} & set(sys.modules)
sys.exit(f"imported {{heavy}}" if heavy else 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=360)
    assert done.returncode == 0, done.stderr
    assert "The books balance." in done.stdout


@pytest.mark.slow
def test_the_verbs_from_pin_to_vacuum(tmp_path: Path, vidla: Vidla) -> None:
    dataset = make_dataset(tmp_path / "data", videos=2)
    folder, out = dataset.folder, tmp_path / "out"
    done = vidla("export", folder, out, "--format", "webdataset", "--scale", "long")
    assert (done.returncode, done.stdout) == (0, f"2 clips in {out}, 0 of them from an earlier run\n")
    assert vidla("pin", folder, "first").stdout.startswith("first: requests 3, ")
    assert vidla("pin", folder).stdout.startswith("first: ")
    done = vidla("forget", folder, "--url", request_of(0).uri, "--yes")
    assert done.returncode == 0
    assert "\nForgotten, and not to be fetched again: 1 video(s) of 1 request(s)." in done.stdout
    before, _, after = done.stderr.partition("Copies elsewhere stay")
    assert "pinned as 'first' holds some of it" in before
    assert "pinned as 'first' held some of it" in after
    assert vidla("pin", folder, "first", "--remove").returncode == 0
    done = vidla("vacuum", folder)
    assert done.stdout.startswith("Deleted: ")
    assert dataset.read("videos")["video_id"].to_pylist() == [download_of(1).video_id]
    done = vidla("export", folder, out, "--format", "webdataset", "--scale", "long")
    assert done.stdout == f"1 clips in {out}, 0 of them from an earlier run\n"
