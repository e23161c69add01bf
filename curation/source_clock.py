"""The source's clock, on which others find in the source what is a clip here.

It begins where the source does, whether with its picture or its sound, and follows the source's own timestamps, which
jump in a file that was joined from others. The stored media's clock begins with its first frame, and never jumps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True)
class ClockJump:
    """A jump of the source's timestamps."""

    time: Annotated[float, "when, on the stored media's clock"]
    seconds: Annotated[float, "by how much; negative: back"]


def source_time_sql(time: str, *, is_end: bool = False) -> str:
    """A time of stored media on the source's clock, as SQL on a row of `videos` and one of its `downloads`.

    A clip that ends at a jump ends before it: `is_end`.
    """
    passed = "<" if is_end else "<="
    jumps = f"[jump.seconds for jump in coalesce(source_jumps, []) if jump.time {passed} {time}]"
    return f"{time} + coalesce(source_start, downloads.start, 0) + coalesce(list_sum({jumps}), 0)"
