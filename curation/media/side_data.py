"""What codecs and containers state about single frames beside the picture: FFmpeg's side data, as bytes."""

from __future__ import annotations

from typing import cast

import av
from av.buffer import Buffer


def side_data_of(frame: av.VideoFrame, name: str) -> bytes | None:
    """The side data of a frame, by FFmpeg's name without its prefix; None if it has none of that kind.

    Also None if a frame has side data that PyAV does not know. To be called for few frames: PyAV ties a frame that was
    asked to its answer, and its memory stays taken until Python's garbage collector finds both.
    """
    try:
        found = cast(Buffer | None, frame.side_data.get(name))
    except ValueError:
        return None
    return None if found is None else bytes(found)
