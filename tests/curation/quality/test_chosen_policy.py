"""Readers of clips follow a policy, or all clips, and never one that was left open."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from curation.card import card
from curation.dataset.dataset import Dataset
from curation.dataset.snapshots import versions_now
from curation.errors import UsageError
from curation.export.export import export
from curation.export.selection import Selection, clips_of
from curation.quality.chosen_policy import applied_policies, choose, undecided_line
from model.data.clips import Clips, current_version, select_clips
from model.settings import DataSettings
from tests.curation.quality.test_apply_policy import applied, policy_of
from tests.support.dataset_files import make_dataset
from tests.support.judged_clips import dataset_of

CLIPS = [
    {"still": 0.9},
    {"still": 0.1, "words_per_second": 9.0},
    {"still": 0.1},
    {"still": 0.1, "caption_text": None, "words_per_second": 9.0},
]
POLICY = policy_of(drop={"still": "still > 0.5"}, drop_subtitle={"fast": "words_per_second > 5"})
Vidla = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    dataset = dataset_of(tmp_path / "d", CLIPS)
    applied(dataset, POLICY)
    dataset_of(tmp_path / "d", [{"video_id": "later", "still": 0.0}], first=10)
    return dataset


def test_a_selection_has_the_clips_and_texts_that_a_policy_keeps(dataset: Dataset) -> None:
    rows = {row["clip_id"]: row for row in clips_of(dataset, Selection(policy="mine"))}
    assert rows.keys() == {"c1", "c2", "c3"}, "neither what it drops nor what it has not decided on"
    assert [rows[f"c{n}"]["subtitle_text"] for n in (1, 2, 3)] == [None, "Bees dance.", None]
    assert [rows[f"c{n}"]["caption_text"] for n in (1, 2, 3)] == ["A bee", "A bee", None]
    assert len(list(clips_of(dataset, Selection("subtitle_text is null", policy="mine")))) == 2
    assert len(list(clips_of(dataset, Selection()))) == 5


def test_training_reads_what_a_policy_keeps(dataset: Dataset, tmp_path: Path) -> None:
    def selected(name: str | None) -> Clips:
        settings = DataSettings(policy=name, held_out=0.0)
        return select_clips(dataset, current_version(dataset), settings, "train", tmp_path / "clips.arrow")

    chosen = selected("mine")
    assert {chosen[n].clip_id: chosen[n].subtitle for n in range(len(chosen))} == {"c1": None, "c2": "Bees dance."}
    assert chosen.without_text == 1
    first, everything = chosen.selection, selected(None)
    assert len(everything) == 5 and everything.selection != first
    applied(dataset, policy_of())
    assert selected("mine").selection != first, "the policy has another digest"
    with pytest.raises(UsageError, match=r"no policy 'strict' was applied to .* in this version; there are mine"):
        selected("strict")


def test_a_version_from_before_a_policy_has_none(dataset: Dataset) -> None:
    versions = versions_now(dataset)
    older = {table: version for table, version in versions.items() if table != "policies"}
    assert list(applied_policies(dataset, versions)) == ["mine"] and applied_policies(dataset, older) == {}
    assert applied_policies(dataset, {**versions, "policies": 0}) == {}


def test_the_choice_is_never_left_open(dataset: Dataset, tmp_path: Path) -> None:
    assert choose(dataset, "mine", everything=False) == "mine" and choose(dataset, None, everything=True) is None
    with pytest.raises(UsageError, match="there are mine"):
        choose(dataset, None, everything=False)
    with pytest.raises(UsageError, match="choose one"):
        choose(dataset, "mine", everything=True)
    with pytest.raises(UsageError, match=r"`vidla filter .* --policy other` does; there are mine"):
        choose(dataset, "other", everything=False)
    assert choose(dataset_of(tmp_path / "new", CLIPS), None, everything=False) is None
    assert "1 clips are left out, since mine has not decided on them" in (undecided_line(dataset, "mine") or "")
    applied(dataset, POLICY)
    assert undecided_line(dataset, "mine") is None


def test_an_export_records_its_policy_and_follows_it_when_it_changes(tmp_path: Path) -> None:
    dataset, out = make_dataset(tmp_path / "d", videos=1), tmp_path / "out"
    first = applied(dataset, policy_of(drop={"short": "scale = 'short'"}))
    assert export(dataset, out, "mp4", Selection(policy="mine")).present == 3
    manifest = json.loads((out / "vidla-export.json").read_text())
    assert (manifest["policy"], manifest["policy_digest"]) == ("mine", first.digest)
    second = applied(dataset, policy_of(drop={"not_long": "scale <> 'long'"}))
    assert export(dataset, out, "mp4", Selection(policy="mine")).present == 1
    assert len(list(out.glob("*.mp4"))) == 1
    assert json.loads((out / "vidla-export.json").read_text())["policy_digest"] == second.digest
    with pytest.raises(UsageError, match="holds another export"):
        export(dataset, out, "mp4", Selection())
    with pytest.raises(UsageError, match="no policy 'x'"):
        export(dataset, tmp_path / "other", "mp4", Selection(policy="x"))
    assert "those that the policy `mine` keeps" in card(dataset, Selection(policy="mine"))


def test_from_signals_to_an_export_by_the_command(vidla: Vidla, tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "d", videos=2)
    folder, out = tmp_path / "d", tmp_path / "out"
    assert "Measured 14 clips of 2 videos" in vidla("score", folder).stdout
    assert "Nothing to do" in vidla("score", folder).stdout
    rules = ["--set", "policy.few.drop.short=scale = 'short'"]
    told = vidla("filter", folder, "--policy", "few", "--dry-run", *rules)
    assert told.returncode == 0 and "would keep 6 of 14 clips" in told.stdout
    told = vidla("filter", folder, "--policy", "few", "--dry-run", "--json", *rules)
    assert [rule["clips"] for rule in json.loads(told.stdout)["rules"]] == [8]
    assert "few" not in {row["policy"] for row in dataset.read("policies").to_pylist()}
    done = vidla("filter", folder, "--policy", "few", *rules)
    assert "few keeps 6 of 14 clips (43%)" in done.stdout
    left_open = vidla("export", folder, out, "--format", "mp4")
    assert left_open.returncode == 2 and "--policy NAME (there are few), or --all" in left_open.stderr
    assert "6 clips in" in vidla("export", folder, out, "--format", "mp4", "--policy", "few").stdout
    shown = vidla("inspect", folder, "clips", "--policy", "few", "--columns", "scale", "--json").stdout
    assert sorted(json.loads(line)["scale"] for line in shown.splitlines()) == ["long"] * 2 + ["medium"] * 4
    overview = json.loads(vidla("inspect", folder, "--json").stdout)
    assert [(row["policy"], row["kept"], row["undecided"]) for row in overview["policies"]] == [("few", 6, 0)]
    wrong = vidla("filter", folder, "--policy", "fwe")
    assert wrong.returncode == 2 and "there are default" in wrong.stderr
