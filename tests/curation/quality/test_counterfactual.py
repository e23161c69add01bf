"""What a policy would do is told before it does it, and nothing is written."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from curation.dataset.commits import read_commits
from curation.dataset.dataset import Dataset
from curation.dataset.verdicts import Judged, judge
from curation.quality.counterfactual import Against, Counterfactual, Effect, Near, counterfactual
from curation.shares import interval
from tests.curation.quality.test_apply_policy import applied, policy_of
from tests.support.judged_clips import dataset_of

POLICY = policy_of(
    drop={"still": "still > 0.5", "dark": "0.8 > luminance", "both": "still > 0.5 and luminance < 0.8"},
    drop_caption={"unlike": "text_agreement < 0.1"},
)
CLIPS = [
    {"still": n / 10, "luminance": 0.75 if n > 8 else 1.0, "text_agreement": None if n else 0.0, "language": "en"}
    for n in range(11)
]


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return dataset_of(tmp_path / "d", [*CLIPS, {"language": None, "video_id": "w", "channel": None}])


def effects(found: Counterfactual) -> dict[str, Effect]:
    return {effect.rule: effect for effect in found.rules}


def test_each_rule_is_told_with_what_it_alone_drops_and_what_it_cannot_tell(dataset: Dataset) -> None:
    commits = [number for number, _ in read_commits(dataset, 0)]
    found = counterfactual(dataset, "mine", POLICY)
    still, dark, unlike = (effects(found)[name] for name in ("still", "dark", "unlike"))
    assert (still.clips, still.alone, still.nulls) == (5, 3, 1)
    assert (dark.clips, dark.alone, dark.nulls) == (2, 0, 1)
    assert (unlike.clips, unlike.alone, unlike.nulls) == (1, 1, 11)
    assert still.hours == pytest.approx(5 * 6 / 3600)
    assert (found.clips, found.kept, found.captions, found.unmeasured) == (12, 7, 6, 1)
    assert [number for number, _ in read_commits(dataset, 0)] == commits
    assert dataset.read("policies").num_rows == 0


def test_the_nearest_clips_and_other_thresholds_are_told(dataset: Dataset) -> None:
    found = effects(counterfactual(dataset, "mine", POLICY))
    assert [near.clip_id for near in found["still"].kept_nearest] == ["c5", "c4", "c3", "c2", "c1"]
    assert found["still"].dropped_nearest[0] == Near("c6", 0.6, 0.5)
    assert (found["still"].less, found["still"].more) == (6, 5), "above 0.45, and above 0.55"
    assert [near.clip_id for near in found["dark"].dropped_nearest] == ["c10", "c9"], "0.8 is the bound"
    assert (found["dark"].less, found["dark"].more) == (0, 2)
    assert found["both"].less is found["both"].more is None and not found["both"].kept_nearest


def test_groups_are_told_by_language_scale_source_and_channel(dataset: Dataset) -> None:
    found = counterfactual(dataset, "mine", POLICY)
    assert {(group.name, group.clips, group.kept) for group in found.groups["language"]} == {
        ("en", 11, 6),
        ("unknown", 1, 1),
    }
    assert [group.name for group in found.groups["source"]] == ["videos.example"]
    assert {group.name for group in found.groups["channel"]} == {"Channel 0", "unknown"}
    assert effects(found)["still"].by["language"] == {"en": 5, "unknown": 0}


def test_it_is_compared_with_the_policy_that_is_applied_now(dataset: Dataset) -> None:
    assert counterfactual(dataset, "mine", POLICY).against is None
    applied(dataset, policy_of(drop={"first": "still < 0.2"}))
    assert counterfactual(dataset, "mine", POLICY).against == Against(dropped=5, restored=2, same=5, undecided=0)
    assert dataset.folder is not None
    dataset_of(dataset.folder, [{"video_id": "new", "still": 1.0}], first=50)
    assert counterfactual(dataset, "mine", POLICY).against == Against(dropped=5, restored=2, same=5, undecided=1)
    assert counterfactual(dataset, "another", POLICY).against is None


def test_labels_of_people_are_counted_with_an_interval(dataset: Dataset) -> None:
    for clip, verdict, rater in (
        ("c6", "keep", "ada"),
        ("c6", "drop", "ada"),  # which is her last word
        ("c7", "keep", "ada"),
        ("c8", "flag", "ada"),
        ("c1", "keep", "bob"),
    ):
        judge(dataset, Judged(clip, "v"), verdict, "", rater)
    judge(dataset, Judged("c0", "v", "caption", "A bee"), "major", "", "ada")
    judge(dataset, Judged("c0", "v", "caption", "Another text"), "right", "", "bob")
    found = counterfactual(dataset, "mine", POLICY)
    labels = effects(found)["still"].labels
    assert (labels.labelled, labels.bad, labels.low, labels.high) == (2, 1, *interval(1, 2))
    assert (found.dropped_labels.labelled, found.kept_labels.labelled, found.kept_labels.bad) == (2, 1, 0)
    caption = effects(found)["unlike"].labels
    assert (caption.labelled, caption.bad) == (1, 1), "only of the text that it has now"


def test_what_is_told_is_what_happens(dataset: Dataset) -> None:
    policy = POLICY.model_copy(update={"max_per_video": {"short": 2}, "prefer": "still"})
    told, done = counterfactual(dataset, "mine", policy), applied(dataset, policy)
    assert (told.kept, told.subtitles, told.captions) == (done.kept, done.subtitles, done.captions)
    assert effects(told)["video_cap"].clips == 4 and dataclasses.asdict(told)
