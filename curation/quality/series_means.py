"""Means of series at 1 Hz over ranges of time, for many ranges at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Ranges:
    """Ranges of time: `rows` are the numbers of their series, -1 for none; `start` and `end` are seconds."""

    rows: npt.NDArray[np.int64]
    start: Floats
    end: Floats


def means_over(series: pa.ListArray, ranges: Ranges) -> Floats:
    """The mean of each range: a series has a value for each second, and partly covered seconds count in part.

    It is NaN for a range without a series, and for one that no second of it covers.

    >>> series = pa.array([[0.0, 1.0, 0.0], [0.5]])
    >>> means_over(series, Ranges(np.array([0, 1, -1]), np.array([0.5, 0.0, 0.0]), np.array([2.0, 1.0, 1.0])))
    array([0.66666667, 0.5       ,        nan])
    """
    offsets = series.offsets.to_numpy().astype(np.int64)
    first = offsets[0] if len(offsets) else 0
    values = np.nan_to_num(series.flatten().to_numpy(zero_copy_only=False).astype(np.float64))
    sums = np.concatenate([[0.0], np.cumsum(values)])
    values = np.append(values, 0.0)  # a range may end with the last series
    begins, lengths = offsets[:-1] - first, np.diff(offsets)
    known = ranges.rows >= 0
    rows = np.where(known, ranges.rows, 0)
    if not len(lengths):
        return np.full(len(rows), np.nan)

    def integral(time: Floats) -> Floats:
        at = begins[rows] + np.clip(time, 0.0, lengths[rows])
        whole = np.floor(at).astype(np.int64)
        return np.asarray(sums[whole] + (at - whole) * values[whole])

    covered = np.clip(ranges.end, 0.0, lengths[rows]) - np.clip(ranges.start, 0.0, lengths[rows])
    valid = known & (covered > 0)
    area = integral(ranges.end) - integral(ranges.start)
    return np.asarray(np.where(valid, area / np.where(valid, covered, 1.0), np.nan))
