"""The main job, by its command, on real videos."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from curation.dataset.dataset import Dataset
from curation.schema import TABLES
from tests.conftest import VIDLA, make_video
from tests.support.contents import contents, live_parts
from tests.support.project import ROOT
from tests.support.web_server import WebServer

Vidla = Callable[..., "subprocess.CompletedProcess[str]"]

pytestmark = pytest.mark.slow

SPEECH = """WEBVTT

00:00:00.500 --> 00:00:05.500
A red field lies under a moving pattern of bars.

00:00:06.000 --> 00:00:13.000
The field turns green, and the bars move on from the left side to the right side of it.

00:00:13.500 --> 00:00:25.500
After that everything is blue for a while, and a clock in the corner counts the seconds.
"""


@pytest.fixture
def dataset(curated: Path, tmp_path: Path) -> Path:
    return shutil.copytree(curated, tmp_path / "dataset")


def rows(folder: Path, query: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = Dataset(str(folder)).sql(query).to_pylist()
    return found


def test_a_folder_of_videos_becomes_clips_of_three_scales(dataset: Path) -> None:
    per_video = 'select video_id, scale, count(*) n, min(start) s, max("end") e from clips group by all order by all'
    scales: dict[str, list[str]] = {}
    for row in rows(dataset, per_video):
        scales.setdefault(row["video_id"], []).append(row["scale"])
        (video,) = rows(dataset, f"select duration from videos where video_id = '{row['video_id']}'")
        assert (row["s"], row["e"]) == (0.0, video["duration"])
    assert sorted(map(len, scales.values())) == [1, 2, 3]
    assert not rows(dataset, "select * from rejects")
    for clip in rows(dataset, "select * from clips"):
        assert (clip["caption_text"] is None) == (clip["caption_status"] == "unrecognised")
        assert clip["subtitle_text"] is None
        assert (dataset / clip["media_uri"]).is_file()
    assert not rows(dataset, "select unnest(frame_ids) f from clips except select frame_id from captions")
    assert not list((dataset / "scratch").glob("*"))


def test_what_every_stage_took_is_on_record(dataset: Path) -> None:
    found = rows(
        dataset,
        """select stage, count(*) n, min(seconds) > 0 and max(seconds) < 600 as timed, min(bytes) > 0 as sized,
        count(distinct video_id) videos, bool_and((key = video_id) = (stage != 'download')) keyed
        from usage group by stage""",
    )
    same = {"n": 3, "timed": True, "videos": 3, "keyed": True}
    sized = {"download": True, "segment": True, "caption": False, "summarize": False}
    assert {row["stage"]: row for row in found} == {s: {"stage": s, "sized": sized[s], **same} for s in sized}
    (asked,) = rows(dataset, "select sum(requests)::int n from usage where stage = 'caption'")
    assert rows(dataset, "select count(*) n from captions") == [asked]


def test_a_second_run_does_nothing_and_says_so(dataset: Path, vidla: Vidla, videos: list[Path]) -> None:
    before = contents(dataset), live_parts(dataset)
    run = vidla("curate", videos[0].parent, "--dataset", dataset)
    assert run.returncode == 0, run.stderr
    assert "Nothing to do" in run.stdout
    assert (contents(dataset), live_parts(dataset)) == before


def test_a_wave_in_one_job_gives_the_same_tables(
    curated: Path, vidla: Vidla, videos: list[Path], tmp_path: Path
) -> None:
    folder = tmp_path / "dataset"
    run = vidla("curate", videos[0].parent, "--dataset", folder, "--one-job")
    assert run.returncode == 0, run.stderr
    assert contents(folder) == contents(curated)
    assert not list((folder / "sources").glob("*"))


@pytest.mark.long
def test_what_is_made_anew_in_one_job_replaces_what_was_there(dataset: Path, vidla: Vidla, tmp_path: Path) -> None:
    other = shutil.copytree(dataset, tmp_path / "other")
    change = ("--set", "tilings.short.target_s=8", "--set", "tilings.short.min_s=4")
    for folder, how in ((dataset, ()), (other, ("--one-job",))):
        run = vidla("curate", "--dataset", folder, *change, *how)
        assert run.returncode == 0, run.stderr
    assert contents(other) == contents(dataset)
    assert "Nothing to do" in vidla("curate", "--dataset", other, *change).stdout


def test_an_added_video_is_the_only_one_made(dataset: Path, vidla: Vidla, tmp_path: Path) -> None:
    before = live_parts(dataset)
    new = make_video(tmp_path / "new.mp4", 13, seed=5)
    run = vidla("curate", new, "--dataset", dataset)
    assert run.returncode == 0, run.stderr
    assert before <= live_parts(dataset)
    assert rows(dataset, "select count(*) n from videos") == [{"n": 4}]


def test_a_video_asked_for_twice_is_made_once(dataset: Path, vidla: Vidla, videos: list[Path], tmp_path: Path) -> None:
    again = shutil.copy(videos[1], tmp_path / "the same under another name.mp4")
    run = vidla("curate", again, "--dataset", dataset)
    assert run.returncode == 0, run.stderr
    assert rows(dataset, "select count(*) n from requests") == [{"n": 4}]
    assert rows(dataset, "select count(*) n from videos") == [{"n": 3}]
    assert rows(dataset, "select count(*) - count(distinct clip_id) n from clips") == [{"n": 0}]


def test_a_video_asked_for_twice_in_one_run_is_made_once(vidla: Vidla, videos: list[Path], tmp_path: Path) -> None:
    again = shutil.copy(videos[1], tmp_path / "the same under another name.mp4")
    run = vidla("curate", videos[1], again, "--dataset", tmp_path / "dataset", "--set", "run.wave_videos=1")
    assert run.returncode == 0, run.stderr  # the books balance
    assert rows(tmp_path / "dataset", "select count(*) n from requests") == [{"n": 2}]
    assert rows(tmp_path / "dataset", "select count(*) - count(distinct frame_id) n from captions") == [{"n": 0}]
    assert rows(tmp_path / "dataset", "select count(*) - count(distinct clip_id) n from clips") == [{"n": 0}]


def test_a_changed_prompt_redoes_only_its_texts(dataset: Path, vidla: Vidla, tmp_path: Path) -> None:
    prompts = tmp_path / "prompts"
    prompts.mkdir()
    theirs = ROOT / "prompts" / "caption-frame.md"
    (prompts / "caption-frame.md").write_text(theirs.read_text().replace("version: 1", "version: 2"))
    before = {table: Dataset(str(dataset)).live_parts(table) for table in TABLES}
    captions = rows(dataset, "select count(*) n from captions")
    run = vidla("curate", "--dataset", dataset, "--set", f"run.prompts={prompts}")
    assert run.returncode == 0, run.stderr
    after = {table: Dataset(str(dataset)).live_parts(table) for table in TABLES}
    changed = {table for table in TABLES if after[table] != before[table]}
    assert {"captions", "clips"} <= changed <= {"captions", "clips", "summaries", "usage"}
    assert rows(dataset, "select count(*) n from captions") == captions
    assert len(rows(dataset, "select distinct prompt_digest from captions")) == 1
    assert "Nothing to do" in vidla("curate", "--dataset", dataset, "--set", f"run.prompts={prompts}").stdout


def test_changed_tilings_touch_no_media(dataset: Path, vidla: Vidla) -> None:
    before = contents(dataset)
    run = vidla("curate", "--dataset", dataset, "--set", "tilings.short.target_s=10")
    assert run.returncode == 0, run.stderr
    after = contents(dataset)
    for same in ("media", "videos", "frames", "downloads", "requests"):
        assert after[same] == before[same]
    assert after["segments"] != before["segments"]
    assert not rows(dataset, "select clip_id from segments except select clip_id from clips")
    assert not rows(dataset, "select clip_id from clips except select clip_id from segments")
    assert not rows(dataset, "select clip_id from summaries except select clip_id from clips")


def test_changed_media_settings_redo_what_follows(dataset: Path, vidla: Vidla) -> None:
    before = contents(dataset)
    run = vidla("curate", "--dataset", dataset, "--set", "media.crf=40")
    assert run.returncode == 0, run.stderr
    after = contents(dataset)
    assert len(after["videos"]) == len(before["videos"])
    assert not set(after["videos"]) & set(before["videos"])
    referenced = {
        row["media_uri"] for row in rows(dataset, "select media_uri from clips union select media_uri from videos")
    }
    assert all((dataset / uri).is_file() for uri in referenced)
    assert after["captions"] == before["captions"]  # the same frames with the same images are not captioned again


def test_media_is_downloaded_again_only_once_that_is_agreed_to(
    vidla: Vidla, videos: list[Path], tmp_path: Path
) -> None:
    folder = tmp_path / "dataset"
    with WebServer(videos[0].parent) as web:
        arguments = ["--dataset", folder, "--set", "download.allow_private=true"]
        run = vidla("curate", web.url("/15.mp4"), *arguments)
        assert run.returncode == 0, run.stderr
        assert not list((folder / "sources").iterdir())
        fetched = len(web.paths())
        assert "Nothing to do" in vidla("curate", *arguments).stdout
        assert len(web.paths()) == fetched
        run = vidla("curate", *arguments, "--set", "media.lines=90")
        assert (run.returncode, len(web.paths())) == (2, fetched), run.stderr
        assert "  media.lines: 360 → 90\nMade again: 1 downloads, 1 segmentations" in run.stderr
        assert "1 videos are downloaded again: repeat it with --yes" in run.stderr.splitlines()[-1]
        run = vidla("curate", *arguments, "--set", "media.lines=90", "--yes")
        assert run.returncode == 0, run.stderr
        assert "downloaded again" in run.stderr
        assert len(web.paths()) > fetched
    assert [r["height"] for r in rows(folder, "select height from videos")] == [90]
    assert not rows(folder, "select * from rejects")


def test_a_url_that_gives_another_video_by_now_leads_to_that_one(
    vidla: Vidla, videos: list[Path], tmp_path: Path
) -> None:
    folder, served = tmp_path / "dataset", tmp_path / "served"
    served.mkdir()
    with WebServer(served) as web:
        shutil.copy(videos[0], served / "clip.mp4")
        arguments = ["--dataset", folder, "--set", "download.allow_private=true"]
        assert vidla("curate", web.url("/clip.mp4"), *arguments).returncode == 0
        before = rows(folder, "select video_id from videos")
        shutil.copy(videos[1], served / "clip.mp4")
        run = vidla("curate", *arguments, "--set", "media.crf=30", "--yes")
    assert run.returncode == 0, run.stderr  # the books balance
    for table in ("downloads", "videos", "clips"):
        (now,) = rows(folder, f"select distinct video_id from {table}")
        assert now not in before


def test_subtitles_beside_a_video_become_its_texts(vidla: Vidla, videos: list[Path], tmp_path: Path) -> None:
    video = shutil.copy(videos[1], tmp_path / "talk.mp4")
    (tmp_path / "talk.en.vtt").write_text(SPEECH)
    run = vidla("curate", video, "--dataset", tmp_path / "dataset")
    assert run.returncode == 0, run.stderr
    (made,) = rows(tmp_path / "dataset", "select * from videos")
    assert (made["language"], made["subtitle_kind"], len(made["sentences"])) == ("en", "manual", 3)
    assert made["sentence_ends"] == "punctuation"
    clips = rows(tmp_path / "dataset", "select * from clips order by start")
    short = [clip for clip in clips if clip["scale"] == "short"]
    assert " ".join(clip["subtitle_text"] for clip in short) == " ".join(s["text"] for s in made["sentences"])
    (medium,) = [clip for clip in clips if clip["scale"] == "medium"]
    assert medium["subtitle_text"] != medium["subtitle_original"]
    assert {(c["subtitle_source"], c["caption_source"]) for c in clips} == {("manual", "builtin/efficientnet-lite0")}
    assert len(medium["subtitle_text"].split()) <= 25 and medium["subtitle_status"] == "extracted"
    assert medium["subtitle_text"].split(". ")[0] in medium["subtitle_original"]


def test_what_cannot_be_used_is_rejected_and_the_rest_is_made(vidla: Vidla, videos: list[Path], tmp_path: Path) -> None:
    listed = tmp_path / "list.jsonl"
    with WebServer(videos[0].parent) as web:
        urls = [web.url("/15.mp4"), web.url("/404"), "not a url", "file:///etc/passwd"]
        listed.write_text("".join(json.dumps({"url": url, "topic": "bars"}) + "\n" for url in urls))
        settings = ["--set", "download.allow_private=true", "--set", "download.attempts=1"]
        run = vidla("curate", listed, "--dataset", tmp_path / "dataset", *settings)
        assert run.returncode == 0, run.stderr
        kinds = {r["kind"] for r in rows(tmp_path / "dataset", "select * from rejects")}
        assert kinds == {"not_found", "invalid_request", "refused"}
        assert rows(tmp_path / "dataset", "select count(*) n from requests") == [{"n": 4}]
        (video,) = rows(tmp_path / "dataset", "select * from videos")
        assert json.loads(video["metadata"]) == {"topic": "bars"}
        strict = vidla("curate", web.url("/404"), "--dataset", tmp_path / "strict", *settings)
        assert strict.returncode == 1, strict.stderr


def test_a_range_of_a_video_is_a_video_of_its_own(vidla: Vidla, videos: list[Path], tmp_path: Path) -> None:
    (tmp_path / "talk.en.vtt").write_text(SPEECH)
    with WebServer(videos[0].parent) as web:
        url = web.url("/27.mp4")
        asked = [{"url": url, "id": "talk", "start": 4, "end": 20.5}, {"url": url, "id": "talk"}]
        (tmp_path / "list.jsonl").write_text("\n".join(map(json.dumps, asked)))
        folder = tmp_path / "dataset"
        run = vidla("curate", tmp_path / "list.jsonl", "--dataset", folder, "--set", "download.allow_private=true")
    assert run.returncode == 0, run.stderr
    durations = {r["video_id"]: r["duration"] for r in rows(folder, "select video_id, duration from videos")}
    assert set(durations) == {"list-talk", "list-talk~4000000-20500000"}
    assert durations["list-talk~4000000-20500000"] == pytest.approx(16.5, abs=0.11)
    spans = rows(folder, "select max(\"end\") e from clips where video_id like '%~%' and scale = 'short'")
    assert spans == [{"e": durations["list-talk~4000000-20500000"]}]


def test_on_a_terminal_there_is_a_live_view(videos: list[Path], tmp_path: Path) -> None:
    parent, child = pty.openpty()
    command = [VIDLA, "curate", videos[0], "--dataset", tmp_path / "dataset"]
    with subprocess.Popen(command, stdout=child, stderr=child, stdin=child, env={**os.environ, "TERM": "xterm"}) as run:
        os.close(child)
        seen = b""
        with contextlib.suppress(OSError):  # the end of a terminal
            while chunk := os.read(parent, 1 << 16):
                seen += chunk
    os.close(parent)
    assert run.returncode == 0
    assert b"\x1b[" in seen  # drawn over
    for words in (b"segment", b"a minute", b"wave 1 of 1", b"with texts"):
        assert words in seen


@pytest.mark.long  # in short runs a retry is what mends the next test
def test_retry_makes_what_was_rejected_for_a_passing_reason(vidla: Vidla, videos: list[Path], tmp_path: Path) -> None:
    folder = tmp_path / "dataset"
    hurried = ["--set", "media.timeout_s=0.01", "--set", "media.timeout_factor=0.001"]
    with WebServer(videos[0].parent) as web:
        urls = tmp_path / "urls.txt"
        urls.write_text(f"{web.url('/15.mp4')}\n{web.url('/27.mp4')}\n")
        allowed = ["--dataset", folder, "--set", "download.allow_private=true"]
        run = vidla("curate", urls, *allowed, *hurried)
        assert run.returncode == 1, run.stderr  # all rejected
        assert rows(folder, "select distinct stage, kind, attempts from rejects") == [
            {"stage": "segment", "kind": "timeout", "attempts": 1}
        ]
        assert "Nothing to do" in vidla("curate", *allowed).stdout
        assert "Nothing to do" in vidla("retry", *allowed, "--kind", "rate_limited").stdout
        vidla("retry", *allowed, *hurried)
        assert rows(folder, "select distinct attempts from rejects") == [{"attempts": 2}]
        run = vidla("retry", *allowed, "--kind", "timeout")
        assert run.returncode == 0, run.stderr
    assert not rows(folder, "select * from rejects")
    assert rows(folder, "select count(distinct video_id) n from clips") == [{"n": 2}]


def test_a_local_source_that_vanished_can_be_put_back(vidla: Vidla, videos: list[Path], tmp_path: Path) -> None:
    folder, away = tmp_path / "dataset", tmp_path / "away.mp4"
    video = Path(shutil.copy(videos[0], tmp_path / "talk.mp4"))
    assert vidla("curate", video, "--dataset", folder).returncode == 0
    video.rename(away)
    changed = ["--dataset", folder, "--set", "media.crf=40"]
    assert vidla("curate", *changed).returncode == 1  # all rejected
    (reject,) = rows(folder, "select kind, message, retryable from rejects")
    assert (reject["kind"], reject["retryable"]) == ("source_gone", True)
    assert "put it back" in reject["message"]
    before = rows(folder, "select digest from videos")
    away.rename(video)
    run = vidla("retry", *changed)
    assert run.returncode == 0, run.stderr
    assert rows(folder, "select digest from videos") != before
    assert not rows(folder, "select * from rejects")


def test_a_stage_runs_alone(vidla: Vidla, videos: list[Path], tmp_path: Path) -> None:
    folder = tmp_path / "dataset"
    assert vidla("download", "--dataset", folder).returncode == 1  # there is no dataset yet
    assert vidla("curate", videos[0], "--dataset", folder, "--set", "tilings.short.min_s=1").returncode == 0
    before = contents(folder)
    for stage, changed in (("segment", {"segments"}), ("caption", set()), ("summarize", {"clips"})):
        run = vidla(stage, "--dataset", folder, "--set", "tilings.short.min_s=6")
        assert run.returncode == 0, run.stderr
        after = contents(folder)
        assert {t for t in after if after[t] != before[t]} <= changed | {"captions", "summaries"}, stage
        before = after


def test_a_full_disk_ends_the_run_with_the_last_wave_intact(vidla: Vidla, videos: list[Path], small_disk: Path) -> None:
    folder = small_disk / "dataset"
    assert vidla("curate", videos[0], "--dataset", folder).returncode == 0
    before = contents(folder)
    free = shutil.disk_usage(small_disk).free
    (small_disk / "filler").write_bytes(bytes(free - 150_000))
    run = vidla("curate", videos[0].parent, "--dataset", folder)
    assert run.returncode == 1
    assert "disk" in run.stderr.splitlines()[-1]
    assert "full" in run.stderr.splitlines()[-1]
    assert "Traceback" not in run.stderr
    (small_disk / "filler").unlink()
    after = contents(folder)
    assert after["clips"] == before["clips"]
    assert set(before["media"]) <= set(after["media"])
    run = vidla("curate", "--dataset", folder)
    assert run.returncode == 0, run.stderr
    assert rows(folder, "select count(*) n from videos") == [{"n": 3}]


def test_misuse_is_one_line_and_exit_status_2(vidla: Vidla, tmp_path: Path) -> None:
    for arguments, hint in (
        (["curate", tmp_path / "missing.mp4", "--dataset", tmp_path / "d"], "missing.mp4"),
        (["curate", "--dataset", tmp_path / "d", "--set", "media.cfr=20"], "did you mean 'media.crf'"),
        (["curate", "--dataset", tmp_path / "d", "--set", "media.crf=high"], "media.crf"),
        (["retry", "--dataset", tmp_path / "d", "--kind", "bad luck"], "rate_limited"),
        (["config", "validate", tmp_path / "missing.toml"], "missing.toml"),
    ):
        run = vidla(*arguments)
        assert run.returncode == 2, (arguments, run.stderr)
        assert hint in run.stderr
        assert "Traceback" not in run.stderr


def test_the_configuration_template_is_a_valid_configuration(vidla: Vidla, tmp_path: Path) -> None:
    template = vidla("config", "template").stdout
    (tmp_path / "vidla.toml").write_text(template)
    assert vidla("config", "validate", tmp_path / "vidla.toml").returncode == 0
    shown = vidla("config", "show", "--config", tmp_path / "vidla.toml", "--set", "media.crf=20").stdout
    assert "crf = 20" in shown
    assert shown.replace("crf = 20", "crf = 23") == vidla("config", "show").stdout


@pytest.mark.parametrize(
    "verb", ["curate", "download", "segment", "caption", "summarize", "retry", "compact", "plan", "config template"]
)
def test_every_verb_has_help_with_an_example(vidla: Vidla, verb: str) -> None:
    run = vidla(*verb.split(), "--help")
    assert run.returncode == 0
    assert f"Example: vidla {verb}" in run.stdout
