"""`vidla curate --refresh STEP` makes again what an older recipe of the step made, and what follows from it."""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from curation.dataset.books import balance
from curation.dataset.dataset import Dataset
from curation.recipes import RECIPES, STEP_OF, Step
from curation.rejects import Stage
from tests.conftest import make_video
from tests.support.forked_command import ForkedCommand

pytestmark = pytest.mark.slow

FOLLOWS = {  # the tables whose rows are made again after a step was refreshed; texts of the same material are reused
    Step.DOWNLOAD: {"downloads", "videos", "frames", "timelines", "segments", "clips"},
    Step.MEDIA: {"videos", "frames", "timelines", "segments", "clips"},
    Step.TILINGS: {"videos", "segments", "clips"},  # of a video the sentences alone
    Step.TIMELINES: {"timelines"},
    Step.CAPTIONS: {"captions", "clips"},
    Step.SUMMARIES: {"summaries", "clips"},
}
QUICK = (Step.MEDIA,)
LATER = "tests.support.later_recipes"
Curate = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def curate(forked_command: ForkedCommand) -> Curate:
    """Runs `vidla curate` of a later version, in which a step's recipe is higher by one; killed after some commits."""

    def curate(
        step: Step, videos: Path, dataset: Path, *options: str, killed_after: int = 0
    ) -> subprocess.CompletedProcess[str]:
        arguments = ["curate", str(videos), "--dataset", str(dataset), *options]
        return forked_command.run(LATER, step, str(killed_after), *arguments, timeout=800)

    return curate


def made(dataset: Path) -> dict[str, dict[tuple[Any, ...], Any]]:
    """By table, the time at which each row was made, by its digest and content."""
    opened = Dataset(str(dataset))
    keys = {"downloads": "request_key", "segments": "clip_id", "frames": "frame_id", "captions": "frame_id"}
    keys |= {"videos": "video_id", "timelines": "video_id", "clips": "clip_id", "summaries": "clip_id || kind"}
    rows = {t: opened.sql(f"select {keys[t]} as key, recipe, created_at from {t}").to_pylist() for t in STEP_OF}
    return {table: {row["key"]: (row["created_at"], row["recipe"]) for row in its} for table, its in rows.items()}


def again(before: dict[str, Any], after: dict[str, Any]) -> set[str]:
    """The tables whose rows were all made again; fails where some were and some were not."""
    assert {table: rows.keys() for table, rows in before.items()} == {t: rows.keys() for t, rows in after.items()}
    changed = {table: {before[table][key][0] != row[0] for key, row in rows.items()} for table, rows in after.items()}
    assert all(len(kinds) == 1 for kinds in changed.values()), changed
    return {table for table, kinds in changed.items() if kinds == {True}}


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a video of half a minute in which much is said."""
    folder = tmp_path_factory.mktemp("talk")
    make_video(folder / "talk.mp4", 27)
    said = "The river rises every spring, {} feet or more, and nobody in the valley minds."
    cues = (f"00:00:{t:02d}.000 --> 00:00:{t + 3:02d}.000\n{said.format(t)}\n" for t in range(0, 24, 3))
    (folder / "talk.en.vtt").write_text("WEBVTT\n\n" + "\n".join(cues))
    return folder


@pytest.fixture(scope="module")
def curated_talk(talk: Path, forked_command: ForkedCommand, tmp_path_factory: pytest.TempPathFactory) -> Path:
    dataset = tmp_path_factory.mktemp("curated") / "dataset"
    forked_command.run("vidla", "curate", talk, "--dataset", dataset, timeout=800).check_returncode()
    return dataset


@pytest.fixture
def dataset(curated_talk: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(curated_talk, tmp_path / "dataset"))


@pytest.mark.parametrize(
    "step", [*QUICK, *(pytest.param(step, marks=pytest.mark.long) for step in Step if step not in QUICK)]
)
def test_a_refreshed_step_is_made_again_with_what_follows(
    step: Step, dataset: Path, talk: Path, curate: Curate, forked_command: ForkedCommand
) -> None:
    before = made(dataset)
    plain = curate(step, talk, dataset)
    assert "Nothing to do" in plain.stdout, "a new recipe alone redoes nothing" + plain.stdout + plain.stderr
    inspected = forked_command.run(LATER, step, "0", "inspect", dataset)
    assert f"--refresh {step}" in inspected.stdout.replace("\n", " "), inspected.stdout
    run = curate(step, talk, dataset, "--refresh", step)
    assert run.returncode == 0, run.stdout + run.stderr
    after = made(dataset)
    assert again(before, after) == FOLLOWS[step]
    newest = {table: {row[1] for row in rows.values()} for table, rows in after.items()}
    assert all(newest[t] == {RECIPES[STEP_OF[t]] + (STEP_OF[t] == step)} for t in FOLLOWS[step]), newest
    for options in ((), ("--refresh", step)):
        settled = curate(step, talk, dataset, *options)
        assert "Nothing to do" in settled.stdout, settled.stdout + settled.stderr


@pytest.mark.parametrize("step", [Step.CAPTIONS, pytest.param(Step.MEDIA, marks=pytest.mark.long)])
def test_a_refresh_that_was_killed_is_finished_by_the_next_run(
    step: Step, dataset: Path, talk: Path, curate: Curate
) -> None:
    before = made(dataset)
    killed = curate(step, talk, dataset, "--refresh", step, killed_after=1)
    assert killed.returncode == -signal.SIGKILL
    run = curate(step, talk, dataset)
    assert run.returncode == 0 and "Nothing to do" not in run.stdout, run.stdout + run.stderr
    assert again(before, made(dataset)) == FOLLOWS[step]
    assert balance(Dataset(str(dataset))).imbalances(list(Stage)) == []
