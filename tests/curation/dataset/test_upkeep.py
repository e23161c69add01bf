"""Pins, vacuum, and forgetting, on a dataset with superseded rows and older versions."""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from curation.dataset import forget as forgetting
from curation.dataset.books import balance
from curation.dataset.commits import Replacement
from curation.dataset.dataset import Dataset
from curation.dataset.forget import Findings, ForgetReport, ForgottenKeys, forget, look, undo
from curation.dataset.object_store import put
from curation.dataset.parts import PartWriter
from curation.dataset.pins import pin, pins, unpin
from curation.dataset.snapshots import versions_now
from curation.dataset.vacuum import vacuum
from curation.dataset.writer import Writer
from curation.errors import DatasetError, UsageError
from curation.ids import digest
from curation.records import VideoRequest
from curation.schema import TABLES
from curation.uris import canonical, forms
from tests.support.dataset_files import (
    commit_rows,
    download_of,
    made_of,
    make_dataset,
    request_of,
    stored_media,
    url_of,
)
from tests.support.project import ROOT


def writer_of(dataset: Dataset, run_id: str = "upkeep") -> Writer:
    return Writer(dataset, run_id, {"command": "test"})


def folder_of(dataset: Dataset) -> Path:
    assert dataset.folder is not None
    return dataset.folder


def contents(dataset: Dataset) -> dict[str, list[Mapping[str, Any]]]:
    """Every row of every table, without lineage."""
    lineage = {"run_id", "created_at", "code_version"}
    return {
        name: [
            {k: v for k, v in row.items() if k not in lineage}
            for row in sorted(dataset.read(name).to_pylist(), key=lambda row: [str(row[k]) for k in TABLES[name].key])
        ]
        for name in TABLES
    }


def redo(dataset: Dataset, number: int, run_id: str = "redo") -> None:
    """Make a video again with other media, as after a changed setting of the single pass; superseding its rows."""
    media = stored_media(seed=100 + number)
    rows = made_of(number, media)
    video_id = download_of(number).video_id
    with writer_of(dataset, run_id) as writer:
        put(dataset.store, rows["videos"][0].media_uri, media)
        tables = ("videos", "frames", "segments", "captions", "summaries", "clips")
        replaced = [
            Replacement(name, ("video_id",), frozenset({(video_id,)}), frozenset(dataset.live_parts(name)))
            for name in tables
        ]
        commit_rows(writer, f"{run_id}:{number}", {name: rows[name] for name in tables}, replaced)


# --- vacuum and pins ------------------------------------------------------------------------------------------------


def test_after_a_vacuum_the_files_are_the_tables(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data", uncaptioned=1)
    redo(dataset, 0)
    folder = folder_of(dataset)
    foreign = folder / "clips" / "somebody-elses.parquet"
    pq.write_table(pa.table({"a": [1]}), foreign)
    stray = folder / "sources" / "stray.mp4"
    stray.parent.mkdir()
    stray.write_bytes(b"x" * 10)
    needed = folder / download_of(1).source_uri
    needed.write_bytes(b"y")
    zombie = folder / "clips" / f"part-{1:020d}-{'0' * 32}.parquet"  # written by a stopped writer after it was swept
    before = contents(dataset)
    with writer_of(dataset) as writer:
        pq.write_table(pa.table({"a": [1]}), zombie)
        cleared = vacuum(writer)
    assert (cleared.parts, cleared.media, cleared.sources, cleared.kept) == (7, 1, 1, 0)
    assert cleared.size > len(stored_media())
    assert contents(dataset) == before
    for name in TABLES:
        assert {p.name for p in (folder / name).glob("part-*.parquet")} == set(dataset.live_parts(name))
    media = {str(p.relative_to(folder)) for p in folder.glob("media/*/*")}
    assert media == {row["media_uri"] for row in before["videos"]}
    assert foreign.exists()
    assert needed.exists()
    assert not stray.exists()
    assert balance(dataset).imbalances() == []


def test_a_pinned_version_is_kept_until_it_is_unpinned(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data")
    pinned = pin(dataset, "first")
    old = {name: dataset.delta(name, v).to_pyarrow_dataset().to_table() for name, v in pinned.items()}
    redo(dataset, 0)
    assert pins(dataset) == {"first": pinned}
    assert json.loads(dataset.get("pins/first.json")) == pinned
    with writer_of(dataset) as writer:
        cleared = vacuum(writer)
    assert (cleared.parts, cleared.media, cleared.kept) == (0, 0, 6)
    for name, version in pinned.items():
        assert dataset.delta(name, version).to_pyarrow_dataset().to_table().equals(old[name])
    for uri in old["videos"]["media_uri"].to_pylist():
        assert (folder_of(dataset) / uri).exists()
    unpin(dataset, "first")
    with writer_of(dataset) as writer:
        cleared = vacuum(writer)
    assert (cleared.parts, cleared.media, cleared.kept) == (6, 1, 0)


def test_unpinned_versions_are_deleted(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data")
    version = dataset.delta("clips").version()
    redo(dataset, 0)
    assert dataset.delta("clips", version).to_pyarrow_dataset().to_table().num_rows == 14
    with writer_of(dataset) as writer:
        vacuum(writer)
    with pytest.raises(FileNotFoundError):
        dataset.delta("clips", version).to_pyarrow_dataset().to_table()


@pytest.mark.hostile("datasets")
@pytest.mark.parametrize("name", ["", "../lease", "a/b", ".hidden", "x" * 101])
def test_invalid_names_of_pins_are_refused(tmp_path: Path, name: str) -> None:
    dataset = make_dataset(tmp_path / "data", videos=1)
    with pytest.raises(UsageError, match="is not a valid name for a version"):
        pin(dataset, name)


def test_a_pin_is_never_moved(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data", videos=1)
    before = pin(dataset, "mine")
    redo(dataset, 0)
    with pytest.raises(UsageError, match="already"):
        pin(dataset, "mine")
    assert pins(dataset) == {"mine": before}
    with pytest.raises(UsageError, match="no version is pinned as 'other'"):
        unpin(dataset, "other")


def test_pinned_versions_are_consistent_even_while_a_commit_is_half_applied(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data", videos=1)
    whole = versions_now(dataset)
    code = """
        import os, signal, sys
        from curation.dataset import commits
        from curation.dataset.dataset import Dataset
        from tests.curation.dataset.test_upkeep import redo
        apply = commits._apply_share
        def deadly(dataset, table, number, share, written):
            if table == "clips" and share["remove"]:
                os.kill(os.getpid(), signal.SIGKILL)
            return apply(dataset, table, number, share, written)
        commits._apply_share = deadly
        redo(Dataset(sys.argv[1]), 0)
    """
    command = [sys.executable, "-c", textwrap.dedent(code), dataset.uri]
    assert subprocess.run(command, cwd=ROOT, check=False, timeout=360).returncode == -signal.SIGKILL
    assert dataset.delta("videos").version() == whole["videos"] + 1
    assert pin(dataset, "before") == whole
    with writer_of(dataset):
        pass
    assert pin(dataset, "mended")["clips"] == whole["clips"] + 1


# --- forgetting -----------------------------------------------------------------------------------------------------


def holders_of(dataset: Dataset, *needles: str) -> list[str]:
    """Files anywhere in the dataset that contain one of `needles`: as bytes, in a name, or in a Parquet row."""
    found = []
    for path in folder_of(dataset).rglob("*"):
        name = str(path.relative_to(folder_of(dataset)))
        if not path.is_file():
            continue
        text = name.encode() + path.read_bytes()
        if path.suffix == ".parquet":
            text += "\n".join(map(str, pq.ParquetFile(path).read().to_pylist())).encode()
        if any(needle.encode() in text for needle in needles):
            found.append(name)
    return found


def names_of(number: int) -> tuple[str, ...]:
    return (f"{download_of(number).video_id}.", f"'{download_of(number).video_id}'", url_of(number), f"Talk {number}")


@pytest.fixture
def worn(tmp_path: Path) -> Dataset:
    """A dataset with superseded rows and media, sources, a log, and several videos in one part."""
    dataset = make_dataset(tmp_path / "data", videos=3, uncaptioned=1)
    with writer_of(dataset, "again") as writer:  # all of a table in one part
        for name in ("downloads", "clips", "frames"):
            parts = PartWriter(dataset.store, writer.lineage, 1 << 30)
            parts.add_rows(name, dataset.read(name).cast(TABLES[name].schema))
            keys = frozenset((key,) for key in dataset.read(name, ["video_id"])["video_id"].to_pylist())
            everything = Replacement(name, ("video_id",), keys, frozenset(dataset.live_parts(name)))
            writer.commit(f"again:{name}", parts.finish(), [everything])
    redo(dataset, 0)
    folder = folder_of(dataset)
    for number in range(3):
        put(dataset.store, download_of(number).source_uri, b"source of " + url_of(number).encode())
    (folder / "logs").mkdir()
    lines = [json.dumps({"subject": download_of(n).video_id, "message": f"segmented {url_of(n)}"}) for n in range(3)]
    (folder / "logs" / "run-1.jsonl").write_text("\n".join(lines) + "\n")
    return dataset


WAYS: dict[str, tuple[forgetting.TargetKind, str]] = {
    "video": ("video", download_of(0).video_id),
    "url": ("uri", url_of(0)),
    "url with tracking": ("uri", url_of(0) + "?utm_source=mail#t=3"),
}


@pytest.mark.parametrize("way", WAYS)
def test_nothing_remains_of_what_was_forgotten(worn: Dataset, way: str) -> None:
    needles = (*names_of(0), request_of(0).request_key)
    before = contents(worn)
    assert len(holders_of(worn, *needles)) > 15
    with writer_of(worn) as writer:
        forgot = forget(writer, *WAYS[way])
    assert holders_of(worn, *needles) == []
    assert forgot == ForgetReport(videos=1, requests=1, parts=forgot.parts, media=2, sources=1, swept=0, broken=())
    about = {download_of(0).video_id, request_of(0).request_key}
    columns = ("video_id", "request_key", "key")
    left = {
        name: [row for row in rows if about.isdisjoint(row.get(column) for column in columns)]
        for name, rows in before.items()
    }
    now = contents(worn)
    assert {**now, "forgotten": []} == left, "and everything else is as it was"
    for number in (1, 2):
        assert (folder_of(worn) / download_of(number).source_uri).exists()
    assert len((folder_of(worn) / "logs" / "run-1.jsonl").read_text().splitlines()) == 2
    assert balance(worn).imbalances(["download", "segment", "caption", "summarize"]) == []


def test_a_channel_is_forgotten_by_its_name_or_its_id(worn: Dataset) -> None:
    with writer_of(worn) as writer:
        assert forget(writer, "channel", "Channel 0").videos == 2  # 0 and 2
    assert holders_of(worn, *names_of(0), *names_of(2)) == []
    with writer_of(worn) as writer:
        assert forget(writer, "channel", "UC1").videos == 2  # 1, and 91 that was rejected
    assert worn.read("videos").num_rows == 0
    forgotten = ForgottenKeys.load(worn)
    assert forgotten.has_video("youtube-new", "Channel 0", "UC7"), "another video of that name"
    assert forgotten.has_video("youtube-new", "Renamed", "UC0"), "the channel under another name"
    assert forgotten.has_video("youtube-new", None, "UC1")
    assert not forgotten.has_video("youtube-new", "Channel 7", "UC7")


def test_a_forgotten_video_is_recognised_when_it_is_requested_again(worn: Dataset) -> None:
    with writer_of(worn) as writer:
        forget(writer, "video", download_of(0).video_id)
    forgotten = ForgottenKeys.load(worn)
    assert forgotten.has_request(request_of(0).request_key, url_of(0))
    assert forgotten.has_request("another range of it", url_of(0))
    assert forgotten.has_video(download_of(0).video_id)
    assert forgotten.has_video(download_of(0).video_id + "~0-5000000"), "nor a range of it"
    assert not forgotten.has_request(request_of(1).request_key, url_of(1))
    assert not forgotten.has_video(download_of(1).video_id, "Channel 1", "UC1")


def test_something_not_yet_in_the_dataset_can_be_forgotten_ahead(worn: Dataset) -> None:
    before = contents(worn)
    with writer_of(worn) as writer:
        forgot = forget(writer, "uri", "HTTPS://Videos.Example:443/later", ahead=True)
        assert (forgot.videos, forgot.requests, forgot.parts) == (0, 0, 0)
        with pytest.raises(UsageError):
            forget(writer, "uri", "not a url", ahead=True)
    assert {**contents(worn), "forgotten": []} == before
    assert ForgottenKeys.load(worn).has_request("key", "https://videos.example/later")


TYPOS: dict[str, tuple[forgetting.TargetKind, str]] = {
    "video": ("video", download_of(0).video_id[:-1]),
    "url": ("uri", url_of(0) + "/"),
    "channel": ("channel", "channel 0"),
    "a channel's id as a video": ("video", "UC0"),
}


@pytest.mark.parametrize("typo", TYPOS)
def test_a_typo_bans_nothing(worn: Dataset, typo: str) -> None:
    before = contents(worn)
    assert not look(worn, *TYPOS[typo])
    with writer_of(worn) as writer, pytest.raises(UsageError, match=r"has no such .*; --ahead forbids to fetch it"):
        forget(writer, *TYPOS[typo])
    assert contents(worn) == before
    assert ForgottenKeys.load(worn).keys == frozenset()


def test_what_there_is_to_forget_is_told_before_it_is_forgotten(worn: Dataset) -> None:
    pin(worn, "mine")
    before = contents(worn)
    found = look(worn, *WAYS["url with tracking"])
    key = request_of(0).request_key
    assert found == Findings((download_of(0).video_id,), (key,), media=2, sources=1, pins=("mine",), known=False)
    assert contents(worn) == before
    with writer_of(worn) as writer:
        forgot = forget(writer, *WAYS["url"])
    assert (forgot.media, forgot.sources, forgot.broken) == (found.media, found.sources, found.pins)
    assert look(worn, *WAYS["url"]) == Findings((), (), media=0, sources=0, pins=(), known=True)


def test_forgetting_sweeps_what_killed_runs_have_left(worn: Dataset) -> None:
    folder = folder_of(worn)
    strays = [folder / "sources" / "stray.mp4", folder / "media" / "aa" / "list-stray.0123.mp4"]
    for stray in strays:
        stray.parent.mkdir(exist_ok=True)
        stray.write_bytes(b"x")
    media = {row["media_uri"] for row in worn.read("videos").to_pylist() if row["video_id"] != download_of(0).video_id}
    with writer_of(worn) as writer:
        assert forget(writer, "video", download_of(0).video_id).swept == 2
    assert not any(stray.exists() for stray in strays)
    assert {str(path.relative_to(folder)) for path in folder.glob("media/*/*")} == media
    assert {path.name for path in folder.glob("sources/*")} == {Path(download_of(n).source_uri).name for n in (1, 2)}


def test_nothing_is_swept_while_a_part_is_missing_that_may_name_it(worn: Dataset) -> None:
    folder = folder_of(worn)
    lost = next(iter(worn.live_parts("videos")))
    (folder / "videos" / lost).unlink()
    media = set(folder.glob("media/*/*"))
    with writer_of(worn) as writer, pytest.raises(DatasetError, match="lacks 1 of its parts"):
        forget(writer, "uri", "https://videos.example/never", ahead=True)
    assert set(folder.glob("media/*/*")) == media


def test_forgetting_is_undone_by_the_name(worn: Dataset) -> None:
    for way in ("video", "url"):
        with writer_of(worn, f"do {way}") as writer:
            forget(writer, *WAYS["video"])
        with writer_of(worn, f"undo {way}") as writer:
            assert undo(writer, *WAYS[way]) == {"video": 1, "request": 1, "uri": 1}
        forgotten = ForgottenKeys.load(worn)
        assert forgotten.keys == frozenset()
        with writer_of(worn, f"again {way}") as writer:
            commit_rows(writer, "again", {"requests": [request_of(0)], "downloads": [download_of(0)]})


def test_undoing_takes_back_one_call_and_no_other(worn: Dataset) -> None:
    with writer_of(worn) as writer:
        forget(writer, "video", download_of(0).video_id)
        forget(writer, "channel", "Channel 0")  # 2, and the channel
        with pytest.raises(UsageError, match="was forgotten with its channel: undo that"):
            undo(writer, "video", download_of(2).video_id)
        with pytest.raises(UsageError, match="has not forgotten it"):
            undo(writer, "video", download_of(1).video_id)
        assert undo(writer, "channel", "UC0")["channel"] == 2
    forgotten = ForgottenKeys.load(worn)
    assert forgotten.has_video(download_of(0).video_id)
    assert not forgotten.has_video(download_of(2).video_id, "Channel 0", "UC0")


def test_forgetting_a_video_of_two_requests_removes_both(worn: Dataset) -> None:
    twin = dataclasses.replace(download_of(1), request_key=request_of(8).request_key, uri=url_of(8))
    with writer_of(worn) as writer:
        commit_rows(writer, "twin", {"requests": [request_of(8)], "downloads": [twin]})
        assert forget(writer, "uri", url_of(8)).requests == 2
    assert holders_of(worn, *names_of(1), url_of(8)) == []


@pytest.mark.hostile("secrets")
def test_of_urls_that_differ_in_a_secret_the_named_one_is_forgotten(worn: Dataset) -> None:
    """The tables have one form for them: https://videos.example/x?token=REDACTED."""
    urls = [f"https://videos.example/x?token=a-secret-{n}" for n in range(3)]
    made = [
        VideoRequest(request_key=digest("request", forms(url).identity, None, None), uri=canonical(url)) for url in urls
    ]
    assert len({request.uri for request in made}) == 1
    with writer_of(worn) as writer:
        commit_rows(writer, "alike", {"requests": made})
        assert forget(writer, "uri", urls[0] + "#t=5").requests == 1
        with pytest.raises(UsageError):
            forget(writer, "uri", "https://videos.example/x?token=another")
        forget(writer, "uri", "https://videos.example/x?token=later", ahead=True)
    assert made[0].request_key not in worn.read("requests")["request_key"].to_pylist()
    forgotten = ForgottenKeys.load(worn)
    assert forgotten.has_request(made[0].request_key, made[0].uri, urls[0])
    assert forgotten.has_request("a range of it", made[0].uri, urls[0])
    assert forgotten.has_request("a key", made[0].uri, "https://videos.example/x?token=later")
    assert not forgotten.has_request(made[1].request_key, made[1].uri, urls[1])


@pytest.mark.hostile("secrets")
def test_a_url_is_found_as_an_older_version_has_stored_it(worn: Dataset) -> None:
    url = "https://videos.example/x?data=9aT4kQz7Lw2XvB8mNc5R"
    older = VideoRequest(request_key=digest("request", forms(url).identity, None, None), uri=url)
    assert canonical(url) != url, "what looks like a key was not recognised then"
    with writer_of(worn) as writer:
        commit_rows(writer, "older", {"requests": [older]})
        assert forget(writer, "uri", url).requests == 1
    assert holders_of(worn, url) == []
    assert ForgottenKeys.load(worn).has_request("a range of it", canonical(url), url)


def test_a_url_that_now_leads_to_another_video_is_kept(worn: Dataset) -> None:
    now = dataclasses.replace(download_of(1), video_id="content-new")
    with writer_of(worn) as writer:
        old = frozenset({(request_of(1).request_key,)})
        replaced = Replacement("downloads", ("request_key",), old, frozenset(worn.live_parts("downloads")))
        commit_rows(writer, "moved", {"downloads": [now]}, [replaced])
        forgot = forget(writer, "video", download_of(1).video_id)
    assert (forgot.videos, forgot.requests) == (1, 0)
    requests = worn.read("requests")["request_key"].to_pylist()
    assert request_of(1).request_key in requests
    assert pc.sum(pc.equal(worn.read("downloads")["video_id"], "content-new")).as_py() == 1
    assert holders_of(worn, f"{download_of(1).video_id}.", f"'{download_of(1).video_id}'") == []


def test_forgetting_a_video_includes_its_ranges(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data")
    part = dataclasses.replace(
        download_of(7), video_id=f"{download_of(0).video_id}~0-5000000", request_key=request_of(7).request_key
    )
    longer = dataclasses.replace(
        download_of(8), video_id=f"{download_of(0).video_id}0", request_key=request_of(8).request_key
    )
    with writer_of(dataset) as writer:
        rows = {"requests": [request_of(7), request_of(8)], "downloads": [part, longer]}
        commit_rows(writer, "range", rows)
        assert forget(writer, "video", download_of(0).video_id).videos == 2
    assert longer.video_id in dataset.read("downloads")["video_id"].to_pylist(), "a longer id is another video"


def test_pinned_versions_that_lose_parts_are_named(worn: Dataset) -> None:
    pin(worn, "before")
    with writer_of(worn) as writer:
        assert forget(writer, "video", download_of(0).video_id).broken == ("before",)
        pin(worn, "after")
        assert forget(writer, "uri", "https://videos.example/never", ahead=True).broken == ()
        vacuum(writer)  # and does not fail on the deleted parts
    assert contents(worn)["videos"]


KILLS = {
    "before the commit": ("curation.dataset.forget", "_commit"),
    "before the files go": ("curation.dataset.forget", "_delete"),
    "between the files": ("curation.dataset.dataset", "Dataset.delete"),
}


@pytest.mark.slow
@pytest.mark.parametrize("point", KILLS)
def test_a_killed_forgetting_is_finished_by_the_next(worn: Dataset, point: str) -> None:
    module, function = KILLS[point]
    code = f"""
        import functools, os, signal, sys
        import obstore
        import {module} as module
        from curation.dataset.writer import Writer
        from curation.dataset.forget import forget
        from curation.dataset.dataset import Dataset
        calls = 0
        def deadly(*args, **options):
            global calls
            calls += 1
            if "{function}" != "Dataset.delete":
                os.kill(os.getpid(), signal.SIGKILL)
            paths = list(args[1])
            for path in paths[: len(paths) // 2]:
                obstore.delete(args[0].store, path)
            if len(paths) > 5:
                os.kill(os.getpid(), signal.SIGKILL)
            for path in paths[len(paths) // 2 :]:
                obstore.delete(args[0].store, path)
        with Writer(Dataset(sys.argv[1]), "killed", {{}}) as writer:
            *path, name = "{function}".split(".")
            setattr(functools.reduce(getattr, path, module), name, deadly)
            forget(writer, "channel", "Channel 0")
    """
    command = [sys.executable, "-c", textwrap.dedent(code), worn.uri]
    assert subprocess.run(command, cwd=ROOT, check=False, timeout=360).returncode == -signal.SIGKILL
    needles = (*names_of(0), *names_of(2))
    assert holders_of(worn, *needles)
    with writer_of(worn) as writer:
        forget(writer, "channel", "Channel 0")
    assert holders_of(worn, *needles) == []
    assert balance(worn).imbalances() == []


def test_forgetting_leaves_no_more_than_digests(worn: Dataset) -> None:
    with writer_of(worn) as writer:
        forget(writer, "channel", "Channel 0")
    rows = worn.read("forgotten").to_pylist()
    assert {row["kind"] for row in rows} == {"video", "request", "uri", "channel"}
    assert all(len(row["key"]) == 32 and set(row["key"]) <= set("0123456789abcdef") for row in rows)
    assert holders_of(worn, "Channel 0", "UC0") == []
