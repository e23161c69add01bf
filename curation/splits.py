"""Which videos are held out from training, and which are in a subset: decided by a hash of the video's id.

So the split does not depend on which other videos there are, and a dataset may grow between training and evaluation. A
smaller share is part of a larger one. Ranges cut from one video (ids that differ only after the ~) stay on one side.
"""

from __future__ import annotations

import hashlib

from curation.ids import source_id

DIGITS = 16


def is_held_out(video_id: str, share: float) -> bool:
    """Whether a video is held out when `share` (0 to 1) of all videos are.

    >>> [is_held_out("a1b2~0-60", share) for share in (0.0, 0.5, 1.0)]
    [False, True, True]
    >>> is_held_out("a1b2~60-120", 0.5)  # another range of the same video
    True
    """
    return _hash("held-out", video_id) < _limit(share)


def is_in_subset(video_id: str, share: float) -> bool:
    """Whether a video is in the subset of `share` (0 to 1) of all videos, independently of what is held out."""
    return _hash("subset", video_id) < _limit(share)


def held_out_sql(share: float, column: str = "video_id") -> str:
    """`is_held_out` as a DuckDB condition on the column that holds the video's id."""
    return _sql("held-out", share, column)


def in_subset_sql(share: float, column: str = "video_id") -> str:
    """`is_in_subset` as a DuckDB condition on the column that holds the video's id."""
    return _sql("subset", share, column)


def _hash(purpose: str, video_id: str) -> str:
    return hashlib.sha256(f"{purpose}:{source_id(video_id)}".encode()).hexdigest()[:DIGITS]


def _sql(purpose: str, share: float, column: str) -> str:
    return f"substr(sha256('{purpose}:' || split_part({column}, '~', 1)), 1, {DIGITS}) < '{_limit(share)}'"


def _limit(share: float) -> str:
    """The lowest hash, in hex, that is outside `share` of all hashes."""
    if not 0 <= share <= 1:
        raise ValueError(f"a share is from 0 to 1, not {share}")
    return "g" if share == 1 else f"{int(share * 16**DIGITS):0{DIGITS}x}"  # g sorts after every digit
