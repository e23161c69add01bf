"""A dataset remembers its settings; what a change of them makes again is said first, and agreed to where it is dear."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from curation.dataset.dataset import Dataset
from curation.dataset.last_settings import last_run
from curation.dataset.writer import Writer
from curation.errors import UsageError, VidlaError
from curation.rejects import Stage
from curation.settings import Settings, resolve
from pipelines.driver.curate import curate
from tests.conftest import VIDLA
from tests.support.scripted_server import ScriptedServer
from tests.support.segmented import CAPTIONS, run, segment_videos, settings_for, texts
from tests.support.watching import free_port
from vidla.cli import load

Vidla = Callable[..., "subprocess.CompletedProcess[str]"]
TILED = [f"tilings.{key}" for key in ("short.min_s=3", "short.target_s=4", "medium.min_s=6", "medium.target_s=8")]


@pytest.fixture
def server() -> Any:
    with ScriptedServer(texts) as server:
        yield server


def written(dataset: Dataset) -> list[str]:
    """Every file of the dataset."""
    assert dataset.folder is not None
    return sorted(str(path) for path in dataset.folder.rglob("*") if path.is_file())


def made(dataset: Dataset, table: str) -> set[tuple[str, str]]:
    """Each text and the run that made it."""
    key = "frame_id" if table == "captions" else "clip_id || kind"
    return {(row["key"], row["run_id"]) for row in dataset.sql(f"select {key} as key, run_id from {table}").to_pylist()}


@pytest.mark.parametrize(
    ("change", "follow"),
    [
        (["captions.max_tokens=50"], True),  # their texts stay the same, so that the summaries of them are kept
        (["summaries.max_words=20"], False),
        pytest.param(["summaries.captions.max_tokens=50"], False, marks=pytest.mark.long),
        pytest.param(["summaries.subtitles.seed=1"], False, marks=pytest.mark.long),
        pytest.param(TILED, True, marks=pytest.mark.long),
    ],
    ids=["captions", "limits", "summaries of captions", "summaries of subtitles", "tilings"],
)
def test_texts_of_a_served_model_are_replaced_only_once_that_is_agreed_to(
    tmp_path: Path, server: ScriptedServer, capfd: pytest.CaptureFixture[str], change: list[str], follow: bool
) -> None:
    before, after = settings_for(server.url), settings_for(server.url, assignments=change)
    dataset = segment_videos(tmp_path / "d", before, range(2))
    assert run(dataset, before) == 0
    files, first = written(dataset), {table: made(dataset, table) for table in ("captions", "summaries")}
    capfd.readouterr()
    with pytest.raises(UsageError, match=r"texts of a served model \(openai/m\) are replaced: repeat it with --yes"):
        run(dataset, after, agreed=False)
    said = capfd.readouterr().err
    assert all(f"  {assignment.partition('=')[0]}: " in said for assignment in change)
    assert written(dataset) == files, "nothing was written, not even the opening of an epoch"

    assert run(dataset, after) == 0
    for table, rows in first.items():
        found = re.search(rf"up to (\d+) {table}", said)
        announced, replaced = int(found[1]) if found else 0, len(rows - made(dataset, table))
        assert announced >= replaced if follow and table == "summaries" else announced == replaced, (table, said)
    assert run(dataset, after, agreed=False) == 0, "the same settings again"


def test_operational_keys_redo_nothing_and_are_not_mentioned(
    tmp_path: Path, server: ScriptedServer, capfd: pytest.CaptureFixture[str]
) -> None:
    settings = settings_for(server.url)
    dataset = segment_videos(tmp_path / "d", settings, range(1))
    assert last_run(dataset) is None
    assert run(dataset, settings, agreed=False) == 0, "the first run has nothing to differ from"
    with ScriptedServer(texts) as elsewhere:
        other = settings_for(elsewhere.url, assignments=["run.wave_videos=1", "download.allow_private=true"])
        assert run(dataset, other, agreed=False) == 0
    assert "Differs" not in capfd.readouterr().err


def test_an_edited_prompt_is_a_change_though_no_key_is(
    tmp_path: Path, server: ScriptedServer, capfd: pytest.CaptureFixture[str]
) -> None:
    prompts = tmp_path / "prompts"
    prompts.mkdir()
    shipped = (Path(__file__).parents[3] / "prompts" / "caption-frame.md").read_text()
    (prompts / "caption-frame.md").write_text(shipped)
    settings = settings_for(server.url, assignments=[f"run.prompts={prompts}"])
    dataset = segment_videos(tmp_path / "d", settings, range(1))
    assert run(dataset, settings) == 0
    (prompts / "caption-frame.md").write_text(shipped.replace("version: 1", "version: 2"))
    with pytest.raises(UsageError, match="texts of a served model"):
        run(dataset, settings, agreed=False)
    assert "prompts or models that make the captions differ" in capfd.readouterr().err


def test_the_last_settings_are_found_behind_other_writers_and_damage(tmp_path: Path, server: ScriptedServer) -> None:
    settings = settings_for(server.url, assignments=["media.crf=31"])
    dataset = segment_videos(tmp_path / "d", settings, range(1))
    assert run(dataset, settings) == 0
    for number in range(3):
        with Writer(dataset, f"compact-{number}", {"command": "compact"}):
            pass
    found = last_run(dataset)
    assert found is not None and found.settings["media"]["crf"] == 31
    (tmp_path / "d" / "lease.json").write_text("damaged")
    assert last_run(dataset) == found, "the lease is only where to look first"
    commits = sorted((tmp_path / "d" / "commits").iterdir())
    commits[-1].write_text("damaged")
    assert last_run(dataset) == found
    assert "127.0.0.1" not in str({**found.settings, "captions": None, "summaries": None})
    assert last_run(Dataset(str(tmp_path / "nowhere"))) is None and not (tmp_path / "nowhere").exists()


def test_a_run_that_lacked_something_is_not_the_last_one(tmp_path: Path, server: ScriptedServer) -> None:
    def asking(url: str, tokens: int) -> Settings:
        return settings_for(url, assignments=[f"captions.max_tokens={tokens}"])

    dataset = segment_videos(tmp_path / "d", asking(server.url, 31), range(1))
    for before in (None, 31):
        with pytest.raises(VidlaError, match="no server"):
            run(dataset, asking(f"http://127.0.0.1:{free_port()}", 28))
        for writers in range(2):
            found = last_run(dataset)
            assert (found.settings["captions"]["max_tokens"] if found else None) == before
            with Writer(dataset, f"compact-{before}-{writers}", {"command": "compact"}):
                pass
        run(dataset, asking(server.url, 31))


def test_a_dry_run_says_the_same_and_writes_nothing(
    tmp_path: Path, server: ScriptedServer, capfd: pytest.CaptureFixture[str]
) -> None:
    before, after = settings_for(server.url), settings_for(server.url, assignments=["captions.max_tokens=50"])
    dataset = segment_videos(tmp_path / "d", before, range(2))
    listed = tmp_path / "list.txt"
    listed.write_text("https://videos.example/watch/0.mp4\nhttps://videos.example/new.mp4\nno URL\n")

    def foretold(settings: Settings, *inputs: str) -> list[str]:
        with Writer(dataset, "another", {}) if settings is after else nullcontext():  # it needs no lease
            files = written(dataset)
            assert curate(inputs, dataset.uri, settings, tuple(Stage), [], 0.0, 1.0, dry=True) == 0
            assert written(dataset) == files
        return capfd.readouterr().out.splitlines()

    assert foretold(before) == ["0 videos to download, 0 to segment, 2 awaiting texts; nothing was written"]
    assert run(dataset, before) == 0
    capfd.readouterr()
    asked = len(server.asked)
    said = foretold(after, str(listed))
    with pytest.raises(UsageError) as refused:
        curate([str(listed)], dataset.uri, after, tuple(Stage), [], 0.0, 1.0)
    announced = capfd.readouterr().err.splitlines()
    assert said[: len(announced)] == announced and len(announced) == 4
    assert announced[3].startswith("All that is to be done takes about 224 tokens in, "), "7 for each of these texts"
    assert said[4] == "inputs: 2 new, 1 refused"
    assert str(refused.value).partition(":")[0] in said[5]
    assert said[6:] == ["2 videos to download, 0 to segment, 2 awaiting texts; nothing was written"]
    assert len(server.asked) == asked


def test_a_dry_run_says_what_would_be_pruned_and_removes_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    dataset = segment_videos(tmp_path / "d", resolve(), range(3))
    (tmp_path / "list.txt").write_text("https://videos.example/another.mp4\n")
    files = written(dataset)
    asked = ([str(tmp_path / "list.txt")], dataset.uri, resolve(), tuple(Stage), [], 0.0, 1.0)
    assert curate(*asked, dry=True, prune=True) == 0
    (line,) = (line for line in capfd.readouterr().out.splitlines() if line.startswith("--prune"))
    assert line.startswith("--prune removes 3 requests that the inputs do not name, with 3 videos: https://")
    assert written(dataset) == files


def test_a_dry_run_makes_no_dataset(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    listed = tmp_path / "list.txt"
    listed.write_text("https://videos.example/watch/0.mp4\n" * 2)
    assert curate([str(listed)], str(tmp_path / "d"), resolve(), tuple(Stage), [], 0.0, 1.0, dry=True) == 0
    said = capfd.readouterr().out.splitlines()
    assert said[0] == "inputs: 1 new, 1 duplicates" and said[1].startswith("1 videos to download, ")
    assert not (tmp_path / "d").exists()


def test_the_difference_between_two_configurations_is_shown(
    tmp_path: Path, server: ScriptedServer, capfd: pytest.CaptureFixture[str]
) -> None:
    def diff(*options: str) -> list[str]:
        command.main(["diff", str(tmp_path / "d"), *options], standalone_mode=False)
        return capfd.readouterr().out.splitlines()

    command = load("config")
    settings = settings_for(server.url, assignments=["media.crf=31", "run.workers=7"])
    dataset = segment_videos(tmp_path / "d", settings, range(1))
    assert diff() == ["No run has recorded its settings yet."]
    assert run(dataset, settings) == 0
    capfd.readouterr()
    assert diff("--set", "media.crf=31", "--set", "run.workers=2") == ["No key differs."]
    assert diff("--set", "media.crf=30") == ["media.crf: 31 → 30"]
    shown = diff()
    assert shown[0] == "media.crf: 23 → 31" and 'captions.engine.kind: "builtin" → "openai"' in shown
    (tmp_path / "empty.toml").touch()
    assert diff("--config", str(tmp_path / "empty.toml"))[0] == "media.crf: 31 → 23"


# --- by the command -------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_command_that_asks_no_server_needs_none(tmp_path: Path, server: ScriptedServer, vidla: Vidla) -> None:
    settings = settings_for(server.url)
    assert run(segment_videos(tmp_path / "d", settings, range(1)), settings) == 0
    done = vidla("segment", "--dataset", tmp_path / "d")
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_leaving_out_the_configuration_does_not_replace_texts_of_a_served_model(
    tmp_path: Path, server: ScriptedServer, vidla: Vidla
) -> None:
    settings = settings_for(server.url)
    dataset = segment_videos(tmp_path / "d", settings, range(1))
    assert run(dataset, settings) == 0
    files = written(dataset)
    done = vidla("curate", "--dataset", tmp_path / "d")
    assert done.returncode == 2, done.stderr
    assert 'kind = "openai" needs base_urls' in done.stderr and "last run's settings" in done.stderr
    (tmp_path / "empty.toml").touch()
    done = vidla("caption", "--dataset", tmp_path / "d", "--config", tmp_path / "empty.toml")
    assert done.returncode == 2, done.stderr
    assert f"Made again: up to {CAPTIONS} captions" in done.stderr
    assert 'captions.engine.kind: "openai" → "builtin"' in done.stderr
    assert written(dataset) == files


@pytest.mark.slow
@pytest.mark.parametrize(
    ("answer", "status", "last"),
    [
        ("n", 1, "Nothing has been done."),
        (None, 130, "vidla: stopped; nothing has been done"),
        pytest.param("y", 0, "", marks=pytest.mark.long),
    ],
    ids=["no", "Ctrl-C", "yes"],
)
def test_on_a_terminal_it_asks(
    tmp_path: Path, server: ScriptedServer, answer: str | None, status: int, last: str
) -> None:
    settings = settings_for(server.url)
    dataset = segment_videos(tmp_path / "d", settings, range(1))
    assert run(dataset, settings) == 0
    urls = [f'{texts}.engine.base_urls=["{server.url}"]' for texts in ("captions", "summaries")]
    command = [str(VIDLA), "retry", "--dataset", str(tmp_path / "d"), "--set", urls[0], "--set", urls[1]]
    command += ["--set", "captions.max_tokens=50"]
    files = written(dataset)
    parent, child = pty.openpty()
    with subprocess.Popen(command, stdin=child, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as asked:
        os.close(child)
        assert asked.stdout is not None
        said = b""
        while b"Go on?" not in said and (more := os.read(asked.stdout.fileno(), 10_000)):
            said += more
        if answer is None:
            asked.send_signal(signal.SIGINT)
        else:
            os.write(parent, f"{answer}\n".encode())
        said += asked.communicate(timeout=240)[0]
    os.close(parent)
    assert asked.returncode == status, said
    assert "Go on?" in said.decode()
    assert said.decode().strip().splitlines()[-1].endswith(last) and "Aborted" not in said.decode()
    assert (written(dataset) == files) == (answer != "y")
