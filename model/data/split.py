"""Which videos are held out from training, and which are in a subset: by hash of the video, so that it stays as it is.

Whether a video is held out does not depend on which others there are, so a dataset may grow between training and
evaluation. A smaller share is part of a larger one. Ranges of one video, which differ only in what stands behind the ~
of their id, go together, as all clips of a video do.
"""

from __future__ import annotations

import hashlib

DIGITS = 16


def held_out(video_id: str, share: float) -> bool:
    """Whether the video is kept from training, where `share` (0 to 1) of all videos are."""
    return _hash("held-out", video_id) < _limit(share)


def in_subset(video_id: str, share: float) -> bool:
    """Whether the video is in the subset of `share` (0 to 1) of all videos; what is in 1% is in 10%.

    Independent of what is held out.
    """
    return _hash("subset", video_id) < _limit(share)


def held_out_sql(share: float, column: str = "video_id") -> str:
    """`held_out` as a condition in DuckDB's SQL, on the column that holds the video's id."""
    return _sql("held-out", share, column)


def in_subset_sql(share: float, column: str = "video_id") -> str:
    """`in_subset`, likewise."""
    return _sql("subset", share, column)


def _hash(purpose: str, video_id: str) -> str:
    return hashlib.sha256(f"{purpose}:{video_id.partition('~')[0]}".encode()).hexdigest()[:DIGITS]


def _sql(purpose: str, share: float, column: str) -> str:
    return f"substr(sha256('{purpose}:' || split_part({column}, '~', 1)), 1, {DIGITS}) < '{_limit(share)}'"


def _limit(share: float) -> str:
    """The first hash, as text, that is not in `share` of all."""
    if not 0 <= share <= 1:
        raise ValueError(f"a share is from 0 to 1, not {share}")
    return "g" if share == 1 else f"{int(share * 16**DIGITS):0{DIGITS}x}"  # all digits are below g
