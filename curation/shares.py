"""Shares that were seen in samples, with their 95 % intervals."""

from __future__ import annotations

from math import sqrt

CONFIDENT = 1.959964  # standard deviations around the mean that hold 95 % of a normal distribution


def interval(hits: float, of: int) -> tuple[float, float]:
    """The 95 % interval of a share of which `hits` were seen in a random sample: Wilson's (JASA 22, 1927).

    >>> low, high = interval(40, 100)
    >>> print(f"{low:.3f} to {high:.3f}")
    0.309 to 0.498
    """
    if not of:
        return 0.0, 1.0
    share, z2 = hits / of, CONFIDENT * CONFIDENT
    middle = (share + z2 / (2 * of)) / (1 + z2 / of)
    half = CONFIDENT / (1 + z2 / of) * sqrt(share * (1 - share) / of + z2 / (4 * of * of))
    return max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half))
