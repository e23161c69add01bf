"""Nothing that was reported as committed is lost in a power cut: what is flushed, in which order, and how often."""

from __future__ import annotations

import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from curation.dataset.dataset import Dataset
from curation.dataset.writer import Writer
from tests.support.dataset_files import download_of, made_of, stored_media
from tests.support.disk_calls import Call, Disk, calls_of

RUN = """
import sys
from pathlib import Path
from curation.dataset import writer as writing
from curation.dataset.commits import Replacement
from curation.dataset.dataset import Dataset
from curation.dataset.object_store import put
from curation.dataset.writer import Writer
from tests.support.dataset_files import commit_rows, download_of, made_of, request_of, stored_media

writing.HEARTBEAT_S = 1e6  # so that the commits are alone
top = Path(sys.argv[1])
dataset = Dataset(str(top / "data"))
with Writer(dataset, "run-1", {}) as writer:
    def commit(token, rows, replacements=()):
        (top / f"begin {token}").mkdir()
        commit_rows(writer, token, rows, replacements)
        (top / f"reported {token}").mkdir()

    for number in range(3):
        media, rows = stored_media(), made_of(number, stored_media())
        put(dataset.store, download_of(number).source_uri, b"source")
        commit(f"download {number}", {"requests": [request_of(number)], "downloads": [download_of(number)]})
        put(dataset.store, rows["videos"][0].media_uri, media)
        commit(f"segment {number}", {name: rows[name] for name in ("videos", "frames", "segments")})
        dataset.delete([download_of(number).source_uri])
        commit(f"summarize {number}", {name: rows[name] for name in ("captions", "summaries", "clips")})
    gone = frozenset({(download_of(0).video_id,)})
    commit("redo", {}, [Replacement("captions", ("video_id",), gone, frozenset(dataset.live_parts("captions")))])
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Call]]:
    """The calls of a run with ten commits, and the folder in which its dataset is."""
    folder = tmp_path_factory.mktemp("run")
    top = folder / "top"
    top.mkdir()
    return top, calls_of([sys.executable, "-c", RUN, str(top)], top, folder)


def commits_of(top: Path, calls: list[Call]) -> Iterator[tuple[str, list[Call]]]:
    """The calls of each commit, from its first part to its report."""
    marks = {call.path: at for at, call in enumerate(calls) if call.what == "mkdir" and call.path.parent == top}
    for path, at in marks.items():
        if path.name.startswith("begin "):
            token = path.name.removeprefix("begin ")
            yield token, calls[at : marks[top / f"reported {token}"]]


@pytest.mark.hostile("failures")
def test_each_file_and_folder_is_flushed_once_a_commit(run: tuple[Path, list[Call]]) -> None:
    top, calls = run
    counted = 0
    for token, its_calls in commits_of(top, calls):
        flushed = Counter(call.path for call in its_calls if "flush" in call.what)
        assert set(flushed.values()) == {1}, (token, [path for path, n in flushed.items() if n > 1])
        counted += len(flushed)
    assert counted > 50


@pytest.mark.hostile("failures")
def test_what_a_commit_lists_is_flushed_before_it_and_its_logs_after_it(run: tuple[Path, list[Call]]) -> None:
    top, calls = run
    for token, its_calls in commits_of(top, calls):
        what = [(call.what, (*call.path.relative_to(top / "data").parts, "")[0]) for call in its_calls[1:]]
        (created,) = (at for at, (kind, folder) in enumerate(what) if (kind, folder) == ("link", "commits"))
        before = {path for kind, path in what[:created] if kind == "flush"}
        logs = [at for at, call in enumerate(its_calls[1:]) if call.path.parent.name == "_delta_log"]
        if token.startswith("segment"):
            assert before >= {"videos", "frames", "segments", "media"}
        if token.startswith("download"):
            assert before >= {"requests", "downloads", "sources"}
        assert any("flush" in kind and path == "commits" for kind, path in what[created:])
        assert min(logs) > created


def reported_at(top: Path, calls: list[Call]) -> Iterator[tuple[int, set[str]]]:
    """For each call, the commits that were reported before it."""
    reported: set[str] = set()
    for at, call in enumerate(calls):
        if call.what == "mkdir" and call.path.name.startswith("reported "):
            reported = {*reported, call.path.name.removeprefix("reported ")}
        yield at, reported


EVERY = [pytest.param(17, id="some calls"), pytest.param(1, id="every call", marks=pytest.mark.long)]


@pytest.mark.hostile("failures")
@pytest.mark.parametrize("names", [pytest.param(False, id="names lost"), pytest.param(True, id="names kept")])
@pytest.mark.parametrize("every", EVERY)
def test_a_power_cut_at_any_call_loses_nothing_that_was_reported(
    run: tuple[Path, list[Call]], tmp_path: Path, every: int, names: bool
) -> None:
    top, calls = run
    disk = Disk(top)
    flush_count = 0
    for at, reported in reported_at(top, calls):
        disk.play(calls[at])
        flush_count += "flush" in calls[at].what
        if "flush" not in calls[at].what or flush_count % every:
            continue
        left = tmp_path / "left"
        disk.leave(left, names=names)
        check(Dataset(str(left / "data")), reported)
        shutil.rmtree(left, ignore_errors=True)
    assert flush_count > 100


def check(dataset: Dataset, reported: set[str]) -> None:
    with Writer(dataset, "run-2", {}):
        pass
    rows = {name: set(dataset.read(name, ["video_id"])["video_id"].to_pylist()) for name in ("downloads", "videos")}
    rows["clips"] = set(dataset.read("clips", ["video_id"])["video_id"].to_pylist())
    for token in reported:
        stage, _, number = token.partition(" ")
        if stage == "redo":
            continue
        table = {"download": "downloads", "segment": "videos", "summarize": "clips"}[stage]
        assert download_of(int(number)).video_id in rows[table], token
        if stage == "segment":
            media_uri = made_of(int(number), stored_media())["videos"][0].media_uri
            assert dataset.get(media_uri) == stored_media(), token
        if stage == "download" and f"segment {number}" not in reported:
            source = download_of(int(number)).source_uri
            assert dataset.get(source) == b"source", token
