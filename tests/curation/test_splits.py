"""The held-out split and the subsets: stable as the dataset grows, nested, by video, and of the requested size."""

from __future__ import annotations

import math

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.ids import video_id_of
from curation.splits import held_out_sql, in_subset_sql, is_held_out, is_in_subset

VIDEOS = [video_id_of("youtube", f"video-{number}") for number in range(20_000)]
shares = st.floats(0, 1)


@given(st.text(), shares, shares)
def test_a_smaller_share_is_part_of_a_larger_one(video_id: str, one: float, other: float) -> None:
    small, large = sorted((one, other))
    for chosen in (is_held_out, is_in_subset):
        assert chosen(video_id, small) <= chosen(video_id, large)
        assert not chosen(video_id, 0.0)
        assert chosen(video_id, 1.0)


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5])
@pytest.mark.parametrize("chosen", [is_held_out, is_in_subset])
def test_a_share_is_that_of_the_videos(chosen: object, share: float) -> None:
    """Within four standard deviations of the binomial."""
    count = sum(chosen(video, share) for video in VIDEOS)  # type: ignore[operator]
    assert abs(count - share * len(VIDEOS)) < 4 * math.sqrt(len(VIDEOS) * share * (1 - share))


def test_holding_out_is_independent_of_subsets() -> None:
    kept = [video for video in VIDEOS if is_held_out(video, 0.1)]
    count = sum(is_in_subset(video, 0.1) for video in kept)
    assert abs(count - 0.1 * len(kept)) < 4 * math.sqrt(len(kept) * 0.09)


def test_the_split_never_changes() -> None:
    """Pinned values: other ones would move videos of existing datasets from one side to the other."""
    assert [n for n in range(407) if is_held_out(VIDEOS[n], 0.01)] == [2, 104, 210, 216, 326, 348, 394, 406]
    assert [n for n in range(1000) if is_in_subset(VIDEOS[n], 0.01)] == [
        54,
        156,
        178,
        186,
        246,
        361,
        372,
        681,
        746,
        805,
        889,
        945,
    ]


def test_ranges_of_a_video_go_together() -> None:
    for number in range(200):
        whole = video_id_of("youtube", f"v{number}")
        part = video_id_of("youtube", f"v{number}", 10.0, 70.0)
        assert part != whole
        assert is_held_out(part, 0.5) == is_held_out(whole, 0.5)
        assert is_in_subset(part, 0.5) == is_in_subset(whole, 0.5)


@pytest.mark.parametrize("share", [0.0, 0.01, 1 / 3, 0.999, 1.0])
def test_duckdb_gives_the_same(share: float) -> None:
    videos = [*VIDEOS[:2000], *(video_id_of("list", f"später {n}", n, None) for n in range(50)), "~", ""]
    with duckdb.connect() as connection:
        connection.register("clips", pa.table({"video_id": videos}))
        for chosen, condition in ((is_held_out, held_out_sql), (is_in_subset, in_subset_sql)):
            query = f"select video_id from clips where {condition(share, 'clips.video_id')}"
            found = connection.sql(query).to_arrow_table()["video_id"].to_pylist()
            assert found == [video for video in videos if chosen(video, share)]


def test_a_share_that_is_none_is_refused() -> None:
    for share in (-0.1, 1.5, math.nan):
        with pytest.raises(ValueError, match="from 0 to 1"):
            is_held_out("v", share)
