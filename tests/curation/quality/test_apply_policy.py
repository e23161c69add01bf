"""Policies: which clips and texts they keep, what dropped the others, and what moves them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from curation.config import check
from curation.dataset.dataset import Dataset
from curation.dataset.forget import forget
from curation.dataset.writer import Writer
from curation.errors import ConfigError
from curation.policy_settings import DEFAULT, PolicySettings
from curation.quality.apply_policy import FilterReport, apply_policy
from curation.settings import Settings
from tests.support.dataset_files import download_of, make_dataset
from tests.support.judged_clips import dataset_of


def policy_of(**values: Any) -> PolicySettings:
    return check(PolicySettings, values)


def applied(dataset: Dataset, policy: PolicySettings, name: str = "mine", *, thaw: bool = False) -> FilterReport:
    with Writer(dataset, f"filter-{name}", {}) as writer:
        return apply_policy(writer, name, policy, thaw=thaw)


def verdicts(dataset: Dataset, name: str = "mine") -> dict[str, Sequence[str]]:
    """By clip that is not kept whole, what drops it."""
    rows = [row for row in dataset.read("policies").to_pylist() if row["policy"] == name]
    assert len({row["clip_id"] for row in rows}) == len(rows)
    assert all(row["dropped_by"] for row in rows if not row["kept"])
    return {row["clip_id"]: row["dropped_by"] for row in rows if row["dropped_by"]}


def kept(dataset: Dataset, name: str = "mine") -> set[str]:
    rows = dataset.read("policies").to_pylist()
    return {row["clip_id"] for row in rows if row["policy"] == name and row["kept"]}


# --- rules ----------------------------------------------------------------------------------------------------------


def test_rules_drop_clips_and_texts_and_nobody_for_what_is_unknown(tmp_path: Path) -> None:
    clips = [{"still": 0.99}, {"still": 0.95}, {"still": None, "black": 0.7}, {}, {"words_per_second": 9.0}]
    dataset = dataset_of(tmp_path / "d", clips)
    rules = {"still": "still > 0.95", "black": "black > 0.6 or blown > 0.6"}
    report = applied(dataset, policy_of(drop=rules, drop_subtitle={"fast": "words_per_second > 5"}))
    assert verdicts(dataset) == {"c0": ["still"], "c2": ["black"], "c4": ["fast"]}
    assert (report.clips, report.kept, report.subtitles, report.captions, report.unmeasured) == (5, 3, 2, 3, 1)
    rows = {row["clip_id"]: row for row in dataset.read("policies").to_pylist()}
    assert rows["c4"]["kept"] and rows["c4"]["caption_kept"] and not rows["c4"]["subtitle_kept"]
    assert {row["digest"] for row in rows.values()} == {report.digest}


def test_a_clip_that_loses_its_last_text_may_be_dropped(tmp_path: Path) -> None:
    useless = {"words_per_second": 0.1}
    clips = [useless, {**useless, "caption_text": None}, {"caption_text": None, "words_per_second": 2.0}]
    dataset = dataset_of(tmp_path / "d", clips)
    policy = policy_of(drop={"no_text": DEFAULT.drop["no_text"]}, drop_subtitle=dict(DEFAULT.drop_subtitle))
    applied(dataset, policy)
    assert verdicts(dataset) == {"c0": ["slow_speech"], "c1": ["slow_speech", "no_text"]}


def test_a_text_that_is_not_there_is_dropped_by_no_rule(tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path / "d", [{"subtitle_text": None, "words_per_second": 0.1}])
    applied(dataset, policy_of(drop_subtitle=dict(DEFAULT.drop_subtitle)))
    assert verdicts(dataset) == {} and not dataset.read("policies")["subtitle_kept"][0].as_py()


def test_texts_that_stand_in_many_clips_are_counted_in_the_whole_dataset(tmp_path: Path) -> None:
    clips = [{"video_id": f"v{n}", "caption_key": 1 if n < 3 else n, "still": 0.0} for n in range(6)]
    dataset = dataset_of(tmp_path / "d", clips)
    applied(dataset, policy_of(drop_caption={"repeated": "caption_repeats > greatest(2, 1e-5 * clip_count)"}))
    assert verdicts(dataset) == {f"c{n}": ["repeated"] for n in range(3)}


def test_rules_may_name_columns_of_videos_metadata_and_other_tables(tmp_path: Path) -> None:
    clips = [{"video_id": "a", "width": 64}, {"video_id": "b", "width": 4, "metadata": '{"topic": "ads"}'}]
    dataset = dataset_of(tmp_path / "d", clips)
    rules = {
        "small": "width < 10",
        "ads": "metadata->>'topic' = 'ads'",
        "other": "clip_id in (select clip_id from signals)",
        "failing": "cast(title as integer) > 3",
    }
    applied(dataset, policy_of(drop=rules))
    assert verdicts(dataset) == {"c1": ["small", "ads"]}


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"x": "stil > 1"}, r"policy\.mine\.drop\.x: .*stil.*still"),
        ({"x": "count(*) > 1"}, r"policy\.mine\.drop\.x: "),
        ({"x": "still >"}, r"policy\.mine\.drop\.x: 'still >' is not one condition"),
        ({"x": "1; drop table clips"}, "not one condition"),
        ({"x": "still < percentile('still', 10)"}, "percentile takes a column and a number"),
        ({"x": "still < percentile(still)"}, "percentile takes a column and a number"),
        ({"x": "still < percentile(still, 110)"}, "from 0 to 100, not 110"),
    ],
)
def test_a_rule_that_cannot_be_computed_is_refused_by_its_name(
    tmp_path: Path, rules: dict[str, str], message: str
) -> None:
    dataset = dataset_of(tmp_path / "d", [{"still": 0.5}])
    with pytest.raises(ConfigError, match=message):
        applied(dataset, policy_of(drop=rules))
    assert dataset.read("policies").num_rows == 0


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ({"drop": {"video_cap": "still > 1"}}, "the name of a cap"),
        ({"drop": {"x": "still > 1"}, "drop_caption": {"x": "true"}}, "two rules are called 'x'"),
        ({"drop": {"X y": "true"}}, "pattern"),
        ({"max_per_video": {"tiny": 3}}, "max_per_video"),
        ({"limit": 3}, "unknown key"),
    ],
)
def test_a_malformed_policy_is_refused(policy: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check(Settings, {"policy": {"mine": policy}})


# --- caps and shares ------------------------------------------------------------------------------------------------


def test_caps_of_videos_keep_the_preferred_clips(tmp_path: Path) -> None:
    clips = [{"video_id": "ab"[n % 2], "sharpness": float(n), "still": n == 9} for n in range(9)]
    clips += [{"video_id": "a", "scale": "long", "sharpness": None, "still": 0.0}]
    clips = [{**clip, "still": float(clip["still"])} for clip in clips]
    dataset = dataset_of(tmp_path / "d", clips)
    applied(dataset, policy_of(drop={"top": "sharpness = 8"}, max_per_video={"short": 2}, prefer="sharpness"))
    assert kept(dataset) == {"c6", "c4", "c7", "c5", "c9"}, "a clip that a rule drops takes no place"
    assert verdicts(dataset)["c0"] == ["video_cap"] and verdicts(dataset)["c8"] == ["top"]
    applied(dataset, policy_of(max_per_video={"short": 2}), "by hash")
    first = kept(dataset, "by hash")
    applied(dataset, policy_of(max_per_video={"short": 2}), "by hash")
    assert kept(dataset, "by hash") == first and len(first) == 5


def test_a_channel_has_no_more_than_its_share_where_that_is_possible(tmp_path: Path) -> None:
    channels = ["big"] * 10 + list("abcde") + [None] * 5
    clips = [{"video_id": f"v{n}", "channel_id": channel, "channel": channel} for n, channel in enumerate(channels)]
    dataset = dataset_of(tmp_path / "d", clips)
    report = applied(dataset, policy_of(max_channel_share=0.2))
    assert report.kept == 4 + 5 + 5, "unknown channels are not one channel"
    report = applied(dataset, policy_of(max_channel_share=0.1))
    assert report.kept == 20 and report.notes == (
        "channel_cap drops nothing: 6 channels are too few for shares of 0.1",
    )


def test_scales_get_their_shares(tmp_path: Path) -> None:
    clips = [{"scale": "short"}] * 10 + [{"scale": "medium"}] * 4
    dataset = dataset_of(tmp_path / "d", clips)
    applied(dataset, policy_of(scale_shares={"short": 0.5, "medium": 0.4, "long": 0.1}))
    assert len(kept(dataset)) == 9 and set(map(tuple, verdicts(dataset).values())) == {("scale_share",)}


# --- percentiles ----------------------------------------------------------------------------------------------------


def test_new_videos_move_no_percentile_until_it_is_taken_anew(tmp_path: Path) -> None:
    clips = [{"video_id": f"v{n}", "language": "en", "sharpness": float(n)} for n in range(200)]
    clips += [{"video_id": f"w{n}", "language": "de", "sharpness": 0.0} for n in range(99)]
    dataset = dataset_of(tmp_path / "d", clips)
    policy = policy_of(drop={"blurred": "sharpness < percentile(sharpness, 10)"})
    first = applied(dataset, policy)
    assert set(verdicts(dataset)) == {f"c{n}" for n in range(20)}, "99 clips are too few for a percentile"
    more = [{"video_id": f"x{n}", "language": "en", "sharpness": -1.0} for n in range(200)]
    dataset_of(tmp_path / "d", more, first=1000)
    second = applied(dataset, policy)
    assert second.digest == first.digest and len(verdicts(dataset)) == 220
    other = applied(dataset, policy, "other")
    assert other.digest != first.digest and len(verdicts(dataset, "other")) == 0, "it has percentiles of its own"
    assert applied(dataset, policy, thaw=True).digest == other.digest and not verdicts(dataset)
    assert dataset.read("quantiles").num_rows == 4
    further = policy_of(drop={"blurred": policy.drop["blurred"], "dark": "luminance < percentile(luminance, 5)"})
    dataset_of(tmp_path / "d", [{**clip, "video_id": f"y{n}"} for n, clip in enumerate(more)], first=2000)
    applied(dataset, further, "other")
    assert not verdicts(dataset, "other"), "a percentile more moves none of those that were frozen"


# --- the table ------------------------------------------------------------------------------------------------------


def test_policies_stand_side_by_side_and_take_the_place_of_themselves(tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path / "d", [{"still": 0.2}, {"still": 0.8}])
    first = applied(dataset, policy_of(drop={"a": "still > 0.5"}), "a")
    applied(dataset, policy_of(drop={"b": "still < 0.5"}), "b")
    assert (kept(dataset, "a"), kept(dataset, "b")) == ({"c0"}, {"c1"})
    assert applied(dataset, policy_of(drop={"a": "still > 0.5"}), "a").digest == first.digest
    assert applied(dataset, policy_of(), "a").digest != first.digest
    assert (kept(dataset, "a"), kept(dataset, "b")) == ({"c0", "c1"}, {"c1"})


def test_a_commit_records_what_it_decided_by(tmp_path: Path) -> None:
    from curation.dataset.commits import read_commits

    dataset = dataset_of(tmp_path / "d", [{"still": 0.2}])
    versions = {table: dataset.delta(table).version() for table in ("clips", "videos", "signals")}
    report = applied(dataset, policy_of(drop={"a": "still > 0.5"}))
    outcome = list(read_commits(dataset, 0))[-1][1]["outcome"]
    assert (outcome["policy"], outcome["digest"], outcome["tables"]) == ("mine", report.digest, versions)
    assert outcome["rules"]["drop"] == {"a": "still > 0.5"}


def test_verdicts_go_with_what_is_forgotten(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "d", videos=2)
    applied(dataset, DEFAULT, "default")
    with Writer(dataset, "forget", {}) as writer:
        forget(writer, "video", download_of(0).video_id)
    assert {row["video_id"] for row in dataset.read("policies").to_pylist()} == {download_of(1).video_id}


def test_an_empty_dataset_has_an_empty_policy(tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path / "d", [])
    assert applied(dataset, DEFAULT).kept == 0
    with pytest.raises(ConfigError, match=r"policy\.mine\.prefer: .* is not one condition"):
        applied(dataset, policy_of(prefer="sharpness desc"))
