"""Means over ranges of time agree with the sum over each second."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.quality.series_means import Ranges, means_over

SERIES = st.lists(st.lists(st.floats(0, 1), max_size=9), max_size=4)
RANGES = st.lists(st.tuples(st.integers(-1, 3), st.floats(-1, 12), st.floats(-1, 12)), max_size=6)


def by_hand(series: list[float], start: float, end: float) -> float:
    covered = [max(0.0, min(end, second + 1) - max(start, second)) for second in range(len(series))]
    area = sum(share * value for share, value in zip(covered, series, strict=True))
    return area / sum(covered) if sum(covered) > 1e-6 else math.nan


@given(SERIES, RANGES)
def test_a_mean_is_that_of_the_seconds_that_a_range_covers(
    series: list[list[float]], ranges: list[tuple[int, float, float]]
) -> None:
    ranges = [each for each in ranges if each[0] < len(series) and (each[2] - each[1] > 0.01 or each[2] <= each[1])]
    columns = [np.array([each[at] for each in ranges]) for at in range(3)]
    found = means_over(
        pa.array(series, pa.list_(pa.float64())),
        Ranges(columns[0].astype(np.int64), columns[1].astype(float), columns[2].astype(float)),
    )
    for mean, (row, start, end) in zip(found, ranges, strict=True):
        expected = math.nan if row < 0 else by_hand(series[row], start, end)
        if not math.isnan(expected):
            assert mean == pytest.approx(expected, abs=1e-6)
        elif row < 0 or end <= start:
            assert math.isnan(mean)


def test_a_slice_of_a_column_has_its_own_means() -> None:
    lists = pa.array([[1.0], [2.0, 4.0], [8.0]]).slice(1)
    ranges = Ranges(np.array([0, 1]), np.array([0.5, 0.0]), np.array([2.0, 1.0]))
    assert means_over(lists, ranges).tolist() == pytest.approx([10 / 3, 8.0])
